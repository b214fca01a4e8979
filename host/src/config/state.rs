//! `[state]`: the folder of what a node keeps.

use std::path::PathBuf;

use serde::Deserialize;

/// The folder of what a node keeps.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Compiled plugins lie in its folder `plugins`. Default: `STATE_DIRECTORY`, which systemd sets; else
    /// `XDG_STATE_HOME/selvedge`; else `~/.local/state/selvedge`; else `/var/lib/selvedge`.
    pub dir: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let dir = variable("STATE_DIRECTORY")
            .or_else(|| variable("XDG_STATE_HOME").map(|home| home.join("selvedge")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/state/selvedge")))
            .unwrap_or_else(|| PathBuf::from("/var/lib/selvedge"));
        Self { dir }
    }
}
