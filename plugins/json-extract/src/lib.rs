//! Leaves of generated text the JSON in it: found in prose or a fenced block, repaired, and checked against a JSON Schema
//! (2020-12), which is compiled in `configure` and is part of the snapshot.
//!
//! The core knows nothing of WIT: `extractor` decides, `finder` looks for values in prose, `reader` and `scalar` read
//! them and repair, `schema` checks.

mod extractor;
mod finder;
#[cfg(test)]
mod fuzz;
mod reader;
mod scalar;
mod schema;

selvedge_sdk::world!("postprocessor-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use selvedge_sdk::logging::{self, Level};
use selvedge_sdk::types::FinishReason;
use selvedge_sdk::{Configured, Failure, Rejection, Request, bad_config, failure};

pub use extractor::{Config, Expect, Extractor, OnFailure, Refusal};
pub use reader::Ending;

struct Plugin;

static EXTRACTOR: Configured<Extractor> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        EXTRACTOR.set(Extractor::new(&config).map_err(bad_config)?)
    }
}

impl postprocessor::Guest for Plugin {
    fn process(_request: &Request, done: Completion) -> Result<Action, Failure> {
        let Output::Text(texts) = done.output else {
            return Err(failure(
                "wrong-output",
                "json-extract needs a model whose task is text-generation",
            ));
        };
        let extractor = EXTRACTOR.get()?;
        // The reason is the first answer's; of several, any may have been cut.
        let ending = match done.finish {
            FinishReason::Stop if texts.len() == 1 => Ending::Meant,
            _ => Ending::MayBeCut,
        };
        let mut kept = Vec::with_capacity(texts.len());
        for text in texts {
            match (extractor.extract(&text, ending), extractor.on_failure()) {
                (Ok(json), _) => kept.push(json),
                (Err(refusal), OnFailure::Refuse) => return Ok(Action::Refuse(rejection(refusal))),
                (Err(refusal), OnFailure::Pass) => {
                    let fields = [("code".to_owned(), refusal.code.to_owned())];
                    logging::log(Level::Warn, &refusal.message, &fields);
                    kept.push(text);
                }
            }
        }
        Ok(Action::Replace(Output::Text(kept)))
    }
}

/// The model is at fault and not the client, but of the answers that a plugin may give, 422 is the nearest; `problems`
/// stays empty, since they are about the request's body.
fn rejection(refusal: Refusal) -> Rejection {
    Rejection {
        status: 422,
        code: refusal.code.to_owned(),
        message: refusal.message,
        problems: Vec::new(),
    }
}

export!(Plugin);
