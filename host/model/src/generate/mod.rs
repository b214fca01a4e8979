//! Generation: continuous batching of sequences that join and leave at every step.
//!
//! `sample` chooses tokens and `text` makes text of them, both pure; `structure` rules out what would break a wanted form,
//! and `guide` is where somebody else says what may come; `decoder` runs the file, with its cache of keys and values; `engine` is the thread that owns it and decides at each step who goes
//! on. Read in this order.

pub mod sample;

pub mod text;

pub mod structure;

pub mod guide;

pub(crate) mod decoder;

pub(crate) mod engine;

mod sequence;

mod zeroed;

use tokio::sync::mpsc;

pub use guide::{Decision, Guide, Seat, guide};
pub use sample::{Sampling, Scored};
pub use structure::{Constraint, Structure};

use crate::error::InferError;
use crate::meters::Turn;

/// How a model generates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateOptions {
    /// Sequences that are decoded together. Default 8.
    pub slots: usize,
    /// Tokens of one sequence at most, prompt and answer together. Default 2,048. Keys and values take slots x this x what the
    /// model needs a token; memory is taken as it is used.
    pub context_max: usize,
    /// Tokens of a prompt that are computed between two steps of the others. Default 64: more is quicker for the prompt and
    /// lets the others wait longer.
    pub prefill_chunk: usize,
    /// A request is refused while this many sequences wait for a slot. Default 256.
    pub queue_len_max: usize,
    /// Tokens of prompts whose keys and values are kept for prompts that begin alike. Default 1,024; 0: none.
    pub prefix_tokens_max: usize,
}

impl Default for GenerateOptions {
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

/// What is to be generated.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The prompt, as the model is given it. At least one token.
    pub prompt: Vec<u32>,
    /// Tokens to generate at most; what the context leaves is a limit too.
    pub tokens_max: usize,
    /// Strings that end the text, and are no part of it.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The structure that the text must have, by [`Model::structure`](crate::Model::structure); none: any text will do.
    pub constraint: Option<Constraint>,
}

/// What a sequence tells while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Text came, or where it was asked for, tokens with their probabilities.
    Text(Piece),
    /// The end.
    Done(Done),
}

/// A piece of text: whole characters, and no part of a stop string.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Piece {
    /// The text; may be empty where tokens are reported.
    pub text: String,
    /// The tokens since the piece before, where their probabilities were asked for.
    pub tokens: Vec<TokenReport>,
    /// How many tokens came since the piece before.
    pub count: usize,
}

/// A token with its probability, for `logprobs`.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenReport {
    /// Its text by itself.
    pub text: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens in its place, best first: text and logarithm.
    pub likeliest: Vec<(String, f32)>,
}

/// How a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Why.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, those whose keys and values were there already.
    pub cached_tokens: usize,
    /// Tokens that were generated, the one that ended it included.
    pub completion_tokens: usize,
    /// Of these, those that no piece has counted.
    pub untold_tokens: usize,
    /// How long it waited for a row, and had it.
    pub turn: Turn,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop string did.
    Stop,
    /// `tokens_max` or the context.
    Length,
}

/// A running sequence. Where it is dropped, the sequence's slot is free after the step that runs.
#[derive(Debug)]
pub struct Generation {
    pub(crate) events: mpsc::UnboundedReceiver<Result<Event, InferError>>,
}

impl Generation {
    /// What comes next; none after [`Event::Done`] or an error. Nothing is lost where the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Event, InferError>> {
        self.events.recv().await
    }
}
