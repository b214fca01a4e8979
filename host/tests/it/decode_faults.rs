//! Decode control where plugins do their worst, and where the configuration is not as it must be.

use serde_json::{Value, json};

use crate::generate::{agrees, eventually, load};
use crate::host::TestHost;
use crate::node::{ASSISTANT, NodeConfig};

/// Entry for the hostile plugin in an endpoint's list, with the deed that it is to do.
fn attached(deed: &str, tokens: &[u32]) -> String {
    format!("{{ use = \"hostile-decode\", config = {{ next = \"{deed}\", tokens = {tokens:?} }} }}")
}

fn endpoint(name: &str, model: &str, plugins: &str) -> String {
    format!("[endpoints.{name}]\nmodel = \"{model}\"\nplugins = [{plugins}]\n")
}

/// The demo's `assistant`, and an endpoint for each deed of the hostile plugin.
fn config(deeds: &[&str], tokens: &[u32]) -> NodeConfig {
    let endpoints = deeds
        .iter()
        .map(|deed| endpoint(deed, "smollm2", &attached(deed, tokens)));
    NodeConfig::of(&[ASSISTANT])
        .with_plugin("hostile-decode")
        .with("plugins.hostile-decode.limits.wall_time = \"5s\"")
        .with(&endpoints.collect::<String>())
}

fn ask(model: &str, extra: Value) -> String {
    let mut body = json!({
        "model": model, "temperature": 0, "max_tokens": 12, "logit_bias": { "2": -100, "0": -100 },
        "messages": [{ "role": "user", "content": "List three fruits." }],
    });
    for (key, value) in extra.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body.to_string()
}

#[test]
fn each_deed_ends_its_own_answer_with_its_code_and_nobody_elses() {
    let deeds = [
        ("loop", "plugin-time-limit"),
        ("trap", "plugin-trap"),
        ("memory-bomb", "plugin-memory-limit"),
        ("fail", "plugin-failed"),
        ("empty-mask", "plugin-no-token"),
        ("short-mask", "plugin-bad-mask"),
        ("bad-forced", "plugin-bad-token"),
        ("bad-bias", "plugin-bad-bias"),
    ];
    let host = config(&deeds.map(|(deed, _)| deed), &[]).start();
    let client = host.client();
    let alone = client
        .post("/v1/chat/completions", ask("assistant", json!({})))
        .json();
    for (deed, code) in deeds {
        let (attacked, others) = std::thread::scope(|scope| {
            let attack = std::thread::Builder::new();
            let attack = attack.spawn_scoped(scope, || {
                let body = ask(deed, json!({ "stream": true, "max_tokens": 500 }));
                host.client().post("/v1/chat/completions", body)
            });
            let other = client
                .post("/v1/chat/completions", ask("assistant", json!({})))
                .json();
            (attack.expect("a thread").join().expect("no panic"), other)
        });
        let words = |answer: &Value| answer["choices"][0]["message"]["content"].to_string();
        assert!(
            agrees(&words(&others), &words(&alone)),
            "{deed}: {others} {alone}"
        );
        let text = String::from_utf8(attacked.body).expect("UTF-8");
        assert_eq!(attacked.status, 200, "two tokens came before it: {text}");
        assert!(text.contains(code) && !text.contains("[DONE]"), "{deed}: {text}");
        let whole = client.post("/v1/chat/completions", ask(deed, json!({})));
        assert_eq!(
            (whole.status, &whole.json()["error"]["code"]),
            (502, &json!(code)),
            "{deed}"
        );
        eventually("a free slot", || load(&host) == (0, 0));
        let counted = client.get("/metrics");
        let counted = String::from_utf8(counted.body).expect("UTF-8");
        let failures = counted
            .lines()
            .filter(|line| line.starts_with("selvedge_plugin_failures_total"))
            .find(|line| line.contains(code) && line.contains("plugin=\"hostile-decode\""));
        assert!(
            failures.is_some_and(|line| line.ends_with(" 2")),
            "{deed}: {failures:?}"
        );
    }
}

#[test]
fn one_that_fails_before_the_first_word_has_a_status_of_its_own() {
    let host = config(&["loop-in-open"], &[]).start();
    let body = ask("loop-in-open", json!({ "stream": true }));
    let answer = host.client().post("/v1/chat/completions", body);
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (502, &json!("plugin-time-limit"))
    );
}

