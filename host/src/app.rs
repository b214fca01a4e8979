//! The wiring: a checked configuration becomes a node that listens, loads, serves, drains and stops.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use selvedge_model::Runtime;
use selvedge_plugin::{Room, Sandbox, SandboxOptions, Spool, SpoolBounds};

use crate::activation::{ActivationError, ActivationSocket};
use crate::config::{self, Address, AuthMode, Config, Source};
use crate::edge::{Authority, Keys, Tokens, keystore, signers};
use crate::generation::{Generation, Means};
use crate::granted::Kept;
use crate::http::handle::Side;
use crate::http::tls::{self, Tls};
use crate::listeners::{Certificates, Listeners};
use crate::observe::{Deliveries, Queue};
use crate::shutdown::Shutdown;
use crate::state::{Database, StateError};
use crate::telemetry::metrics::{self, Metrics};

/// What every request sees of the node. Immutable but for the generation, which is swapped whole.
pub struct App {
    config: Arc<Config>,
    sandbox: Sandbox,
    runtime: Option<Runtime>,
    database: Database,
    /// The files of forms while their requests are answered.
    spool: Spool,
    /// Events that wait for observers.
    queue: Queue,
    /// The deliveries to the generation's observers.
    deliveries: Mutex<Option<Deliveries>>,
    /// The callers' keys, where they are asked for.
    keys: Keys,
    keys_followed: Once,
    metrics: &'static Metrics,
    /// None until the first generation is built.
    generation: ArcSwapOption<Generation>,
    reloading: tokio::sync::Mutex<()>,
    shutdown: Shutdown,
    started: Instant,
    /// Addresses that were passed and that other machines reach, each with the key of its side.
    far: Vec<(&'static str, Address)>,
}

impl App {
    /// The configuration that the node was started with.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The sandbox of all plugins.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The files of forms while their requests are answered.
    #[must_use]
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Events that wait for observers.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.metrics
    }

    /// The generation that serves; a request takes it once and keeps it to its end.
    #[must_use]
    pub fn generation(&self) -> Option<Arc<Generation>> {
        self.generation.load_full()
    }

    /// The handle on the node's end.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Those who know callers; they hear of keys that are made and revoked from now on.
    async fn authority(&self, config: &Config, before: Option<&Generation>) -> Result<Authority, StartError> {
        match (config.auth.mode, &config.auth.jwt) {
            (AuthMode::Keys, _) => {
                self.keys.replace(self.database.run(keystore::all).await?);
                self.keys_followed.call_once(|| {
                    let (keys, database) = (self.keys.clone(), self.database.clone());
                    self.shutdown
                        .spawn(keystore::follow(keys, database, self.shutdown.clone()));
                });
                Ok(Authority::Keys(self.keys.clone()))
            }
            (AuthMode::Jwt, Some(settings)) => {
                let folder = config.folder();
                if let Some(known) = before.and_then(|before| before.edge.tokens(settings)) {
                    // A reload does not depend on whoever signs being there.
                    if let Err(error) = signers::read(&known, &folder).await {
                        tracing::warn!(%error, "auth.jwt.jwks: the keys cannot be read; those known before hold");
                    }
                    return Ok(Authority::Tokens(known));
                }
                let tokens = Tokens::new(settings.clone());
                let read = signers::read(&tokens, &folder).await;
                read.map_err(StartError::Signers)?;
                self.shutdown
                    .spawn(signers::follow(tokens.clone(), folder, self.shutdown.clone()));
                Ok(Authority::Tokens(tokens))
            }
            _ => Ok(Authority::Nobody),
        }
    }

    /// Held by the one who reloads.
    #[must_use]
    pub fn reloading(&self) -> &tokio::sync::Mutex<()> {
        &self.reloading
    }

    /// Builds a generation of a configuration, with the models of the one before where they are the same.
    ///
    /// # Errors
    ///
    /// Where callers' keys cannot be read, or ONNX Runtime is needed first now and cannot be loaded.
    pub async fn build(
        &self,
        config: Arc<Config>,
        before: Option<&Generation>,
        tell: impl Fn(&str),
    ) -> Result<Generation, StartError> {
        let runtime = match &self.runtime {
            Some(runtime) => Some(runtime.clone()),
            None => runtime(&config)?,
        };
        let means = Means {
            runtime,
            sandbox: &self.sandbox,
            authority: self.authority(&config, before).await?,
            stores: Some(Kept::new(self.database.clone())),
            before,
        };
        let number = before.map_or(1, |before| before.number + 1);
        Ok(Generation::build(number, config, means, tell).await)
    }

    /// Puts a generation in the place of the one that serves; requests that hold it keep it to their end, and its observers
    /// what they are at work on.
    pub fn swap(&self, generation: Arc<Generation>) {
        let deliveries = Deliveries::start(&generation, &self.queue, &self.shutdown);
        self.generation.store(Some(generation));
        let mut running = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of a generation before end as they are dropped here.
        *running = Some(deliveries);
    }

