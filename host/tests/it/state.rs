//! Copies of a node's state, made while it runs and put back.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::generate::eventually;
use crate::host::{TestHost, root, run};

/// A node whose callers have keys, with its state in a folder.
fn config(dir: &Path) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[auth]\nmode = \"keys\"\n[state]\ndir = \"{}/state\"\n[models.spam]\npath = \
         \"{}/models/spam\"\n[endpoints.classify]\npath = \"/classify\"\nmodel = \"spam\"\n",
        dir.display(),
        root().display(),
    )
}

#[test]
fn the_state_is_copied_beside_a_node_and_put_back_when_it_has_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, copy) = (dir.path().join("node.toml"), dir.path().join("copy.db"));
    let text = config(dir.path());
    std::fs::write(&file, &text).expect("written");
    let (file, copy) = (file.to_string_lossy(), copy.to_string_lossy());
    let command = |arguments: &[&str]| run(&[arguments, &["--config", &file]].concat());
    let make = |name: &str| {
        let (code, _, error) = command(&["key", "create", "--scope", "*", "--name", name]);
        assert_eq!(code, 0, "{error}");
    };
    let names = || -> Vec<String> {
        let (code, output, error) = command(&["key", "list", "--json"]);
        assert_eq!(code, 0, "{error}");
        let keys: Value = serde_json::from_str(&output).expect("JSON");
        let keys = keys.as_array().expect("a list").iter();
        keys.map(|key| key["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let host = TestHost::start(&text);
    make("before");
    let (code, _, error) = command(&["state", "backup", &copy]);
    assert_eq!(code, 0, "{error}");
    make("after");
    assert_eq!(names(), ["before", "after"]);
    let (code, _, error) = command(&["state", "backup", &copy]);
    assert!(
        code == 1 && error.contains("copy.db"),
        "nothing is overwritten: {error}"
    );
    let (code, _, error) = command(&["state", "restore", &copy]);
    assert!(code == 1 && error.contains("a node runs on"), "{error}");
    assert_eq!(names(), ["before", "after"]);
    host.terminate();
    assert!(host.wait().success());
    eventually("the copy is put back", || {
        command(&["state", "restore", &copy]).0 == 0
    });
    assert_eq!(names(), ["before"]);
    assert!(dir.path().join("state/selvedge-replaced.db").exists());
}

/// Copies the state in a shell that runs this first.
fn backup_after(first: &str, file: &Path, copy: &Path) -> Output {
    let script = format!("{first}; exec \"$0\" state backup \"$1\" --config \"$2\"");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_selvedge")]);
    command.args([copy, file]).output().expect("it runs")
}

#[test]
fn a_copy_that_is_not_whole_never_has_its_name() {
    // Files of 8 KiB at most, where a state file has more.
    const LIMITS: &str = "ulimit -c 0; ulimit -f 16";
    let dir = tempfile::tempdir().expect("a folder");
    let (file, copies) = (dir.path().join("node.toml"), dir.path().join("copies"));
    let copy = copies.join("copy.db");
    let text = config(dir.path());
    std::fs::write(&file, &text).expect("written");
    std::fs::create_dir(&copies).expect("made");
    // What SQLite has beside the file is there while a node runs.
    let _host = TestHost::start(&text);
    // SIGXFSZ is ignored: the disk is full.
    let output = backup_after(&format!("trap '' 25; {LIMITS}"), &file, &copy);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("cannot be copied to") && !error.contains("that Selvedge wrote"),
        "{error}"
    );
    let left = std::fs::read_dir(&copies).expect("readable").count();
    assert_eq!(left, 0, "it cleans up");
    // SIGXFSZ ends the process in the midst of it.
    let output = backup_after(LIMITS, &file, &copy);
    assert!(!output.status.success());
    assert!(!copy.exists());
    let output = backup_after(":", &file, &copy);
    assert!(output.status.success());
    assert!(copy.exists());
}
