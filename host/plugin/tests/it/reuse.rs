//! Instances that serve several requests, one after the other: `instances = { reuse = .. }`.

use std::sync::Arc;

use selvedge_plugin::{AttachOptions, Attachment, Sandbox, Start};
use serde_json::json;

use crate::sandbox::{attach, options, plugin_in_text, request, sandbox};

/// The hostile plugin with a deed to do in each request, whose instances serve so many.
async fn reused(sandbox: &Sandbox, deed: &str, reuse: u32) -> Attachment {
    let options = options(json!({ "configure": "none", "validate": deed }));
    let options = AttachOptions {
        reuse,
        // So that `configurations` counts the instances.
        start: Start::ConfigureEach,
        ..options
    };
    attach(sandbox, "hostile", options).await.expect("attached")
}

/// What it found in a request.
async fn found(attachment: &Attachment) -> String {
    let request = request("{}");
    attachment.validate(&request).await.expect("a verdict");
    request.attributes.find("found").expect("it says")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_serves_as_many_requests_as_it_may_and_no_more() {
    let sandbox = sandbox();
    let remembers = reused(&sandbox, "remember", 3).await;
    for number in ["1", "2", "3", "1", "2", "3", "1"] {
        assert_eq!(found(&remembers).await, number);
    }
    assert_eq!(sandbox.instances(), 1, "it waits");
    drop(remembers);
    assert_eq!(
        (sandbox.instances(), sandbox.memory()),
        (0, 0),
        "it waits for nobody"
    );
    let fresh = reused(&sandbox, "remember", 1).await;
    for _ in 0..3 {
        assert_eq!(found(&fresh).await, "1");
        assert_eq!(sandbox.instances(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_have_an_instance_each_and_find_nothing_of_another_endpoint_s() {
    let sandbox = sandbox();
    let remembers = reused(&sandbox, "remember", 1000).await;
    let other = reused(&sandbox, "remember", 1000).await;
    let mut seen = Vec::new();
    for _ in 0..25 {
        let answers = tokio::join!(
            found(&remembers),
            found(&remembers),
            found(&remembers),
            found(&remembers)
        );
        seen.extend([answers.0, answers.1, answers.2, answers.3]);
    }
    // Four instances at most have served a hundred requests, each its own in turn.
    let instances = seen.iter().filter(|number| *number == "1").count();
    assert!((1..=4).contains(&instances), "{seen:?}");
    assert_eq!(found(&other).await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_failed_serves_no_other() {
    let sandbox = sandbox();
    for deed in ["fail", "trap", "memory-bomb", "loop"] {
        let fails = reused(&sandbox, deed, 1000).await;
        let before = fails.configurations();
        for _ in 0..3 {
            fails.validate(&request("{}")).await.expect_err(deed);
        }
        assert_eq!(fails.configurations() - before, 3, "{deed}");
        assert_eq!(sandbox.instances(), 0, "{deed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_caller_left_serves_no_other() {
    let sandbox = sandbox();
    let sleeps = reused(&sandbox, "sleep", 1000).await;
    let before = sleeps.configurations();
    for _ in 0..2 {
        let request = request("{}");
        let call = sleeps.validate(&request);
        let short = std::time::Duration::from_millis(50);
        tokio::time::timeout(short, call).await.expect_err("it sleeps");
        assert_eq!(sandbox.instances(), 0);
    }
    assert_eq!(sleeps.configurations() - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_leaks_ends_its_instance_and_no_request() {
    // 2 MiB more with each request, of 32 MiB that it may have.
    let grows = "(i32.eq (memory.grow (i32.const 32)) (i32.const -1))";
    let sandbox = sandbox();
    let plugin = sandbox.read(
        "grows",
        plugin_in_text("", "", grows).into(),
        &selvedge_plugin::Grants::default(),
    );
    let options = AttachOptions {
        reuse: 1000,
        start: Start::ConfigureEach,
        ..options(json!({}))
    };
    let attached = sandbox
        .attach(&Arc::new(plugin.expect("a plugin")), options)
        .await;
    let attachment = attached.expect("attached");
    let before = attachment.configurations();
    for _ in 0..64 {
        attachment.validate(&request("{}")).await.expect("a verdict");
    }
    // Half of what it may grow by are seven requests; the eighth is its last.
    assert_eq!(attachment.configurations() - before, 8);
}
