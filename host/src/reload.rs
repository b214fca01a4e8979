//! Change without loss: a new generation is built beside the one that serves, tried, and put in its place whole. Where anything
//! is wrong with it, nothing changes. Requests keep the generation that they began with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use metrics::counter;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::app::{App, StartError};
use crate::config::{self, Address, AuthMode, Config, ConfigError, Source};
use crate::generation::Generation;
use crate::pipeline::{ClientFault, HostFault, RequestError};
use crate::service;

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reloaded {
    /// Number of the generation that serves now.
    pub generation: u64,
    /// Models that were loaded anew; the others were taken over.
    pub models_loaded: Vec<String>,
    /// Keys that are changed in the file and hold only after a restart.
    pub needs_restart: Vec<&'static str>,
    /// How long it took.
    pub seconds: f64,
}

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Another one is under way.
    #[error("a reload is under way; ask again when it is done")]
    Busy,
    /// There is no generation yet.
    #[error("the node is starting")]
    Starting,
    /// The file is refused.
    #[error("nothing was changed: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigError>),
    /// Something that the file names cannot be loaded.
    #[error("nothing was changed: {}", .0.join("; "))]
    Broken(Vec<String>),
    /// What all of it needs is not to be had.
    #[error("nothing was changed: {0}")]
    Start(#[from] StartError),
}

impl From<ReloadError> for RequestError {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Busy => ClientFault::ReloadBusy.into(),
            ReloadError::Starting => HostFault::Starting.into(),
            ReloadError::Config(_) | ReloadError::Broken(_) | ReloadError::Start(_) => {
                ClientFault::ReloadRefused(error.to_string()).into()
            }
        }
    }
}

/// Has a task of the node's own reload it, so that it comes to its end whoever asked and left.
///
/// # Errors
///
/// Where another one is under way, or anything is wrong with the file or with what it names: then nothing changed.
pub async fn ask(app: &Arc<App>) -> Result<Reloaded, ReloadError> {
    let (answer, answered) = oneshot::channel();
    let owned = Arc::clone(app);
    app.shutdown().spawn(async move {
        let outcome = reload(&owned).await;
        // Who asked may have left.
        answer.send(outcome).ok();
    });
    answered.await.unwrap_or(Err(ReloadError::Busy))
}

/// Reads the configuration's file again and puts what it says in place. One at a time.
///
/// # Errors
///
/// Where another one is under way, or anything is wrong with the file or with what it names: then nothing changed.
async fn reload(app: &App) -> Result<Reloaded, ReloadError> {
    let Ok(_turn) = app.reloading().try_lock() else {
        return Err(ReloadError::Busy);
    };
    service::reloading();
    let outcome = build(app).await;
    let word = if outcome.is_ok() { "done" } else { "refused" };
    counter!("selvedge_reloads_total", "outcome" => word).increment(1);
    match &outcome {
        Ok(done) => tracing::info!(
            generation = done.generation,
            loaded = ?done.models_loaded,
            needs_restart = ?done.needs_restart,
            seconds = done.seconds,
            "reloaded"
        ),
        Err(error) => tracing::error!(%error, "the configuration was not reloaded"),
    }
    match &outcome {
        Ok(_) => service::ready("serving; the configuration was read again"),
        Err(_) => service::ready("serving; the configuration was refused, see the log"),
    }
    outcome
}

async fn build(app: &App) -> Result<Reloaded, ReloadError> {
    let started = Instant::now();
    let before = app.generation().ok_or(ReloadError::Starting)?;
    let config = Arc::new(Config::read(&before.config.file).map_err(ReloadError::Config)?);
    if let Some(fault) = opens_to_all(app, &before.config, &config) {
        return Err(ReloadError::Broken(vec![fault]));
    }
    let tell = |step: &str| tracing::debug!(step, "reloading");
    let generation = app.build(Arc::clone(&config), Some(&before), tell).await?;
    let faults: Vec<String> = generation.faults().map(|(_, reason)| reason.to_owned()).collect();
    let faults = faults.into_iter().chain(generation.unreadable.iter().cloned());
    let faults: Vec<String> = faults.collect();
    if !faults.is_empty() {
        return Err(ReloadError::Broken(faults));
    }
    generation
        .warm()
        .await
        .map_err(|reason| ReloadError::Broken(vec![reason]))?;
    generation.warm_plugins().await;
    let loaded = generation
        .sources
        .iter()
        .filter(|source| !before.sources.contains(source));
    let done = Reloaded {
        generation: generation.number,
        models_loaded: loaded.map(|source| source.name.clone()).collect(),
        needs_restart: needs_restart(app.config(), &config),
        seconds: started.elapsed().as_secs_f64(),
    };
    app.swap(Arc::new(generation));
    Ok(done)
}

