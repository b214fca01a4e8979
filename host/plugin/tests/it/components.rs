//! What is no plugin is refused before it is compiled, and the message says what it is.

use std::sync::Arc;

use selvedge_plugin::{Grants, LoadError};
use serde_json::json;

use crate::sandbox::{component, manifest_section, options, plugin_in_text, sandbox};

fn refusal(bytes: Vec<u8>) -> String {
    sandbox()
        .read("p", bytes.into(), &Grants::default())
        .expect_err("refused")
        .to_string()
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("the text is well-formed")
}

#[test]
fn refuses_garbage() {
    assert!(refusal(b"hello, world".to_vec()).contains("not WebAssembly"));
    assert!(refusal(Vec::new()).contains("not WebAssembly"));
}

#[test]
fn refuses_a_core_module_and_says_how_to_make_a_component() {
    let error = refusal(text("(module)"));
    assert!(
        error.contains("core module") && error.contains("wasm32-wasip2"),
        "{error}"
    );
}

#[test]
fn refuses_native_code() {
    assert!(refusal(b"\x7fELF\x02\x01\x01".to_vec()).contains("native"));
}

#[test]
fn refuses_a_truncated_component_wherever_it_is_cut() {
    let whole = component("label");
    let sandbox = sandbox();
    let step = whole.len() / 200;
    for len in (0..whole.len() - 1).step_by(step) {
        let error = sandbox.read("p", whole[..len].to_vec().into(), &Grants::default());
        assert!(error.is_err(), "cut at {len} it was accepted");
    }
}

#[test]
fn refuses_a_component_of_another_world_and_names_its_exports() {
    let error = refusal(text(
        r#"(component (component $c) (instance $i (instantiate $c)) (export "other:world/thing@1.0.0" (instance $i)))"#,
    ));
    assert!(
        error.contains("other:world/thing@1.0.0") && error.contains("selvedge:plugin"),
        "{error}"
    );
}

#[test]
fn refuses_a_component_that_is_too_long() {
    let error = sandbox()
        .read("p", vec![0; (64 << 20) + 1].into(), &Grants::default())
        .expect_err("refused");
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
}

#[test]
fn refuses_an_import_that_nothing_grants_and_names_the_line() {
    let wat = r#"(component
        (import "selvedge:plugin/kv@0.1.0" (instance))
        (component $c) (instance $i (instantiate $c))
        (export "selvedge:plugin/lifecycle@0.1.0" (instance $i))
        (export "selvedge:plugin/validator@0.1.0" (instance $i)))"#;
    let error = refusal(text(wat));
    assert!(
        error.contains("selvedge:plugin/kv@0.1.0") && error.contains("allow = { kv"),
        "{error}"
    );
}

#[test]
fn refuses_a_plugin_without_lifecycle() {
    let wat = r#"(component (component $c) (instance $i (instantiate $c))
        (export "selvedge:plugin/validator@0.1.0" (instance $i)))"#;
    assert!(refusal(text(wat)).contains("lifecycle"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_memories_of_64_bits() {
    let sandbox = sandbox();
    let bytes = plugin_in_text("(memory $wide i64 1)", "", "(i32.const 0)");
    let plugin = Arc::new(
        sandbox
            .read("wide", bytes.into(), &Grants::default())
            .expect("it reads as a plugin"),
    );
    let error = sandbox
        .attach(&plugin, options(json!({})))
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains("memory64"), "{error}");
}

#[test]
fn refuses_a_manifest_that_is_damaged_or_there_twice() {
    let cases = [
        (&["{"][..], "EOF"),
        (&["{\"nmae\":\"x\"}"], "unknown field `nmae`"),
        (&["{}", "{}"], "there are 2 of them"),
        (&["[]"], "it must be a JSON object"),
        (
            &["{\"api\":\"9.9\"}"],
            "`api` is `9.9`, and the interfaces that there are have the version `0.1`",
        ),
    ];
    for (manifests, expected) in cases {
        let mut bytes = plugin_in_text("", "", "(i32.const 0)");
        for manifest in manifests {
            bytes.extend(manifest_section(manifest));
        }
        let error = refusal(bytes);
        assert!(
            error.contains("selvedge:manifest") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn reads_what_a_plugin_says_of_itself() {
    let plugin = sandbox()
        .read("json-schema", component("json-schema").into(), &Grants::default())
        .expect("a plugin");
    assert_eq!(
        (plugin.manifest.name.as_str(), plugin.manifest.api.as_str()),
        ("json-schema", "0.1")
    );
    assert!(
        plugin.manifest.toolchain.starts_with("rustc "),
        "{}",
        plugin.manifest.toolchain
    );
    assert_eq!(plugin.stages, [selvedge_plugin::Stage::Validate]);
}
