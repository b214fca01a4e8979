//! `selvedge plugin run`: one call, for trying. And what `inspect` tells without one.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::author::{component, text};
use crate::host::{root, run, selvedge};
use crate::hostile::guest;

/// Files in a folder of their own, by name.
fn files(named: &[(&str, Value)]) -> (tempfile::TempDir, impl Fn(&str) -> String + use<>) {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, value) in named {
        std::fs::write(dir.path().join(name), value.to_string()).expect("written");
    }
    let at = dir.path().to_owned();
    (dir, move |name: &str| text(&at.join(name)))
}

#[test]
fn a_call_is_shown_with_what_it_took() {
    let config = json!({ "template": "Summarise: {{ text }}" });
    let (_dir, at) = files(&[("c.json", config), ("r.json", json!({ "text": "long" }))]);
    let plugin = component("prompt-template");
    let arguments = [
        "plugin",
        "run",
        &plugin,
        "--request",
        &at("r.json"),
        "--config",
        &at("c.json"),
    ];
    let (code, out, error) = run(&arguments);
    assert_eq!(code, 0, "{out}{error}");
    for part in [
        "\"text\": \"Summarise: long\"",
        " instructions  memory ",
        "in 15 B",
    ] {
        assert!(out.contains(part), "`{part}` is not in\n{out}");
    }
    let (code, out, _) = run(&[&arguments[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["found"]), (0, &json!({ "text": "Summarise: long" })));
    assert!(told["instructions"].as_u64() > Some(1000), "{told}");
}

#[test]
fn a_body_comes_by_standard_input_as_it_is() {
    let (_dir, at) = files(&[("c.json", json!({ "template": "{{ text }}" }))]);
    let mut child = selvedge()
        .args([
            "plugin",
            "run",
            &component("prompt-template"),
            "--request",
            "-",
            "--config",
            &at("c.json"),
        ])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"{ not JSON").expect("taken");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let (out, error) = (output.stdout, output.stderr);
    let (out, error) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&error));
    assert_eq!(output.status.code(), Some(1), "{out}{error}");
    assert!(
        out.contains("\"error\":") && error.contains("plugin-failed"),
        "{out}{error}"
    );
}

