//! The command line: exit codes, and messages that say what is wrong and what would be right.

use std::path::Path;

use serde_json::Value;

use crate::host::{root, run, selvedge};
use crate::node::{ASSISTANT, CLASSIFY, EMBED, NodeConfig, demo_text};

/// Checks a configuration.
fn check(config: &str) -> (i32, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    std::fs::write(&file, config).expect("written");
    let (code, _, error) = run(&["check", "--config", &file.to_string_lossy()]);
    (code, error)
}

/// Message with which the demo's `classify` is refused if this TOML is added.
fn refusal(toml: &str) -> String {
    let (code, error) = check(&NodeConfig::of(&[CLASSIFY]).with(toml).text());
    assert_eq!(code, 3, "{error}");
    error
}

/// The same with another configuration of one of its plugins.
fn plugin_refusal(name: &str, config: &str) -> String {
    refusal(&format!(
        "endpoints.classify.plugins = [{{ use = \"{name}\", config = {config} }}]"
    ))
}

#[test]
fn the_demo_is_well() {
    let (code, error) = check(&demo_text());
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("all is well: 3 endpoints, 3 models"), "{error}");
}

#[test]
fn a_wrong_use_is_2_and_a_missing_configuration_is_3() {
    assert_eq!(run(&["sevre"]).0, 2);
    let (code, _, error) = run(&["check", "--config", "/nowhere.toml"]);
    assert_eq!(code, 3);
    assert!(error.contains("/nowhere.toml"), "{error}");
}

#[test]
fn an_address_that_is_taken_is_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    let config = NodeConfig::of(&[CLASSIFY]).with(&format!("server.listen = \"{address}\""));
    std::fs::write(&file, config.text()).expect("written");
    let (code, _, error) = run(&["serve", "--config", &file.to_string_lossy()]);
    assert_eq!(code, 1);
    assert!(
        error.contains("server.listen") && error.contains(&address),
        "{error}"
    );
}

#[test]
fn what_cannot_be_loaded_is_named_with_its_key() {
    let error = refusal("models.spam.path = \"/nowhere/spam\"");
    assert!(
        error.contains("models.spam") && error.contains("/nowhere/spam/model.toml"),
        "{error}"
    );

    let error = refusal("plugins.label.path = \"/nowhere/label.wasm\"");
    assert!(
        error.contains("plugins.label.path: /nowhere/label.wasm"),
        "{error}"
    );

    let wrong = format!(
        "plugins.label.path = \"{}/models/spam/model.onnx\"",
        root().display()
    );
    let error = refusal(&wrong);
    assert!(
        error.contains("plugins.label") && error.contains("not WebAssembly"),
        "{error}"
    );

    let error = refusal("runtime.library = \"/nowhere/libonnxruntime.so\"");
    assert!(
        error.contains("runtime.library") && error.contains("/nowhere/libonnxruntime.so"),
        "{error}"
    );
}

#[test]
fn a_plugin_s_configuration_is_checked_against_its_schema() {
    let error = plugin_refusal("prompt-template", "{ tmeplate = \"{{ text }}\" }");
    assert!(
        error.contains("endpoints.classify.plugins (`prompt-template`)") && error.contains("tmeplate"),
        "{error}"
    );
    let error = plugin_refusal("prompt-template", "{ template = \"{{ text \" }");
    assert!(
        error.contains("bad-config") && error.contains("template `text`"),
        "{error}"
    );
    let error = plugin_refusal("json-schema", "{ schema = { type = \"strnig\" } }");
    assert!(
        error.contains("json-schema") && error.contains("not a JSON Schema"),
        "{error}"
    );
}

#[test]
fn a_library_that_is_not_there_is_refused_from_the_environment_too() {
    let mut command = selvedge();
    let output = command
        .args(["model", "inspect"])
        .arg(root().join("models/spam"))
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/libonnxruntime.so"));
}

