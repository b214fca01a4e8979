//! Configure once, snapshot, cache: what is configured is there in every instance, and nothing is done twice.

use std::sync::Arc;

use selvedge_plugin::value::Verdict;
use selvedge_plugin::{Grants, LoadError, Plugin, Start, Startup};
use serde_json::json;

use crate::sandbox::{
    attach, component, manifest_section, options, plugin_in_text, request, sandbox, sandbox_in,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_start_compiles_and_configures_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = dir.path().join("cache");
    let config = json!({ "validate": "remember", "configure": "remember" });
    let first = sandbox_in(&cache);
    attach(&first, "hostile", options(config.clone()))
        .await
        .expect("attached");
    assert_eq!(first.compilations(), 1);
    let second = sandbox_in(&cache);
    let attachment = attach(&second, "hostile", options(config))
        .await
        .expect("attached");
    assert_eq!(second.compilations(), 0, "all of it was in the cache");
    let request = request("{}");
    attachment.validate(&request).await.expect("a verdict");
    assert_eq!(
        request.attributes.find("found").as_deref(),
        Some("2"),
        "configure ran once, in the snapshot's past"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_compile_nothing() {
    let sandbox = sandbox();
    let schema = json!({ "schema": { "type": "object", "required": ["text"] } });
    let attachment = attach(&sandbox, "json-schema", options(schema))
        .await
        .expect("attached");
    let before = (sandbox.compilations(), attachment.configurations());
    for _ in 0..100 {
        assert_eq!(
            attachment
                .validate(&request(r#"{"text":1}"#))
                .await
                .expect("a verdict"),
            Verdict::Accept
        );
    }
    assert_eq!((sandbox.compilations(), attachment.configurations()), before);
    assert!(
        matches!(attachment.startup(), Startup::Snapshot { .. }),
        "{:?}",
        attachment.startup()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_configuration_is_another_snapshot() {
    let sandbox = sandbox();
    let (one, other) = (
        json!({ "validate": "remember" }),
        json!({ "configure": "remember", "validate": "remember" }),
    );
    let mut found = Vec::new();
    for config in [one, other] {
        let attachment = attach(&sandbox, "hostile", options(config))
            .await
            .expect("attached");
        let request = request("{}");
        attachment.validate(&request).await.expect("a verdict");
        found.push(request.attributes.find("found"));
    }
    assert_eq!(found, [Some("1".to_owned()), Some("2".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_ask_for_configure_each_time() {
    let sandbox = sandbox();
    let mut options = options(json!({ "configure": "remember", "validate": "remember" }));
    options.start = Start::ConfigureEach;
    let attachment = attach(&sandbox, "hostile", options).await.expect("attached");
    let Startup::Configure { reason } = attachment.startup() else {
        panic!("{:?}", attachment.startup())
    };
    assert!(reason.contains("startup = \"configure\""), "{reason}");
    let request = request("{}");
    let before = attachment.configurations();
    attachment.validate(&request).await.expect("a verdict");
    assert_eq!(request.attributes.find("found").as_deref(), Some("2"));
    assert_eq!(
        attachment.configurations(),
        before + 1,
        "so the counter sees what a request configures"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_configure_changes_costs_the_snapshot_and_not_the_change() {
    let table = "(table $t 1 1 funcref) (elem declare func $marker) (func $marker)";
    let deed = "(table.set $t (i32.const 0) (ref.func $marker))";
    let check = "(ref.is_null (table.get $t (i32.const 0)))";
    let sandbox = sandbox();
    let plugin = Arc::new(
        sandbox
            .read(
                "changes-table",
                plugin_in_text(table, deed, check).into(),
                &Grants::default(),
            )
            .expect("a plugin"),
    );
    let attachment = sandbox
        .attach(&plugin, options(json!({})))
        .await
        .expect("attached");
    let Startup::Configure { reason } = attachment.startup() else {
        panic!("{:?}", attachment.startup())
    };
    assert!(reason.contains("table.set"), "{reason}");
    assert_eq!(
        attachment
            .validate(&request("{}"))
            .await
            .expect("the change is there"),
        Verdict::Accept
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_global_that_configure_changes_is_in_the_snapshot() {
    let global = "(global $g (mut i32) (i32.const 1))";
    let bytes = plugin_in_text(global, "(global.set $g (i32.const 0))", "(global.get $g)");
    let sandbox = sandbox();
    let plugin = Arc::new(
        sandbox
            .read("changes-global", bytes.into(), &Grants::default())
            .expect("a plugin"),
    );
    let attachment = sandbox
        .attach(&plugin, options(json!({})))
        .await
        .expect("attached");
    assert_eq!(
        attachment.startup(),
        &Startup::Snapshot {
            entropy_frozen: false
        }
    );
    assert_eq!(
        attachment
            .validate(&request("{}"))
            .await
            .expect("the change is there"),
        Verdict::Accept
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_the_manifest_s_schema_refuses_never_reaches_the_plugin() {
    let sandbox = sandbox();
    let refused = attach(&sandbox, "label", options(json!({ "labels": { "spam": 7 } })))
        .await
        .err()
        .expect("refused");
    let LoadError::ConfigRefused { at, message } = refused else {
        panic!("{refused}")
    };
    assert_eq!(at, ".labels.spam");
    assert!(message.contains("string"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_configure_refuses_is_told_in_the_plugin_s_words() {
    let sandbox = sandbox();
    let config = json!({ "schema": { "type": "strnig" } });
    let refused = attach(&sandbox, "json-schema", options(config))
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(
        refused.contains("bad-config") && refused.contains("/type"),
        "{refused}"
    );
}

#[test]
fn a_component_without_mutation_may_be_snapshotted() {
    for name in ["json-schema", "prompt-template", "label", "hostile"] {
        let plugin = Plugin::read(name, component(name).into(), 64 << 20).expect("a plugin");
        assert_eq!(plugin.mutation, None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_test_that_never_ends_refuses_the_plugin_and_not_the_node() {
    let sandbox = sandbox();
    let mut bytes = plugin_in_text("", "", "(loop $for_ever (result i32) (br $for_ever))");
    bytes.extend(manifest_section(r#"{"self_test":{"body":{}}}"#));
    let plugin = Arc::new(
        sandbox
            .read("endless", bytes.into(), &Grants::default())
            .expect("a plugin"),
    );
    let mut options = options(json!({}));
    options.limits.time = std::time::Duration::from_secs(3600);
    options.limits.configure_time = std::time::Duration::from_millis(300);
    let error = sandbox.attach(&plugin, options).await.err().expect("refused");
    assert!(matches!(error, LoadError::ConfigureTime(_)), "{error}");
}
