//! A node's configuration: one TOML file, read strictly, then checked as a whole.
//!
//! A section is one file here: its keys with their units, defaults and ranges. `read` goes from text to sections, `check`
//! from sections to a [`Config`] whose references hold. Names no tokio, no ort, no wasmtime, no hyper.

mod admin;
mod allow;
mod auth;
mod check;
mod endpoint;
mod error;
mod limit;
mod listen;
mod model;
mod observe;
mod plugin;
mod read;
mod runtime;
mod sandbox;
mod secret;
mod server;
mod state;
mod telemetry;
mod unit;
mod uploads;
mod upstream;

pub use admin::Admin;
pub use allow::{Allow, DescribedHost, HttpGrant, Secrets};
pub use auth::{Auth, AuthMode, Jwt};
pub use endpoint::{Attach, Endpoint, OnError, Scopes};
pub use error::ConfigError;
pub use limit::{CallerLimits, Rate};
pub use listen::{Address, Addresses, Mode, Network, UnixSocket};
pub use model::{Batch, Model, Source};
pub use observe::{Full, Observe};
pub use plugin::{Limits, Plugin, Startup};
pub use runtime::Runtime;
pub use sandbox::Sandbox;
pub use secret::Secret;
pub use server::{Cors, Forwarded, Server, Tls};
pub use state::State;
pub use telemetry::{OtlpProtocol, Telemetry};
pub use unit::{Size, Time};
pub use uploads::{Spooling, Uploads};
pub use upstream::{Upstream, UpstreamKind};

use std::path::{Path, PathBuf};

/// A configuration that was checked: every name in it is defined, every path is absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[auth]`; nobody has to say who they are where there is no such section.
    pub auth: Auth,
    /// `[admin]`, where there is one.
    pub admin: Option<Admin>,
    /// `[limits]`.
    pub limits: CallerLimits,
    /// `[state]`.
    pub state: State,
    /// `[runtime]`.
    pub runtime: Runtime,
    /// `[sandbox]`.
    pub sandbox: Sandbox,
    /// `[observe]`.
    pub observe: Observe,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// `[uploads]`.
    pub uploads: Spooling,
    /// `[models.NAME]`, by name.
    pub models: Vec<(String, Model)>,
    /// `[plugins.NAME]`, by name.
    pub plugins: Vec<(String, Plugin)>,
    /// `[endpoints.NAME]`, by name.
    pub endpoints: Vec<(String, Endpoint)>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with its place and what would be right.
    pub fn read(file: &Path) -> Result<Self, Vec<ConfigError>> {
        let text =
            std::fs::read_to_string(file).map_err(|source| vec![ConfigError::unreadable(file, &source)])?;
        Self::parse(file, &text)
    }

    /// The folder that relative paths start from.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        check::folder_of(&self.file)
    }

    /// Checks a text as if it stood in `file`, to which its paths are relative.
    ///
    /// # Errors
    ///
    /// As [`Config::read`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, Vec<ConfigError>> {
        let sections = read::sections(file, text).map_err(|error| vec![error])?;
        check::check(file, sections)
    }
}