#[test]
fn models_are_listed_and_inspected() {
    let config = root().join("configs/demo.toml");
    let (code, output, error) = run(&["model", "list", "--json", "--config", &config.to_string_lossy()]);
    assert_eq!(code, 0, "{error}");
    let list: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(
        (&list[2]["name"], &list[2]["task"]),
        (&Value::from("spam"), &Value::from("text-classification"))
    );

    let dir = root().join("models/spam");
    let (code, output, error) = run(&["model", "inspect", "--json", &dir.to_string_lossy()]);
    assert_eq!(code, 0, "{error}");
    let report: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(report["inputs"][0]["type"], "UINT8 [-1, -1]");
    assert_eq!(report["card"]["licence"], "CC-BY-4.0");
    assert!(report["device"]["got"].is_string());
    let (_, text, _) = run(&["model", "inspect", &dir.to_string_lossy()]);
    assert!(text.contains("accuracy = 0.9861"), "{text}");
}

#[test]
fn plugins_are_inspected_without_being_run() {
    let inspect = |path: &Path| run(&["plugin", "inspect", "--json", &path.to_string_lossy()]);
    let (code, output, error) = inspect(&root().join("plugins/dist/json-schema.wasm"));
    assert_eq!(code, 0, "{error}");
    let report: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(report["stages"], serde_json::json!(["validate"]));
    assert_eq!(
        (&report["denied"], &report["snapshot"]),
        (&Value::Null, &Value::from(true))
    );
    assert_eq!(report["manifest"]["name"], "json-schema");
    let (code, _, error) = inspect(&root().join("models/spam/model.onnx"));
    assert_eq!(code, 3);
    assert!(error.contains("not WebAssembly"), "{error}");
}

/// Runs the binary with standard output that nobody reads any more: exit code, standard error.
fn unread(arguments: &[&str]) -> (i32, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = selvedge().args(arguments).stdout(writer).output();
    let output = output.expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

#[test]
fn a_reader_who_leaves_early_ends_a_command_quietly() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    let state = dir.path().join("state");
    let config = NodeConfig::of(&[ASSISTANT, CLASSIFY, EMBED]).in_state(&state);
    std::fs::write(&file, config.text()).expect("written");
    let (file, into) = (file.to_string_lossy(), dir.path().to_string_lossy());
    let plugins = root().join("plugins");
    let (label, cases) = (plugins.join("dist/label.wasm"), plugins.join("label"));
    let (label, cases) = (label.to_string_lossy(), cases.to_string_lossy());
    let one = format!("{cases}/cases/renamed");
    for arguments in [
        &["plugin", "inspect", &label, "--json"][..],
        &["plugin", "inspect", &label],
        &["plugin", "test", &cases, "--json"],
        &["plugin", "test", &cases],
        &["plugin", "run", &label, "--case", &one],
        &["plugin", "bench", &cases, "--time", "10ms"],
        &["plugin", "new", "mine", "--into", &into],
        &["key", "create", "--scope", "*", "--config", &file],
        &["key", "list", "--config", &file],
        &["events", "list", "--config", &file],
        &["model", "list", "--config", &file],
        &["openapi", "--config", &file],
    ] {
        let (code, error) = unread(arguments);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{arguments:?}: {error}");
    }
    // What came of it is told by the exit code all the same.
    let (code, error) = unread(&["plugin", "inspect", "/nowhere.wasm"]);
    assert_eq!(code, 1, "{error}");
}

#[test]
fn standard_output_that_takes_nothing_is_told_as_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let label = root().join("plugins/dist/label.wasm");
    let output = selvedge()
        .args(["plugin", "inspect"])
        .arg(label)
        .stdout(full.expect("Linux has it"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output cannot be written"), "{said}");
}

#[test]
fn what_is_refused_has_its_exit_code_where_nobody_hears_why() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = selvedge()
        .args(["check", "--config", "/nowhere.toml"])
        .stderr(writer)
        .status();
    assert_eq!(status.expect("it starts").code(), Some(3));
}
