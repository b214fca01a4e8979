//! OpenAI's own Python client against the host: `host/tests/python/openai_client.py`.

use std::process::Command;

use crate::host::{demo, root};

#[test]
fn the_openai_client_embeds_finds_neighbours_lists_models_and_sees_its_own_errors() {
    let python = std::env::var_os("SELVEDGE_TEST_PYTHON")
        .map_or_else(|| root().join("target/venv/bin/python"), Into::into);
    let output = Command::new(&python)
        .arg(root().join("host/tests/python/openai_client.py"))
        .arg(format!("http://{}/v1", demo().address()))
        .arg(root().join("models/minilm/reference"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", python.display()));
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{error}");
    assert!(out.contains("50 queries"), "{out}");
}
