//! What is seen of a node from outside: metrics and traces. Knows no socket; `http` serves what is written here.

pub mod meters;
pub mod metrics;

pub use meters::{Meters, Step, Watch};
