//! Plugins before they are configured: instrumented for a snapshot and compiled, once for all configurations.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use self_cell::self_cell;
use wasmtime_wizer::{ComponentContext, Wizer};

use crate::code::CompiledComponent;
use crate::error::LoadError;
use crate::sandbox::ATTACHING_MAX;

/// Plugins that are kept at once. Each takes a few times the size of its component.
const BASES_MAX: usize = ATTACHING_MAX;

self_cell!(
    /// Description of a component's parts, with which a snapshot is written. It borrows the component's bytes.
    struct Context {
        owner: Bytes,

        #[covariant]
        dependent: ComponentContext,
    }
);

/// A plugin before it is configured.
pub(crate) struct Base {
    context: Context,
    /// The instrumented component.
    pub(crate) compiled: CompiledComponent,
}

impl Base {
    /// Instruments a component and compiles it with `compile`.
    ///
    /// # Errors
    ///
    /// The error of `compile`. If the component cannot be instrumented, that is no error: the inner result has the reason.
    pub(crate) fn make(
        component: &Bytes,
        compile: impl FnOnce(&[u8]) -> Result<CompiledComponent, LoadError>,
    ) -> Result<Instrumentation, LoadError> {
        let mut instrumented = Vec::new();
        let context = Context::try_new(component.clone(), |bytes| {
            let made = Wizer::new().instrument_component(bytes);
            made.map(|(context, bytes)| {
                instrumented = bytes;
                context
            })
        });
        match context {
            Ok(context) => Ok(Ok(Arc::new(Self {
                context,
                compiled: compile(&instrumented)?,
            }))),
            Err(error) => Ok(Err(format!("it cannot be instrumented: {error:#}"))),
        }
    }

    /// Description of the component's parts, with which a snapshot of an instance is written.
    pub(crate) fn context(&self) -> &ComponentContext<'_> {
        self.context.borrow_dependent()
    }
}

/// A plugin that was made before, or the reason for which it cannot be instrumented.
pub(crate) type Instrumentation = Result<Arc<Base>, String>;

/// One plugin's place. The lock is held while it is made, so that others wait for it; an error is not kept.
type Place = Arc<Mutex<Option<Instrumentation>>>;

/// Plugins that are being attached. They are kept until no attachment is being made: a node that serves has no use for them.
#[derive(Default)]
pub(crate) struct Bases {
    attaching: AtomicUsize,
    places: Mutex<VecDeque<([u8; 32], Place)>>,
}

/// Keeps what [`Bases`] has until it is dropped.
pub(crate) struct Attaching(Arc<Bases>);

impl Bases {
    pub(crate) fn attaching(self: &Arc<Self>) -> Attaching {
        self.attaching.fetch_add(1, Ordering::SeqCst);
        Attaching(Arc::clone(self))
    }

    /// The plugin with this digest, made by `make` if it is not there. If there are [`BASES_MAX`], the one that was asked for least recently
    /// gives way.
    ///
    /// # Errors
    ///
    /// The error of `make`.
    pub(crate) fn find_or(
        &self,
        digest: [u8; 32],
        make: impl FnOnce() -> Result<Instrumentation, LoadError>,
    ) -> Result<Instrumentation, LoadError> {
        let place = self.place(digest);
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*place {
            return Ok(made.clone());
        }
        Ok(place.insert(make()?).clone())
    }

    fn place(&self, digest: [u8; 32]) -> Place {
        let mut places = self.places();
        if let Some(index) = places.iter().position(|(other, _)| *other == digest)
            && let Some(found) = places.remove(index)
        {
            let place = Arc::clone(&found.1);
            places.push_back(found);
            return place;
        }
        if places.len() >= BASES_MAX {
            places.pop_front();
        }
        let place = Place::default();
        places.push_back((digest, Arc::clone(&place)));
        place
    }

    fn places(&self) -> MutexGuard<'_, VecDeque<([u8; 32], Place)>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        if self.0.attaching.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.places().clear();
        }
    }
}
