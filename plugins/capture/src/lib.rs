//! An observer that writes a training set: a line of JSON for each request, with what went in and what came out.
//!
//! The core knows nothing of WIT: `line` makes the lines, `answer` reads what was answered, streams too.

mod answer;
mod line;

selvedge_sdk::world!(
    "selvedge:capture/capture",
    "
        package selvedge:capture;
        world capture {
            include selvedge:plugin/observer-plugin@0.1.0;
            import selvedge:plugin/journals@0.1.0;
        }
    "
);

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::observer::{self, Event};
use selvedge::plugin::journals::{self, JournalError, Rotation};
use selvedge_sdk::{Configured, Failure, failure, failure_for_now};

pub use line::{Config, Request};

struct Plugin;

static CONFIG: Configured<Config> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        CONFIG.set(selvedge_sdk::parse_config(&config)?)
    }
}

impl observer::Guest for Plugin {
    fn observe(events: Vec<Event>) -> Result<(), Failure> {
        let config = CONFIG.get()?;
        let lines: Vec<String> = events
            .into_iter()
            .filter_map(|event| config.line(&request(event)))
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        let rotation = Rotation {
            file_bytes_max: config.file_bytes_max,
            files_max: config.files_max,
        };
        let too_long = lines
            .iter()
            .any(|line| line.len() as u64 >= config.file_bytes_max);
        journals::append(&config.journal, &lines, rotation)
            .map_err(|error| unwritten(&config.journal, error, too_long))
    }
}

/// Only a line that is too long will never do; the others are kept until the operator has seen to it.
fn unwritten(journal: &str, error: JournalError, too_long: bool) -> Failure {
    match error {
        JournalError::Denied => failure_for_now(
            "journal-denied",
            format!("the journal `{journal}` is not granted: `allow = {{ journals = [\"{journal}\"] }}`"),
        ),
        JournalError::Invalid(why) => failure("journal-refused", why),
        JournalError::TooLarge(max) if too_long => failure(
            "journal-line-too-long",
            format!("a line is longer than {max} bytes (`file_bytes_max`)"),
        ),
        JournalError::TooLarge(max) => failure_for_now(
            "journal-too-large",
            format!("`file_bytes_max` times `files_max` is more than {max} bytes (`limits.journal`)"),
        ),
        JournalError::Unavailable(why) => failure_for_now("journal-unavailable", why),
    }
}

fn request(event: Event) -> Request {
    Request {
        id: event.id,
        request_id: event.request_id,
        endpoint: event.endpoint,
        model: event.model,
        time_ms: event.time_ms,
        status: event.status,
        finish: event.finish.map(selvedge_sdk::finish_name),
        tokens: event
            .usage
            .map(|usage| (usage.prompt_tokens, usage.completion_tokens)),
        attributes: event.attributes,
        asked: event.request_body,
        answered: event.response_body,
    }
}

export!(Plugin);
