//! Plugins in JavaScript and Python: snapshotted like any other, and mended where their tool's output needs it.

use selvedge_plugin::value::Prompt;
use selvedge_plugin::{Grants, Origin, Start, Startup, quickjs};
use serde_json::{Value, json};

use crate::sandbox::{attach, component, options, request, sandbox};

/// `crm` asks nobody where a body names no customer.
fn config(instruction: &str) -> Value {
    json!({ "url": "https://crm.example/", "instruction": instruction, "facts": [] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_in_javascript_answers_from_its_snapshot_as_if_it_had_none() {
    let sandbox = sandbox();
    for instruction in ["one", "two \u{1f9f5}"] {
        for start in [Start::Snapshot, Start::ConfigureEach] {
            let mut options = options(config(instruction));
            options.start = start;
            options.grants = Grants {
                http: vec![Origin::parse("https://crm.example").expect("an origin")],
                secrets: [("CRM_TOKEN".to_owned(), "a token".to_owned())].into(),
                ..Grants::default()
            };
            let attachment = attach(&sandbox, "crm", options).await.expect("attached");
            let is_snapshot = matches!(attachment.startup(), Startup::Snapshot { .. });
            assert_eq!(
                is_snapshot,
                start == Start::Snapshot,
                "{:?}",
                attachment.startup()
            );
            let configured = attachment.configurations();
            for text in ["a", "\u{e4}\u{1f9f5}", ""] {
                let asked = request(&json!({ "text": text }).to_string());
                let rendered = attachment.render(&asked, None).await.expect("a prompt");
                let turn = |role: &str, content: &str| (role.to_owned(), content.to_owned());
                let expected = vec![turn("system", instruction), turn("user", text)];
                assert_eq!(rendered.prompt, Prompt::Messages(expected));
            }
            let each = u64::from(start == Start::ConfigureEach) * 3;
            assert_eq!(attachment.configurations() - configured, each);
        }
    }
}

#[test]
fn a_component_of_another_tool_is_not_touched() {
    for name in ["json-schema", "calibrate", "crm"] {
        let bytes = component(name);
        assert!(quickjs::mend(&bytes).expect("a component") == bytes, "{name}");
    }
}

#[test]
fn a_component_that_is_cut_anywhere_is_damaged_or_another_tools() {
    for name in ["label", "crm"] {
        let bytes = component(name);
        for len in (0..bytes.len()).step_by(97) {
            if let Ok(mended) = quickjs::mend(&bytes[..len]) {
                assert!(mended == bytes[..len], "{name}, cut at {len}");
            }
        }
    }
}