#[test]
fn streams_events_and_cases_are_run_too() {
    let (_dir, at) = files(&[
        ("c.json", json!({ "words": ["secret"], "replacement": "*" })),
        (
            "t.json",
            json!([[[0, "a sec"]], { "pause_ms": 60_000 }, [[0, "ret thing"]]]),
        ),
    ]);
    let redact = component("redact");
    let (code, out, error) = run(&[
        "plugin",
        "run",
        &redact,
        "--chunks",
        &at("t.json"),
        "--config",
        &at("c.json"),
        "--json",
    ]);
    assert_eq!(code, 0, "{error}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(told["found"]["texts"], json!(["a * thing"]));
    let case = text(&root().join("plugins/webhook/cases/sent"));
    let (code, out, error) = run(&["plugin", "run", &component("webhook"), "--case", &case]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("\"url\": \"https://granted.example/hook\""), "{out}");
}

#[test]
fn what_cannot_be_run_is_refused_with_its_place() {
    let (dir, at) = files(&[
        ("c.json", json!({ "template": "x" })),
        ("a.json", json!({ "modles": {} })),
    ]);
    std::fs::write(dir.path().join("broken.json"), "{").expect("written");
    // It takes any configuration.
    let plugin = component("label");
    let broken = at("broken.json");
    let missing = at("missing.json");
    for (more, part) in [
        (["--config", &broken], "broken.json"),
        (["--config", &missing], "missing.json"),
        (["--request", &missing], "missing.json"),
        (["--allow", &missing], "missing.json"),
        (["--allow", &at("a.json")], "modles"),
        (["--headers", &broken], "broken.json"),
        (["--case", &missing], "no such folder"),
    ] {
        let (code, out, error) = run(&[&["plugin", "run", &plugin][..], &more].concat());
        assert_eq!(code, 1, "{more:?}: {out}{error}");
        assert!(error.contains(part), "{more:?}: {error}");
    }
    let (code, _, error) = run(&["plugin", "run", &missing]);
    assert!(code == 1 && error.contains("cannot be read"), "{error}");
    // A configuration that a node would refuse.
    let (code, out, error) = run(&["plugin", "run", &component("redact"), "--config", &at("c.json")]);
    assert_eq!(code, 3, "{out}{error}");
    assert!(
        out.contains("template") && error.contains("is refused"),
        "{out}{error}"
    );
    let (code, _, error) = run(&[
        "plugin",
        "run",
        &component("guard-model"),
        "--config",
        &at("c.json"),
    ]);
    assert!(code == 3 && error.contains("models = [\"NAME\"]"), "{error}");
}

#[test]
fn a_file_that_a_stage_needs_is_told_as_the_option_that_names_it() {
    let stream = component("hostile-stream");
    let (_dir, at) = files(&[("push.json", json!({ "push": "pass" }))]);
    for (arguments, part) in [
        (
            &["plugin", "run", &component("label")][..],
            "--labels: a post-processor needs `--labels`, `--text` or `--case` with `scores.json`",
        ),
        (
            &["plugin", "run", &stream, "--config", &at("push.json")],
            "--chunks: is not there, and a plugin on a stream needs it",
        ),
    ] {
        let (code, out, error) = run(arguments);
        assert_eq!(code, 1, "{arguments:?}: {out}{error}");
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_inspection_tells_grants_sizes_and_tools() {
    let file = component("webhook");
    let (code, out, error) = run(&["plugin", "inspect", &file]);
    assert_eq!(code, 0, "{error}");
    for part in [
        "webhook 0.1.0",
        "observe",
        "selvedge:plugin/observer@0.1.0",
        "granted by `allow = { secrets = [\"NAME\"] }`",
        "granted by `allow = { http = [\"https://HOST\"] }`",
        "free, and empty",
        "language: Rust",
        "functions in",
        "sha256:",
        "is checked by the manifest's schema",
    ] {
        assert!(out.contains(part), "`{part}` is not in\n{out}");
    }
    let (_, out, _) = run(&["plugin", "inspect", &file, "--json"]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        told["grants"]["selvedge:plugin/secrets@0.1.0"],
        "secrets = [\"NAME\"]"
    );
    assert_eq!(told["grants"]["selvedge:plugin/logging@0.1.0"], Value::Null);
    assert!(told["sizes"]["code"].as_u64() > Some(10_000), "{told}");
    assert!(told["sizes"]["functions"].as_u64() > Some(100), "{told}");
}

#[test]
fn what_a_manifest_says_does_nothing_to_a_terminal() {
    let manifest = json!({
        "name": "a\u{1b}[31mb\nc",
        "version": "1\u{9b}2J",
        "description": "\rnot its \u{7}words",
        "toolchain": "\u{1b}]0;title\u{7}",
        "wants": { "models": ["\u{1b}[2J"] },
    });
    let bytes = guest::with_section("selvedge:manifest", manifest.to_string().as_bytes());
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("untrue.wasm");
    std::fs::write(&file, bytes).expect("written");
    let is_command = |character: char| character.is_control() && character != '\n';
    let (code, out, error) = run(&["plugin", "inspect", &text(&file)]);
    assert_eq!(code, 0, "{error}");
    assert!(!out.contains(is_command), "{out:?}");
    for part in [
        "a\\u{1b}[31mb\\nc 1\\u{9b}2J\n",
        "\\rnot its \\u{7}words\n",
        "\\u{1b}]0;title\\u{7}\n",
    ] {
        assert!(out.contains(part), "`{part}` is not in\n{out}");
    }
    let (code, out, error) = run(&["plugin", "inspect", &text(&file), "--json"]);
    assert_eq!(code, 0, "{error}");
    assert!(!out.contains(is_command), "{out:?}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(told["manifest"]["version"], manifest["version"], "{told}");
    let (code, out, error) = run(&["plugin", "run", &text(&file)]);
    assert_eq!(code, 3, "{out}{error}");
    assert!(
        error.contains("the model `\\u{1b}[2J`") && !error.contains(is_command),
        "{error:?}"
    );
}
