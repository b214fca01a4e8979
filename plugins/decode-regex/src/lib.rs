//! Has a model write what matches a regular expression: before each token it says which ones can still come to a match.
//! Experimental, as decode control is.
//!
//! The core knows nothing of WIT: `pattern` is the automaton, `words` the vocabulary, `rules` what the two come to. All of it is
//! worked out in `configure`, from which every sequence starts; a step looks up a state.

mod pattern;
mod rules;
mod words;

selvedge_sdk::world!("decode-plugin", features: ["decode"]);

use std::cell::Cell;

use exports::selvedge::plugin::decoder::{self, Allowed, Draw, GuestDecoding, Step};
use exports::selvedge::plugin::lifecycle;
use selvedge::plugin::vocabulary;
use selvedge_sdk::{Configured, Failure, Request, bad_config, failure};
use serde::Deserialize;

pub use pattern::Pattern;
pub use rules::{Rule, Rules};
pub use words::Words;

/// Tokens that are read at once.
const READ_COUNT: u32 = 8192;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// A regular expression, in the syntax of Rust's `regex`; the whole text must match.
    pattern: String,
}

struct Plugin;

static RULES: Configured<Rules> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        let pattern = Pattern::new(&config.pattern).map_err(bad_config)?;
        RULES.set(Rules::new(pattern, words()))
    }
}

fn words() -> Words {
    let mut words = Words::default();
    let count = vocabulary::count();
    let mut first = 0;
    while first < count {
        let read = vocabulary::read(first, READ_COUNT);
        words.extend(&read.bytes, &read.lens);
        first += READ_COUNT;
    }
    words.finish(vocabulary::ends());
    words
}

/// How far one sequence has come.
struct Decoding {
    state: Cell<u32>,
}

impl decoder::Guest for Plugin {
    type Decoding = Decoding;
}

impl GuestDecoding for Decoding {
    fn open(_request: &Request, _choice: u32) -> Result<decoder::Decoding, Failure> {
        let state = Cell::new(0);
        Ok(decoder::Decoding::new(Self { state }))
    }

    fn next(&self, taken: Vec<u32>) -> Result<Step, Failure> {
        let rules = RULES.get()?;
        let strayed = || {
            failure(
                "strayed",
                format!("the tokens {taken:?} came, which were not allowed"),
            )
        };
        let state = rules.walk(self.state.get(), &taken).ok_or_else(strayed)?;
        self.state.set(state);
        Ok(match rules.rule(state) {
            Rule::Stop => Step::Stop,
            Rule::Force(token) => Step::Force(vec![token]),
            Rule::Mask(mask) => Step::Draw(Draw {
                allowed: Allowed::Mask(mask),
                bias: Vec::new(),
            }),
        })
    }
}

export!(Plugin);
