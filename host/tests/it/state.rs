//! Copies of a node's state, made while it runs and put back.

use serde_json::Value;

use crate::generate::eventually;
use crate::host::{TestHost, root, run};

#[test]
fn the_state_is_copied_beside_a_node_and_put_back_when_it_has_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, copy) = (dir.path().join("node.toml"), dir.path().join("copy.db"));
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[auth]\nmode = \"keys\"\n[state]\ndir = \"{}/state\"\n[models.spam]\npath = \
         \"{}/models/spam\"\n[endpoints.classify]\npath = \"/classify\"\nmodel = \"spam\"\n",
        dir.path().display(),
        root().display(),
    );
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
