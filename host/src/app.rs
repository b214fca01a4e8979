//! The wiring: a checked configuration becomes a node that listens, loads, serves, drains and stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use selvedge_model::Runtime;
use selvedge_plugin::{Sandbox, SandboxOptions};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::{self, Config, Source};
use crate::generation::Generation;
use crate::http::listener;
use crate::shutdown::Shutdown;

/// What every request sees of the node. Immutable but for the generation, which is swapped whole.
pub struct App {
    config: Config,
    sandbox: Sandbox,
    /// None until the first generation is built.
    generation: ArcSwapOption<Generation>,
    shutdown: Shutdown,
    started: Instant,
}

impl App {
    /// The configuration that the node was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The sandbox of all plugins.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
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
    #[error("server.listen: cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        why: std::io::Error,
    },
    /// The sandbox cannot be started.
    #[error("state.dir: {0}")]
    Sandbox(#[from] selvedge_plugin::LoadError),
    /// ONNX Runtime cannot be loaded.
    #[error("runtime.library: {0}")]
    Runtime(#[from] selvedge_model::LoadError),
}

/// A node whose listeners are bound.
pub struct Node {
    app: Arc<App>,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    runtime: Option<Runtime>,
}

/// The sandbox of a configuration.
///
/// # Errors
///
/// Where the folder of compiled plugins cannot be used.
pub fn sandbox(config: &Config) -> Result<Sandbox, StartError> {
    let cache_dir: PathBuf = config.state.dir.join("plugins");
    let sandbox = SandboxOptions {
        instances_max: config.sandbox.instances_max,
        memory_max: config.sandbox.memory_max.0,
        component_size_max: config.sandbox.component_size_max.0,
        ..SandboxOptions::new(cache_dir)
    };
    Ok(Sandbox::new(sandbox)?)
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

impl Node {
    /// Binds the listeners and starts the sandbox. Must be called on the executor.
    ///
    /// # Errors
    ///
    /// Where an address is taken, the state folder cannot be used, or ONNX Runtime cannot be loaded.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let bind = |address: &SocketAddr| {
            listener::bind(*address).map_err(|why| StartError::Listen {
                address: *address,
                why,
            })
        };
        let listeners = config
            .server
            .listen
            .0
            .iter()
            .map(bind)
            .collect::<Result<Vec<_>, _>>()?;
        let addresses = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect();
        let (runtime, sandbox) = (runtime(&config)?, sandbox(&config)?);
        let (generation, shutdown, started) = (ArcSwapOption::empty(), Shutdown::default(), Instant::now());
        let app = Arc::new(App {
            config,
            sandbox,
            generation,
            shutdown,
            started,
        });
        Ok(Self {
            app,
            listeners,
            addresses,
            runtime,
        })
    }

    /// The addresses that it listens on; a port 0 has become a real one.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What requests see.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Begins to accept. Until [`Node::load`] is done requests are told that the node is starting.
    pub fn accept(&mut self) {
        let slots = Arc::new(Semaphore::new(self.app.config.server.connections_max));
        for listener in self.listeners.drain(..) {
            let (app, slots, shutdown) = (
                Arc::clone(&self.app),
                Arc::clone(&slots),
                self.app.shutdown.clone(),
            );
            self.app
                .shutdown
                .spawn(listener::serve(listener, app, slots, shutdown));
        }
    }

    /// Builds the first generation and puts it in place. What is broken in it is logged, and is in `/readyz`.
    pub async fn load(&self, tell: impl Fn(&str)) -> Arc<Generation> {
        let generation =
            Generation::build(1, &self.app.config, self.runtime.clone(), &self.app.sandbox, tell).await;
        for (endpoint, reason) in generation.faults() {
            tracing::error!(endpoint, reason, "an endpoint is not available");
        }
        let generation = Arc::new(generation);
        self.app.generation.store(Some(Arc::clone(&generation)));
        generation
    }

    /// Ends the node: `/readyz` fails, nothing new is accepted, requests in flight may finish within `drain_timeout`.
    /// Answers whether all did.
    pub async fn drain(&self) -> bool {
        self.app.shutdown.begin();
        self.app
            .shutdown
            .finished(self.app.config.server.drain_timeout.0)
            .await
    }
}
