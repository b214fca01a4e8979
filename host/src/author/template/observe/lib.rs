//! Counts the requests that took too long, in the background. The core is in `watch`, and knows nothing of WIT.

mod watch;

selvedge_sdk::world!("observer-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::observer::{self, Event};
use selvedge_sdk::logging::{self, Level};
use selvedge_sdk::{Configured, Failure, metrics};

pub use watch::Watch;

struct Plugin;

static WATCH: Configured<Watch> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        WATCH.set(selvedge_sdk::parse_config(&config)?)
    }
}

@STAGE@

export!(Plugin);
