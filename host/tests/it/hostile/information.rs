//! Plugins that look for what is not theirs, or write where others read.

use std::sync::atomic::Ordering;

use serde_json::json;

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
    body["detail"].as_str().expect("a message").to_owned()
}

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
        let told = called(&url, granted);
        assert!(told.contains("not granted"), "{url}: {told}");
    }
    for url in ["file:///etc/passwd", "gopher://127.0.0.1"] {
        assert!(called(url, granted).contains("is not a URL"), "{url}");
    }
    // A name that leads to a private address, granted as a name: nobody is called.
    let port = secret.port();
    let told = called(
        &format!("http://localtest.me:{port}"),
        &format!("\"http://localtest.me:{port}\""),
    );
    assert!(
        told.contains("private address") || told.contains("cannot be found"),
        "{told}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 0, "somebody was called");
    // A redirect is an answer like any other.
    let to = format!("HTTP/1.1 302 Found\r\nlocation: http://{secret}/\r\ncontent-length: 0\r\n\r\n");
    let (redirects, _) = far::says(Box::leak(to.into_boxed_str()));
    let told = called(&format!("http://{redirects}"), &format!("\"http://{redirects}\""));
    assert_eq!((told.as_str(), asked.load(Ordering::SeqCst)), ("status 302", 0));
    // What is denied is logged only as far as the plugin may log.
    let siege = Attacker::built(
        "hostile-http",
        json!({ "url": format!("http://{secret}/"), "times": 100_000 }),
    )
    .allow(&format!("http = [{granted}]"))
    .attack();
    let code = siege.meanwhile(|| siege.ask()).json()["code"].to_string();
    assert!(code.contains("-limit"), "{code}");
    assert!(siege.said() < 128 << 10, "{} bytes", siege.said());
    let sockets = r#"(component (import "wasi:sockets/tcp@0.2.0" (instance))
        (component $c) (instance $i (instantiate $c))
        (export "selvedge:plugin/lifecycle@0.1.0" (instance $i))
        (export "selvedge:plugin/validator@0.1.0" (instance $i)))"#;
    let sockets = wat::parse_str(sockets).expect("the text is well-formed");
    Attacker::bytes(sockets)
        .attack()
        .was_refused(&["wasi:sockets/tcp@0.2.0", "nothing can grant"]);
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
    let logged = Attacker::deed("log-forge").attack().is_let();
    // A failure is logged by the node, in the plugin's words.
    let failing = Attacker::deed("fail-forge").attack();
    failing.ends_alone("plugin-failed");
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
    let declared = metrics
        .lines()
        .filter(|line| line.starts_with("selvedge_plugin_value{"));
    assert!(declared.count() <= 1, "{metrics}");
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
