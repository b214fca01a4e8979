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

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        Ok(match RULE.get()?.check(&selvedge_sdk::read_body(request)) {
            Ok(()) => Verdict::Accept,
            Err(message) => Verdict::Reject(refusal(message)),
        })
    }
}

fn refusal(message: String) -> Rejection {
    let problem = Problem {
        kind: "string_too_long".to_owned(),
        loc: vec![LocItem::Key("text".to_owned())],
        msg: message.clone(),
    };
    Rejection {
        status: 422,
        code: "text-too-long".to_owned(),
        message,
        problems: vec![problem],
    }
}

export!(Plugin);
