//! The global allocator of a plugin: a bump arena in front of the system's.
//!
//! An instance lives for one request, unless an operator has it serve several, so freeing is mostly wasted work; and the system allocator's first `memory.grow`
//! costs the host a protection change of the mapping, under a lock of the whole process, for each request. The arena lies
//! in `.bss`, which a snapshot maps for nothing, and only the pages that a request touches are ever copied. What does not
//! fit goes to the system allocator, so a long stream is served as well.

#[cfg(target_family = "wasm")]
mod wasm {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::{Cell, UnsafeCell};

    /// 1 MiB: what the standard plugins' `configure` needs for a large schema, and a request's working set besides.
    const ARENA_LEN: usize = 1 << 20;

    struct Arena {
        bytes: UnsafeCell<[u8; ARENA_LEN]>,
        used: Cell<usize>,
    }

    // SAFETY: a WebAssembly instance has one thread, and components of this host cannot start another.
    unsafe impl Sync for Arena {}

    #[global_allocator]
    static ARENA: Arena = Arena {
        bytes: UnsafeCell::new([0; ARENA_LEN]),
        used: Cell::new(0),
    };

    impl Arena {
        fn base(&self) -> *mut u8 {
            self.bytes.get().cast()
        }

        fn holds(&self, pointer: *mut u8) -> bool {
            (pointer as usize).wrapping_sub(self.base() as usize) < ARENA_LEN
        }

        /// Whether `pointer` with `len` bytes is the newest allocation, which alone can grow, shrink or be freed.
        fn is_last(&self, pointer: *mut u8, len: usize) -> bool {
            pointer as usize + len == self.base() as usize + self.used.get()
        }
    }

    // SAFETY: each block handed out is aligned, inside the arena and beyond every block handed out before; a block that the
    // arena does not hold came from `System` and goes back there.
    unsafe impl GlobalAlloc for Arena {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let base = self.base() as usize;
            let start = (base + self.used.get()).next_multiple_of(layout.align()) - base;
            match start.checked_add(layout.size()) {
                Some(end) if end <= ARENA_LEN => {
                    self.used.set(end);
                    // SAFETY: `start <= end <= ARENA_LEN`, so the pointer stays in the arena.
                    unsafe { self.base().add(start) }
                }
                // SAFETY: the caller's promise about `layout` is passed on.
                _ => unsafe { System.alloc(layout) },
            }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            if !self.holds(pointer) {
                // SAFETY: what the arena does not hold came from `System` with this layout.
                unsafe { System.dealloc(pointer, layout) }
            } else if self.is_last(pointer, layout.size()) {
                self.used.set(self.used.get() - layout.size());
            }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            if !self.holds(pointer) {
                // SAFETY: what the arena does not hold came from `System` with this layout.
                return unsafe { System.realloc(pointer, layout, new_size) };
            }
            let start = pointer as usize - self.base() as usize;
            if self.is_last(pointer, layout.size()) && start + new_size <= ARENA_LEN {
                self.used.set(start + new_size);
                return pointer;
            }
            if new_size <= layout.size() {
                return pointer;
            }
            // SAFETY: the new block is fresh and at least as long as what is copied; the old one is simply left.
            unsafe {
                let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
                if !new.is_null() {
                    std::ptr::copy_nonoverlapping(pointer, new, layout.size());
                }
                new
            }
        }
    }
}
