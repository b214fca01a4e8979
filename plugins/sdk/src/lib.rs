//! What an author of a Selvedge plugin in Rust needs: the bindings of every stage, [`Configured`] for what `configure`
//! prepares, and an allocator that makes a fresh instance cheap.
//!
//! A plugin names its world, implements the stage's `Guest` trait and exports itself:
//!
//! ```ignore
//! selvedge_sdk::world!("validator-plugin");
//! use exports::selvedge::plugin::{lifecycle, validator};
//!
//! struct Plugin;
//! static RULES: Configured<Rules> = Configured::new();
//!
//! impl lifecycle::Guest for Plugin {
//!     fn configure(config: String) -> Result<(), Failure> {
//!         RULES.set(Rules::parse(&config)?)
//!     }
//! }
//!
//! impl validator::Guest for Plugin { .. }
//!
//! export!(Plugin);
//! ```
//!
//! `configure` runs once, before the memory is snapshotted; every request starts from that snapshot. Keep no host handle
//! across it (do not print in it: log instead), and expect what it drew at random to be the same in every instance.

#![warn(missing_docs)]

mod arena;
mod bindings;
mod configured;
#[cfg(feature = "http")]
pub mod http;

pub use bindings::types::{Failure, Label, LocItem, Message, Problem, Rejection, Request, Usage};
pub use bindings::{logging, metrics, tensors, types, uploads};
pub use configured::Configured;

/// For `world!`, so that a plugin needs no dependency of its own on it.
pub use wit_bindgen;

use serde::de::DeserializeOwned;

/// Reads the attachment's configuration into `T`.
///
/// # Errors
///
/// A failure with the code `bad-config` that says what serde found wrong and where.
pub fn parse_config<T: DeserializeOwned>(config: &str) -> Result<T, Failure> {
    serde_json::from_str(config).map_err(|error| bad_config(format!("{error}")))
}

/// The failure that `configure` answers when the configuration cannot be used.
#[must_use]
pub fn bad_config(message: impl Into<String>) -> Failure {
    failure("bad-config", message)
}

/// A failure that the same call would meet again.
#[must_use]
pub fn failure(code: &str, message: impl Into<String>) -> Failure {
    Failure {
        code: code.to_owned(),
        message: message.into(),
        retryable: false,
    }
}

/// The same, where a later call may succeed: an observer's events are kept for it.
#[must_use]
pub fn failure_for_now(code: &str, message: impl Into<String>) -> Failure {
    Failure {
        retryable: true,
        ..failure(code, message)
    }
}

/// Why a text ended, as WIT spells it.
#[must_use]
pub fn finish_name(reason: types::FinishReason) -> &'static str {
    match reason {
        types::FinishReason::Stop => "stop",
        types::FinishReason::Length => "length",
        types::FinishReason::ContentFilter => "content-filter",
        types::FinishReason::ToolCalls => "tool-calls",
        types::FinishReason::Cancelled => "cancelled",
        types::FinishReason::Error => "error",
    }
}

/// The whole body of a request, in one copy.
#[must_use]
pub fn read_body(request: &Request) -> Vec<u8> {
    let len = u32::try_from(request.body_len()).unwrap_or(u32::MAX);
    request.read_body(0, len)
}
