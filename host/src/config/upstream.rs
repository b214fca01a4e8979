//! `[models.NAME] upstream`: another server that does a model's work.

use std::path::PathBuf;
use std::time::Duration;

use selvedge_model::Task;
use serde::Deserialize;

use super::secret::Secret;
use super::unit::Time;

/// Another server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// What it speaks: `ollama` or `openai`.
    pub kind: UpstreamKind,
    /// Its base: `"http://127.0.0.1:11434"`, `"https://api.example/v1"`. Where an `openai` one has no path, it is `/v1`.
    pub url: String,
    /// Its name of the model.
    pub model: String,
    /// `text-generation` or `feature-extraction`. Default `text-generation`.
    #[serde(default = "text_generation")]
    pub task: Task,
    /// Sent as `Authorization: Bearer`. A secret: `"${NAME}"` or `"${file:path}"`. Default: none is sent.
    pub api_key: Option<Secret>,
    /// A PEM file of authorities that its certificate may be signed by. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// How long a connection may take: name, TCP and TLS. Default `"5s"`.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Time,
    /// How long it may take from the request to the first word of the answer. Default `"60s"`.
    #[serde(default = "minute")]
    pub first_token_timeout: Time,
    /// How long the whole answer may take, all tries together. Default `"10m"`; the endpoint's `timeout` holds as well.
    #[serde(default = "ten_minutes")]
    pub timeout: Time,
    /// How often a call that failed before its first word is tried again. Default 1; at most 10.
    #[serde(default = "one")]
    pub retries: u32,
    /// Calls at once; a request beyond is refused with 503, or goes to a fallback. Default 256.
    #[serde(default = "calls_max")]
    pub calls_max: usize,
    /// Models that are asked in turn where this one fails before its first word. Default none.
    #[serde(default)]
    pub fallback: Vec<String>,
}

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamKind {
    /// Ollama's own protocol.
    Ollama,
    /// `OpenAI`'s, which vLLM, llama.cpp, SGLang and most others speak.
    Openai,
}

impl UpstreamKind {
    /// As it stands in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Openai => "openai",
        }
    }
}

fn text_generation() -> Task {
    Task::TextGeneration
}

fn connect_timeout() -> Time {
    Time(Duration::from_secs(5))
}

fn minute() -> Time {
    Time(Duration::from_secs(60))
}

fn ten_minutes() -> Time {
    Time(Duration::from_secs(600))
}

fn one() -> u32 {
    1
}

fn calls_max() -> usize {
    256
}
