//! One consistent, immutable state of the node: endpoints with their models and plugins. Requests hold one to their end.
//!
//! Where a model or a plugin cannot be loaded, the endpoints that need it are [`EndpointState::Broken`] and say why; the
//! others are served.

mod plugins;
mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use selvedge_model::{Runtime, Task};
use selvedge_plugin::{Attachment, Sandbox, Stage};

use self::plugins::{Attachments, load_plugins};
use crate::backend::{self, Backend};
use crate::config::{self, Config, OnError, Uploads};
use crate::edge::{Authority, Edge, Limiter};
use crate::granted::{Doers, Kept, Reachable};
use crate::openapi::subject::{self, Known};
use crate::openapi::{self, Document, Subject};
use crate::pipeline::decode;
use crate::reload::ModelSource;
use crate::router::Router;
use crate::telemetry::Meters;

/// One state of the node.
pub struct Generation {
    /// Counts from 1; a later one has a higher number.
    pub number: u64,
    /// What it was built from.
    pub config: Arc<Config>,
    /// Who may call, and how much.
    pub edge: Edge,
    /// Paths to endpoints.
    pub router: Router,
    /// The endpoints, in the order of their names.
    pub endpoints: Vec<Endpoint>,
    /// The models, with why one could not be loaded.
    pub models: Vec<(String, Result<Backend, String>)>,
    /// What the models were loaded from, in the same order.
    pub sources: Vec<ModelSource>,
    /// Why plugins cannot be read, whether an endpoint uses them or not.
    pub unreadable: Vec<String>,
    /// What there is to call.
    pub document: Document,
}

/// An endpoint.
pub struct Endpoint {
    /// Its name.
    pub name: Arc<str>,
    /// Its own path.
    pub path: Option<String>,
    /// How long a request may take, its body included.
    pub timeout: Duration,
    /// The forms that its own path takes, where it does.
    pub uploads: Option<Arc<Uploads>>,
    /// Whether it serves.
    pub state: EndpointState,
}

/// Whether an endpoint serves.
pub enum EndpointState {
    /// It does.
    Ready(Arc<Ready>),
    /// It does not, for these reasons.
    Broken(Vec<String>),
}

/// All that a request to an endpoint needs.
pub struct Ready {
    /// Name of the endpoint.
    pub name: Arc<str>,
    /// What does its work.
    pub backend: Backend,
    /// What is asked where that fails before its first word, in order.
    pub fallbacks: Vec<Backend>,
    /// Its plugins, in the order of the configuration.
    pub plugins: Vec<Attached>,
    /// Those of them that observe.
    pub observers: Vec<Observer>,
    /// How long a request may take.
    pub timeout: Duration,
    /// Whether its own path answers with a stream where the body does not say.
    pub stream: bool,
    /// What a caller must have to use it.
    pub scopes: Vec<String>,
    /// How much of it each caller may have.
    pub limiter: Option<Arc<Limiter>>,
    /// What is counted of it.
    pub meters: Arc<Meters>,
}

/// A plugin on an endpoint, with what happens where it fails.
pub struct Attached {
    /// The plugin.
    pub attachment: Attachment,
    /// What happens where it fails.
    pub on_error: OnError,
}

/// A plugin that is told of requests that are over.
pub struct Observer {
    /// What its events are kept under: `ENDPOINT/PLUGIN`.
    pub name: String,
    /// The plugin.
    pub attachment: Attachment,
}

impl Ready {
    /// The plugins of a stage, in order.
    pub fn stage(&self, stage: Stage) -> impl Iterator<Item = &Attached> {
        self.plugins
            .iter()
            .filter(move |attached| attached.attachment.has_stage(stage))
    }
}

