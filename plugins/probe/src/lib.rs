//! Does with models, stores, secrets and forms what its configuration says, step by step, and refuses each request with what came of
//! it: `{"steps": [{"kv-set": ["store", "key", "value"]}, {"kv-get": ["store", "key"]}]}`.
//!
//! It is no example. The host's tests attach it and read the rejection's message: a list with one entry a step, those of
//! `configure` first. `step` says what there is to do, `deed` does it.

mod deed;
mod step;

selvedge_sdk::world!(
    "selvedge:probe/probe",
    "
        package selvedge:probe;
        world probe {
            include selvedge:plugin/validator-plugin@0.1.0;
            import selvedge:plugin/inference@0.1.0;
            import selvedge:plugin/kv@0.1.0;
            import selvedge:plugin/secrets@0.1.0;
        }
    "
);

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::validator::{self, Verdict};
use selvedge_sdk::{Configured, Failure, Rejection, Request};
use serde_json::Value;

pub use step::{Config, Data, Input, Step};

struct Plugin;

/// The configuration, and what the steps of `configure` came to.
static PROBE: Configured<(Config, Vec<Value>)> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        let told = commit(&config.configure, &config.store, None);
        PROBE.set((config, told))
    }
}

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        let (config, told_before) = PROBE.get()?;
        let mut told = told_before.clone();
        told.extend(commit(&config.steps, &config.store, Some(request)));
        Ok(Verdict::Reject(Rejection {
            status: 422,
            code: "probe".to_owned(),
            message: Value::Array(told).to_string(),
            problems: Vec::new(),
        }))
    }
}

fn commit(steps: &[Step], store: &str, request: Option<&Request>) -> Vec<Value> {
    steps.iter().map(|step| step.commit(store, request)).collect()
}

export!(Plugin);
