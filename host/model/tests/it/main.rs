//! The model runtime on real files: ONNX Runtime, the spam classifier, all-MiniLM-L6-v2, and files that are wrong.
//!
//! The library and the models are those of `cargo xtask setup`.

mod deep_references;
mod fixture;
mod generate;
mod guide;
mod inference;
mod load;
mod reference;
mod structure;
mod tiny;
