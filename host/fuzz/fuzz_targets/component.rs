//! Any bytes as a component: what it is, what it wants and what a snapshot of it would lose is read without running it. After an
//! odd first byte the rest are edits of a component that is well-formed: two bytes of place, one of difference.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use selvedge_plugin::Plugin;

static COMPONENT: LazyLock<Vec<u8>> = LazyLock::new(selvedge_fuzz::echo_guest);

fuzz_target!(|bytes: &[u8]| {
    let component = match bytes.split_first() {
        Some((kind, edits)) if kind % 2 == 1 => edited(edits),
        Some((_, whole)) => whole.to_vec(),
        None => return,
    };
    if let Err(error) = Plugin::read("fuzzed", component.into(), 1 << 20) {
        assert!(!error.to_string().is_empty(), "an error without words");
    }
});

fn edited(edits: &[u8]) -> Vec<u8> {
    let mut component = COMPONENT.clone();
    let len = component.len();
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        component[place % len] ^= edit[2];
    }
    component
}
