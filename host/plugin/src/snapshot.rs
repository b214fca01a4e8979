//! Configure once, snapshot: from a plugin and a configuration to the component that requests start from.
//!
//! instrument -> compile -> instantiate -> `configure(config)` -> check -> snapshot -> compile -> compare. The first two are done
//! once for all configurations (`base`), and what is compiled of a snapshot is its state alone (`split`, `code`). What cannot be
//! snapshotted soundly is told apart here, and runs with [`Startup::Configure`]. All of it blocks; it runs on a thread
//! for blocking work, where a panic of the compiler is caught.

use std::sync::Arc;

use tokio::runtime::Handle;
use wasmtime::component::{Instance, Lift, Linker, WasmList};
use wasmtime::{Engine, Store};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::abi::v0_1::Stages;
use crate::attachment::{Linked, Start, Startup};
use crate::base::{Base, Bases};
use crate::cache::Key;
use crate::call::{Live, classify, store};
use crate::code::{Codes, CompiledComponent};
use crate::engine::MEMORIES_MAX;
use crate::error::{Fault, LoadError};
use crate::inspect::{Plugin, hex};
use crate::manifest::SelfTest;
use crate::state::{Identity, Phase, State};
use crate::value::{Completion, Finish, Label, Output, Request, Usage};

/// What a snapshot is made with.
pub(crate) struct Workshop<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) codes: &'a Codes,
    pub(crate) bases: &'a Bases,
    pub(crate) linker: &'a Linker<State>,
    pub(crate) plugin: &'a Plugin,
    pub(crate) identity: &'a Arc<Identity>,
    pub(crate) config: &'a str,
    pub(crate) executor: &'a Handle,
}

/// An instance after `configure`, and the component that it is of.
struct Configured {
    store: Store<State>,
    instance: Instance,
}

impl Workshop<'_> {
    /// What the component is kept under: all that it is made of, and what bounds making it.
    pub(crate) fn key(&self, start: Start) -> Key {
        let limits = &self.identity.limits;
        let bounds = (
            limits.memory,
            limits.table_elements,
            limits.configure_time,
            limits.host_bytes,
            limits.handles,
        );
        let mut how = format!("{start:?} {bounds:?}");
        if let Some(vocabulary) = &self.identity.vocabulary {
            how = format!("{how} {}", hex(vocabulary.digest()));
        }
        Key::attached(self.engine, &self.plugin.digest, self.config, &how)
    }

    /// Makes the component that requests start from, and says how they start.
    pub(crate) fn build(&self, start: Start) -> Result<(CompiledComponent, Startup), LoadError> {
        if start == Start::ConfigureEach {
            return self
                .build_unsnapshotted("the operator asks for it (`startup = \"configure\"`)".to_owned());
        }
        if let Some(reason) = &self.plugin.mutation {
            return self.build_unsnapshotted(reason.clone());
        }
        let make = || Base::make(&self.plugin.bytes, |component| self.compile(component));
        let base = match self.bases.find_or(self.plugin.digest, make)? {
            Ok(base) => base,
            Err(reason) => return self.build_unsnapshotted(reason),
        };
        let mut configured = self.configure(&base.compiled)?;
        let state = configured.store.data();
        if !state.table.is_empty() {
            let reason =
                "after `configure` it still holds a resource of the host, such as an open output stream";
            return self.build_unsnapshotted(reason.to_owned());
        }
        let startup = Startup::Snapshot {
            entropy_frozen: state.entropy_drawn,
        };
        // A snapshot reads whole memories, which no plugin does in one call.
        configured.store.set_hostcall_fuel(usize::MAX);
        let mut reader = Reader {
            configured: &mut configured,
            error: None,
        };
        let bytes = self
            .executor
            .block_on(Wizer::new().snapshot_component(base.context(), &mut reader))
            .map_err(compile_error)?;
        if let Some(error) = reader.error {
            return Err(compile_error(error));
        }
        let snapshot = self.compile(&bytes)?;
        self.compare(&base.compiled, &snapshot)?;
        Ok((snapshot, startup))
    }

    /// The plain component; `configure` runs once all the same, so that a bad configuration is found now.
    fn build_unsnapshotted(&self, reason: String) -> Result<(CompiledComponent, Startup), LoadError> {
        let compiled = self.compile(&self.plugin.bytes)?;
        self.configure(&compiled)?;
        Ok((compiled, Startup::Configure { reason }))
    }

    /// Compiles the plugin's component, as it is, instrumented or with a snapshot.
    fn compile(&self, component: &[u8]) -> Result<CompiledComponent, LoadError> {
        self.codes.compile(component, &self.plugin.bytes)
    }

    /// Instantiates and configures, under the limits of `configure`.
    fn configure(&self, compiled: &CompiledComponent) -> Result<Configured, LoadError> {
        let linkage = compiled.link(self.linker).map_err(compile_error)?;
        let stages = Stages::find(&linkage.pre, &self.plugin.stages).map_err(compile_error)?;
        let limits = &self.identity.limits;
        let mut store = store(
            self.engine,
            State::new(Arc::clone(self.identity), Phase::Configure, None),
        );
        let run = async {
            let instance = linkage.pre.instantiate_async(&mut store).await?;
            let outcome = stages.configure(&mut store, &instance, self.config).await?;
            wasmtime::Result::Ok((instance, outcome))
        };
        let bounded = self
            .executor
            .block_on(async { tokio::time::timeout(limits.configure_time, run).await });
        let (instance, outcome) = match bounded {
            Ok(Ok(ran)) => ran,
            Ok(Err(error)) => {
                return Err(match classify(&error, self.identity) {
                    Fault::Time(_) => LoadError::ConfigureTime(limits.configure_time),
                    fault => LoadError::Configure(fault),
                });
            }
            Err(_) => return Err(LoadError::ConfigureTime(limits.configure_time)),
        };
        match outcome {
            Ok(()) => Ok(Configured { store, instance }),
            Err(Fault::Failed { code, message, .. }) => Err(LoadError::ConfigureFailed { code, message }),
            Err(fault) => Err(LoadError::Configure(fault)),
        }
    }

    /// Replays the manifest's self-test on a snapshot and on a freshly configured instance; they must agree.
    fn compare(&self, fresh: &CompiledComponent, snapshot: &CompiledComponent) -> Result<(), LoadError> {
        let Some(self_test) = &self.plugin.manifest.self_test else {
            return Ok(());
        };
        let fresh = self.link(
            fresh,
            Startup::Configure {
                reason: String::new(),
            },
        )?;
        let snapshot = self.link(
            snapshot,
            Startup::Snapshot {
                entropy_frozen: false,
            },
        )?;
        let limits = &self.identity.limits;
        let answers = self.executor.block_on(async {
            let both = async {
                (
                    replay(&fresh, self_test).await,
                    replay(&snapshot, self_test).await,
                )
            };
            tokio::time::timeout(limits.configure_time, both).await
        });
        match answers {
            Ok((fresh, snapshot)) if fresh == snapshot => Ok(()),
            Ok(_) => Err(LoadError::SelfTest),
            Err(_) => Err(LoadError::ConfigureTime(limits.configure_time)),
        }
    }

    /// Links a component so that it can be called.
    pub(crate) fn link(&self, compiled: &CompiledComponent, startup: Startup) -> Result<Linked, LoadError> {
        compiled
            .component
            .initialize_copy_on_write_image()
            .map_err(compile_error)?;
        let linkage = compiled.link(self.linker).map_err(compile_error)?;
        Ok(Linked {
            stages: Stages::find(&linkage.pre, &self.plugin.stages).map_err(compile_error)?,
            linkage,
            identity: Arc::clone(self.identity),
            startup,
            config: self.config.to_owned(),
            memories: match compiled.component.resources_required() {
                Some(required) => required.num_memories as usize,
                None => self.plugin.code.memories.min(MEMORIES_MAX as usize),
            },
        })
    }
}

