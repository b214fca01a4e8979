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

impl observer::Guest for Plugin {
    /// Events come in batches, and perhaps twice. An error would have all of them given again.
    fn observe(events: Vec<Event>) -> Result<(), Failure> {
        let watch = WATCH.get()?;
        for event in events {
            let stages: Vec<u64> = event.timings.iter().map(|timing| timing.micros).collect();
            if watch.is_slow(&stages) {
                metrics::counter_add("slow", 1);
                logging::log(Level::Warn, "a request took long", &[("id".to_owned(), event.request_id)]);
            }
        }
        Ok(())
    }
}

export!(Plugin);
