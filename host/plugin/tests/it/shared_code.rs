//! A component is compiled once, whatever the number of its configurations; each still has the memory of its own configuration.

use std::fs;
use std::sync::Arc;

use selvedge_plugin::value::Verdict;
use selvedge_plugin::{Attachment, Grants, Sandbox, Startup};
use serde_json::json;
use tokio::task::JoinSet;

use crate::sandbox::{attach, component, manifest_section, options, request, sandbox_in};

/// An attachment of `json-schema` that asks for one field.
async fn requiring(sandbox: &Sandbox, field: &str) -> Attachment {
    let config = json!({ "schema": { "type": "object", "required": [field] } });
    attach(sandbox, "json-schema", options(config))
        .await
        .expect("attached")
}

async fn accepts(attachment: &Attachment, field: &str) -> bool {
    let request = request(&json!({ field: 1 }).to_string());
    attachment.validate(&request).await.expect("a verdict") == Verdict::Accept
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_at_once_compile_one_module_and_keep_their_own_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = sandbox_in(&dir.path().join("cache"));
    let plugin = sandbox.read("json-schema", component("json-schema").into(), &Grants::default());
    let plugin = Arc::new(plugin.expect("a plugin"));
    let fields = ["one", "two", "three", "four", "five", "six"];
    let mut attaching = JoinSet::new();
    for (index, field) in fields.into_iter().enumerate() {
        let config = json!({ "schema": { "type": "object", "required": [field] } });
        let (sandbox, plugin) = (sandbox.clone(), Arc::clone(&plugin));
        attaching.spawn(async move { (index, sandbox.attach(&plugin, options(config)).await) });
    }
    let mut attachments = attaching.join_all().await;
    attachments.sort_by_key(|(index, _)| *index);
    assert_eq!((sandbox.modules_compiled(), sandbox.compilations()), (1, 6));
    for (index, attached) in &attachments {
        let attachment = attached.as_ref().expect("attached");
        assert!(matches!(attachment.startup(), Startup::Snapshot { .. }));
        for (other, field) in fields.iter().enumerate() {
            assert_eq!(
                accepts(attachment, field).await,
                *index == other,
                "{index} {field}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_configuration_on_the_next_start_compiles_no_module() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = dir.path().join("cache");
    requiring(&sandbox_in(&cache), "one").await;
    let next = sandbox_in(&cache);
    let attachment = requiring(&next, "two").await;
    assert_eq!((next.modules_compiled(), next.compilations()), (0, 1));
    assert!(accepts(&attachment, "two").await && !accepts(&attachment, "one").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_is_damaged_or_gone_is_compiled_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = dir.path().join("cache");
    requiring(&sandbox_in(&cache), "one").await;
    let files = || {
        let entries = fs::read_dir(&cache).expect("readable").flatten();
        let files = entries.map(|entry| entry.path());
        files
            .filter(|path| path.extension() == Some("cwasm".as_ref()))
            .collect::<Vec<_>>()
    };
    // The code is much longer than what a configuration has.
    let len = |path: &std::path::PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    let code = files().into_iter().max_by_key(len).expect("the code is kept");
    for damage in [true, false] {
        if damage {
            let mut bytes = fs::read(&code).expect("readable");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&code, bytes).expect("written");
        } else {
            fs::remove_file(&code).expect("removed");
        }
        let next = sandbox_in(&cache);
        let attachment = requiring(&next, "one").await;
        assert_eq!(next.modules_compiled(), 1, "damage: {damage}");
        assert!(accepts(&attachment, "one").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuring_each_time_runs_the_same_code() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = sandbox_in(&dir.path().join("cache"));
    requiring(&sandbox, "one").await;
    let config = json!({ "schema": { "type": "object", "required": ["two"] } });
    let mut options = options(config);
    options.start = selvedge_plugin::Start::ConfigureEach;
    let attachment = attach(&sandbox, "json-schema", options).await.expect("attached");
    assert_eq!(sandbox.modules_compiled(), 1);
    assert!(accepts(&attachment, "two").await && !accepts(&attachment, "one").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_share_their_interpreter_between_configurations() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = sandbox_in(&dir.path().join("cache"));
    let first = json!({ "temperature": 2.0, "margin": 0.2 });
    attach(&sandbox, "calibrate", options(first))
        .await
        .expect("attached");
    let compiled = sandbox.modules_compiled();
    assert!(compiled > 1, "an interpreter and its libraries: {compiled}");
    let second = json!({ "temperature": 1.5, "margin": 0.1 });
    attach(&sandbox, "calibrate", options(second))
        .await
        .expect("attached");
    assert_eq!(sandbox.modules_compiled(), compiled);
}

#[test]
fn a_component_that_imports_code_by_itself_is_refused() {
    let import = format!("code0-x{}", "00".repeat(32));
    let text = format!(
        r#"(component
          (import "{import}" (core module))
          (instance $lifecycle)
          (export "selvedge:plugin/lifecycle@0.1.0" (instance $lifecycle))
          (export "selvedge:plugin/validator@0.1.0" (instance $lifecycle)))"#
    );
    let mut component = wat::parse_str(text).expect("a component");
    let manifest = r#"{"name":"thief","version":"1.0.0","api":"0.1.0"}"#;
    component.extend(manifest_section(manifest));
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = sandbox_in(&dir.path().join("cache"));
    let refused = sandbox.read("thief", component.into(), &Grants::default());
    let refused = refused.expect_err("nobody grants code").to_string();
    assert!(refused.contains(&import[..20]), "{refused}");
}
