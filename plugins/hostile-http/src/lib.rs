//! Calls a URL as often as it is told to, and refuses each request with what came of the last call. It is no example.

selvedge_sdk::world!("validator-plugin");

use std::time::Duration;

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::validator::{self, Verdict};
use selvedge_sdk::http::{Url, post};
use selvedge_sdk::{Configured, Failure, Rejection, Request};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    url: String,
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

struct Plugin;

static CONFIG: Configured<Config> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        CONFIG.set(selvedge_sdk::parse_config(&config)?)
    }
}

impl validator::Guest for Plugin {
    fn validate(_request: &Request) -> Result<Verdict, Failure> {
        let config = CONFIG.get()?;
        let mut told = String::new();
        for _ in 0..config.times {
            told = match Url::parse(&config.url) {
                Ok(url) => match post(&url, &[], b"{}", Duration::from_secs(3600)) {
                    Ok(status) => format!("status {status}"),
                    Err(why) => why,
                },
                Err(why) => why,
            };
        }
        Ok(Verdict::Reject(Rejection {
            status: 422,
            code: "called".to_owned(),
            message: told,
            problems: Vec::new(),
        }))
    }
}

export!(Plugin);
