//! A place for what `configure` prepares: written once, read by every request.

use std::sync::OnceLock;

use crate::Failure;

/// A static that `configure` fills and the stages read.
pub struct Configured<T>(OnceLock<T>);

impl<T> Configured<T> {
    /// An empty place, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Keeps what was prepared.
    ///
    /// # Errors
    ///
    /// `configured-twice` where `configure` ran before; a host never does that.
    pub fn set(&self, value: T) -> Result<(), Failure> {
        self.0
            .set(value)
            .map_err(|_| crate::failure("configured-twice", "configure was called a second time"))
    }

    /// What was prepared.
    ///
    /// # Errors
    ///
    /// `not-configured` where a stage is called before `configure`.
    pub fn get(&self) -> Result<&T, Failure> {
        self.0
            .get()
            .ok_or_else(|| crate::failure("not-configured", "a stage was called before configure"))
    }
}

impl<T> Default for Configured<T> {
    fn default() -> Self {
        Self::new()
    }
}
