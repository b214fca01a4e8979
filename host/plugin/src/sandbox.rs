//! The sandbox of a node: one engine, one linker, one cache, one ticker, and a bounded number of instances.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::attachment::{AttachOptions, Attachment, Start, Startup};
use crate::base::Bases;
use crate::cache::{Cache, Key};
use crate::code::{Codes, CompiledComponent};
use crate::compiler::Compiler;
use crate::engine::engine;
use crate::error::LoadError;
use crate::functions::Functions;
use crate::grant::Grants;
use crate::inspect::Plugin;
use crate::link;
use crate::recorded::Recorded;
use crate::reuse::{Waiting, WaitingRoom};
use crate::room::{self, Budget, Room, Slots};
use crate::snapshot::Workshop;
use crate::state::{Identity, State};
use crate::ticker::Ticker;
use crate::value::safe;

/// What a sandbox is given.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The folder of compiled plugins; made with mode 0700 where it is not there.
    pub cache_dir: PathBuf,
    /// The folder of journals, which plugins write where they are granted one; made where it is needed.
    pub journals_dir: PathBuf,
    /// Instances of observers alive at once, besides the others: what happens in the background takes none from requests.
    /// Default 8.
    pub observers_max: usize,
    /// Instances alive at once, at most; a call beyond waits. Default 256, at most 8,000, and no more than the process may
    /// have mappings for: see [`Room`].
    pub instances_max: usize,
    /// The most memory that any attachment's `limits.memory` may be. Default 256 MiB.
    pub memory_max: usize,
    /// The most memory that all instances may have together, in bytes. Default: half of what the machine has, or of what the
    /// process's control group may have.
    pub memory_total_max: Option<usize>,
    /// Mappings that the process may have. Default: the system's `vm.max_map_count`.
    pub mappings_max: Option<usize>,
    /// The longest component that is read. Default 64 MiB.
    pub component_size_max: usize,
    /// Functions that a component may have. Default 100,000, three times what a whole JavaScript engine has.
    pub functions_max: usize,
    /// Bytes of its longest function. Default 1 MiB; a compiler's time and memory grow faster than a function.
    pub function_size_max: usize,
    /// Whether instructions are counted, by which code runs two to three times as long. Default: they are not; it is for tests
    /// of plugins.
    pub metered: bool,
    /// Compiled functions that are kept, by which what changed little is compiled in a third of the time. Default: none; they are for
    /// tests of plugins.
    pub functions: Option<KeptFunctions>,
}

/// The functions of a plugin that are kept from one process to the next: see [`Sandbox::keep_functions`].
#[derive(Debug, Clone)]
pub struct KeptFunctions {
    /// The plugin's name.
    pub plugin: String,
    /// Bytes of them at most.
    pub size_max: usize,
}

impl SandboxOptions {
    /// The defaults, with compiled plugins in `cache_dir` and journals beside it.
    #[must_use]
    pub fn new(cache_dir: PathBuf) -> Self {
        Self {
            journals_dir: cache_dir.with_file_name("journals"),
            cache_dir,
            observers_max: 8,
            instances_max: 256,
            memory_max: 256 << 20,
            memory_total_max: None,
            mappings_max: None,
            component_size_max: 64 << 20,
            functions_max: 100_000,
            function_size_max: 1 << 20,
            metered: false,
            functions: None,
        }
    }
}

/// The sandbox; clones share it.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

/// What attachments keep of their sandbox.
pub(crate) struct Shared {
    pub(crate) ticker: Ticker,
    pub(crate) slots: Slots,
    pub(crate) observers: Semaphore,
    budget: Arc<Budget>,
    pub(crate) waiting_room: Arc<WaitingRoom>,
    room: Room,
    engine: Engine,
    codes: Codes,
    bases: Arc<Bases>,
    linker: Linker<State>,
    cache: Cache,
    functions: Option<Arc<Functions>>,
    journals_dir: Arc<Path>,
    options: SandboxOptions,
    pooled: bool,
    compilations: AtomicU64,
    /// Attachments that are being made, each behind a lock, so that of two that are the same only one is.
    compiling: Mutex<HashMap<Key, Arc<Mutex<()>>>>,
    /// Permits to make attachments, [`ATTACHING_MAX`] at once. Each has up to three instances while it is made.
    attaching: Semaphore,
}

