//! The plugin host as a whole, on real components: the standard plugins, and one that does its worst.
//!
//! The components are those of `plugins/dist/`, which `cargo xtask plugins` builds.

mod cases;
mod components;
mod decode;
mod functions;
mod hostile;
mod reuse;
mod room;
mod sandbox;
mod scripts;
mod shared_code;
mod snapshot;
mod stream;
mod wit;
