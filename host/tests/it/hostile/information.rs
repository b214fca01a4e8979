//! Plugins that look for what is not theirs, or write where others read.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::cpu::probe;
use super::siege::Attacker;
use crate::far;

/// A plugin that calls a URL, with what it is granted: what it is told.
fn called(url: &str, granted: &str) -> String {
    let siege = Attacker::built("hostile-http", json!({ "url": url }))
        .allow(&format!("http = [{granted}]"))
        .attack();
    let answer = siege.meanwhile(|| siege.ask());
    siege.leaves_nothing();
    let body = answer.json();
    assert_eq!((answer.status, &body["code"]), (422, &json!("called")), "{body}");
    let told = body["detail"].as_str().expect("a message").to_owned();
    // What no grant covers is counted, and nothing else is.
    let denied = usize::from(told == NOT_GRANTED || told == PRIVATE);
    assert_eq!(siege.denials("http"), denied, "{url}: {told}");
    told
}

/// What a plugin is told of a host that it may not call, by its SDK.
const NOT_GRANTED: &str = "the host is not granted: add it to `allow = { http = [..] }`";

/// And of one whose name, and no more, it may.
const PRIVATE: &str =
    "the host is at a private address, and that is not granted: `{ url = \"..\", private = true }`";

#[test]
pub(crate) fn case_49_files_names_and_hosts_that_are_not_granted() {
    let log = Attacker::deed("look-around").attack().is_let();
    assert!(
        log.contains("found: environment 0 arguments 0 file false folder false"),
        "{log}"
    );
    let (secret, asked) = far::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let granted = "\"http://127.0.0.1:9\"";
    for url in [
        format!("http://{secret}/"),
        "http://169.254.169.254/latest".into(),
        "https://example.com".into(),
    ] {
        assert_eq!(called(&url, granted), NOT_GRANTED, "{url}");
    }
    for url in ["file:///etc/passwd", "gopher://127.0.0.1"] {
        let told = called(url, granted);
        assert_eq!(
            told,
            format!("`{url}` is not a URL such as https://api.example/hook")
        );
    }
    names_of_a_private_address_lead_nowhere(secret.port());
    assert_eq!(asked.load(Ordering::SeqCst), 0, "somebody was called");
    // A redirect is an answer like any other.
    let to = format!("HTTP/1.1 302 Found\r\nlocation: http://{secret}/\r\ncontent-length: 0\r\n\r\n");
    let (redirects, _) = far::says(Box::leak(to.into_boxed_str()));
    let told = called(&format!("http://{redirects}"), &format!("\"http://{redirects}\""));
    assert_eq!((told.as_str(), asked.load(Ordering::SeqCst)), ("status 302", 0));
    what_is_of_others_is_denied();
    denials_are_logged_within_the_limit(&format!("http://{secret}/"), granted);
    assert_eq!(asked.load(Ordering::SeqCst), 0, "somebody was called");
    let sockets = r#"(component (import "wasi:sockets/tcp@0.2.0" (instance))
        (component $c) (instance $i (instantiate $c))
        (export "selvedge:plugin/lifecycle@0.1.0" (instance $i))
        (export "selvedge:plugin/validator@0.1.0" (instance $i)))"#;
    let sockets = wat::parse_str(sockets).expect("the text is well-formed");
    Attacker::bytes(sockets)
        .attack()
        .was_refused(&["wasi:sockets/tcp@0.2.0", "nothing can grant"]);
}

/// Nobody is called by a name that leads to a private address and is granted as a name.
fn names_of_a_private_address_lead_nowhere(port: u16) {
    // Old ways to write 127.0.0.1, which are no addresses by themselves: the system's resolver reads them, and asks nobody.
    for name in ["127.1", "2130706433", "0x7f.1"] {
        let url = format!("http://{name}:{port}");
        assert_eq!(called(&url, &format!("\"{url}\"")), PRIVATE, "{name}");
    }
}

