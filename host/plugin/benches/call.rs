//! What a call of a plugin costs: a fresh instance from its snapshot, the call, the instance dropped; and how calls scale
//! over workers. Prints medians and ratios; run it on a quiet machine: `cargo xtask bench --bench call`.

#![expect(clippy::print_stdout, reason = "what a bench is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_plugin::value::{Request, Verdict};
use selvedge_plugin::{AttachOptions, Attachment, Grants, Limits, Sandbox, SandboxOptions, Start};
use serde_json::json;

/// How long a rate is measured.
const RATE_TIME: Duration = Duration::from_secs(2);

/// How often each rate is measured.
const ROUNDS: usize = 5;

fn main() {
    divan::main();
    scaling();
}

/// A fresh instance from the snapshot, the call, the instance dropped.
#[divan::bench]
fn from_snapshot(bencher: divan::Bencher) {
    call(bencher, Start::Snapshot, 1);
}

/// The call on an instance that serves 1,000, one after the other.
#[divan::bench]
fn reused(bencher: divan::Bencher) {
    call(bencher, Start::Snapshot, 1000);
}

/// The same, with `configure` in each instance.
#[divan::bench]
fn configured_each_time(bencher: divan::Bencher) {
    call(bencher, Start::ConfigureEach, 1);
}

fn call(bencher: divan::Bencher, start: Start, reuse: u32) {
    let bench = Bench::new(1);
    let attachment = bench.executor.block_on(attach(&bench.sandbox, start, reuse));
    let request = request();
    bencher.bench_local(|| {
        let verdict = bench.executor.block_on(attachment.validate(&request));
        assert_eq!(verdict.expect("a verdict"), Verdict::Accept);
    });
}

/// Prints calls a second of one worker and of two, in turn, so that a slow phase of the machine falls on both.
fn scaling() {
    let (one, two) = (Bench::new(1), Bench::new(2));
    let attachment = one.executor.block_on(attach(&one.sandbox, Start::Snapshot, 1));
    for _ in 0..ROUNDS {
        let alone = one.executor.block_on(rate(&attachment, 1));
        let both = two.executor.block_on(rate(&attachment, 2));
        println!(
            "calls/s: one worker {alone:>8.0}   two workers {both:>8.0}   ratio {:.2}",
            both / alone
        );
    }
}

/// A sandbox, and an executor to call it on.
struct Bench {
    sandbox: Sandbox,
    executor: tokio::runtime::Runtime,
    _cache: tempfile::TempDir,
}

impl Bench {
    fn new(workers: usize) -> Self {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let executor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build();
        Self {
            sandbox: Sandbox::new(SandboxOptions::new(cache.path().join("cache"))).expect("a sandbox"),
            executor: executor.expect("an executor"),
            _cache: cache,
        }
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

async fn attach(sandbox: &Sandbox, start: Start, reuse: u32) -> Attachment {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist/json-schema.wasm");
    let bytes = std::fs::read(path).expect("built by `cargo xtask plugins`");
    let plugin = Arc::new(
        sandbox
            .read("json-schema", bytes.into(), &Grants::default())
            .expect("a plugin"),
    );
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
        grants: Grants::default(),
        vocabulary: None,
        spent: None,
        clock: None,
        start,
        reuse,
    };
    sandbox.attach(&plugin, options).await.expect("attached")
}

fn request() -> Arc<Request> {
    Arc::new(Request {
        body: body().into(),
        ..Request::default()
    })
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
