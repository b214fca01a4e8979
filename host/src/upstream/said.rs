//! What other servers say in a line of their answer, whatever they speak.

use selvedge_model::generate::TokenReport;
use selvedge_plugin::value::Finish;

use crate::pipeline::completed::Counts;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Text of an answer.
    Text {
        /// Which, from 0.
        choice: usize,
        /// The text.
        text: String,
        /// Its tokens, where their probabilities were asked for.
        tokens: Vec<TokenReport>,
    },
    /// An answer is complete.
    End {
        /// Which, from 0.
        choice: usize,
        /// Why.
        finish: Finish,
    },
    /// Nothing yet, and it is at work.
    Alive,
    /// Token counts so far; those of the end are what counts.
    Counts(Counts),
    /// Nothing comes after it.
    Over,
}

/// Why a line is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not what such a server says.
    Garbage(String),
    /// It says that the server failed.
    Failed(String),
}

impl Wrong {
    /// Of a line that cannot be read; it is cut where it is long.
    pub(super) fn garbage(line: &str) -> Self {
        Self::Garbage(line.chars().take(200).collect())
    }
}