impl Sandbox {
    /// Starts the engine and its ticker.
    ///
    /// # Errors
    ///
    /// Where the cache folder cannot be used, more instances are asked for than fit, or the machine gives no thread or no
    /// memory at all.
    pub fn new(options: SandboxOptions) -> Result<Self, LoadError> {
        let cache = Cache::open(&options.cache_dir)?;
        let memory_total_max = options.memory_total_max.unwrap_or_else(room::half_of_memory);
        let memory_total_max = memory_total_max.max(options.memory_max);
        let room = Room::check(options.instances_max, options.mappings_max, memory_total_max)?;
        let functions = options.functions.as_ref().map(|kept| {
            let kind = if options.metered { "metered" } else { "plain" };
            let key = Key::functions(&kept.plugin, kind);
            Arc::new(Functions::new(cache.clone(), key, kept.size_max))
        });
        let (engine, pooled) = engine(&options, functions.clone())?;
        let linker = link::linker(&engine).map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine).map_err(LoadError::Thread)?;
        let slots = Slots::new(&room, pooled);
        let observers = Semaphore::new(options.observers_max);
        let budget = Arc::new(Budget::new(room.memory_max));
        let waiting_room = Arc::new(WaitingRoom::new(room.instances_max, room.memory_max));
        let journals_dir = options.journals_dir.as_path().into();
        let compilations = AtomicU64::new(0);
        let compiling = Mutex::default();
        let shared = Shared {
            ticker,
            slots,
            observers,
            budget,
            waiting_room,
            room,
            journals_dir,
            codes: Codes::new(engine.clone(), Compiler::start()?, cache.clone()),
            bases: Arc::default(),
            engine,
            linker,
            cache,
            functions,
            options,
            pooled,
            compilations,
            compiling,
            attaching: Semaphore::new(ATTACHING_MAX),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Reads a component: see [`Plugin::read`]; and checks its imports, and what its manifest wants, against what it is
    /// granted: see [`check_imports`].
    ///
    /// # Errors
    ///
    /// Where it is no plugin, or imports or wants what nothing grants.
    pub fn read(&self, name: &str, bytes: Bytes, grants: &Grants) -> Result<Plugin, LoadError> {
        let options = &self.shared.options;
        let plugin = Plugin::read(name, bytes, options.component_size_max)?;
        plugin
            .code
            .check(options.functions_max, options.function_size_max)?;
        check_imports(&plugin, grants)?;
        check_truth(&plugin)?;
        link::check_wants(&plugin.name, &plugin.manifest.wants, grants)?;
        Ok(plugin)
    }

    /// Attaches a plugin to an endpoint: configures and snapshots it, or takes the result from the cache.
    ///
    /// # Errors
    ///
    /// Where the configuration is refused, the component cannot be compiled, or `configure` fails.
    pub async fn attach(
        &self,
        plugin: &Arc<Plugin>,
        options: AttachOptions,
    ) -> Result<Attachment, LoadError> {
        check_config(plugin, &options.config)?;
        let max = self.shared.options.memory_max;
        if options.limits.memory > max {
            return Err(LoadError::MemoryBeyondPool {
                asked: options.limits.memory,
                max,
            });
        }
        if plugin.needs_vocabulary() && options.vocabulary.is_none() {
            return Err(LoadError::NoVocabulary);
        }
        let (sandbox, plugin) = (self.clone(), Arc::clone(plugin));
        let executor = tokio::runtime::Handle::current();
        // From here on, so that who waits for his turn finds what others have made.
        let _attaching = self.shared.bases.attaching();
        let _turn = self.shared.attaching.acquire().await;
        let work = move || {
            // While code is compiled or configured, the ticker must be awake.
            let _running = sandbox.shared.ticker.run();
            sandbox.attach_blocking(plugin, options, &executor)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| LoadError::CompilerPanicked)?
    }

    fn attach_blocking(
        &self,
        plugin: Arc<Plugin>,
        options: AttachOptions,
        executor: &tokio::runtime::Handle,
    ) -> Result<Attachment, LoadError> {
        let config = canonical(&options.config);
        let allowed: Vec<String> = options
            .headers
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let wanted = plugin
            .manifest
            .wants
            .headers
            .iter()
            .map(|name| name.to_ascii_lowercase());
        let identity = Arc::new(Identity {
            plugin: Arc::clone(&plugin.name),
            endpoint: options.endpoint,
            headers: wanted.filter(|name| allowed.contains(name)).collect(),
            recorded: Recorded::new(&plugin.manifest.metrics),
            configurations: AtomicU64::new(0),
            limits: options.limits,
            grants: options.grants,
            spent: options.spent,
            clock: options.clock,
            metered: self.shared.options.metered,
            vocabulary: options.vocabulary.filter(|_| plugin.needs_vocabulary()),
            journals_dir: Arc::clone(&self.shared.journals_dir),
            budget: Arc::clone(&self.shared.budget),
        });
        let shared = &self.shared;
        let workshop = Workshop {
            engine: &shared.engine,
            codes: &shared.codes,
            bases: &shared.bases,
            linker: &shared.linker,
            plugin: &plugin,
            identity: &identity,
            config: &config,
            executor,
        };
        let (compiled, startup) = self.component(&workshop, options.start)?;
        let linked = workshop.link(&compiled, startup)?;
        let waiting = Waiting::new(options.reuse, &shared.waiting_room);
        Ok(Attachment::new(plugin, linked, waiting, Arc::clone(shared)))
    }

    /// The component of an attachment, from the cache or made.
    fn component(
        &self,
        workshop: &Workshop<'_>,
        start: Start,
    ) -> Result<(CompiledComponent, Startup), LoadError> {
        let key = workshop.key(start);
        if let Some(kept) = self.kept(&key)? {
            return Ok(kept);
        }
        let lock = Arc::clone(self.compiling().entry(key.clone()).or_default());
        let _alone = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _entry = CompilingEntry(self, &key);
        // Another attachment may have made just this while we waited.
        if let Some(kept) = self.kept(&key)? {
            return Ok(kept);
        }
        self.shared.compilations.fetch_add(1, Ordering::Relaxed);
        let (compiled, startup) = workshop.build(start)?;
        match self.shared.cache.store(&key, &compiled.component, &startup) {
            // From the file, whose pages are shared with whoever else reads it and need not stay in memory.
            Ok(()) => Ok(self.kept(&key)?.unwrap_or((compiled, startup))),
            Err(error) => {
                tracing::warn!(%error, "a compiled plugin cannot be kept; the next start compiles it again");
                Ok((compiled, startup))
            }
        }
    }

    /// The component of an attachment in the cache, with its modules.
    fn kept(&self, key: &Key) -> Result<Option<(CompiledComponent, Startup)>, LoadError> {
        let shared = &self.shared;
        let Some((component, startup)) = shared.cache.load(&shared.engine, key)? else {
            return Ok(None);
        };
        let complete = shared.codes.complete(component)?;
        Ok(complete.map(|compiled| (compiled, startup)))
    }

    fn compiling(&self) -> MutexGuard<'_, HashMap<Key, Arc<Mutex<()>>>> {
        self.shared
            .compiling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what all configurations of a plugin are made from, until the result is dropped. Attachments that are made at the same
    /// time share it by themselves; this is for one after the other.
    #[must_use]
    pub fn attach_several(&self) -> impl Drop + Send + use<> {
        self.shared.bases.attaching()
    }

    /// Number of modules of plugins that were compiled since the start. A module is compiled once, whatever the number of its
    /// plugin's configurations.
    #[must_use]
    pub fn modules_compiled(&self) -> u64 {
        self.shared.codes.compiled()
    }

    /// How many attachments were compiled and configured since the start; a hit in the cache is none.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.shared.compilations.load(Ordering::Relaxed)
    }

