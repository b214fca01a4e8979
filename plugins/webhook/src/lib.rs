//! An observer that posts each event to a server, signed as <https://www.standardwebhooks.com> has it.
//!
//! Each event is a message of its own, whose id stays the same when it is sent again, so that the receiver can tell. The core
//! knows nothing of WIT: `message` has the body and the signature.

mod message;

selvedge_sdk::world!(
    "selvedge:webhook/webhook",
    "
        package selvedge:webhook;
        world webhook {
            include selvedge:plugin/observer-plugin@0.1.0;
            import selvedge:plugin/secrets@0.1.0;
        }
    "
);

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::observer::{self, Event};
use selvedge::plugin::secrets::{self, SecretError};
use selvedge_sdk::http::{Url, post};
use selvedge_sdk::{Configured, Failure, bad_config, failure, failure_for_now};
use serde::Deserialize;

pub use message::{Request, Signer, Timing};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    url: String,
    #[serde(default = "secret")]
    secret: String,
    #[serde(default = "kind", rename = "type")]
    kind: String,
    #[serde(default = "timeout_ms")]
    timeout_ms: u64,
}

fn secret() -> String {
    "WEBHOOK_SECRET".to_owned()
}

fn kind() -> String {
    "request.completed".to_owned()
}

fn timeout_ms() -> u64 {
    10_000
}

struct Plugin;

static CONFIG: Configured<(Config, Url)> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        let url = Url::parse(&config.url).map_err(|why| bad_config(format!("`url`: {why}")))?;
        CONFIG.set((config, url))
    }
}

impl observer::Guest for Plugin {
    fn observe(events: Vec<Event>) -> Result<(), Failure> {
        let (config, url) = CONFIG.get()?;
        let signer = signer(&config.secret)?;
        for event in events {
            send(config, url, &signer, &request(event))?;
        }
        Ok(())
    }
}

/// Secrets are read when they are used: what `configure` saw would be in the snapshot.
fn signer(name: &str) -> Result<Signer, Failure> {
    let bad = |why: String| failure_for_now("bad-secret", format!("the secret `{name}` {why}"));
    let value = secrets::get(name).map_err(|error| {
        bad(match error {
            SecretError::Denied => format!("is not granted: `allow = {{ secrets = [\"{name}\"] }}`"),
            SecretError::NotFound | SecretError::Unavailable => "is not there".to_owned(),
        })
    })?;
    Signer::new(&value).map_err(bad)
}

fn send(config: &Config, url: &Url, signer: &Signer, request: &Request) -> Result<(), Failure> {
    let body = request.body(&config.kind);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let headers = [
        ("content-type", "application/json".to_owned()),
        (
            "user-agent",
            concat!("selvedge-webhook/", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
        ("webhook-id", request.id.clone()),
        ("webhook-timestamp", now.to_string()),
        ("webhook-signature", signer.sign(&request.id, now, &body)),
    ];
    let server = config.url.split('/').take(3).collect::<Vec<_>>().join("/");
    let status = post(
        url,
        &headers,
        body.as_bytes(),
        Duration::from_millis(config.timeout_ms),
    )
    // Of the address only its server: what is behind it may be a secret, and this is logged and kept.
    .map_err(|why| failure_for_now("webhook-unreachable", format!("{server}: {why}")))?;
    let message = format!("{server} answered {status}");
    match status {
        200..=299 => Ok(()),
        // The server found fault with this event; another answer may come for the next one.
        400 | 413 | 415 | 422 => Err(failure("webhook-refused", message)),
        _ => Err(failure_for_now("webhook-failed", message)),
    }
}

fn request(event: Event) -> Request {
    let timing = |timing: observer::Timing| Timing {
        stage: timing.stage,
        plugin: timing.plugin,
        micros: timing.micros,
    };
    Request {
        id: event.id,
        request_id: event.request_id,
        endpoint: event.endpoint,
        model: event.model,
        dialect: event.dialect,
        principal: event.principal,
        time_ms: event.time_ms,
        status: event.status,
        finish: event.finish.map(selvedge_sdk::finish_name),
        tokens: event
            .usage
            .map(|usage| (usage.prompt_tokens, usage.completion_tokens)),
        timings: event.timings.into_iter().map(timing).collect(),
        attributes: event.attributes,
        asked: event.request_body,
        answered: event.response_body,
    }
}

export!(Plugin);
