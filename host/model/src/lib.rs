//! The model runtime: cards, sessions, tokenisation and batching over ONNX Runtime.
//!
//! The only crate that uses `ort`. It knows no HTTP and no plugin: [`Model::infer`] takes texts, tokens or tensors and gives
//! vectors, labels or tensors; [`Model::generate`] takes a prompt and gives text as it comes. Read in this order.

pub mod card;

pub mod runtime;

pub mod signature;

pub mod tensor;

mod huge_pages;
mod meters;
pub mod session;

pub mod tokenize;

pub mod batch;

pub mod chat;

pub mod generate;

pub mod model;

pub mod load;

pub mod error;

pub use batch::BatchOptions;
pub use card::{Card, Task};
pub use chat::Message;
pub use error::{InferError, LoadError};
pub use generate::{
    Constraint, Done, Event, Finish, GenerateOptions, GenerateRequest, Generation, Piece, Sampling, Structure,
};
pub use load::ModelOptions;
pub use meters::Turn;
pub use model::{Inference, Input, Label, Model, Output, Text, Words};
pub use runtime::Runtime;
pub use session::{Device, DeviceReport};
pub use signature::{Port, Signature};
pub use tensor::{Element, Tensor};
