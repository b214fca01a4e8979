//! Refuses bodies that are longer than an endpoint wants them.

selvedge_sdk::world!("validator-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::validator::{self, Verdict};
use selvedge_sdk::{Configured, Failure, Rejection, Request};

#[derive(serde::Deserialize)]
struct Config {
    length_max: u64,
}

struct Plugin;

static CONFIG: Configured<Config> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        CONFIG.set(selvedge_sdk::parse_config(&config)?)
    }
}

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        let Config { length_max } = CONFIG.get()?;
        if request.body_len() <= *length_max {
            return Ok(Verdict::Accept);
        }
        Ok(Verdict::Reject(Rejection {
            status: 413,
            code: "too-long".to_owned(),
            message: format!("at most {length_max} bytes"),
            problems: Vec::new(),
        }))
    }
}

export!(Plugin);
