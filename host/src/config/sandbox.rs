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
    /// The most memory that all instances may have together. Default: half of what the machine has, or of what the process's
    /// control group may have.
    pub memory_total_max: Option<Size>,
    /// The longest component that is read. Default 64 MiB.
    pub component_size_max: Size,
    /// Functions that a component may have. Default 100,000.
    pub functions_max: usize,
    /// The longest function that is compiled. Default 1 MiB.
    pub function_size_max: Size,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            instances_max: 256,
            memory_max: Size(256 << 20),
            memory_total_max: None,
            component_size_max: Size(64 << 20),
            functions_max: 100_000,
            function_size_max: Size(1 << 20),
        }
    }
}
