//! What a call of a plugin costs: a fresh instance from its snapshot, the call, the instance dropped; and how calls scale
//! over workers. Prints medians and ratios; run it on a quiet machine: `cargo xtask bench --bench call`.

#![expect(clippy::print_stdout, reason = "what a bench is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_plugin::value::{Request, Verdict};
use selvedge_plugin::{AttachOptions, Attachment, Limits, Sandbox, SandboxOptions, Start};
use serde_json::json;

/// Calls of one series; its median is what counts.
const CALLS: usize = 5_000;

/// How long a rate is measured.
const RATE_TIME: Duration = Duration::from_secs(2);

/// Series of each kind, in turn, so that a slow phase of the machine falls on all of them.
const ROUNDS: usize = 5;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sandbox = Sandbox::new(SandboxOptions::new(dir.path().join("cache"))).expect("a sandbox");
    let workers = |count| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(count)
            .enable_all()
            .build()
    };
    let one = workers(1).expect("an executor");
    let two = workers(2).expect("an executor");
    let snapshot = one.block_on(attach(&sandbox, Start::Snapshot));
    let configured = one.block_on(attach(&sandbox, Start::ConfigureEach));
    println!(
        "json-schema on a chat body of {} bytes, medians of {CALLS} calls, {ROUNDS} rounds",
        body().len()
    );
    for _ in 0..ROUNDS {
        let (median, p99) = one.block_on(series(&snapshot, CALLS));
        let (slow, _) = one.block_on(series(&configured, CALLS / 50));
        let ratio = slow.as_secs_f64() / median.as_secs_f64();
        println!("snapshot {median:>9.1?} (p99 {p99:.1?})   configure each {slow:>9.1?}   ratio {ratio:.0}");
    }
    for _ in 0..ROUNDS {
        let alone = one.block_on(rate(&snapshot, 1));
        let both = two.block_on(rate(&snapshot, 2));
        println!(
            "calls/s: one worker {alone:>8.0}   two workers {both:>8.0}   ratio {:.2}",
            both / alone
        );
    }
}

/// A chat request of about 300 bytes.
fn body() -> String {
    json!({
        "model": "assistant",
        "messages": [
            { "role": "system", "content": "You are a helpful assistant who answers in one short sentence." },
            { "role": "user", "content": "Explain in two sentences what WebAssembly is and why it starts fast." },
        ],
        "temperature": 0.7, "max_tokens": 128, "stream": false,
    })
    .to_string()
}

async fn attach(sandbox: &Sandbox, start: Start) -> Attachment {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist/json-schema.wasm");
    let bytes = std::fs::read(path).expect("built by `cargo xtask plugins`");
    let plugin = Arc::new(sandbox.read("json-schema", bytes.into()).expect("a plugin"));
    let message = json!({
        "type": "object", "required": ["role", "content"],
        "properties": { "role": { "enum": ["system", "user", "assistant"] }, "content": { "type": "string", "minLength": 1 } },
    });
    let schema = json!({
        "type": "object", "required": ["model", "messages"],
        "properties": {
            "model": { "type": "string" },
            "messages": { "type": "array", "minItems": 1, "items": message },
            "temperature": { "type": "number", "minimum": 0, "maximum": 2 },
            "max_tokens": { "type": "integer", "minimum": 1 },
        },
    });
    let limits = Limits::default();
    let options = AttachOptions {
        endpoint: "bench".into(),
        config: json!({ "schema": schema }),
        limits,
        headers: Vec::new(),
        start,
    };
    sandbox.attach(&plugin, options).await.expect("attached")
}

fn request() -> Arc<Request> {
    Arc::new(Request {
        body: body().into(),
        ..Request::default()
    })
}

async fn series(attachment: &Attachment, calls: usize) -> (Duration, Duration) {
    let request = request();
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let started = Instant::now();
        assert_eq!(
            attachment.validate(&request).await.expect("a verdict"),
            Verdict::Accept
        );
        times.push(started.elapsed());
    }
    times.sort_unstable();
    (times[calls / 2], times[calls * 99 / 100])
}

/// Calls a second of `tasks` tasks at once.
async fn rate(attachment: &Attachment, tasks: usize) -> f64 {
    let started = Instant::now();
    let mut tasks_running = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (attachment, request) = (attachment.clone(), request());
        tasks_running.spawn(async move {
            let mut calls = 0_u32;
            while started.elapsed() < RATE_TIME {
                attachment.validate(&request).await.expect("a verdict");
                calls += 1;
                tokio::task::yield_now().await;
            }
            f64::from(calls)
        });
    }
    let calls: f64 = tasks_running.join_all().await.iter().sum();
    calls / started.elapsed().as_secs_f64()
}
