//! Logs the status of each request.

selvedge_sdk::world!("observer-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::observer::{self, Event};
use selvedge_sdk::{Failure, logging};

struct Plugin;

impl lifecycle::Guest for Plugin {
    fn configure(_config: String) -> Result<(), Failure> {
        Ok(())
    }
}

impl observer::Guest for Plugin {
    fn observe(events: Vec<Event>) -> Result<(), Failure> {
        for event in &events {
            let fields = [("status".to_owned(), event.status.to_string())];
            logging::log(logging::Level::Info, &event.endpoint, &fields);
        }
        Ok(())
    }
}

export!(Plugin);
