//! A bound on how many tests at once work with what is large. Most tests wait most of the time, so that more of them run than
//! there are cores (`cargo xtask test` says how many); those that load a language model, or compile a plugin of a scripting
//! language, would take each other's time and memory.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

/// Number of permits that are taken, and the signal that one was given back.
static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

thread_local! {
    /// The permit of this thread's test.
    static MINE: RefCell<Weak<Permit>> = const { RefCell::new(Weak::new()) };
}

/// Leave to work with what is large, until it is dropped.
pub(crate) struct Permit(());

impl Drop for Permit {
    fn drop(&mut self) {
        // A test that panicked leaves a count that is right all the same.
        *TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        TAKEN.1.notify_one();
    }
}

/// Waits until fewer tests than there are cores work with what is large. A test that asks again has the permit that it has:
/// it cannot wait for itself.
pub(crate) fn heavy() -> Arc<Permit> {
    MINE.with_borrow_mut(|mine| {
        mine.upgrade().unwrap_or_else(|| {
            let max = std::thread::available_parallelism().map_or(1, usize::from);
            let taken = TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = TAKEN.1.wait_while(taken, |taken| *taken >= max);
            *waited.unwrap_or_else(PoisonError::into_inner) += 1;
            let permit = Arc::new(Permit(()));
            *mine = Arc::downgrade(&permit);
            permit
        })
    })
}

/// A permit for a node of this configuration, where it has a model that is large.
pub(crate) fn heavy_for(config: &str) -> Option<Arc<Permit>> {
    let large = ["models/minilm", "models/smollm2"];
    large.iter().any(|model| config.contains(model)).then(heavy)
}

#[test]
fn a_test_that_has_a_permit_has_it_again() {
    let first = heavy();
    assert!(Arc::ptr_eq(&first, &heavy()));
}
