//! Hides words and patterns in generated text while it streams: a match is never let through, not even in parts.
//!
//! The core is in `redactor`, and knows nothing of WIT.

mod redactor;

selvedge_sdk::world!("stream-plugin");

use std::cell::RefCell;

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::stream_postprocessor::{self, Action, Chunk, GuestProcessor};
use selvedge_sdk::types::FinishReason;
use selvedge_sdk::{Configured, Failure, Request, Usage, bad_config, failure};

pub use redactor::{Config, Redactor, Rules};

struct Plugin;

static RULES: Configured<Rules> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        RULES.set(Rules::new(&config).map_err(bad_config)?)
    }
}

/// What is held back of each answer of a stream.
struct Processor {
    answers: RefCell<Vec<Redactor>>,
}

impl stream_postprocessor::Guest for Plugin {
    type Processor = Processor;
}

impl GuestProcessor for Processor {
    fn open(_request: &Request) -> Result<stream_postprocessor::Processor, Failure> {
        let answers = RefCell::default();
        Ok(stream_postprocessor::Processor::new(Self { answers }))
    }

    fn push(&self, chunks: Vec<Chunk>) -> Result<Action, Failure> {
        let rules = RULES.get()?;
        let mut answers = self.answers.borrow_mut();
        let mut out = Vec::new();
        for chunk in chunks {
            let place = chunk.choice as usize;
            while answers.len() <= place {
                answers.push(Redactor::new(rules));
            }
            let text = answers[place].push(rules, &chunk.text).map_err(gave_up)?;
            if !text.is_empty() {
                out.push(Chunk {
                    choice: chunk.choice,
                    text,
                });
            }
        }
        Ok(Action::Emit(out))
    }

    fn finish(&self, _reason: FinishReason, _usage: Usage) -> Result<Vec<Chunk>, Failure> {
        let rules = RULES.get()?;
        let mut last = Vec::new();
        for (choice, answer) in (0..).zip(self.answers.borrow_mut().iter_mut()) {
            let text = answer.finish(rules).map_err(gave_up)?;
            if !text.is_empty() {
                last.push(Chunk { choice, text });
            }
        }
        Ok(last)
    }
}

fn gave_up(error: String) -> Failure {
    failure("gave-up", error)
}

export!(Plugin);
