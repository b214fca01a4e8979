//! `[plugins.NAME]`: a component and what it may use; `allow` has what it is granted.

use std::path::PathBuf;

use serde::Deserialize;

use super::allow::Allow;
use super::unit::{Size, Time};

/// A plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The component's file, `.wasm`.
    pub path: PathBuf,
    /// What one call of it may use.
    #[serde(default)]
    pub limits: Limits,
    /// What it is granted. Nothing by default.
    #[serde(default)]
    pub allow: Allow,
    /// How its instances start. Default `snapshot`.
    #[serde(default)]
    pub startup: Startup,
    /// How many requests an instance is for.
    #[serde(default)]
    pub instances: Instances,
}

/// How many requests an instance is for.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Instances {
    /// Requests that one instance serves, one after the other. Default 1: none finds in the plugin's memory what another left.
    pub reuse: u32,
}

impl Default for Instances {
    fn default() -> Self {
        Self { reuse: 1 }
    }
}

/// How instances start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Startup {
    /// From the memory as `configure` left it; where that is not sound, as `configure`, with a warning.
    #[default]
    Snapshot,
    /// By running `configure` for each request.
    Configure,
}

/// What one call of a plugin may use; what is not here is as the sandbox has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// All linear memories of an instance together. Default 32 MiB.
    pub memory: Option<Size>,
    /// CPU time. Default `"100ms"`.
    pub time: Option<Time>,
    /// Time on the clock, waiting included. Default `"1s"`.
    pub wall_time: Option<Time>,
    /// CPU time and time on the clock of `configure`. Default `"10s"`.
    pub configure_time: Option<Time>,
    /// Elements of all tables of an instance together. Default 50,000.
    pub table_elements: Option<usize>,
    /// What one call may bring into the host. Default 8 MiB.
    pub host_bytes: Option<Size>,
    /// What one call may answer. Default 4 MiB.
    pub output: Option<Size>,
    /// What all calls on one stream may answer together. Default 32 MiB.
    pub stream_output: Option<Size>,
    /// Host resources held at once. Default 1,024.
    pub handles: Option<usize>,
    /// CPU time of an observer's call. Default `"1s"`.
    pub observe_time: Option<Time>,
    /// Time on the clock of an observer's call, what it waits for others included. Default `"30s"`.
    pub observe_wall_time: Option<Time>,
    /// How long one run of a model may take that it asks for. Default 500 ms.
    pub inference_time: Option<Time>,
    /// What one of its stores of keys and values may take. Default 16 MiB.
    pub kv: Option<Size>,
    /// One journal on disk, all its files together. Default 1 GiB.
    pub journal: Option<Size>,
    /// Log lines and printed text of one call. Default 16 KiB.
    pub log: Option<Size>,
}

impl Plugin {
    /// The limits with the sandbox's defaults filled in.
    #[must_use]
    pub fn limits(&self) -> selvedge_plugin::Limits {
        let defaults = selvedge_plugin::Limits::default();
        let limits = &self.limits;
        let time = |time: Option<Time>, default| time.map_or(default, |time| time.0);
        let size = |size: Option<Size>, default| size.map_or(default, |size| size.0);
        selvedge_plugin::Limits {
            memory: size(limits.memory, defaults.memory),
            time: time(limits.time, defaults.time),
            wall_time: time(limits.wall_time, defaults.wall_time),
            configure_time: time(limits.configure_time, defaults.configure_time),
            table_elements: limits.table_elements.unwrap_or(defaults.table_elements),
            host_bytes: size(limits.host_bytes, defaults.host_bytes),
            output: size(limits.output, defaults.output),
            stream_output: size(limits.stream_output, defaults.stream_output),
            handles: limits.handles.unwrap_or(defaults.handles),
            observe_time: time(limits.observe_time, defaults.observe_time),
            observe_wall_time: time(limits.observe_wall_time, defaults.observe_wall_time),
            inference_time: limits
                .inference_time
                .map_or(defaults.inference_time, |time| time.0),
            kv: limits.kv.map_or(defaults.kv, |size| size.0 as u64),
            journal: limits.journal.map_or(defaults.journal, |size| size.0 as u64),
            log: size(limits.log, defaults.log),
        }
    }
}
