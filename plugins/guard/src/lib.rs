//! Refuses what an endpoint should not answer: words, patterns, well-known prompt injections.
//!
//! The core is the crate `guard-rules`; `guard-model` has it too, and asks a model besides.

selvedge_sdk::world!("validator-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::validator::{self, Verdict};
use guard_rules::{Config, Fields, Rules, rejection};
use selvedge_sdk::{Configured, Failure, Request, bad_config, failure};

struct Plugin;

static GUARD: Configured<(Rules, Fields)> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        let rules = Rules::new(&config).map_err(bad_config)?;
        let rules = rules
            .ok_or_else(|| bad_config("there is nothing to refuse: give `deny`, `patterns` or `builtin`"))?;
        GUARD.set((rules, Fields::new(&config.fields).map_err(bad_config)?))
    }
}

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        let (rules, fields) = GUARD.get()?;
        let texts = fields.texts(&selvedge_sdk::read_body(request));
        let findings = rules.check(&texts).map_err(|error| failure("gave-up", error))?;
        Ok(if findings.is_empty() {
            Verdict::Accept
        } else {
            Verdict::Reject(rejection(request, findings))
        })
    }
}

export!(Plugin);