impl Generation {
    /// The endpoint of a name.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| &*endpoint.name == name)
    }

    /// The endpoint of a name, where it serves.
    fn ready(&self, name: &str) -> Option<&Ready> {
        match &self.endpoint(name)?.state {
            EndpointState::Ready(ready) => Some(ready),
            EndpointState::Broken(_) => None,
        }
    }

    /// A model of the same source, where it is loaded.
    #[must_use]
    pub fn taken_over(&self, source: &ModelSource) -> Option<Backend> {
        let place = self.sources.iter().position(|known| known == source)?;
        self.models[place].1.as_ref().ok().cloned()
    }

    /// Why endpoints do not serve: name and reason.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        self.endpoints.iter().flat_map(|endpoint| {
            let reasons: &[String] = match &endpoint.state {
                EndpointState::Ready(_) => &[],
                EndpointState::Broken(reasons) => reasons,
            };
            reasons.iter().map(|reason| (&*endpoint.name, reason.as_str()))
        })
    }

    /// Loads models and plugins, both at once, and joins them to endpoints. `tell` is told of each step.
    pub async fn build(number: u64, config: Arc<Config>, means: Means<'_>, tell: impl Fn(&str)) -> Self {
        let (config, sandbox) = (&config, means.sandbox);
        let reachable = Reachable::default();
        let doers = Doers::new(config, &reachable, means.stores);
        let ((models, sources), (plugins, known, unreadable)) = tokio::join!(
            load_models(config, (means.runtime, means.before), &reachable, &tell),
            load_plugins(config, (sandbox, &reachable), &doers, &tell)
        );
        let subject = subject(config, &models, &known);
        let shared = Shared {
            config,
            backends: models
                .iter()
                .map(|(name, model)| (name.as_str(), model))
                .collect(),
            before: means.before,
        };
        let mut endpoints = Vec::with_capacity(config.endpoints.len());
        let described = config.endpoints.iter().zip(&subject.endpoints);
        for (((name, endpoint), described), plugins) in described.zip(plugins) {
            let state = join(name, endpoint, plugins, &shared);
            let timeout = endpoint.timeout.unwrap_or(config.server.request_timeout).0;
            let uploads = endpoint.uploads.clone().map(|uploads| {
                let lists = openapi::lists(described, &uploads);
                Arc::new(Uploads { lists, ..uploads })
            });
            endpoints.push(Endpoint {
                name: name.as_str().into(),
                path: endpoint.path.clone(),
                timeout,
                uploads,
                state,
            });
        }
        let paths = endpoints.iter().enumerate();
        let router = Router::new(paths.filter_map(|(index, endpoint)| Some((endpoint.path.clone()?, index))));
        Self {
            number,
            config: Arc::clone(config),
            edge: Edge::new(config, means.authority, means.before.map(|before| &before.edge)),
            router,
            endpoints,
            models,
            sources,
            unreadable,
            document: Document::new(&subject),
        }
    }
}

/// What a generation is built with, besides its configuration.
pub struct Means<'a> {
    /// ONNX Runtime, where a model needs it.
    pub runtime: Option<Runtime>,
    /// The sandbox of all plugins.
    pub sandbox: &'a Sandbox,
    /// Those who know callers.
    pub authority: Authority,
    /// Keys and values of plugins; without them, no plugin opens a store.
    pub stores: Option<Kept>,
    /// The generation that serves, whose models and limits are taken over where they are the same.
    pub before: Option<&'a Generation>,
}

/// Loads the models, and tells those who wait for them.
async fn load_models(
    config: &Config,
    (runtime, before): (Option<Runtime>, Option<&Generation>),
    reachable: &Reachable,
    tell: &impl Fn(&str),
) -> (Vec<(String, Result<Backend, String>)>, Vec<ModelSource>) {
    let (models, sources) = backend::load(config, runtime, before, tell).await;
    let loaded = models
        .iter()
        .filter_map(|(name, backend)| Some((name.clone(), backend.as_ref().ok()?.clone())));
    reachable.tell(loaded);
    (models, sources)
}

/// What the document is made of: the models as they were loaded, and by their cards where they were not.
fn subject(
    config: &Config,
    models: &[(String, Result<Backend, String>)],
    known: &HashMap<String, Known>,
) -> Subject {
    let model = |name: &str| {
        let loaded = models.iter().find(|(other, _)| other == name);
        if let Some((_, Ok(Backend::Model(model)))) = loaded {
            return subject::Model {
                task: Some(model.card().task),
                card: Some(model.card().clone()),
                signature: Some(model.signature().clone()),
                vocabulary: model.vocabulary(),
            };
        }
        let configured = config.models.iter().find(|(other, _)| other == name);
        let read = configured.and_then(|(_, model)| subject::Model::read(model).ok());
        read.unwrap_or_default()
    };
    Subject::new(config, model, |name| known.get(name).cloned())
}

/// The backends of the node, by their names.
type Backends<'a> = HashMap<&'a str, &'a Result<Backend, String>>;

/// What all endpoints are joined from.
struct Shared<'a> {
    config: &'a Config,
    backends: Backends<'a>,
    before: Option<&'a Generation>,
}

