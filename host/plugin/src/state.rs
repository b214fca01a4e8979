//! What one store holds: the request it serves, what it has used, and the WASI context, made only where it is asked for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostIncomingResponse};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::cases::Clock;
use crate::clock::{CoarseMonotonicClock, CoarseWallClock};
use crate::error::Fault;
use crate::grant::Grants;
use crate::limits::Limits;
use crate::log::{COMPLAINED, Level, Log, LogStream, PRINTED};
use crate::outgoing::Http;
use crate::recorded::Recorded;
use crate::room::Budget;
use crate::spent::{Spent, Tally};
use crate::ticker::TICK;
use crate::value::Request;
use crate::vocabulary::Vocabulary;

/// Values for histograms that one call may record; more are dropped.
const RECORDED_MAX: usize = 100;

/// Who the plugin is and what it may have: one for each attachment, shared by its stores.
pub(crate) struct Identity {
    pub(crate) plugin: Arc<str>,
    pub(crate) endpoint: Arc<str>,
    pub(crate) limits: Limits,
    /// Header names, in lower case, that the manifest wants and the operator allows.
    pub(crate) headers: Vec<String>,
    /// What the operator grants it.
    pub(crate) grants: Grants,
    /// The memory that all instances of the node have together.
    pub(crate) budget: Arc<Budget>,
    /// The tokens of the endpoint's model, where it reads them.
    pub(crate) vocabulary: Option<Arc<Vocabulary>>,
    /// Where its journals are.
    pub(crate) journals_dir: Arc<Path>,
    /// What the plugin recorded of the metrics that its manifest declares.
    pub(crate) recorded: Recorded,
    /// Who wants to know what calls take.
    pub(crate) spent: Option<Arc<Spent>>,
    /// Its clocks; without them, the machine's.
    pub(crate) clock: Option<Clock>,
    /// Whether its engine counts instructions.
    pub(crate) metered: bool,
    /// How often `configure` ran, counted where it is called.
    pub(crate) configurations: AtomicU64,
}

/// What a store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `configure`, whose memory is to be snapshotted: imports other than logging do nothing.
    Configure,
    /// A request.
    Serve,
    /// Events of requests that are over.
    Observe,
}

impl Phase {
    /// CPU time of a call in it.
    fn time_max(self, limits: &Limits) -> Duration {
        match self {
            Self::Configure => limits.configure_time,
            Self::Serve => limits.time,
            Self::Observe => limits.observe_time,
        }
    }
}

/// The data of one store.
pub(crate) struct State {
    pub(crate) identity: Arc<Identity>,
    pub(crate) request: Option<Arc<Request>>,
    pub(crate) phase: Phase,
    pub(crate) table: ResourceTable,
    pub(crate) usage: Usage,
    /// Whether the plugin drew randomness, which a snapshot freezes.
    pub(crate) entropy_drawn: bool,
    wasi: Option<WasiCtx>,
    http: Option<Box<Http>>,
    pub(crate) log: Arc<Log>,
}

/// What an instance has, from one request to the next.
#[derive(Default)]
pub(crate) struct Extent {
    /// Bytes of its memories, with what the host holds for it.
    pub(crate) memory: usize,
    /// Elements of its tables.
    pub(crate) table_elements: usize,
}

/// What an instance has used, against its limits.
pub(crate) struct Usage {
    memory: usize,
    memory_max: usize,
    /// Out of which `memory` is taken, and into which it goes back.
    budget: Arc<Budget>,
    table_elements: usize,
    table_elements_max: usize,
    ticks: u64,
    /// Of the calls before this one, the most.
    ticks_most: u64,
    ticks_max: u64,
    time_max: Duration,
    given: usize,
    brought: usize,
    brought_max: usize,
    answer: usize,
    fuel: u64,
    /// Values that it recorded in this call.
    recorded: usize,
}

