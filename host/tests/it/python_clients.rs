//! OpenAI's and Ollama's own Python clients against the host: `host/tests/python/`.

use std::process::Command;
use std::sync::OnceLock;

use crate::generate::rows_are_alike;
use crate::host::{TestHost, demo, kept, root};
use crate::node::{ASSISTANT, EMBED, NodeConfig};

/// Runs a script of `host/tests/python` with arguments; what it prints.
pub(crate) fn python(script: &str, arguments: &[&str]) -> String {
    let python = std::env::var_os("SELVEDGE_TEST_PYTHON")
        .map_or_else(|| root().join("target/venv/bin/python"), Into::into);
    let output = Command::new(&python)
        .arg(root().join("host/tests/python").join(script))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", python.display()));
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{error}");
    out.into_owned()
}

#[test]
fn the_openai_client_chats_whole_and_bit_by_bit_and_sees_its_own_errors() {
    openai_chat(node());
}

/// A node with what that client asks for, which tests that change nothing share.
pub(crate) fn node() -> &'static TestHost {
    static NODE: OnceLock<TestHost> = OnceLock::new();
    let config = || NodeConfig::of(&[ASSISTANT, EMBED]).with("endpoints.plain.model = \"smollm2\"");
    NODE.get_or_init(|| kept(&config()))
}

/// Lets OpenAI's client chat with a host.
pub(crate) fn openai_chat(host: &TestHost) {
    let rows = if rows_are_alike() {
        "rows are alike"
    } else {
        "rows differ"
    };
    let out = python(
        "openai_chat.py",
        &[&format!("http://{}/v1", host.address()), rows],
    );
    assert!(out.contains("all is well"), "{out}");
}

#[test]
fn the_ollama_client_chats_generates_embeds_lists_models_and_sees_its_own_errors() {
    let out = python("ollama_client.py", &[&format!("http://{}", demo().address())]);
    assert!(out.contains("all is well"), "{out}");
}

#[test]
fn the_openai_client_embeds_finds_neighbours_lists_models_and_sees_its_own_errors() {
    let reference = root().join("models/minilm/reference");
    let out = python(
        "openai_client.py",
        &[
            &format!("http://{}/v1", demo().address()),
            &reference.to_string_lossy(),
        ],
    );
    assert!(out.contains("50 queries"), "{out}");
}
