//! How many instances may be alive: as many as the process has mappings for, and the rest are told so.

use std::time::Duration;

use selvedge_plugin::{Fault, Limits, LoadError, Sandbox, SandboxOptions, Scarce};
use serde_json::json;

use crate::sandbox::{attach, options, request};

/// A sandbox in a process that may have so many mappings.
fn sandbox(instances_max: usize, mappings_max: usize) -> Result<Sandbox, LoadError> {
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
    Sandbox::new(SandboxOptions {
        instances_max,
        mappings_max: Some(mappings_max),
        ..SandboxOptions::new(cache)
    })
}

#[test]
fn more_instances_than_there_are_mappings_for_are_refused_at_the_start() {
    let error = sandbox(256, 9_000).err().expect("refused").to_string();
    for part in [
        "`sandbox.instances_max` (256)",
        "at most 166 fit",
        "vm.max_map_count (9000)",
        "sysctl -w vm.max_map_count=9536",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let room = sandbox(166, 9_000).expect("they fit").room();
    assert_eq!(
        (room.instances_max, room.instances_fit, room.mappings_max),
        (166, 166, 9_000)
    );
}

#[tokio::test]
async fn a_stream_beyond_what_fits_waits_and_is_told_that_there_is_no_room() {
    // 8,000 are kept back, six are the stacks', and twelve are left: three streams.
    let sandbox = sandbox(3, 8_018).expect("they fit");
    let limits = Limits {
        wall_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let options = selvedge_plugin::AttachOptions {
        limits,
        ..options(json!({ "push": "pass" }))
    };
    let attachment = attach(&sandbox, "hostile-stream", options)
        .await
        .expect("attached");
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(attachment.open_stream(&request("{}"), 1).await.expect("room"));
    }
    let refused = attachment
        .open_stream(&request("{}"), 1)
        .await
        .err()
        .expect("no room");
    assert_eq!(refused.fault, Fault::Busy(Scarce::Instances(3)));
    assert!(sandbox.memory() > 0, "their memory is counted");
    streams.pop();
    assert!(attachment.open_stream(&request("{}"), 1).await.is_ok());
    drop(streams);
    assert_eq!((sandbox.instances(), sandbox.memory()), (0, 0));
}
