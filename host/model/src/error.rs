//! What can go wrong: a model that cannot be loaded ([`LoadError`]), and an inference that fails ([`InferError`]).

use std::path::PathBuf;
use std::time::Duration;

/// Why ONNX Runtime or a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No library was found.
    #[error(
        "there is no ONNX Runtime library: looked at {}. Set `runtime.library` or ORT_DYLIB_PATH to a \
         libonnxruntime.so, or run `cargo xtask setup`",
        looked_at.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    LibraryMissing {
        /// Where it was looked for.
        looked_at: Vec<PathBuf>,
    },
    /// The library is there and cannot be used.
    #[error("the ONNX Runtime library {path} cannot be used: {why}")]
    LibraryUnusable {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        why: String,
    },
    /// There is no card.
    #[error("the model's card {path} cannot be read: {source}")]
    CardMissing {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The card is not as it must be.
    #[error("the model's card {path} is wrong: {why}")]
    CardMalformed {
        /// The card.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The card and the ONNX file do not agree.
    #[error("the model's card and its file {path} disagree: {why}")]
    CardDisagrees {
        /// The ONNX file.
        path: PathBuf,
        /// What each says.
        why: String,
    },
    /// The ONNX file is not there.
    #[error(
        "the model's file {path} is missing; {}",
        if candidates.is_empty() { "the folder has no .onnx file: was `cargo xtask setup` run?".to_owned() }
        else { format!("the folder has {}", candidates.join(", ")) }
    )]
    FileMissing {
        /// Where it should be.
        path: PathBuf,
        /// The ONNX files that are there.
        candidates: Vec<String>,
    },
    /// ONNX Runtime cannot read the file.
    #[error("the model's file {path} cannot be loaded: {why}")]
    FileCorrupt {
        /// The file.
        path: PathBuf,
        /// What ONNX Runtime says.
        why: String,
    },
    /// The tokenizer cannot be read.
    #[error("the tokenizer {path} cannot be read: {why}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The device that was asked for cannot be had.
    #[error(
        "`device = \"{device}\"` cannot be had: {why}. `device = \"auto\"` would fall back to the CPU and say so"
    )]
    Device {
        /// What was asked for.
        device: &'static str,
        /// What ONNX Runtime says.
        why: String,
    },
    /// A batch can never hold the longest input.
    #[error(
        "`batch.tokens_max` ({tokens_max}) is less than one input of the model may have (`input.length_max`, \
         {length_max})"
    )]
    BatchTooSmall {
        /// The limit of a batch.
        tokens_max: usize,
        /// The model's longest input.
        length_max: usize,
    },
    /// The chat template cannot be read.
    #[error("the chat template {path} cannot be read: {why}")]
    ChatTemplate {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The options of generation are not as they must be.
    #[error("`generate.{key}` {why}")]
    Generate {
        /// Which.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The system gives no thread.
    #[error("the system gives no thread for the model: {0}")]
    Thread(std::io::Error),
}

/// Why an inference gave no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InferError {
    /// There is nothing to infer.
    #[error("there is no input")]
    Empty,
    /// An input is longer than the model takes.
    #[error("input {index} has {len} {unit}, and the model takes {max} at most")]
    TooLong {
        /// Which of the inputs, from 0.
        index: usize,
        /// Its length.
        len: usize,
        /// The model's limit.
        max: usize,
        /// `tokens` or `bytes`.
        unit: &'static str,
    },
    /// A token id is none of the model's.
    #[error("input {index} has the token {id}, and the model's vocabulary ends at {}", vocabulary - 1)]
    UnknownToken {
        /// Which of the inputs, from 0.
        index: usize,
        /// The id.
        id: u32,
        /// How many there are.
        vocabulary: usize,
    },
    /// The model takes something else.
    #[error("the model takes {expected}, and was given {given}")]
    WrongInput {
        /// What it takes.
        expected: &'static str,
        /// What it was given.
        given: &'static str,
    },
    /// A tensor is not as the model's signature has it.
    #[error("{0}")]
    WrongTensor(String),
    /// The queue is full.
    #[error(
        "the model's queue is full: {} inputs wait (`batch.queue_items_max` is {}) with {} tokens \
         (`batch.queue_tokens_max` is {})", waiting.0, max.0, waiting.1, max.1
    )]
    Busy {
        /// Inputs, and tokens (or bytes), that wait.
        waiting: (usize, usize),
        /// Their limits.
        max: (usize, usize),
        /// When there should be room.
        retry_after: Duration,
    },
    /// There are more inputs than one request may have.
    #[error("there are {len} inputs, and one request may have {max}")]
    TooMany {
        /// How many there are.
        len: usize,
        /// How many there may be.
        max: usize,
    },
    /// A prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt} tokens, and prompt and answer together may have {context_max} (`generate.context_max`)"
    )]
    ContextExceeded {
        /// Its tokens.
        prompt: usize,
        /// The limit of prompt and answer together.
        context_max: usize,
    },
    /// A prompt is longer than any that leaves room for an answer.
    #[error(
        "the prompt has {bytes} bytes, and prompt and answer together may have {context_max} tokens \
         (`generate.context_max`), which is {bytes_max} bytes at the very most"
    )]
    PromptTooLong {
        /// Its length.
        bytes: usize,
        /// As many of the longest tokens as the context holds.
        bytes_max: usize,
        /// The limit of prompt and answer together.
        context_max: usize,
    },
    /// Too many sequences wait for a slot.
    #[error("{waiting} requests wait for one of the model's slots (`generate.queue_len_max` is {max})")]
    SlotsBusy {
        /// How many wait.
        waiting: usize,
        /// How many may.
        max: usize,
        /// When there should be room.
        retry_after: Duration,
    },
    /// The chat template cannot make a prompt of the conversation.
    #[error("the model's chat template refuses the conversation: {0}")]
    Template(String),
    /// The structure that the text should have cannot be kept to.
    #[error("the JSON Schema cannot be used: {0}")]
    Structure(String),
    /// Whoever decides which tokens may come has failed; it knows why.
    #[error("who decides which tokens may come has failed")]
    Guide,
    /// The model failed on the input.
    #[error("the model failed: {0}")]
    Failed(String),
    /// The model is being unloaded.
    #[error("the model is being unloaded")]
    Stopped,
}

impl InferError {
    /// Whether it refuses what kind of input it was given, not how much of it: whoever made it does not know the model.
    #[must_use]
    pub fn refuses_kind(&self) -> bool {
        matches!(
            self,
            Self::WrongInput { .. } | Self::WrongTensor(_) | Self::UnknownToken { .. }
        )
    }

    /// Whether the model is at its limits or fails, so that another model could do what was asked.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::SlotsBusy { .. } | Self::Failed(_) | Self::Stopped => true,
            Self::Empty
            | Self::TooLong { .. }
            | Self::UnknownToken { .. }
            | Self::WrongInput { .. }
            | Self::WrongTensor(_)
            | Self::TooMany { .. }
            | Self::ContextExceeded { .. }
            | Self::PromptTooLong { .. }
            | Self::Structure(_)
            | Self::Guide
            | Self::Template(_) => false,
        }
    }
}
