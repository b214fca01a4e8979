//! What the plugins `guard` and `guard-model` share: which texts of a body are looked at, what is denied in them, and how that
//! is answered.
//!
//! It is a crate of its own since a plugin cannot be linked into another: both would export the same stage. `texts` finds the
//! texts, `plain` takes off what hides words in them, `builtin` has the patterns that come along, `rules` looks for all of it,
//! and `answer` alone knows WIT.

#![warn(missing_docs)]

mod answer;
mod builtin;
mod plain;
mod rules;
mod texts;

use serde::Deserialize;

pub use answer::{note, rejection};
pub use rules::Rules;
pub use texts::{Fields, Step, Text};

/// What is denied, as configured. Keys that are not here are the plugin's own, or refused by its manifest's schema.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Words and phrases: whole words, in upper and lower case alike, with any white space between them.
    pub deny: Vec<String>,
    /// Regular expressions, searched for anywhere in a text.
    pub patterns: Vec<String>,
    /// Patterns that come along: `prompt-injection`.
    pub builtin: Vec<String>,
    /// Which texts of the body are looked at: names of fields, or paths such as `/messages/*/content`, with all that is beneath
    /// them. Default: all.
    pub fields: Vec<String>,
}

/// A text that is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands, from the body's root.
    pub loc: Vec<Step>,
    /// What denied it, for operators: `deny`, `prompt-injection`, `patterns.0`.
    pub reason: String,
}
