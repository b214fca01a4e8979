//! Instances that serve several requests, one after the other: `instances = { reuse = .. }`.

use std::sync::Arc;
use std::time::Duration;

use selvedge_plugin::{AttachOptions, Attachment, Sandbox, SandboxOptions, Start};
use serde_json::json;
use tokio::task::JoinSet;

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
async fn no_endpoint_finds_anything_of_another_s_and_no_two_requests_share_an_instance_at_once() {
    let sandbox = sandbox();
    let remembers = reused(&sandbox, "remember", 1000).await;
    let other = reused(&sandbox, "remember", 1000).await;
    let mut four = JoinSet::new();
    for _ in 0..4 {
        let remembers = remembers.clone();
        four.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..25 {
                seen.push(found(&remembers).await);
            }
            seen
        });
    }
    let seen = four.join_all().await.concat();
    // Each instance has counted its own calls: of each number there are no more than of the one before it.
    let count = |number: usize| seen.iter().filter(|seen| **seen == number.to_string()).count();
    assert!((1..=4).contains(&count(1)), "{seen:?}");
    assert!(
        (1..100).all(|number| count(number) >= count(number + 1)),
        "{seen:?}"
    );
    assert_eq!(found(&other).await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_let_go_when_it_is_answered() {
    let sandbox = sandbox();
    let keeps = reused(&sandbox, "none", 1000).await;
    for _ in 0..3 {
        let request = request("{}");
        keeps.validate(&request).await.expect("a verdict");
        assert_eq!(Arc::strong_count(&request), 1);
    }
    assert_eq!(sandbox.instances(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tensors_that_it_makes_and_drops_leave_its_memory_as_it_was() {
    let sandbox = sandbox();
    // It keeps the last one, and drops that of the call before.
    let keeps = reused(&sandbox, "keep-handle", 1000).await;
    found(&keeps).await;
    let before = (sandbox.memory(), keeps.configurations());
    for _ in 0..100 {
        found(&keeps).await;
    }
    assert_eq!((sandbox.memory(), keeps.configurations()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_waits_makes_room_for_another_plugin() {
    for (instances_max, waiting_max) in [(1, 1), (8, 2)] {
        let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
        let sandbox = Sandbox::new(SandboxOptions {
            instances_max,
            ..SandboxOptions::new(dir)
        })
        .expect("a sandbox");
        let mut all = Vec::new();
        for _ in 0..5 {
            let remembers = reused(&sandbox, "remember", 1000).await;
            assert_eq!(found(&remembers).await, "1");
            assert!(sandbox.instances() <= waiting_max, "{}", sandbox.instances());
            all.push(remembers);
        }
        // Who came last waits still, unless there was no second place for another to come and go.
        let last = found(&all[4]).await;
        assert_eq!(last, if instances_max > 1 { "2" } else { "1" });
        assert_eq!(found(&all[0]).await, "1");
    }
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
    for _ in 0..2 {
        let before = sleeps.configurations();
        let asleep = sleeps.clone();
        let mut call = JoinSet::new();
        call.spawn(async move { asleep.validate(&request("{}")).await });
        while sleeps.configurations() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        call.shutdown().await;
        assert_eq!((sandbox.instances(), sleeps.configurations()), (0, before + 1));
    }
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
