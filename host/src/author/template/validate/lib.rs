//! Refuses texts that are too long. The core is in `rule`, and knows nothing of WIT.

mod rule;

selvedge_sdk::world!("validator-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::validator::{self, Verdict};
use selvedge_sdk::{Configured, Failure, LocItem, Problem, Rejection, Request};

pub use rule::Rule;

struct Plugin;

static RULE: Configured<Rule> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        RULE.set(selvedge_sdk::parse_config(&config)?)
    }
}

@STAGE@

export!(Plugin);
