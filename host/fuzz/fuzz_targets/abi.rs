//! What a guest hands to the host: its memory is the fuzzer's bytes, and its result is what lies at address 0 of them. The first
//! byte says which stage is called. A call may fail in any way that has a code; afterwards the sandbox is empty.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use selvedge_fuzz::Sandboxed;
use selvedge_plugin::value::{Completion, Finish, Output, Request, Usage};

static GUEST: LazyLock<Sandboxed> = LazyLock::new(Sandboxed::new);

fuzz_target!(init: LazyLock::force(&GUEST), |bytes: &[u8]| {
    let Some((stage, memory)) = bytes.split_first() else {
        return;
    };
    let request = Arc::new(Request {
        id: "r".to_owned(),
        dialect: "endpoint",
        body: Bytes::copy_from_slice(memory),
        ..Request::default()
    });
    let done = || Completion {
        output: Output::Text(vec!["text".to_owned()]),
        finish: Finish::Stop,
        usage: Usage::default(),
    };
    let guest = &GUEST.attachment;
    let outcome = GUEST.executor.block_on(async {
        match stage % 3 {
            0 => guest.validate(&request).await.map(drop),
            1 => guest.render(&request, None).await.map(drop),
            _ => guest.process(&request, done()).await.map(drop),
        }
    });
    if let Err(error) = outcome {
        assert!(!error.fault.code().is_empty(), "a fault without a code: {error}");
    }
    assert_eq!(GUEST.sandbox.instances(), 0, "an instance is left");
});
