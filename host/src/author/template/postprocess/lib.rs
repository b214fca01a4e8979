//! Answers with the best label, and whether the model was sure of it. The core is in `verdict`, and knows nothing of WIT.

mod verdict;

selvedge_sdk::world!("postprocessor-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use selvedge_sdk::{Configured, Failure, Request};

pub use verdict::Rule;

struct Plugin;

static RULE: Configured<Rule> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        RULE.set(selvedge_sdk::parse_config(&config)?)
    }
}

@STAGE@

export!(Plugin);
