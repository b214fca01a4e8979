//! Does its worst with events, by what is in their request's body: `trap`, `loop`, `sleep`, `never`, `later`. It is no example.
//!
//! The others it logs, `taken NUMBER of COUNT: BODY`, by which a test sees what came together.

selvedge_sdk::world!("observer-plugin");

use std::hint::black_box;
use std::time::Duration;

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::observer::{self, Event};
use selvedge_sdk::{Failure, failure, failure_for_now, logging};

struct Plugin;

impl lifecycle::Guest for Plugin {
    fn configure(_config: String) -> Result<(), Failure> {
        Ok(())
    }
}

impl observer::Guest for Plugin {
    fn observe(events: Vec<Event>) -> Result<(), Failure> {
        let body = |event: &Event| {
            String::from_utf8_lossy(event.request_body.as_deref().unwrap_or_default()).into_owned()
        };
        let bodies: Vec<String> = events.iter().map(body).collect();
        for body in &bodies {
            commit(body)?;
        }
        for (number, body) in bodies.iter().enumerate() {
            let line = format!("taken {} of {}: {body}", number + 1, bodies.len());
            logging::log(logging::Level::Info, &line, &[]);
        }
        Ok(())
    }
}

fn commit(body: &str) -> Result<(), Failure> {
    if body.contains("trap") {
        std::process::abort();
    }
    if body.contains("loop") {
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }
    if body.contains("sleep") {
        std::thread::sleep(Duration::from_secs(3600));
    }
    if body.contains("never") {
        return Err(failure("never-will", "it never will"));
    }
    if body.contains("later") {
        return Err(failure_for_now("not-now", "it may later"));
    }
    Ok(())
}

export!(Plugin);
