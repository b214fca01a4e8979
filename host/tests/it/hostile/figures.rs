//! What an attack costs the innocent: `cargo xtask bench attack`. Prints how long their requests take while nobody attacks and
//! while every hostile guest does in turn, and the ratio; asserts no time.
//!
//! Left out are `hostile-decode`, which needs a model that generates text, whose own work would be measured; `hostile-observer`,
//! which works when its request is answered and beside the next; and what is refused before a request comes.

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cpu::{calling, probe};
use super::guest;
use super::protocol::{stream_attacker, words};
use super::siege::{Attacker, node};
use crate::client::Client;
use crate::far;
use crate::host::TestHost;

/// How long is measured without an attack.
const QUIET: Duration = Duration::from_secs(5);

/// How often an innocent request is sent.
const EVERY: Duration = Duration::from_millis(2);

const ROUNDS: usize = 5;

/// Deeds of the plugin `hostile` in a request.
const DEEDS: [&str; 15] = [
    "loop",
    "memory-bomb",
    "stack-overflow",
    "huge-result",
    "panic",
    "trap",
    "fail",
    "sleep",
    "print-flood",
    "log-flood",
    "log-forge",
    "host-memory",
    "handle-leak",
    "dig",
    "metric-flood",
];

/// Deeds of the plugin `hostile-answer`.
const ANSWERS: [(&str, &str); 6] = [
    ("render", "many-texts"),
    ("render", "token-ids"),
    ("render", "deep-params"),
    ("render", "not-a-number"),
    ("process", "deep-json"),
    ("process", "bad-status"),
];

/// Deeds of the plugin `hostile-stream`.
const PUSHES: [&str; 7] = [
    "trap-third",
    "loop",
    "multiply",
    "bad-choice",
    "amplify",
    "million",
    "drop-other",
];

/// Words of the server that its endpoint passes on, one every 15 ms.
const WORDS: usize = 20;

/// All of them, by the names of their endpoints.
fn attackers() -> Vec<(String, Attacker)> {
    let texts = guest::IN_A_REQUEST.map(|(name, guest, _)| (name.to_owned(), Attacker::text(&guest)));
    let deeds = DEEDS.map(|deed| (format!("deed-{deed}"), Attacker::deed(deed)));
    let answers = ANSWERS.map(|(stage, deed)| {
        let attacker = Attacker::built("hostile-answer", json!({ stage: deed }));
        (format!("answer-{deed}"), attacker)
    });
    let server = words(WORDS);
    let pushes = PUSHES.map(|deed| (format!("push-{deed}"), stream_attacker(deed, server)));
    let attackers = texts.into_iter().chain(deeds).chain(answers).chain(pushes);
    let attackers = attackers.chain(callers());
    let usual = |(name, attacker): (String, Attacker)| {
        (name, attacker.limits("time = \"100ms\", wall_time = \"1s\""))
    };
    attackers.map(usual).collect()
}

/// Those that ask others: servers, models and stores, granted or not; and the one that needs more memory than by default.
fn callers() -> [(String, Attacker); 7] {
    let (hanging, _) = far::server(|_, _stream, _| std::thread::park());
    let not_granted = json!({ "url": "http://127.0.0.1:9", "times": 100_000 });
    let probing = |step: Value| probe(json!({ "store": "mine", "steps": [step] }));
    let named = [
        ("call-that-hangs", calling(hanging)),
        (
            "call-flood",
            Attacker::built("hostile-http", not_granted).allow("http = [\"http://127.0.0.1:10\"]"),
        ),
        ("probe-flood", probing(json!({ "flood": 100_000_000 }))),
        (
            "probe-flood-names",
            probing(json!({ "flood-names": [100_000, 1_000_000] })),
        ),
        ("probe-hold", probing(json!({ "hold": 100_000 }))),
        ("probe-big-value", probing(json!({ "big-value": 16 << 20 }))),
        (
            "deed-panic-huge",
            Attacker::deed("panic-huge").limits("memory = \"256MiB\""),
        ),
    ];
    named.map(|(name, attacker)| (name.to_owned(), attacker))
}

