//! The life of a request between its dialect's decoding and encoding. `run` tells it in one function; `generate` tells that of
//! a request whose answer is text that comes bit by bit.

pub mod completed;

pub mod convert;

pub mod error;

pub mod generate;

pub mod inputs;

pub mod order;

pub mod params;

pub mod run;

pub mod size;

pub(crate) mod decode;

mod source;

pub use error::{ClientFault, Fault, HostFault, Rejected, RequestError};
pub use run::{Answer, run};
