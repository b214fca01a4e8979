//! `[plugins.NAME] allow`: what a plugin is granted. Nothing is by default.

use std::collections::BTreeMap;

use selvedge_plugin::{Grants, Origin, Reach};
use serde::Deserialize;

use super::secret::Secret;

/// What a plugin is granted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allow {
    /// Request headers, of those that its manifest wants.
    pub headers: Vec<String>,
    /// Hosts that it may call: `"https://api.example"`. A name that turns out to be a private address is not called unless
    /// `{ url = "http://collector.internal:9000", private = true }` says so.
    pub http: Vec<HttpGrant>,
    /// Secrets that it may read: names of environment variables, or a table of names and values such as
    /// `{ TOKEN = "${file:token}" }`.
    pub secrets: Secrets,
    /// Journals that it may write, by name; each is a folder in the folder `journals` of `state.dir`.
    pub journals: Vec<String>,
    /// Models of this node that it may run, by name.
    pub models: Vec<String>,
    /// Stores of keys and values that it may open, by name; plugins with the same name share one.
    pub kv: Vec<String>,
    /// Whether its events hold the bodies of requests and responses.
    pub bodies: bool,
}

/// A host that a plugin may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a scheme and a host such as \"https://api.example\", or { url = \"http://collector.internal:9000\", private = true }"
)]
pub enum HttpGrant {
    /// Scheme and host, perhaps a port.
    Public(String),
    /// The same with more said of it.
    Described(DescribedHost),
}

/// A host with what is said of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedHost {
    /// Scheme and host, perhaps a port.
    pub url: String,
    /// Whether its name may be one of a private address. Default false.
    #[serde(default)]
    pub private: bool,
}

/// Secrets by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected names of environment variables, [\"TOKEN\"], or a table such as { TOKEN = \"${file:token}\" }"
)]
pub enum Secrets {
    /// Names of environment variables, which are the secrets' names as well.
    Variables(Vec<String>),
    /// Names with their values.
    Values(BTreeMap<String, Secret>),
}

impl Default for Secrets {
    fn default() -> Self {
        Self::Variables(Vec::new())
    }
}

impl Secrets {
    /// Each secret's name, with its value as typed.
    pub(super) fn values(self) -> BTreeMap<String, Secret> {
        match self {
            Self::Variables(names) => names
                .into_iter()
                .map(|name| (name.clone(), Secret::of_variable(&name)))
                .collect(),
            Self::Values(values) => values,
        }
    }
}

impl HttpGrant {
    /// The place that is meant.
    ///
    /// # Errors
    ///
    /// What it must look like.
    pub(super) fn origin(&self) -> Result<Origin, &'static str> {
        match self {
            Self::Public(url) => Origin::parse(url),
            Self::Described(host) => {
                let mut origin = Origin::parse(&host.url)?;
                if host.private {
                    origin.reach = Reach::Private;
                }
                Ok(origin)
            }
        }
    }
}

impl Allow {
    /// The grants; who does what is granted is not said here. Of a configuration that was checked, nothing is left out.
    #[must_use]
    pub fn grants(&self) -> Grants {
        let secrets = match &self.secrets {
            Secrets::Variables(_) => BTreeMap::new(),
            Secrets::Values(values) => values
                .iter()
                .map(|(name, secret)| (name.clone(), secret.reveal().to_owned()))
                .collect(),
        };
        Grants {
            http: self.http.iter().filter_map(|grant| grant.origin().ok()).collect(),
            caller: None,
            models: self.models.clone(),
            runner: None,
            kv: self.kv.clone(),
            stores: None,
            secrets,
            journals: self.journals.clone(),
            bodies: self.bodies,
        }
    }
}