#[test]
#[ignore = "a bench, which prints figures: `cargo xtask bench attack`"]
#[expect(clippy::print_stdout, reason = "what a bench is for")]
fn attack() {
    let attackers = attackers();
    let named: Vec<(&str, &Attacker)> = attackers.iter().map(|(name, it)| (name.as_str(), it)).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let host = TestHost::start(&node(&named, dir.path()));
    let client = host.client();
    println!(
        "{} hostile guests in turn, an innocent request each {EVERY:?}",
        named.len()
    );
    let [mut all_quiet, mut all_attacked] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let quiet = latencies(client, || std::thread::sleep(QUIET));
        for at_once in [1, 4] {
            let windows = Mutex::new(Vec::new());
            let attacked = latencies(client, || attack_in_turn(client, &named, at_once, &windows));
            let windows = windows.into_inner().expect("no panic");
            println!("attackers {at_once}: {}", compared(&quiet, &attacked));
            println!("  slow beside: {}", slow(&attacked, &windows, at(&quiet, 99) * 2));
            if at_once == 1 {
                all_attacked.extend(attacked);
            }
        }
        all_quiet.extend(quiet);
    }
    println!(
        "one attacker, all rounds: {}",
        compared(&all_quiet, &all_attacked)
    );
}

/// Has so many clients ask every hostile guest, one after the other, and notes when each did.
fn attack_in_turn<'a>(
    client: Client,
    named: &[(&'a str, &Attacker)],
    at_once: usize,
    windows: &Mutex<Vec<Window<'a>>>,
) {
    let attack = || {
        for (name, _) in named {
            let began = Instant::now();
            attack_once(client, name);
            let window = (*name, began, Instant::now());
            windows.lock().expect("no panic").push(window);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(attack);
        }
    });
}

/// A guest, and from when to when it was asked.
type Window<'a> = (&'a str, Instant, Instant);

fn compared(quiet: &[Asked], attacked: &[Asked]) -> String {
    let of = |of_100: usize| (at(quiet, of_100), at(attacked, of_100));
    let ((p50, p50_attacked), (p99, p99_attacked)) = (of(50), of(99));
    let ratio = p99_attacked.as_secs_f64() / p99.as_secs_f64();
    let counts = (quiet.len(), attacked.len());
    format!(
        "p50 {p50:.2?} -> {p50_attacked:.2?}   p99 {p99:.2?} -> {p99_attacked:.2?}   ratio {ratio:.2}   ({} and {} requests)",
        counts.0, counts.1
    )
}

/// A request to a hostile guest. Its answer is thrown away as it comes, since its client is on another machine as a rule.
fn attack_once(client: Client, name: &str) {
    let mut stream = client.begin(&format!("/{name}"), r#"{"text":"hello"}"#);
    let mut part = vec![0; 64 << 10];
    while stream.read(&mut part).expect("an answer") > 0 {}
}

/// A request: when it began, and how long it took.
type Asked = (Instant, Duration);

/// How long innocent requests take while something is done.
fn latencies(client: Client, meanwhile: impl FnOnce()) -> Vec<Asked> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(client.post("/classify", r#"{"text":"hello"}"#).status, 200);
                asked.push((began, began.elapsed()));
                std::thread::sleep(EVERY.saturating_sub(began.elapsed()));
            }
            asked
        });
        meanwhile();
        over.store(true, Ordering::Relaxed);
        asking.join().expect("no panic")
    })
}

/// The attackers beside which most requests took longer than `limit`: how many of how many, and the longest.
fn slow(asked: &[Asked], windows: &[Window<'_>], limit: Duration) -> String {
    let beside = |(name, from, to): &Window<'_>| {
        let beside = asked
            .iter()
            .filter(|(began, took)| began < to && *began + *took > *from);
        let taken: Vec<Duration> = beside.map(|(_, took)| *took).collect();
        let late = taken.iter().filter(|took| **took > limit).count();
        let longest = taken.iter().max().copied().unwrap_or_default();
        (late, taken.len(), longest, (*name).to_owned())
    };
    let mut found: Vec<(usize, usize, Duration, String)> = windows.iter().map(beside).collect();
    found.sort_unstable();
    let told = found
        .iter()
        .rev()
        .take(6)
        .map(|(late, of, longest, name)| format!("{name} {late} of {of}, up to {longest:.1?}"));
    told.collect::<Vec<_>>().join("; ")
}

/// How long so many of 100 requests took at most.
fn at(asked: &[Asked], of_100: usize) -> Duration {
    let mut taken: Vec<Duration> = asked.iter().map(|(_, took)| *took).collect();
    taken.sort_unstable();
    taken[taken.len() * of_100 / 100]
}