impl State {
    pub(crate) fn new(identity: Arc<Identity>, phase: Phase, request: Option<Arc<Request>>) -> Self {
        let limits = &identity.limits;
        let time_max = phase.time_max(limits);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            usage: Usage::new(&identity, time_max),
            log: Arc::new(Log::new(&identity, request.as_ref())),
            identity,
            request,
            phase,
            table,
            entropy_drawn: false,
            wasi: None,
            http: None,
        }
    }

    /// From `configure` to what it was for: all that calls take is counted anew, under the limits of that.
    pub(crate) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.begin_call();
        self.usage.ticks_most = 0;
    }

    /// The next call on the same instance: its CPU time is counted anew.
    pub(crate) fn begin_call(&mut self) {
        self.usage.begin(self.phase.time_max(&self.identity.limits));
    }

    /// Another request, on an instance that has served one.
    pub(crate) fn serve(&mut self, request: &Arc<Request>) {
        self.log.begin(request);
        self.request = Some(Arc::clone(request));
    }

    /// The request is over, and nothing of it is kept.
    pub(crate) fn rest(&mut self) {
        self.log.end();
        self.request = None;
    }

    /// Whether at least half is left of the host's resources that it may hold, and of what it could grow by from `first` on.
    pub(crate) fn has_half_left(&mut self, first: &Extent) -> bool {
        let (now, most) = (self.usage.extent(), self.usage.most());
        let half = |first: usize, now: usize, most: usize| {
            now.saturating_sub(first) <= most.saturating_sub(first) / 2
        };
        half(first.memory, now.memory, most.memory)
            && half(first.table_elements, now.table_elements, most.table_elements)
            && self.table.iter_mut().count() <= self.identity.limits.handles / 2
    }

    /// Whether it holds a call to another server, or the answer of one, which would go on without anybody's deadline.
    pub(crate) fn awaits_answers(&mut self) -> bool {
        self.table.iter_mut().any(|entry| {
            entry.is::<HostFutureIncomingResponse>()
                || entry.is::<HostIncomingResponse>()
                || entry.is::<HostIncomingBody>()
        })
    }

    /// Takes bytes of the host's memory that the plugin has made it hold, against the plugin's own memory.
    ///
    /// # Errors
    ///
    /// [`Fault::Memory`] where both together are more than it may have, [`Fault::Busy`] where all instances together have
    /// all that there is.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Fault> {
        self.usage.take(bytes)
    }

    /// Gives such bytes back.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.usage.give(bytes);
    }

    /// Logs a line in the plugin's name; control characters are escaped, and what is beyond the limit is dropped.
    pub(crate) fn write_log(&self, level: Level, message: &str) {
        self.log.write(level, message);
    }

    /// One more tick in which the plugin ran. Gives how many its call has had.
    ///
    /// # Errors
    ///
    /// [`Fault::Time`] where its CPU time is used up.
    pub(crate) fn tick(&mut self) -> Result<u64, Fault> {
        self.usage.ticks += 1;
        if self.usage.ticks > self.usage.ticks_max {
            Err(Fault::Time(self.usage.time_max))
        } else {
            Ok(self.usage.ticks)
        }
    }

    /// The WASI context: no arguments, environment, files or network; what is printed is logged.
    pub(crate) fn wasi(&mut self) -> &mut WasiCtx {
        self.wasi.get_or_insert_with(|| {
            let stream = |level| LogStream::new(level, &self.log);
            let mut builder = WasiCtxBuilder::new();
            builder.stdout(stream(PRINTED)).stderr(stream(COMPLAINED));
            builder
                .allow_tcp(false)
                .allow_udp(false)
                .max_random_size(64 << 10)
                .wall_clock(CoarseWallClock)
                .monotonic_clock(CoarseMonotonicClock::new());
            if let Some(clock) = &self.identity.clock {
                builder.wall_clock(clock.clone()).monotonic_clock(clock.clone());
            }
            builder.build()
        })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let Some(spent) = self
            .identity
            .spent
            .as_ref()
            .filter(|_| self.phase != Phase::Configure)
        else {
            return;
        };
        let usage = &self.usage;
        spent.add(&Tally {
            memory: usage.memory,
            time_ms: usage.ticks_most.max(usage.ticks),
            log: self.log.used(),
            table_elements: usage.table_elements,
            calls: 1,
            given: usage.given as u64,
            brought: usage.brought as u64,
            brought_max: usage.brought_max,
            answer: usage.answer,
            fuel: usage.fuel,
            ..Tally::default()
        });
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi();
        let ctx = self.wasi.as_mut().expect("made in the line above");
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (identity, phase) = (&self.identity, self.phase);
        let http = self
            .http
            .get_or_insert_with(|| Box::new(Http::new(identity, phase, &self.log)));
        http.hooks.phase = phase;
        WasiHttpCtxView {
            hooks: &mut http.hooks,
            table: &mut self.table,
            ctx: &mut http.context,
        }
    }
}

