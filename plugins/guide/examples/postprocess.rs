//! Tells the best label of each input, and nothing else.

selvedge_sdk::world!("postprocessor-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use selvedge_sdk::{Failure, Request, failure};

struct Plugin;

impl lifecycle::Guest for Plugin {
    fn configure(_config: String) -> Result<(), Failure> {
        Ok(())
    }
}

impl postprocessor::Guest for Plugin {
    fn process(_request: &Request, done: Completion) -> Result<Action, Failure> {
        let Output::Labels(inputs) = done.output else {
            return Err(failure(
                "wrong-output",
                "this plugin is for a model that classifies",
            ));
        };
        let best = inputs.iter().filter_map(|labels| labels.first());
        let names: Vec<&str> = best.map(|label| label.name.as_str()).collect();
        Ok(Action::Replace(Output::Json(
            serde_json::json!({ "labels": names }).to_string(),
        )))
    }
}

export!(Plugin);
