//! Any text as the manifest of a component that is well-formed otherwise.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use selvedge_plugin::{Plugin, manifest};

static COMPONENT: LazyLock<Vec<u8>> = LazyLock::new(selvedge_fuzz::echo_guest);

fuzz_target!(|text: &str| {
    let mut component = COMPONENT.clone();
    manifest::attach(&mut component, text);
    if let Err(error) = Plugin::read("fuzzed", component.into(), 1 << 20) {
        assert!(!error.to_string().is_empty(), "an error without words");
    }
});
