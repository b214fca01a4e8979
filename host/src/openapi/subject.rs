//! What a document is made of: each endpoint with what is known of its model and its plugins.
//!
//! Not everything is always known: a card may be unreadable, a plugin's file missing, and a signature and a vocabulary are told
//! by their files alone, once they are loaded. What is not known is described loosely.

use selvedge_model::{Card, Signature, Task};
use selvedge_plugin::{Manifest, Plugin, Stage};
use serde_json::Value;

use super::Auth;
use crate::config::{self, AuthMode, Config, Source};

/// What a document is made of.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The endpoints, in the order of their names.
    pub endpoints: Vec<Endpoint>,
    /// How callers say who they are.
    pub auth: Auth,
}

/// An endpoint.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its own path.
    pub path: Option<String>,
    /// Whether its own path answers with a stream where the body does not say.
    pub stream: bool,
    /// What does its work.
    pub model: Model,
    /// Its plugins, in order.
    pub plugins: Vec<Attached>,
    /// What a caller's key must be good for.
    pub scopes: Vec<String>,
    /// The forms that its own path takes, where it does.
    pub uploads: Option<config::Uploads>,
}

/// What is known of a model.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// What it does.
    pub task: Option<Task>,
    /// Its card, where it is one of this node.
    pub card: Option<Card>,
    /// What its file takes and gives, where it is loaded.
    pub signature: Option<Signature>,
    /// Tokens that there are, where it takes any and is loaded.
    pub vocabulary: Option<usize>,
}

/// A plugin on an endpoint.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Its name in the configuration.
    pub name: String,
    /// What it is configured with.
    pub config: Value,
    /// What it says of itself and where it is called, where its file can be read.
    pub known: Option<Known>,
}

/// What a plugin says of itself.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its manifest.
    pub manifest: Manifest,
    /// The stages that it exports.
    pub stages: Vec<Stage>,
}

impl From<&Plugin> for Known {
    fn from(plugin: &Plugin) -> Self {
        Self {
            manifest: plugin.manifest.clone(),
            stages: plugin.stages.clone(),
        }
    }
}

impl Attached {
    /// Whether it is called at a stage; one that cannot be read may be called at any.
    #[must_use]
    pub fn has_stage(&self, stage: Stage) -> bool {
        self.known
            .as_ref()
            .is_none_or(|known| known.stages.contains(&stage))
    }

    /// The plugin's own name, by which the standard plugins are known.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.known
            .as_ref()
            .map_or("", |known| known.manifest.name.as_str())
    }
}

impl Model {
    /// What is known of a model without loading it: its card, or what the configuration says of the server that does its work.
    ///
    /// # Errors
    ///
    /// Where its card is missing or not as it must be.
    pub fn read(model: &config::Model) -> Result<Self, String> {
        match model.source() {
            Source::Upstream(upstream) => Ok(Self {
                task: Some(upstream.task),
                ..Self::default()
            }),
            Source::Folder(folder) => {
                let card = Card::read(folder).map_err(|error| error.to_string())?;
                Ok(Self {
                    task: Some(card.task),
                    card: Some(card),
                    ..Self::default()
                })
            }
        }
    }
}

impl Subject {
    /// Joins a configuration's endpoints with what is known of their models and plugins, both by name.
    pub fn new(
        config: &Config,
        model: impl Fn(&str) -> Model,
        plugin: impl Fn(&str) -> Option<Known>,
    ) -> Self {
        let attached = |attach: &config::Attach| Attached {
            name: attach.plugin.clone(),
            config: attach.config.clone(),
            known: plugin(&attach.plugin),
        };
        let endpoint = |(name, endpoint): &(String, config::Endpoint)| Endpoint {
            name: name.clone(),
            path: endpoint.path.clone(),
            stream: endpoint.stream,
            model: model(&endpoint.model),
            plugins: endpoint.plugins.iter().map(attached).collect(),
            scopes: endpoint
                .auth
                .as_ref()
                .map_or_else(|| vec![name.clone()], |auth| auth.scopes.clone()),
            uploads: endpoint.uploads.clone(),
        };
        Self {
            endpoints: config.endpoints.iter().map(endpoint).collect(),
            auth: match config.auth.mode {
                AuthMode::None => Auth::None,
                AuthMode::Keys => Auth::Keys,
                AuthMode::Jwt => Auth::Jwt,
            },
        }
    }

    /// Names of the endpoints whose models do one of these tasks, or might.
    pub(super) fn names(&self, tasks: &[Task]) -> Vec<String> {
        let does = |endpoint: &&Endpoint| endpoint.model.task.is_none_or(|task| tasks.contains(&task));
        self.endpoints
            .iter()
            .filter(does)
            .map(|endpoint| endpoint.name.clone())
            .collect()
    }
}