    /// Addresses that were passed and that other machines reach, each with the key of its side.
    #[must_use]
    pub fn far(&self) -> &[(&'static str, Address)] {
        &self.far
    }

    /// When the node was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {why}")]
    Listen {
        /// Whose it is.
        key: &'static str,
        /// The address.
        address: Address,
        /// Why.
        why: std::io::Error,
    },
    /// A socket that was passed cannot be used.
    #[error("{0}")]
    Activation(#[from] ActivationError),
    /// Certificate or key cannot be used.
    #[error("{0}.tls: {1}")]
    Tls(&'static str, String),
    /// The sandbox cannot be started.
    #[error("state.dir: {0}")]
    Sandbox(#[from] selvedge_plugin::LoadError),
    /// The state file cannot be used.
    #[error("state.dir: {0}")]
    State(#[from] StateError),
    /// Uploaded files cannot be kept.
    #[error("state.dir: the folder for uploads cannot be made: {0}")]
    Spool(std::io::Error),
    /// The keys that tokens are signed with are none.
    #[error("auth.jwt.jwks: {0}")]
    Signers(String),
    /// Nothing can be counted.
    #[error("metrics cannot be collected: {0}")]
    Metrics(String),
    /// ONNX Runtime cannot be loaded.
    #[error("runtime.library: {0}")]
    Runtime(#[from] selvedge_model::LoadError),
}

/// Longest time that a retiring node waits for clients to leave by themselves. Each answer asks them to.
const RETIRE_TIME_MAX: Duration = Duration::from_secs(5);

/// How long what was cut off may take to end. Dropping it takes no time, but where a task is in the midst of something that
/// does not wait, such as reading a configuration.
const CUT_TIME_MAX: Duration = Duration::from_secs(1);

/// Way in which a node comes to its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMode {
    /// No other node works with its state.
    Alone,
    /// Another node hands over to it, and goes on if this one does not serve.
    HandOver,
}

/// A node whose listeners are bound.
pub struct Node {
    app: Arc<App>,
    listeners: Listeners,
    tls: Option<Arc<Tls>>,
    admin_tls: Option<Arc<Tls>>,
}

/// The sandbox of a configuration.
///
/// # Errors
///
/// Where the folder of compiled plugins cannot be used, or more instances are asked for than the process can hold.
pub fn sandbox(config: &Config) -> Result<Sandbox, StartError> {
    let cache_dir: PathBuf = config.state.dir.join("plugins");
    let sandbox = SandboxOptions {
        instances_max: config.sandbox.instances_max,
        memory_max: config.sandbox.memory_max.0,
        memory_total_max: config.sandbox.memory_total_max.map(|size| size.0),
        component_size_max: config.sandbox.component_size_max.0,
        functions_max: config.sandbox.functions_max,
        function_size_max: config.sandbox.function_size_max.0,
        observers_max: config.observe.workers,
        journals_dir: config.state.dir.join("journals"),
        ..SandboxOptions::new(cache_dir)
    };
    Ok(Sandbox::new(sandbox)?)
}

/// Says how many instances of plugins there may be: past the mappings that a process may have it would abort.
fn tell_room(room: &Room) {
    tracing::info!(
        instances_max = room.instances_max,
        instances_fit = room.instances_fit,
        max_map_count = room.mappings_max,
        memory_max = room.memory_max,
        "room for instances of plugins"
    );
}

/// ONNX Runtime, where a model needs it.
///
/// # Errors
///
/// Where there is no library, or it cannot be used.
pub fn runtime(config: &Config) -> Result<Option<Runtime>, StartError> {
    let is_here = |model: &config::Model| matches!(model.source(), Source::Folder(_));
    if !config.models.iter().any(|(_, model)| is_here(model)) {
        return Ok(None);
    }
    Ok(Some(Runtime::load(config.runtime.library.as_deref())?))
}

/// Where files are spooled that clients upload.
fn spool(config: &Config) -> std::io::Result<Spool> {
    let uploads = &config.uploads;
    let bounds = SpoolBounds {
        bytes_max: uploads.bytes_max.0 as u64,
        caller_bytes_max: uploads.caller_bytes_max.0 as u64,
        memory_bytes_max: uploads.memory_bytes_max.0 as u64,
    };
    Spool::open(&config.state.dir.join("uploads"), bounds)
}

/// Keeps what was observed from growing where nobody asks for it.
async fn upkeep(metrics: &'static Metrics, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.draining() => return,
            () = tokio::time::sleep(metrics::UPKEEP_EVERY) => metrics.upkeep(),
        }
    }
}

/// What a listener's handshakes are made with, where it has TLS; `section` is whose.
fn tls_of(section: &'static str, files: Option<&config::Tls>) -> Result<Option<Arc<Tls>>, StartError> {
    let tls = files.cloned().map(Tls::new).transpose();
    let tls = tls.map_err(|why| StartError::Tls(section, why))?;
    Ok(tls.map(Arc::new))
}

fn scheme(tls: Option<&Arc<Tls>>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

impl Node {
    /// Binds the listeners that were not passed and starts the sandbox. Must be called on the executor.
    ///
    /// # Errors
    ///
    /// If an address is taken, the state folder cannot be used, or ONNX Runtime cannot be loaded. In a hand-over, also if the schema of
    /// the state would change.
    pub fn bind(config: Config, passed: Vec<ActivationSocket>, mode: StartMode) -> Result<Self, StartError> {
        let listeners = Listeners::open(&config, passed)?;
        let tls = tls_of("server", config.server.tls.as_ref())?;
        let admin_tls = tls_of(
            "admin",
            config.admin.as_ref().and_then(|admin| admin.tls.as_ref()),
        )?;
        let metrics = Metrics::of_process().map_err(StartError::Metrics)?;
        let database = match mode {
            StartMode::Alone => Database::open(&config.state.dir)?,
            StartMode::HandOver => Database::open_beside(&config.state.dir)?,
        };
        let sandbox = sandbox(&config)?;
        tell_room(&sandbox.room());
        let app = Arc::new(App {
            sandbox,
            spool: spool(&config).map_err(StartError::Spool)?,
            runtime: runtime(&config)?,
            queue: Queue::open(database.clone(), &config.state.dir, config.observe.clone())?,
            database,
            deliveries: Mutex::default(),
            config: Arc::new(config),
            keys: Keys::default(),
            keys_followed: Once::new(),
            metrics,
            generation: ArcSwapOption::empty(),
            reloading: tokio::sync::Mutex::default(),
            shutdown: Shutdown::default(),
            started: Instant::now(),
            far: listeners.far(),
        });
        Ok(Self {
            app,
            listeners,
            tls,
            admin_tls,
        })
    }

    /// The addresses that it listens on; a port 0 has become a real one.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners.addresses(Side::Public)
    }

    /// The listeners.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// What requests see.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The addresses of the operators' listener.
    #[must_use]
    pub fn admin_addresses(&self) -> Vec<Address> {
        self.listeners.addresses(Side::Admin)
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        scheme(self.tls.as_ref())
    }

    /// `http` or `https`, of the operators' listener.
    #[must_use]
    pub fn admin_scheme(&self) -> &'static str {
        scheme(self.admin_tls.as_ref())
    }

    /// Begins to accept. Until [`Node::load`] is done requests are told that the node is starting.
    pub fn accept(&mut self) {
        let (app, shutdown) = (&self.app, &self.app.shutdown);
        shutdown.spawn(upkeep(app.metrics, shutdown.clone()));
        for tls in self.tls.iter().chain(&self.admin_tls) {
            shutdown.spawn(tls::follow(Arc::clone(tls), shutdown.clone()));
        }
        let certificates = Certificates {
            public: self.tls.as_ref(),
            admin: self.admin_tls.as_ref(),
        };
        self.listeners.accept(app, &certificates);
    }

    /// Builds the first generation and puts it in place. What is broken in it is logged, and is in `/readyz`.
    ///
    /// # Errors
    ///
    /// Where callers' keys cannot be read.
    pub async fn load(&self, tell: impl Fn(&str)) -> Result<Arc<Generation>, StartError> {
        let generation = self.app.build(Arc::clone(&self.app.config), None, tell).await?;
        for (endpoint, reason) in generation.faults() {
            tracing::error!(endpoint, reason, "an endpoint is not available");
        }
        generation.warm_plugins().await;
        let generation = Arc::new(generation);
        self.app.swap(Arc::clone(&generation));
        Ok(generation)
    }

    /// Ends the node: `/readyz` fails unless another process has taken over, nothing new is accepted, requests in flight may finish
    /// within `drain_timeout`, and are dropped then as if their clients had left. Answers whether all did finish.
    pub async fn drain(&self) -> bool {
        let (shutdown, server) = (&self.app.shutdown, &self.app.config.server);
        if !shutdown.is_handed_over() {
            // After a hand-over a prober that kept its connection asks about a service that is as ready as before.
            shutdown.leave();
            tokio::time::sleep(server.drain_delay.0).await;
        }
        if shutdown.is_handed_over() || self.listeners.are_passed() {
            // Whoever connects is served by another process, now or soon: no client need notice that this one ends.
            shutdown.retire();
            tokio::time::timeout(RETIRE_TIME_MAX, self.listeners.quiet())
                .await
                .ok();
        }
        shutdown.begin();
        let all = shutdown.finished(server.drain_timeout.0).await;
        if !all {
            shutdown.cut_off();
            shutdown.finished(CUT_TIME_MAX).await;
        }
        // Events of requests whose clients did not wait for them, or could not.
        if let Err(error) = self.app.database.flush().await {
            tracing::error!(%error, "the last events may be lost");
        }
        all
    }
}
