//! One call under its limits: its store, a deadline of each kind, and what an error of wasmtime's means.

use std::sync::Arc;

use addr2line::demangle_auto;
use wasmtime::component::{Instance, ResourceTableError};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};

use crate::attachment::{Linked, Startup};
use crate::error::{Fault, Scarce};
use crate::state::{Identity, Phase, State};
use crate::symbols::Frame;
use crate::turns::{SHORT_TICKS, pause};
use crate::value::{Request, cut, safe};

/// Frames of a trap's backtrace that go into its message.
const FRAMES_MAX: usize = 6;

/// Bytes of a function's name in it.
const NAME_LEN_MAX: usize = 120;

/// A store with every limit armed. Instantiation already runs the plugin's code, so it comes after this.
pub(crate) fn store(engine: &wasmtime::Engine, state: State) -> Store<State> {
    let limits = &state.identity.limits;
    let (host_bytes, handles, metered) = (limits.host_bytes, limits.handles, state.identity.metered);
    let mut store = Store::new(engine, state);
    if metered {
        refuel(&mut store);
    }
    store.limiter(|state| &mut state.usage);
    store.set_hostcall_fuel(host_bytes);
    store.set_max_component_handles(handles);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut context| match context.data_mut().tick() {
        Ok(..=SHORT_TICKS) => Ok(UpdateDeadline::Yield(1)),
        Ok(ticks) => Ok(UpdateDeadline::YieldCustom(1, pause(ticks))),
        Err(fault) => Err(wasmtime::Error::new(fault)),
    });
    store
}

/// Gives a store of an engine that counts instructions as much fuel as there is: it is counted, not bounded.
fn refuel(store: &mut Store<State>) {
    // It fails only where the engine counts none.
    store.set_fuel(u64::MAX).ok();
}

/// A fresh instance, ready for one stage's call, with the store that holds all it has.
pub(crate) struct Live {
    pub(crate) store: Store<State>,
    pub(crate) instance: Instance,
}

impl Live {
    /// Starts an instance for a request.
    pub(crate) async fn start(linked: &Linked, request: &Arc<Request>) -> Result<Self, Fault> {
        Self::start_for(linked, Phase::Serve, Some(Arc::clone(request))).await
    }

    /// Starts an instance from the snapshot; or, where there is none, configures it.
    pub(crate) async fn start_for(
        linked: &Linked,
        phase: Phase,
        request: Option<Arc<Request>>,
    ) -> Result<Self, Fault> {
        let configures = matches!(linked.startup, Startup::Configure { .. });
        let first = if configures { Phase::Configure } else { phase };
        let state = State::new(Arc::clone(&linked.identity), first, request);
        let mut store = store(linked.linkage.pre.engine(), state);
        let classify = |error| classify(&error, &linked.identity);
        let instance = linked
            .linkage
            .pre
            .instantiate_async(&mut store)
            .await
            .map_err(classify)?;
        if configures {
            linked
                .stages
                .configure(&mut store, &instance, &linked.config)
                .await
                .map_err(classify)??;
            store.data_mut().begin(phase);
            if linked.identity.metered {
                refuel(&mut store);
            }
        }
        Ok(Self { store, instance })
    }

    /// Readies the instance for another request.
    pub(crate) fn renewed_for(&mut self, request: &Arc<Request>) -> &mut Self {
        self.store.data_mut().serve(request);
        self.renewed()
    }

    /// Gives the next call on the instance what a first one has: CPU time, and bytes that it may bring into the host.
    pub(crate) fn renewed(&mut self) -> &mut Self {
        let host_bytes = self.store.data().identity.limits.host_bytes;
        self.store.set_hostcall_fuel(host_bytes);
        self.store.set_epoch_deadline(1);
        self.store.data_mut().begin_call();
        self
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.store.data().identity.metered {
            let left = self.store.get_fuel().unwrap_or(u64::MAX);
            self.store.data_mut().usage.burnt(u64::MAX - left);
        }
    }
}

/// What an error means: our own limits first, then wasmtime's, then traps; the rest is a broken ABI.
pub(crate) fn classify(error: &wasmtime::Error, identity: &Identity) -> Fault {
    let limits = &identity.limits;
    if let (Some(spent), Some(backtrace)) = (&identity.spent, error.downcast_ref::<WasmBacktrace>()) {
        spent.trapped(frames(backtrace));
    }
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return fault.clone();
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::Busy(Scarce::Pool);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return Fault::Handles(limits.handles);
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Fault::Trap(format!("it called exit with status {}", exit.0));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Fault::Stack,
        Some(Trap::Interrupt) => Fault::Time(limits.time),
        Some(
            trap @ (Trap::CannotEnterComponent
            | Trap::CannotLeaveComponent
            | Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::InvalidDiscriminant
            | Trap::InvalidChar
            | Trap::UnalignedPointer),
        ) => Fault::Abi(trap.to_string()),
        Some(trap) => Fault::Trap(format!("{trap}{}", backtrace(error))),
        None => untyped(error, limits),
    }
}

/// Errors for which wasmtime 48 has no type, only a text.
fn untyped(error: &wasmtime::Error, limits: &crate::Limits) -> Fault {
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return Fault::HostBytes(limits.host_bytes);
    }
    if text.contains("resource table has no free keys") || text.contains("handle limit exceeded") {
        return Fault::Handles(limits.handles);
    }
    Fault::Abi(safe(&text, 1024))
}

fn frames(backtrace: &WasmBacktrace) -> Vec<Frame> {
    let frame = |frame: &wasmtime::FrameInfo| Frame {
        function: frame.func_name().map(|name| cut(name, 240).to_owned()),
        at: None,
        index: frame.func_index(),
        offset: frame.func_offset(),
    };
    backtrace.frames().iter().map(frame).collect()
}

fn backtrace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let names: Vec<String> = backtrace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .take(FRAMES_MAX)
        .map(|name| safe(&demangle_auto(name.into(), None), NAME_LEN_MAX))
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" in {}", names.join(" < "))
    }
}
