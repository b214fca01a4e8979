//! Does its worst, one deed a configuration: `{"configure": "loop"}`, `{"validate": "memory-bomb"}`.
//!
//! It is no example. The host's tests attach it once for each deed in `deeds` and show that the deed is contained, with
//! the error code that the limit has; a deed without a test fails the build of the tests.

mod deeds;

selvedge_sdk::world!("validator-plugin");

use deeds::Deed;
use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::validator::{self, Verdict};
use selvedge_sdk::{Configured, Failure, Request, logging};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    configure: Deed,
    #[serde(default)]
    validate: Deed,
}

struct Plugin;

static VALIDATE: Configured<Deed> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        config.configure.commit()?;
        VALIDATE.set(config.validate)
    }
}

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        let found = VALIDATE.get()?.commit()?;
        request.set_attribute("found", &found);
        if !found.is_empty() {
            logging::log(logging::Level::Info, &format!("found: {found}"), &[]);
        }
        Ok(Verdict::Accept)
    }
}

export!(Plugin);
