//! What is seen of a node from outside: metrics and traces. `http` serves the ones, and the others are sent by their library.

pub mod calls;
pub mod meters;
pub mod metrics;
pub mod spans;
pub mod tally;
pub mod traces;

pub use meters::{Meters, Step, Watch};
pub use tally::{Counts, Outcome, Tally, Total};
