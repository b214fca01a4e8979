//! Instances that serve several requests, one after the other: `instances = { reuse = .. }`.
//!
//! It is off by default, since a request then finds in the plugin's memory what those before it left there. An instance whose
//! call did not end well serves no other, nor does one that comes near a limit: what leaks must not become an error.

use std::sync::{Arc, Mutex, PoisonError};

use crate::attachment::Linked;
use crate::call::Live;
use crate::error::Fault;
use crate::room::{Budget, Slot};
use crate::value::Request;

/// A place in the room for a request, with the instance that has it, once there is one.
pub(crate) struct Held {
    live: Option<Live>,
    /// Requests that the instance has served.
    served: u32,
    /// Its memory when it was started, in bytes.
    memory_first: usize,
    _slot: Slot,
}

impl Held {
    pub(crate) fn new(slot: Slot) -> Self {
        Self {
            live: None,
            served: 0,
            memory_first: 0,
            _slot: slot,
        }
    }

    /// The instance, ready for a request: renewed where it has served before, else started.
    pub(crate) async fn live(&mut self, linked: &Linked, request: &Arc<Request>) -> Result<&mut Live, Fault> {
        self.served += 1;
        match &mut self.live {
            Some(live) => {
                live.renewed().store.data_mut().serve(request);
                Ok(live)
            }
            none => {
                let live = none.insert(Live::start(linked, request).await?);
                self.memory_first = live.store.data().usage.memory();
                Ok(live)
            }
        }
    }

    /// Whether it may serve another request, with so many in all: it has at least half of the room left that it began with.
    fn is_fit(&self, reuse: u32) -> bool {
        let Some(live) = self.live.as_ref().filter(|_| self.served < reuse) else {
            return false;
        };
        live.store.data().has_half_left(self.memory_first)
    }

    fn memory(&self) -> usize {
        self.live
            .as_ref()
            .map_or(0, |live| live.store.data().usage.memory())
    }
}

/// The instances of one attachment that wait for a request.
pub(crate) struct Waiting {
    /// Requests that an instance serves at most.
    reuse: u32,
    held: Mutex<Vec<(Held, Share)>>,
    room: Arc<WaitingRoom>,
}

impl Waiting {
    pub(crate) fn new(reuse: u32, room: &Arc<WaitingRoom>) -> Self {
        Self {
            reuse,
            held: Mutex::default(),
            room: Arc::clone(room),
        }
    }

    /// Requests that an instance serves at most.
    pub(crate) fn reuse(&self) -> u32 {
        self.reuse
    }

    /// The one that came last, whose memory is likeliest to be in the processor's caches.
    pub(crate) fn take(&self) -> Option<Held> {
        if self.reuse <= 1 {
            return None;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.pop().map(|(held, _share)| held)
    }

    /// Keeps one whose call ended well, if it may serve another request and there is room to wait; else it is gone.
    pub(crate) fn give(&self, held: Held) {
        if !held.is_fit(self.reuse) {
            return;
        }
        if let Some(share) = Share::take(&self.room, held.memory()) {
            let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((held, share));
        }
    }
}

/// What all instances of the node that wait may take together: a quarter of what all may have that are alive, so that those who
/// need an instance of another plugin find one.
pub(crate) struct WaitingRoom {
    instances: Budget,
    memory: Budget,
}

impl WaitingRoom {
    pub(crate) fn new(instances_max: usize, memory_max: usize) -> Self {
        Self {
            instances: Budget::new(instances_max / 4),
            memory: Budget::new(memory_max / 4),
        }
    }
}

/// What one of them takes, given back with it.
struct Share {
    room: Arc<WaitingRoom>,
    memory: usize,
}

impl Share {
    fn take(room: &Arc<WaitingRoom>, memory: usize) -> Option<Self> {
        room.instances.take(1).ok()?;
        if room.memory.take(memory).is_err() {
            room.instances.give(1);
            return None;
        }
        Some(Self {
            room: Arc::clone(room),
            memory,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.instances.give(1);
        self.room.memory.give(self.memory);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Share, WaitingRoom};

    #[test]
    fn those_that_wait_take_a_quarter_and_give_it_back() {
        let room = Arc::new(WaitingRoom::new(8, 400));
        let first = Share::take(&room, 60);
        assert!(first.is_some());
        assert!(Share::take(&room, 41).is_none(), "a quarter of the memory");
        let second = Share::take(&room, 40);
        assert!(second.is_some());
        assert!(Share::take(&room, 0).is_none(), "a quarter of the instances");
        drop(first);
        assert!(Share::take(&room, 60).is_some());
    }
}
