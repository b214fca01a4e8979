//! `[sandbox]`: what all plugins together may take.

use serde::Deserialize;

use super::unit::Size;

/// What all plugins together may take.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Instances alive at once; a call beyond waits, and is refused after its wall time. Default 256, at most 8,000.
    pub instances_max: usize,
    /// The most that a plugin's `limits.memory` may be. Default 256 MiB.
    pub memory_max: Size,
    /// The longest component that is read. Default 64 MiB.
    pub component_size_max: Size,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            instances_max: 256,
            memory_max: Size(256 << 20),
            component_size_max: Size(64 << 20),
        }
    }
}
