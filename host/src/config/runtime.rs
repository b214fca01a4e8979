//! `[runtime]`: ONNX Runtime's library.

use std::path::PathBuf;

use serde::Deserialize;

/// ONNX Runtime's library.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// A `libonnxruntime.so`. Default: `ORT_DYLIB_PATH`; else `lib/libonnxruntime.so` beside the executable's folder or one
    /// of the two above it.
    pub library: Option<PathBuf>,
    /// Threads of a model that does not say how many it has; 0 is what affinity and cgroup allow, divided by the model's
    /// replicas. Default 0.
    pub threads: usize,
}
