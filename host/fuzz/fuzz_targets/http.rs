//! Any body on any path of a node that runs: no answer says that the node failed, and the connection is always answered. The first
//! byte chooses the path and the media type.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use selvedge_fuzz::{REQUESTS, Served};

static NODE: LazyLock<Served> = LazyLock::new(Served::new);

fuzz_target!(init: LazyLock::force(&NODE), |bytes: &[u8]| {
    let Some((choice, body)) = bytes.split_first() else {
        return;
    };
    let request = &REQUESTS[usize::from(*choice) % REQUESTS.len()];
    let status = NODE.post(request, body);
    // 502: what generates here is a server that is not there.
    assert!(
        status < 500 || (request.generates && matches!(status, 502 | 503)),
        "{} answered {status}",
        request.path
    );
});
