//! What a call of a plugin in JavaScript and in Python costs: a fresh instance, the call, the instance dropped; from its snapshot, and
//! configured each time; and with instances that serve 1,000 calls each. Prints medians of rounds in turn: `cargo xtask bench --bench scripts`.

#![expect(clippy::print_stdout, reason = "what a bench is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_plugin::value::{Completion, Finish, Label, Output, Request, Usage};
use selvedge_plugin::{AttachOptions, Attachment, Grants, Limits, Origin, Sandbox, SandboxOptions, Start};
use serde_json::{Value, json};

/// Calls of a round.
const CALLS: usize = 400;

/// How often each is measured.
const ROUNDS: usize = 5;

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    executor.expect("an executor").block_on(measure());
}

async fn measure() {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let sandbox = Sandbox::new(SandboxOptions::new(cache.path().join("cache"))).expect("a sandbox");
    let crm = json!({ "url": "https://crm.example/", "instruction": "Answer shortly.", "facts": ["name"] });
    let calibrate = json!({ "temperature": 2, "margin": 0.2 });
    let mut benches = Vec::new();
    for (how, start, reuse) in [
        ("snapshot", Start::Snapshot, 1),
        ("configured", Start::ConfigureEach, 1),
        ("reused", Start::Snapshot, 1000),
    ] {
        let attached = attach(&sandbox, "crm", &crm, (start, reuse)).await;
        benches.push(("JavaScript, crm", how, attached));
        let attached = attach(&sandbox, "calibrate", &calibrate, (start, reuse)).await;
        benches.push(("Python, calibrate", how, attached));
    }
    for _ in 0..ROUNDS {
        for (name, how, attachment) in &benches {
            let (median, p99) = round(attachment).await;
            println!("{name:<20} {how:<14} median {median:>10.1?}   p99 {p99:>10.1?}");
        }
    }
}

async fn attach(sandbox: &Sandbox, name: &str, config: &Value, (start, reuse): (Start, u32)) -> Attachment {
    let dist = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    let bytes = std::fs::read(dist.join(format!("{name}.wasm"))).expect("built by `cargo xtask plugins`");
    let grants = Grants {
        http: vec![Origin::parse("https://crm.example").expect("an origin")],
        secrets: [("CRM_TOKEN".to_owned(), "a token".to_owned())].into(),
        ..Grants::default()
    };
    let plugin = Arc::new(sandbox.read(name, bytes.into(), &grants).expect("a plugin"));
    let options = AttachOptions {
        endpoint: "bench".into(),
        config: config.clone(),
        // A machine that does other work beside must not end a call.
        limits: Limits {
            wall_time: Duration::from_secs(60),
            ..Limits::default()
        },
        headers: Vec::new(),
        grants,
        vocabulary: None,
        spent: None,
        clock: None,
        start,
        reuse,
    };
    sandbox.attach(&plugin, options).await.expect("attached")
}

/// The median and the 99th percentile of a round's calls.
async fn round(attachment: &Attachment) -> (Duration, Duration) {
    let body = "{\"text\":\"Explain in two sentences what WebAssembly is and why it starts fast.\"}";
    let request = Arc::new(Request {
        body: body.into(),
        ..Request::default()
    });
    let label = |name: &str, score| Label {
        name: name.to_owned(),
        score,
    };
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let done = Completion {
            output: Output::Labels(vec![vec![label("spam", 0.75), label("ham", 0.25)]]),
            finish: Finish::Stop,
            usage: Usage::default(),
        };
        let started = Instant::now();
        if attachment.has_stage(selvedge_plugin::Stage::Template) {
            attachment.render(&request, None).await.expect("a prompt");
        } else {
            attachment.process(&request, done).await.expect("an action");
        }
        times.push(started.elapsed());
    }
    times.sort();
    (times[CALLS / 2], times[CALLS * 99 / 100])
}
