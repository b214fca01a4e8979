//! Turns a classifier's scores, or a text that a model wrote as its answer, into a verdict: the label that counts, under
//! the name that the client is to see.
//!
//! The core knows nothing of WIT: `verdict` has the rules, `mention` finds a label's name in a text.

mod mention;
mod verdict;

selvedge_sdk::world!("postprocessor-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use selvedge_sdk::{Configured, Failure, Rejection, Request, failure};

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
        let rules = RULES.get()?;
        match done.output {
            Output::Labels(inputs) => {
                let inputs: Vec<Vec<Scored>> = inputs.into_iter().map(scored).collect();
                let answer = rules.answer(&inputs);
                let json = answer.map_err(|error| failure("no-verdict", error))?;
                Ok(Action::Replace(Output::Json(json)))
            }
            Output::Text(_) if !rules.have_labels() => Err(failure(
                "no-labels",
                "label finds in a text only the names that `labels` has; give them",
            )),
            Output::Text(texts) => Ok(match rules.answer_texts(&texts) {
                Ok(json) => Action::Replace(Output::Json(json)),
                Err(problem) => Action::Refuse(unclear(problem)),
            }),
            _ => Err(failure(
                "wrong-output",
                "label needs a model whose task is text-classification or text-generation",
            )),
        }
    }
}

fn scored(labels: Vec<selvedge_sdk::Label>) -> Vec<Scored> {
    let scored = |label: selvedge_sdk::Label| Scored {
        name: label.name,
        score: label.score,
    };
    labels.into_iter().map(scored).collect()
}

/// The model is at fault and not the client, but of the answers that a plugin may give, 422 is the nearest.
fn unclear(problem: String) -> Rejection {
    Rejection {
        status: 422,
        code: "label-unclear".to_owned(),
        message: problem,
        problems: Vec::new(),
    }
}

export!(Plugin);