impl Usage {
    fn new(identity: &Identity, time_max: Duration) -> Self {
        let limits = &identity.limits;
        let mut usage = Self {
            memory: 0,
            memory_max: limits.memory,
            budget: Arc::clone(&identity.budget),
            table_elements: 0,
            table_elements_max: limits.table_elements,
            ticks: 0,
            ticks_most: 0,
            ticks_max: 0,
            time_max,
            given: 0,
            brought: 0,
            brought_max: 0,
            answer: 0,
            fuel: 0,
            recorded: 0,
        };
        usage.begin(time_max);
        usage
    }

    /// What the instance has.
    pub(crate) fn extent(&self) -> Extent {
        Extent {
            memory: self.memory,
            table_elements: self.table_elements,
        }
    }

    /// What it may have.
    fn most(&self) -> Extent {
        Extent {
            memory: self.memory_max,
            table_elements: self.table_elements_max,
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        let total = self.memory.saturating_add(bytes);
        if total > self.memory_max {
            return Err(Fault::Memory(self.memory_max));
        }
        self.budget.take(bytes)?;
        self.memory = total;
        Ok(())
    }

    fn give(&mut self, bytes: usize) {
        let bytes = bytes.min(self.memory);
        self.memory -= bytes;
        self.budget.give(bytes);
    }

    /// How much may be read for the plugin at once: not more than all its memory could hold.
    ///
    /// # Errors
    ///
    /// [`Fault::Memory`] where it asks for more.
    pub(crate) fn readable(&self, len: u32) -> Result<usize, Fault> {
        match len as usize {
            len if len <= self.memory_max => Ok(len),
            _ => Err(Fault::Memory(self.memory_max)),
        }
    }

    /// Counts bytes that the plugin is given.
    pub(crate) fn hand(&mut self, len: usize) {
        self.given = self.given.saturating_add(len);
    }

    /// Counts bytes that it brings into the host at once.
    pub(crate) fn bring(&mut self, len: usize) {
        self.brought = self.brought.saturating_add(len);
        self.brought_max = self.brought_max.max(len);
    }

    /// Counts a value for a histogram. Whether it may be kept: the collector holds each until it sorts them.
    pub(crate) fn may_record(&mut self) -> bool {
        self.recorded = self.recorded.saturating_add(1);
        self.recorded <= RECORDED_MAX
    }

    /// Counts an answer's bytes.
    pub(crate) fn answered(&mut self, len: usize) {
        self.bring(len);
        self.answer = self.answer.max(len);
    }

    /// Notes the fuel that was used in all.
    pub(crate) fn burnt(&mut self, fuel: u64) {
        self.fuel = fuel;
    }

    /// Counts CPU time anew, under a limit.
    fn begin(&mut self, time_max: Duration) {
        let ticks = time_max.as_micros().div_ceil(TICK.as_micros());
        self.ticks_most = self.ticks_most.max(self.ticks);
        self.ticks = 0;
        self.recorded = 0;
        self.ticks_max = u64::try_from(ticks).unwrap_or(u64::MAX).max(1);
        self.time_max = time_max;
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.give(self.memory);
    }
}

impl ResourceLimiter for Usage {
    /// Sums over all memories of the store; wasmtime's own limiter bounds each alone.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let taken = self.take(desired.saturating_sub(current));
        taken.map(|()| true).map_err(wasmtime::Error::new)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .table_elements
            .saturating_sub(current)
            .saturating_add(desired);
        if total > self.table_elements_max {
            return Err(wasmtime::Error::new(Fault::Table(self.table_elements_max)));
        }
        self.table_elements = total;
        Ok(true)
    }
}
