//! `[models.NAME]`: a model's folder, where it runs, how its inputs are batched and its text generated; or another server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_model::Device;
use serde::Deserialize;

use super::unit::Time;
use super::upstream::Upstream;

/// A model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The folder with its `model.toml`. Either this or `upstream` is given; all other keys are for a model of this node.
    pub path: Option<PathBuf>,
    /// Another server that does the work.
    pub upstream: Option<Upstream>,
    /// Another ONNX file of the folder than the card's.
    pub file: Option<String>,
    /// `cpu`, `cuda`, `tensorrt` or `auto`. Default `auto`, which falls back to the CPU and says so.
    #[serde(default)]
    pub device: Device,
    /// Sessions, each with its own memory. Default 1.
    #[serde(default = "one")]
    pub replicas: usize,
    /// Threads of one session. Default `runtime.threads`.
    pub threads: Option<usize>,
    /// How inputs are batched.
    #[serde(default)]
    pub batch: Batch,
    /// How text is generated, where the model does that.
    #[serde(default)]
    pub generate: Generate,
}

/// What does a model's work.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// This node, by a folder.
    Folder(&'a Path),
    /// Another server.
    Upstream(&'a Upstream),
}

impl Model {
    /// What does its work. `check` has seen that it is one of both.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        match (&self.upstream, &self.path) {
            (Some(upstream), _) => Source::Upstream(upstream),
            (None, path) => Source::Folder(path.as_deref().unwrap_or(Path::new(""))),
        }
    }
}

fn one() -> usize {
    1
}

/// How a model's inputs are batched.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Inputs of a batch at most. Default 32.
    pub items_max: usize,
    /// Tokens (or bytes) of a batch at most, padding counted. Default 16,384; at least the model's longest input.
    pub tokens_max: usize,
    /// How long an input waits for company while a session is free. Default `"0ms"`.
    pub delay_max: Time,
    /// A request is refused with 503 while this many inputs wait. Default 512.
    pub queue_items_max: usize,
    /// A request is refused with 503 while this many tokens (or bytes) wait. Default 262,144.
    pub queue_tokens_max: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            items_max: 32,
            tokens_max: 16_384,
            delay_max: Time(Duration::ZERO),
            queue_items_max: 512,
            queue_tokens_max: 262_144,
        }
    }
}

/// How a model's text is generated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Generate {
    /// Sequences that are decoded together. Default 8.
    pub slots: usize,
    /// Tokens of prompt and answer together. Default 2,048; at most what the card says.
    pub context_max: usize,
    /// Tokens of a prompt that are computed between two steps of the others. Default 64.
    pub prefill_chunk: usize,
    /// A request is refused with 503 while this many wait for a slot. Default 256.
    pub queue_len_max: usize,
    /// Tokens of prompts whose keys and values are kept for prompts that begin alike. Default 1,024; 0: none.
    pub prefix_tokens_max: usize,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            slots: 8,
            context_max: 2048,
            prefill_chunk: 64,
            queue_len_max: 256,
            prefix_tokens_max: 1024,
        }
    }
}
