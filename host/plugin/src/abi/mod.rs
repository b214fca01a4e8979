//! WIT and back: one module for each version of the interfaces. A stage is converted here, once, to [`crate::value`].

pub(crate) mod v0_1;
