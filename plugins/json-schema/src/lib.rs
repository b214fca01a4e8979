//! Validates the request body against a JSON Schema (2020-12); what is wrong is told as FastAPI tells it.
//!
//! The schema is compiled in `configure` and is part of the snapshot. The core is in `schema`, and knows nothing of WIT.

mod schema;

selvedge_sdk::world!("validator-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::validator::{self, Verdict};
use selvedge_sdk::{Configured, Failure, LocItem, Problem, Rejection, Request, bad_config};

pub use schema::{Config, Schema, Step, Violation};

struct Plugin;

static SCHEMA: Configured<Schema> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        SCHEMA.set(Schema::compile(&config).map_err(bad_config)?)
    }
}

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        let violations = SCHEMA.get()?.check(&selvedge_sdk::read_body(request));
        Ok(if violations.is_empty() {
            Verdict::Accept
        } else {
            Verdict::Reject(rejection(violations))
        })
    }
}

fn rejection(violations: Vec<Violation>) -> Rejection {
    Rejection {
        status: 422,
        code: "invalid-body".to_owned(),
        message: "the body does not match the endpoint's schema".to_owned(),
        problems: violations.into_iter().map(problem).collect(),
    }
}

fn problem(violation: Violation) -> Problem {
    let loc = violation.loc.into_iter().map(|step| match step {
        Step::Key(key) => LocItem::Key(key),
        Step::Index(index) => LocItem::Index(index),
    });
    Problem {
        kind: violation.kind.to_owned(),
        loc: loc.collect(),
        msg: violation.msg,
    }
}

export!(Plugin);
