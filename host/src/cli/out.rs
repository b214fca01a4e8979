//! What the command line writes: what was asked for on standard output, and what is said beside it on standard error.
//!
//! Whoever reads may leave in the middle, as `head` does. That is an end and no failure, and `println!` would panic on it.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::anyhow;
use serde_json::Value;

use super::CliError;

/// Writes to standard output, which may be closed.
///
/// # Errors
///
/// Where it is open and cannot be written, as on a full disk.
pub(super) fn write(shown: impl Display) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match write!(out, "{shown}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow!("standard output cannot be written: {error}").into())
        }
        _ => Ok(()),
    }
}

/// The same, as a line.
///
/// # Errors
///
/// As [`write()`].
pub(super) fn line(shown: impl Display) -> Result<(), CliError> {
    write(format_args!("{shown}\n"))
}

/// A JSON value over several lines. Of control characters JSON itself escapes those below U+0020 alone, and a terminal obeys others.
///
/// # Errors
///
/// As [`write()`].
pub(super) fn json(shown: &Value) -> Result<(), CliError> {
    let mut text = String::new();
    for character in format!("{shown:#}\n").chars() {
        match character {
            '\u{7f}'..='\u{9f}' => text += &format!("\\u{:04x}", u32::from(character)),
            _ => text.push(character),
        }
    }
    write(text)
}

/// Says a line on standard error. Where nobody hears it there is nobody to tell.
pub fn say(said: impl Display) {
    writeln!(io::stderr(), "{said}").ok();
}