fn join(name: &str, endpoint: &config::Endpoint, plugins: Attachments, shared: &Shared<'_>) -> EndpointState {
    let mut reasons = Vec::new();
    let mut attached = Vec::with_capacity(plugins.len());
    for plugin in plugins {
        match plugin {
            Ok(plugin) => attached.push(plugin),
            Err(reason) => reasons.push(reason),
        }
    }
    let found = backends_of(endpoint, &shared.backends, &mut reasons);
    let streams = |attached: &Attached| attached.attachment.has_stage(Stage::Stream);
    if let (Some((backend, _)), Some(plugin)) = (&found, attached.iter().find(|attached| streams(attached))) {
        let (task, plugin) = (backend.task(), &plugin.attachment.plugin().name);
        if task != Task::TextGeneration {
            reasons.push(format!(
                "endpoints.{name}.plugins (`{plugin}`): it works on text as it is generated, and the model is for {}",
                task.name()
            ));
        }
    }
    decode::check_alone(name, &attached, &mut reasons);
    let observers = observers(name, &attached, &mut reasons);
    match found {
        Some((backend, fallbacks)) if reasons.is_empty() => {
            let timeout = endpoint.timeout.unwrap_or(shared.config.server.request_timeout).0;
            let limiter = shared
                .before
                .and_then(|before| before.ready(name)?.limiter.as_ref());
            let name: Arc<str> = name.into();
            EndpointState::Ready(Arc::new(Ready {
                scopes: endpoint
                    .auth
                    .as_ref()
                    .map_or_else(|| vec![name.to_string()], |auth| auth.scopes.clone()),
                limiter: Limiter::following(limiter, endpoint.rate_limit.as_ref()),
                meters: Arc::new(meters(&name, &attached, shared.before)),
                name,
                backend,
                fallbacks,
                plugins: attached,
                observers,
                timeout,
                stream: endpoint.stream,
            }))
        }
        _ => EndpointState::Broken(reasons),
    }
}

/// The counters of an endpoint with these plugins, which go on where there was one of its name.
fn meters(name: &Arc<str>, attached: &[Attached], before: Option<&Generation>) -> Meters {
    let before = before.and_then(|before| before.ready(name));
    let plugins = attached.iter().map(|plugin| &plugin.attachment.plugin().name);
    Meters::following(
        before.map(|ready| &*ready.meters),
        name,
        plugins.map(|name| name.to_string()),
    )
}

/// The observers among an endpoint's plugins. Their events are kept by name, so one name is one observer.
fn observers(endpoint: &str, attached: &[Attached], reasons: &mut Vec<String>) -> Vec<Observer> {
    let mut observers: Vec<Observer> = Vec::new();
    for Attached { attachment, .. } in attached {
        if !attachment.has_stage(Stage::Observe) {
            continue;
        }
        let plugin = &attachment.plugin().name;
        let name = format!("{endpoint}/{plugin}");
        if observers.iter().any(|observer| observer.name == name) {
            reasons.push(format!(
                "endpoints.{endpoint}.plugins (`{plugin}`): it observes the endpoint twice; give it another name in [plugins] for the second time"
            ));
        }
        let attachment = attachment.clone();
        observers.push(Observer { name, attachment });
    }
    observers
}

/// An endpoint's backend, and those behind it, which must do the same; or why one of them is not to be had.
fn backends_of(
    endpoint: &config::Endpoint,
    backends: &Backends<'_>,
    reasons: &mut Vec<String>,
) -> Option<(Backend, Vec<Backend>)> {
    let mut find = |name: &str| match backends.get(name) {
        Some(Ok(backend)) => Some(backend.clone()),
        Some(Err(reason)) => {
            reasons.push(format!("models.{name}: {reason}"));
            None
        }
        None => None,
    };
    let backend = find(&endpoint.model)?;
    let names: &[String] = match &backend {
        Backend::Upstream(upstream) => &upstream.options().fallback,
        Backend::Model(_) => &[],
    };
    let fallbacks: Vec<Backend> = names.iter().filter_map(|name| find(name)).collect();
    if let Some(other) = fallbacks.iter().find(|other| other.task() != backend.task()) {
        reasons.push(format!(
            "models.{}.upstream.fallback: `{}` is for {}, and it is for {}",
            backend.name(),
            other.name(),
            other.task().name(),
            backend.task().name()
        ));
    }
    Some((backend, fallbacks))
}
