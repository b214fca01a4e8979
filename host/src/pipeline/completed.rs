//! What a prompt came to: its answers, and the tokens that they took.

use selvedge_model::generate::TokenReport;
use selvedge_plugin::value::{Finish, Usage};

/// One answer of several to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its text.
    pub text: String,
    /// Its tokens, where their probabilities were asked for.
    pub tokens: Vec<TokenReport>,
    /// Why it ended.
    pub finish: Finish,
}

/// All answers to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// In order.
    pub choices: Vec<Choice>,
    /// Token counts of all.
    pub counts: Counts,
    /// The endpoint's answer as it is, where a post-processor wrote one.
    pub json: Option<String>,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Of the prompt, once.
    pub prompt: usize,
    /// Of these, those that were read before.
    pub cached: usize,
    /// Of all answers together.
    pub completion: usize,
}

impl Counts {
    /// Adds those of another answer to the same prompt.
    pub(super) fn add(&mut self, other: Self) {
        self.prompt = self.prompt.max(other.prompt);
        self.cached = self.cached.max(other.cached);
        self.completion = self.completion.saturating_add(other.completion);
    }

    /// The same, as plugins are told it.
    #[must_use]
    pub fn usage(self) -> Usage {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Usage {
            prompt_tokens: narrow(self.prompt),
            completion_tokens: narrow(self.completion),
        }
    }
}