#[test]
fn a_slow_one_is_waited_for_and_the_others_write_on() {
    let limits = "plugins.hostile-decode.limits = { wall_time = \"20s\", time = \"10s\" }";
    let host = config(&["slow"], &[]).with(limits).start();
    let free = ask("assistant", json!({ "max_tokens": 40 }));
    let held = ask("slow", json!({ "max_tokens": 40 }));
    let text = |answer: &Value| answer["choices"][0]["message"]["content"].to_string();
    let alone = host.client().post("/v1/chat/completions", &free).json();
    std::thread::scope(|scope| {
        let slow = std::thread::Builder::new();
        let slow = slow.spawn_scoped(scope, || host.client().post("/v1/chat/completions", &held).json());
        let free = host.client().post("/v1/chat/completions", &free).json();
        let held = slow.expect("a thread").join().expect("no panic");
        assert!(agrees(&text(&free), &text(&alone)), "{free} {alone}");
        // The plugin allows everything: it writes what it would have written, only later.
        assert!(agrees(&text(&held), &text(&alone)), "{held} {alone}");
    });
    let late = host.client().get("/metrics");
    let late = String::from_utf8(late.body).expect("UTF-8");
    assert!(
        late.contains("selvedge_decode_late_total{model=\"smollm2\"}"),
        "{late}"
    );
}

#[test]
fn a_text_can_be_stopped_before_it_begins_and_forced_to_its_end() {
    let deeds = [
        ("stop-first", 12, "stop", 0),
        ("stop", 12, "stop", 2),
        ("force-end", 12, "stop", 3),
        ("force-forever", 30, "length", 30),
    ];
    let host = config(&deeds.map(|(deed, ..)| deed), &[]).start();
    for (deed, max, finish, count) in deeds {
        let body = ask(deed, json!({ "max_tokens": max }));
        let answer = host.client().post("/v1/chat/completions", body).json();
        let found = (
            &answer["choices"][0]["finish_reason"],
            &answer["usage"]["completion_tokens"],
        );
        assert_eq!(found, (&json!(finish), &json!(count)), "{deed}: {answer}");
    }
}

#[test]
fn what_is_forced_or_favoured_is_written() {
    // The token ` we`, whatever the model thinks of it.
    const WE: u32 = 392;
    let host = config(&["force", "bias"], &[WE, WE]).start();
    for (deed, max, expected) in [("force", 12, " we we"), ("bias", 3, " we we we")] {
        let body = ask(deed, json!({ "max_tokens": max, "temperature": 1 }));
        let answer = host.client().post("/v1/chat/completions", body).json();
        assert_eq!(answer["choices"][0]["message"]["content"], expected, "{deed}");
    }
}

/// Entry of `/readyz` for an endpoint, with the reason for which it is broken.
fn refused(host: &TestHost, endpoint: &str) -> String {
    let ready = host.client().get("/readyz").json();
    let endpoints = ready["endpoints"].as_array().expect("a list");
    let found = endpoints.iter().find(|found| found["name"] == endpoint);
    found.expect("it is told").to_string()
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_the_reason() {
    let pass = attached("pass", &[]);
    let skipped = pass.replace("use =", "on_error = \"skip\", use =");
    let far = "[models.far]\nupstream = { kind = \"openai\", url = \"http://127.0.0.1:9\", model = \"x\" }\n";
    let pattern = "{ use = \"decode-regex\", config = { pattern = \"(\" } }";
    let endpoints = [
        endpoint("twice", "smollm2", &format!("{pass}, {pass}")),
        endpoint("skipped", "smollm2", &skipped),
        endpoint("encoder", "minilm", &pass),
        endpoint("far", "far", &pass),
        endpoint("pattern", "smollm2", pattern),
        endpoint("works", "smollm2", &pass),
    ];
    let host = config(&[], &[])
        .with_plugin("decode-regex")
        .with(far)
        .with(&endpoints.concat())
        .start();
    for (name, reason) in [
        ("twice", "`hostile-decode` decides already which tokens may come"),
        ("skipped", "is not for a plugin that decides tokens"),
        ("encoder", "one of this node that generates text"),
        ("far", "one of this node that generates text"),
        ("pattern", "unclosed group"),
    ] {
        let told = refused(&host, name);
        assert!(told.contains(reason), "{name}: {told}");
    }
    let body = ask("works", json!({ "max_tokens": 1 }));
    let answer = host.client().post("/v1/chat/completions", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}
