//! What many live streams take: an instance of a Rust plugin each, open, pushed to once and then idle. Prints resident and
//! private memory and mappings of the process for each; `cargo xtask bench --bench streams`, or with the number, the plugin
//! and its configuration: `-- 8000 redact '{"words":["secret"]}'`.

#![expect(clippy::print_stdout, reason = "what a bench is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_plugin::value::{Chunk, Request};
use selvedge_plugin::{AttachOptions, Attachment, Grants, Limits, Sandbox, SandboxOptions, Start};
use serde_json::Value;

fn main() {
    // `cargo bench` adds `--bench` of its own.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let count = words.next().map_or(8000, |word| word.parse().expect("a number"));
    let name = words.next().unwrap_or_else(|| "redact".to_owned());
    let config = words
        .next()
        .unwrap_or_else(|| r#"{"builtin":["email"]}"#.to_owned());
    let config = serde_json::from_str(&config).expect("JSON");
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    executor
        .expect("an executor")
        .block_on(hold(count, &name, config));
}

/// Opens so many streams, pushes a word to each, and says what they take.
async fn hold(count: usize, name: &str, config: Value) {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let sandbox = Sandbox::new(SandboxOptions {
        instances_max: count,
        // What an instance may write to is counted, though most of it stays the snapshot's.
        memory_total_max: Some(64 << 30),
        ..SandboxOptions::new(cache.path().join("cache"))
    });
    let attachment = attach(&sandbox.expect("a sandbox"), name, config).await;
    let request = Arc::new(Request::default());
    let word = [Chunk {
        choice: 0,
        text: "no news is ".to_owned(),
    }];
    let before = Taken::now();
    let started = Instant::now();
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = attachment.open_stream(&request, 1).await.expect("opened");
        stream.push(&word).await.expect("pushed");
        streams.push(stream);
    }
    let opened = started.elapsed();
    let after = Taken::now();
    let started = Instant::now();
    for stream in &mut streams {
        stream.push(&word).await.expect("pushed");
    }
    let pushed = started.elapsed();
    let each = |after: usize, before: usize| after.saturating_sub(before) as f64 / count as f64;
    println!("{count} live streams with `{name}`");
    println!(
        "  opened in {:.1} µs each, pushed to in {:.1} µs each",
        micros(opened, count),
        micros(pushed, count)
    );
    println!(
        "  resident  {:8.1} KiB each, of which shared with the snapshot's pages",
        each(after.resident, before.resident)
    );
    println!(
        "  pss       {:8.1} KiB each",
        each(after.proportional, before.proportional)
    );
    println!("  private   {:8.1} KiB each", each(after.private, before.private));
    println!(
        "  mappings  {:8.1} each, {} before and {} with them",
        each(after.mappings, before.mappings),
        before.mappings,
        after.mappings
    );
}

fn micros(took: Duration, count: usize) -> f64 {
    took.as_secs_f64() * 1e6 / count as f64
}

/// What the process takes: KiB, and mappings.
struct Taken {
    resident: usize,
    proportional: usize,
    private: usize,
    mappings: usize,
}

impl Taken {
    fn now() -> Self {
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
        let sum = |names: &[&str]| {
            let lines = rollup
                .lines()
                .filter(|line| names.iter().any(|name| line.starts_with(name)));
            lines
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok())
                .sum()
        };
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
        Self {
            resident: sum(&["Rss:"]),
            proportional: sum(&["Pss:"]),
            private: sum(&["Private_Clean:", "Private_Dirty:"]),
            mappings: maps.lines().count(),
        }
    }
}

async fn attach(sandbox: &Sandbox, name: &str, config: Value) -> Attachment {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/dist/{name}.wasm"));
    let bytes = std::fs::read(path).expect("built by `cargo xtask plugins`");
    let plugin = sandbox
        .read(name, bytes.into(), &Grants::default())
        .expect("a plugin");
    let options = AttachOptions {
        endpoint: "bench".into(),
        config,
        limits: Limits::default(),
        headers: Vec::new(),
        grants: Grants::default(),
        vocabulary: None,
        spent: None,
        clock: None,
        start: Start::Snapshot,
        reuse: 1,
    };
    sandbox
        .attach(&Arc::new(plugin), options)
        .await
        .expect("attached")
}