/// The answers of every stage that the plugin has, in words that can be compared.
async fn replay(linked: &Linked, self_test: &SelfTest) -> Vec<String> {
    let body = self_test.body.to_string().into();
    let request = Arc::new(Request {
        body,
        ..Request::default()
    });
    let labels = self_test
        .labels
        .iter()
        .map(|(name, score)| Label {
            name: name.clone(),
            score: *score,
        })
        .collect();
    let done = Completion {
        output: Output::Labels(vec![labels]),
        finish: Finish::Stop,
        usage: Usage::default(),
    };
    let live = async || Live::start(linked, &request).await;
    let validated = async { linked.validate(&mut live().await?, &request).await };
    let rendered = async { linked.render(&mut live().await?, None).await };
    let processed = async { linked.process(&mut live().await?, done).await };
    vec![
        format!("{:?}", validated.await),
        format!("{:?}", rendered.await),
        format!("{:?}", processed.await),
    ]
}

fn compile_error(error: wasmtime::Error) -> LoadError {
    LoadError::Compile(format!("{error:#}"))
}

/// Reads an instance's memories and globals through the functions that instrumentation added.
///
/// The trait has no room for errors, and a hostile component may offer functions of those names itself; so the first error
/// is kept, and what was read is then not used.
struct Reader<'a> {
    configured: &'a mut Configured,
    error: Option<wasmtime::Error>,
}

impl Reader<'_> {
    async fn read<R: Lift + Send + Sync + 'static>(&mut self, instance: &str, function: &str) -> Option<R> {
        let result = self.call(instance, function).await;
        result.map_err(|error| self.error.get_or_insert(error)).ok()
    }

    async fn call<R: Lift + Send + Sync + 'static>(
        &mut self,
        instance: &str,
        function: &str,
    ) -> wasmtime::Result<R> {
        let Configured {
            store,
            instance: configured,
        } = &mut *self.configured;
        let missing = || wasmtime::Error::msg(format!("`{instance}` lacks `{function}`"));
        let (_, outer) = configured
            .get_export(&mut *store, None, instance)
            .ok_or_else(missing)?;
        let (_, inner) = configured
            .get_export(&mut *store, Some(&outer), function)
            .ok_or_else(missing)?;
        let function = configured.get_typed_func::<(), (R,)>(&mut *store, inner)?;
        Ok(function.call_async(&mut *store, ()).await?.0)
    }
}

impl ComponentInstanceState for Reader<'_> {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        func: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        match self.read::<WasmList<u8>>(instance, func).await {
            Some(list) => contents(list.as_le_slice(&self.configured.store)),
            None => contents(&[]),
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.read(instance, func).await.unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.read(instance, func).await.unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.read::<f32>(instance, func)
            .await
            .unwrap_or_default()
            .to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.read::<f64>(instance, func)
            .await
            .unwrap_or_default()
            .to_bits()
    }
}
