//! The life of a request between its dialect's decoding and encoding. `run` tells it in one function.

pub mod convert;

pub mod error;

pub mod run;

pub use error::{ClientFault, Fault, HostFault, Rejected, RequestError};
pub use run::{Answer, run};