/// Stores, secrets and models that others may have.
fn what_is_of_others_is_denied() {
    let steps = json!([
        { "kv-get": ["theirs", "a"] }, { "kv-set": ["theirs", "a", "b"] }, { "secret": "T" }, { "embed": ["minilm", ["a"]] },
    ]);
    let siege = probe(json!({ "steps": steps })).attack();
    let answer = siege.meanwhile(|| siege.ask());
    let told = json!(["denied", "denied", "denied", "denied"]).to_string();
    assert_eq!((answer.status, &answer.json()["detail"]), (422, &json!(told)));
    let denials = ["kv", "secrets", "models", "http", "journals"].map(|import| siege.denials(import));
    assert_eq!(denials, [2, 1, 1, 0, 0]);
    siege.leaves_nothing();
}

/// What is denied is logged only as far as the plugin may log.
fn denials_are_logged_within_the_limit(url: &str, granted: &str) {
    let siege = Attacker::built("hostile-http", json!({ "url": url, "times": 100_000 }))
        .allow(&format!("http = [{granted}]"))
        .limits("time = \"10s\", wall_time = \"20s\"")
        .attack();
    // What each denial leaves behind is a handle.
    siege.ends_with(502, "plugin-handles-limit");
    assert!(siege.denials("http") > 1);
    assert!(siege.said() < 128 << 10, "{} bytes", siege.said());
}

#[test]
pub(crate) fn case_50_what_the_instance_before_left_in_memory() {
    let siege = Attacker::deed("dig")
        .limits("time = \"2s\", wall_time = \"5s\"")
        .attack();
    siege.meanwhile(|| {
        for _ in 0..20 {
            assert_eq!(siege.ask().status, 200);
        }
    });
    let log = siege.is_let();
    let found: Vec<&str> = log.lines().filter(|line| line.contains("found: found")).collect();
    assert!(
        found.len() >= 20 && found.iter().all(|line| line.contains("found: found 0")),
        "{found:#?}"
    );
}

#[test]
pub(crate) fn case_51_lines_of_the_log_that_are_forged() {
    let logging = Attacker::deed("log-forge").attack();
    let logged = logging.is_let();
    // A failure is logged by the node, in the plugin's words.
    let failing = Attacker::deed("fail-forge").attack();
    failing.ends_alone("plugin-failed");
    assert_eq!((logging.log_dropped(), failing.log_dropped()), (0, 0));
    for log in [logged, failing.host.log()] {
        assert!(log.contains(r"innocent\n2026-01-01T00:00:00Z ERROR"), "{log}");
        assert!(
            !log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")),
            "{log}"
        );
        assert!(!log.contains("\u{1b}[31m"), "{log}");
    }
}

#[test]
pub(crate) fn case_52_a_metric_of_every_name() {
    let siege = Attacker::deed("metric-flood")
        .limits("time = \"2s\", wall_time = \"5s\"")
        .attack();
    siege.is_let();
    let metrics = String::from_utf8(siege.host.client().get("/metrics").body).expect("UTF-8");
    assert!(!metrics.contains("name_"), "{metrics}");
    // Of what is declared, as many values as one call may record, and none that would spoil their sum.
    let counted = siege.counted("selvedge_plugin_value_count", &[("name", "declared")]);
    let sum = siege.counted("selvedge_plugin_value_sum", &[("name", "declared")]);
    assert_eq!((counted, sum), (97, (0..97).sum()), "{metrics}");
}

#[test]
pub(crate) fn case_53_clocks_that_tell_what_others_do() {
    let log = Attacker::deed("clock").attack().is_let();
    let line = log
        .lines()
        .find(|line| line.contains("found: monotonic"))
        .expect("what it saw");
    let steps = line.split("found: ").nth(1).expect("there");
    let steps: Vec<u64> = steps.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(
        steps.len() == 2 && steps.iter().all(|step| *step > 0 && step % 1_000_000 == 0),
        "{line}"
    );
}
