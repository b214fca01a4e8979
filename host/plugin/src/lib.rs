//! The plugin host: compiles WebAssembly components, configures and snapshots them, and calls their stages under limits.
//!
//! The only crate that uses wasmtime. It knows no HTTP, no model and no TOML; what a stage takes and gives are the plain
//! types of [`value`]. Read in this order.

/// The target of the spans that calls of plugins are traced by; nothing else has it.
pub const SPANS: &str = "selvedge::span";

pub mod limits;

pub mod manifest;

pub mod grant;

pub mod outgoing;

pub mod inference;

pub mod kv;

pub mod inspect;

pub mod anatomy;

pub mod value;

pub mod spool;

pub mod vocabulary;

pub mod error;

pub mod engine;

pub mod sandbox;

pub mod attachment;

pub mod stream;

pub mod decode;

pub mod cases;

pub mod quickjs;

pub mod spent;

pub mod symbols;

pub mod patient;

mod abi;
mod base;
mod cache;
mod call;
mod clock;
mod code;
mod compiler;
mod functions;
mod journal;
mod link;
mod log;
mod module;
mod mutation;
mod recorded;
mod reuse;
mod room;
mod snapshot;
mod span;
mod split;
mod state;
mod ticker;
mod turns;

pub use anatomy::Anatomy;
pub use attachment::{AttachOptions, Attachment, Start, Started, Startup};
pub use cases::Clock;
pub use decode::{Decision, Decoding};
pub use error::{BadDecision, CallError, Fault, LoadError, Scarce};
pub use grant::{Grants, Origin, Reach};
pub use inference::{ModelAnswer, ModelFailure, ModelInput, Models};
pub use inspect::{Code, Plugin, Stage};
pub use kv::{StoreAnswer, StoreFailure, Stores};
pub use limits::Limits;
pub use link::Need;
pub use manifest::Manifest;
pub use outgoing::{CallAnswer, CallBody, CallFailure, Caller};
pub use patient::Patient;
pub use room::Room;
pub use sandbox::{KeptFunctions, Sandbox, SandboxOptions};
pub use spent::Spent;
pub use spool::{Spool, SpoolBounds, SpoolError, Spooled};
pub use stream::StreamInstance;
pub use vocabulary::Vocabulary;
