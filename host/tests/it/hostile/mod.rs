//! The hostile suite: each way that a plugin can do its worst, shown to end alone. `register` has the list, with a test for
//! each; `siege` is the node under attack, `innocent` the client that must be served beside it, `guest` what no compiler would
//! make; `plugins/hostile*` are the others.

pub(crate) mod cpu;
mod figures;
pub(crate) mod guest;
pub(crate) mod information;
pub(crate) mod innocent;
pub(crate) mod memory;
pub(crate) mod packaging;
pub(crate) mod protocol;
mod register;
pub(crate) mod siege;
pub(crate) mod stack;
