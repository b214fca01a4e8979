//! What the targets run against: a guest that hands over whatever it is given, and a node that serves.

mod guest;
mod node;

pub use guest::{Sandboxed, echo_guest};
pub use node::{REQUESTS, Request, Served};
