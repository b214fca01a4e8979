//! What a guest hands to the host: its memory is the fuzzer's bytes, and its result is what lies at address 0 of them. The first
//! byte says which stage is called. A call may fail in any way that has a code; afterwards the sandbox is empty.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use selvedge_fuzz::Sandboxed;
use selvedge_plugin::CallError;
use selvedge_plugin::value::{Chunk, Completion, Finish, Output, Request, Usage};

static GUEST: LazyLock<Sandboxed> = LazyLock::new(Sandboxed::new);

/// Seeds whose calls end well: that they do shows that the guest reaches what they are for.
const GOOD: [&[u8]; 13] = [
    include_bytes!("../seeds/abi/import-kv-get"),
    include_bytes!("../seeds/abi/import-kv-set"),
    include_bytes!("../seeds/abi/import-kv-increment"),
    include_bytes!("../seeds/abi/import-embed"),
    include_bytes!("../seeds/abi/import-classify"),
    include_bytes!("../seeds/abi/import-run"),
    include_bytes!("../seeds/abi/import-secret"),
    include_bytes!("../seeds/abi/stream-emit"),
    include_bytes!("../seeds/abi/stream-stop"),
    include_bytes!("../seeds/abi/stream-finish"),
    include_bytes!("../seeds/abi/decode-mask"),
    include_bytes!("../seeds/abi/decode-only"),
    include_bytes!("../seeds/abi/decode-force"),
];

fn check_seeds() {
    for (place, seed) in GOOD.into_iter().enumerate() {
        let outcome = call(seed[0], &seed[1..]);
        assert!(
            outcome.is_ok(),
            "seed {place} of those that end well: {outcome:?}"
        );
    }
}

fn call(stage: u8, memory: &[u8]) -> Result<(), CallError> {
    let request = Arc::new(Request {
        id: "r".to_owned(),
        dialect: "endpoint",
        body: Bytes::copy_from_slice(memory),
        ..Request::default()
    });
    let done = Completion {
        output: Output::Text(vec!["text".to_owned()]),
        finish: Finish::Stop,
        usage: Usage::default(),
    };
    let guest = &GUEST.attachment;
    GUEST.executor.block_on(async {
        match stage % 6 {
            0 => guest.validate(&request).await.map(drop),
            1 => guest.render(&request, None).await.map(drop),
            2 => guest.process(&request, done).await.map(drop),
            3 => {
                let chunk = Chunk {
                    choice: 1,
                    text: "text".to_owned(),
                };
                let mut stream = guest.open_stream(&request, 2).await?;
                stream.push(&[chunk]).await.map(drop)
            }
            4 => {
                let stream = guest.open_stream(&request, 2).await?;
                stream.finish(Finish::Stop, Usage::default()).await.map(drop)
            }
            _ => {
                let mut decoding = guest.open_decoding(&request, 0).await?;
                decoding.next(&[]).await.map(drop)
            }
        }
    })
}

fuzz_target!(init: check_seeds(), |bytes: &[u8]| {
    let Some((stage, memory)) = bytes.split_first() else {
        return;
    };
    if let Err(error) = call(*stage, memory) {
        assert!(!error.fault.code().is_empty(), "a fault without a code: {error}");
    }
    assert_eq!(GUEST.sandbox.instances(), 0, "an instance is left");
});
