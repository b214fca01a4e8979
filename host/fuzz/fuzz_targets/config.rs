//! Any text as a configuration: it is taken, or refused with errors that name a place; it never panics.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use selvedge::config::Config;

fuzz_target!(|text: &str| {
    if let Err(errors) = Config::parse(Path::new("configs/fuzzed.toml"), text) {
        assert!(!errors.is_empty(), "refused without a reason");
        for error in errors {
            assert!(!error.to_string().is_empty(), "an error without words");
        }
    }
});
