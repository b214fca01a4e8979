//! A plugin that does its worst on one endpoint does nothing to another's requests; nor does one that cannot be loaded.

use serde_json::json;

use crate::hostile::innocent::beside;
use crate::node::{CLASSIFY, NodeConfig};

/// An endpoint `/NAME` whose validator does a deed in `stage`.
fn endpoint(name: &str, stage: &str, deed: &str) -> String {
    format!(
        "\n[endpoints.{name}]\npath = \"/{name}\"\nmodel = \"spam\"\nplugins = [{{ use = \"hostile\", config = {{ {stage} = \"{deed}\" }} }}]\n"
    )
}

/// The demo's `classify` and these endpoints of the hostile plugin.
fn hostile(endpoints: &str) -> NodeConfig {
    NodeConfig::of(&[CLASSIFY])
        .with_plugin("hostile")
        .with("plugins.hostile.limits.configure_time = \"300ms\"")
        .with(endpoints)
}

#[test]
fn each_deed_ends_its_request_with_a_502_that_names_the_plugin_while_others_are_served() {
    let deeds = [
        ("loop", "plugin-time-limit"),
        ("memory-bomb", "plugin-memory-limit"),
        ("stack-overflow", "plugin-"),
        ("huge-result", "plugin-memory-limit"),
        ("trap", "plugin-trap"),
        ("panic", "plugin-trap"),
        ("handle-leak", "plugin-handles-limit"),
        ("sleep", "plugin-wall-time-limit"),
        ("fail", "plugin-failed"),
    ];
    let endpoints: String = deeds
        .iter()
        .map(|(deed, _)| endpoint(deed, "validate", deed))
        .collect();
    let host = hostile(&endpoints).start();
    let innocent = || assert_eq!(host.client().post("/classify", r#"{"text":"hello"}"#).status, 200);
    for (deed, code) in deeds.iter().chain(&deeds) {
        let attack = || host.client().post(&format!("/{deed}"), r#"{"text":"x"}"#);
        let answer = beside(innocent, attack);
        let body = answer.json();
        assert_eq!(answer.status, 502, "{deed}: {body}");
        assert!(
            body["code"].as_str().is_some_and(|found| found.starts_with(code)),
            "{deed}: {body}"
        );
        assert!(
            body["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("`hostile`")),
            "{deed}: {body}"
        );
    }
    assert_eq!(host.client().get("/readyz").json()["sandbox"]["instances"], 0);
    assert!(
        host.log().contains("did-not-want-to"),
        "the plugin's own words are in the log:\n{}",
        host.log()
    );
}

#[test]
fn what_a_plugin_logs_is_bounded_and_cannot_forge_a_line() {
    let endpoints =
        endpoint("forge", "validate", "log-forge") + &endpoint("flood", "validate", "print-flood");
    // On a busy machine a flood takes longer than a call may by default.
    let limits = "plugins.hostile.limits = { time = \"5s\", wall_time = \"20s\" }";
    let host = hostile(&endpoints).with(limits).start();
    assert_eq!(host.client().post("/forge", r#"{"text":"hello"}"#).status, 200);
    assert_eq!(host.client().post("/flood", r#"{"text":"hello"}"#).status, 200);
    host.terminate();
    let log = host.log_to_the_end();
    assert!(log.contains(r"innocent\n2026-01-01T00:00:00Z ERROR"), "{log}");
    assert!(
        !log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")),
        "{log}"
    );
    assert!(
        log.contains("beyond `limits.log`") && log.len() < 64 << 10,
        "{} bytes",
        log.len()
    );
}

#[test]
fn a_plugin_that_cannot_be_loaded_breaks_its_own_endpoint_alone() {
    let broken = endpoint("looping", "configure", "loop") + &endpoint("failing", "configure", "fail");
    let host = hostile(&broken).start();
    assert_eq!(host.client().post("/classify", r#"{"text":"hello"}"#).status, 200);
    let answer = host.client().post("/failing", "{}");
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &json!("endpoint_unavailable"))
    );
    assert!(answer.header("retry-after").is_some());
    let ready = host.client().get("/readyz");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("degraded")));
    let text = ready.json().to_string();
    assert!(
        text.contains("did-not-want-to") && text.contains("limits.configure_time"),
        "{text}"
    );
}

#[test]
fn a_post_processor_may_be_skipped_and_a_validator_may_not() {
    let endpoint = |on_error: &str| {
        format!(
            "[endpoints.{on_error}]\npath = \"/{on_error}\"\nmodel = \"minilm\"\nplugins = [{{ use = \"label\", on_error = \"{on_error}\" }}]\n"
        )
    };
    // `label` fails on a model that makes embeddings.
    let config = NodeConfig::of(&[]).with(&(endpoint("skip") + &endpoint("fail")));
    let host = config.start();
    let answer = host.client().post("/skip", r#"{"text":"a"}"#);
    assert_eq!(
        (
            answer.status,
            answer.json()["embeddings"].as_array().map(Vec::len)
        ),
        (200, Some(1))
    );
    assert_eq!(host.client().post("/fail", r#"{"text":"a"}"#).status, 502);
}
