//! Answers with the best label, and whether the model was sure of it. The core is in `verdict`, and knows nothing of WIT.

mod verdict;

selvedge_sdk::world!("postprocessor-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use selvedge_sdk::{Configured, Failure, Request, failure};

pub use verdict::Rule;

struct Plugin;

static RULE: Configured<Rule> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        RULE.set(selvedge_sdk::parse_config(&config)?)
    }
}

impl postprocessor::Guest for Plugin {
    fn process(_request: &Request, done: Completion) -> Result<Action, Failure> {
        let Output::Labels(inputs) = done.output else {
            return Err(failure("wrong-output", "the model must be a classifier of texts"));
        };
        let best = inputs.first().and_then(|labels| labels.first());
        let best = best.ok_or_else(|| failure("no-labels", "the model gave no labels"))?;
        let answer = RULE.get()?.answer(&best.name, best.score);
        Ok(Action::Replace(Output::Json(answer)))
    }
}

export!(Plugin);
