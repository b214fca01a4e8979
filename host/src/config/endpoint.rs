//! `[endpoints.NAME]`: a model, the plugins round it, and where it is reached.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::limit::Rate;
use super::unit::Time;
use super::uploads::Uploads;

/// An endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its own path for plain JSON, `"/classify"`. Without one it is reached by its name alone.
    pub path: Option<String>,
    /// Name of the model, of `[models]`.
    pub model: String,
    /// Its plugins, in the order in which they are called within each stage.
    #[serde(default)]
    pub plugins: Vec<Attach>,
    /// What happens where a plugin fails, for those that do not say it themselves. Default `fail`.
    #[serde(default)]
    pub on_error: OnError,
    /// From the end of a request's head to its answer. Default, and at most, `server.request_timeout`.
    pub timeout: Option<Time>,
    /// Whether its own path answers with a stream where the body does not say. Default false.
    #[serde(default)]
    pub stream: bool,
    /// What a caller must have to use it. Default: the scope of its name.
    pub auth: Option<Scopes>,
    /// How much of it each caller may have, by its key or token, else its address. Default: no limit.
    pub rate_limit: Option<Rate>,
    /// Forms with files, where its own path takes them in place of JSON. Default: it does not.
    pub uploads: Option<Uploads>,
}

/// What a caller must have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scopes {
    /// All of them; an empty list lets every caller in who says who it is.
    pub scopes: Vec<String>,
}

/// A plugin on an endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Name of the plugin, of `[plugins]`.
    #[serde(rename = "use")]
    pub plugin: String,
    /// What it is configured with; it says itself what that may be.
    #[serde(default = "empty")]
    pub config: Value,
    /// A file, JSON or TOML by the end of its name, with what it is configured with besides; a key that is in `config` too is
    /// taken from there.
    pub config_file: Option<PathBuf>,
    /// What happens where it fails. Default: the endpoint's.
    pub on_error: Option<OnError>,
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

/// What happens where a plugin fails, traps or goes over a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The request ends with an error that names the plugin.
    #[default]
    Fail,
    /// The request goes on without the plugin. Not for validators: what nobody checked must not pass.
    Skip,
}
