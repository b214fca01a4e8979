//! What is seen of a node from outside: metrics and traces. `http` serves the ones, and the others are sent by their library.

pub mod calls;
pub mod meters;
pub mod metrics;
pub mod spans;
pub mod traces;

pub use meters::{Meters, Step, Watch};