/// Why a configuration must not be taken by a node that listens where it did when it started: it would open to all what has asked
/// until now who they are.
fn opens_to_all(app: &App, before: &Config, config: &Config) -> Option<String> {
    if config.auth.mode != AuthMode::None || before.auth.mode == AuthMode::None {
        return None;
    }
    // Whoever names such an address and asks nobody means it, of that one.
    let meant = &config.server.listen.0;
    let far = |address: &&Address| !address.is_local() && !meant.contains(address);
    let listening = app.config();
    let admin = listening.admin.iter().flat_map(|admin| &admin.listen.0);
    let passed = app.far().iter().map(|(key, address)| (*key, address));
    let (key, address) = admin
        .map(|address| ("admin.listen", address))
        .chain(
            listening
                .server
                .listen
                .0
                .iter()
                .map(|address| ("server.listen", address)),
        )
        .chain(passed)
        .find(|(_, address)| far(address))?;
    Some(format!(
        "auth.mode: nobody would have to say who they are, and until it is restarted the node listens on {address} (`{key}`): restart \
         it, or leave `auth` as it was"
    ))
}

/// What is fixed when a node starts.
fn needs_restart(started_with: &Config, config: &Config) -> Vec<&'static str> {
    let (old, new) = (started_with, config);
    let changed = [
        ("server.listen", old.server.listen != new.server.listen),
        (
            "server.connections_max",
            old.server.connections_max != new.server.connections_max,
        ),
        (
            "server.headers_max",
            old.server.headers_max != new.server.headers_max,
        ),
        (
            "server.head_size_max",
            old.server.head_size_max != new.server.head_size_max,
        ),
        (
            "server.streams_max",
            old.server.streams_max != new.server.streams_max,
        ),
        (
            "server.header_timeout",
            old.server.header_timeout != new.server.header_timeout,
        ),
        (
            "server.idle_timeout",
            old.server.idle_timeout != new.server.idle_timeout,
        ),
        (
            "server.drain_delay",
            old.server.drain_delay != new.server.drain_delay,
        ),
        (
            "server.drain_timeout",
            old.server.drain_timeout != new.server.drain_timeout,
        ),
        (
            "server.unix_socket",
            old.server.unix_socket != new.server.unix_socket,
        ),
        (
            "server.proxy_protocol",
            old.server.proxy_protocol != new.server.proxy_protocol,
        ),
        ("server.tls", old.server.tls != new.server.tls),
        ("state.dir", old.state.dir != new.state.dir),
        ("runtime", old.runtime != new.runtime),
        ("sandbox", old.sandbox != new.sandbox),
        ("observe", old.observe != new.observe),
        ("telemetry", old.telemetry != new.telemetry),
        ("uploads", old.uploads != new.uploads),
        ("admin", old.admin != new.admin),
    ];
    changed
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| key)
        .collect()
}

/// What a model was loaded from; one that is the same is taken over.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSource {
    /// Its name.
    pub name: String,
    settings: config::Model,
    /// Its folder's files: path, length, time of the last change.
    files: Vec<(PathBuf, u64, SystemTime)>,
}

impl ModelSource {
    /// What lies there now.
    #[must_use]
    pub fn of(name: &str, model: &config::Model) -> Self {
        let folder = match model.source() {
            Source::Folder(folder) => std::fs::read_dir(folder).ok(),
            Source::Upstream(_) => None,
        };
        let mut files: Vec<_> = folder
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                // What a link points to counts, not the link.
                let file = std::fs::metadata(entry.path()).ok()?;
                Some((entry.path(), file.len(), file.modified().ok()?))
            })
            .collect();
        files.sort();
        Self {
            name: name.to_owned(),
            settings: model.clone(),
            files,
        }
    }
}

impl Generation {
    /// Has each model do something small, so that the first request after the swap does not pay for first times.
    ///
    /// # Errors
    ///
    /// Which model fails.
    async fn warm(&self) -> Result<(), String> {
        let time = self.config.server.warm_up_timeout.0;
        for (name, backend) in &self.models {
            let Ok(backend) = backend else { continue };
            let warmed = tokio::time::timeout(time, backend.warm()).await;
            let warmed =
                warmed.unwrap_or_else(|_| Err(format!("no answer within server.warm_up_timeout, {time:?}")));
            warmed.map_err(|why| format!("models.{name}: it fails on its first input: {why}"))?;
        }
        Ok(())
    }
}
