//! Memory for keys and values.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Numbers that are 0 at first, on pages of their own: they take memory as they are written. An allocator would clear them.
pub(super) struct Zeroed(MmapMut);

impl Zeroed {
    /// So many of them.
    ///
    /// # Errors
    ///
    /// Where the system has no such memory.
    pub(super) fn new(len: usize) -> std::io::Result<Self> {
        MmapMut::map_anon(len * size_of::<f32>()).map(Self)
    }
}

impl Deref for Zeroed {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for Zeroed {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}
