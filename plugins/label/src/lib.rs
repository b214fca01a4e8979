//! Turns a classifier's scores into a verdict: the label that counts, under the name that the client is to see.
//!
//! The core is in `verdict`, and knows nothing of WIT.

mod verdict;

selvedge_sdk::world!("postprocessor-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use selvedge_sdk::{Configured, Failure, Request, failure};

pub use verdict::{Config, Rules, Scored};

struct Plugin;

static RULES: Configured<Rules> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        RULES.set(Rules::new(selvedge_sdk::parse_config(&config)?))
    }
}

impl postprocessor::Guest for Plugin {
    fn process(_request: &Request, done: Completion) -> Result<Action, Failure> {
        let Output::Labels(inputs) = done.output else {
            return Err(failure(
                "wrong-output",
                "label needs a model whose task is text-classification",
            ));
        };
        let scored = |label: selvedge_sdk::Label| Scored {
            name: label.name,
            score: label.score,
        };
        let inputs: Vec<Vec<Scored>> = inputs
            .into_iter()
            .map(|labels| labels.into_iter().map(scored).collect())
            .collect();
        let json = RULES
            .get()?
            .answer(&inputs)
            .map_err(|error| failure("no-verdict", error))?;
        Ok(Action::Replace(Output::Json(json)))
    }
}

export!(Plugin);