    /// How many functions were compiled since the start; the others were found among those that are kept. None where none are.
    #[must_use]
    pub fn functions_made(&self) -> Option<u64> {
        self.shared.functions.as_ref().map(|functions| functions.made())
    }

    /// Writes the functions of what was compiled since the start to the folder of compiled plugins, for the next process, in place of
    /// those that were there. Where none is new, there is nothing to do. Blocks.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written; nothing is lost by that but time.
    pub fn keep_functions(&self) -> Result<(), LoadError> {
        self.shared
            .functions
            .as_ref()
            .map_or(Ok(()), |functions| functions.keep())
    }

    /// Whether instances come out of the pool; where the machine has too little address space they do not.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.shared.pooled
    }

    /// Instances that are alive now, those that wait for a request included.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.shared.slots.taken()
    }

    /// Memory that instances have now, all together, in bytes; tensors that the host holds for them included.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shared.budget.used()
    }

    /// How many instances may be alive at once, and why not more.
    #[must_use]
    pub fn room(&self) -> Room {
        self.shared.room
    }
}

/// Entry of an attachment in [`Shared::compiling`]. It is removed when the attachment has been made, or making it has failed or panicked.
struct CompilingEntry<'a>(&'a Sandbox, &'a Key);

impl Drop for CompilingEntry<'_> {
    fn drop(&mut self) {
        self.0.compiling().remove(self.1);
    }
}

/// Checks what a plugin imports against what is free and what it is granted.
///
/// # Errors
///
/// The first import that nothing grants, with the line that would grant it.
pub fn check_imports(plugin: &Plugin, grants: &Grants) -> Result<(), LoadError> {
    link::check_imports(&plugin.name, &plugin.imports, grants)
}

/// Checks that a plugin's manifest wants nothing that its component never asks for.
///
/// # Errors
///
/// The first of it without its import.
pub fn check_truth(plugin: &Plugin) -> Result<(), LoadError> {
    link::check_truth(&plugin.manifest.wants, &plugin.imports)
}

/// Attachments that are made at once; the pool has `engine` for them.
pub(crate) const ATTACHING_MAX: usize = 5;

/// Bytes of what a schema says of a configuration.
const REFUSAL_LEN_MAX: usize = 4 << 10;

/// Checks an attachment's configuration against the manifest's schema.
fn check_config(plugin: &Plugin, config: &Value) -> Result<(), LoadError> {
    let validator = plugin.manifest.validator().map_err(LoadError::Manifest)?;
    let Some(validator) = validator else {
        return Ok(());
    };
    match validator.iter_errors(config).next() {
        None => Ok(()),
        Some(error) => Err(LoadError::ConfigRefused {
            at: error.instance_path().as_str().replace('/', "."),
            // It cites the schema.
            message: safe(&error.to_string(), REFUSAL_LEN_MAX),
        }),
    }
}

/// JSON with sorted keys, so that the same configuration has the same text, whatever the order in the file.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            let fields = fields
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}
