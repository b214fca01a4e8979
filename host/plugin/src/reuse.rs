//! Instances that serve several requests, one after the other: `instances = { reuse = .. }`.
//!
//! It is off by default, since a request then finds in the plugin's memory what those before it left there. An instance whose
//! call did not end well serves no other, nor does one that has used up half of what it may grow by.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::attachment::Linked;
use crate::call::Live;
use crate::error::Fault;
use crate::room::Slot;
use crate::state::Extent;
use crate::value::Request;

/// A place in the room for a request, with the instance that has it, once there is one.
pub(crate) struct Held {
    live: Option<Live>,
    /// Requests that the instance has served.
    served: u32,
    /// What the instance had when it was started.
    first: Extent,
    _slot: Slot,
}

impl Held {
    pub(crate) fn new(slot: Slot) -> Self {
        Self {
            live: None,
            served: 0,
            first: Extent::default(),
            _slot: slot,
        }
    }

    /// The instance, ready for a request: renewed where it has served before, else started.
    pub(crate) async fn live(&mut self, linked: &Linked, request: &Arc<Request>) -> Result<&mut Live, Fault> {
        self.served += 1;
        match &mut self.live {
            Some(live) => Ok(live.renewed_for(request)),
            none => {
                let live = none.insert(Live::start(linked, request).await?);
                self.first = live.store.data().usage.extent();
                Ok(live)
            }
        }
    }

    /// Lets go of the request. Whether the instance may serve another, with so many in all.
    fn rest(&mut self, reuse: u32) -> bool {
        let Some(live) = self.live.as_mut().filter(|_| self.served < reuse) else {
            return false;
        };
        let state = live.store.data_mut();
        state.rest();
        state.has_half_left(&self.first) && !state.awaits_answers()
    }

    /// Bytes that the instance has.
    fn memory(&self) -> usize {
        let live = self.live.as_ref();
        live.map_or(0, |live| live.store.data().usage.extent().memory)
    }
}

/// The instances of one attachment that wait for a request.
pub(crate) struct Waiting {
    attachment: u64,
    /// Requests that an instance serves at most.
    reuse: u32,
    room: Arc<WaitingRoom>,
}

impl Waiting {
    pub(crate) fn new(reuse: u32, room: &Arc<WaitingRoom>) -> Self {
        Self {
            attachment: room.attachments.fetch_add(1, Ordering::Relaxed),
            reuse,
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
        self.room.queue().take(self.attachment)
    }

    /// Keeps one whose call ended well, if it may serve another request; else it is gone.
    pub(crate) fn give(&self, mut held: Held) {
        if held.rest(self.reuse) {
            self.room.enter(self.attachment, held);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut gone = Vec::new();
        let mut queue = self.room.queue();
        gone.extend(std::iter::from_fn(|| queue.take(self.attachment)));
        drop(queue);
    }
}

/// All instances of the node that wait: at most a quarter of those that may be alive, with at most a quarter of the memory that all
/// may have. Who waited longest makes room.
pub(crate) struct WaitingRoom {
    places: usize,
    memory_max: usize,
    queue: Mutex<Queue>,
    /// Attachments so far, to tell them apart.
    attachments: AtomicU64,
}

/// Those who wait, with their attachments; who came first is first.
#[derive(Default)]
struct Queue {
    held: VecDeque<(u64, Held)>,
    memory: usize,
}

impl WaitingRoom {
    pub(crate) fn new(instances_max: usize, memory_max: usize) -> Self {
        Self {
            places: instances_max.div_ceil(4),
            memory_max: memory_max / 4,
            queue: Mutex::default(),
            attachments: AtomicU64::new(0),
        }
    }

    /// Ends the instance that waited longest: somebody needs its place now. Whether there was one.
    pub(crate) fn make_room(&self) -> bool {
        // It is dropped when others may come and go again.
        let gone = self.queue().leave();
        gone.is_some()
    }

    fn enter(&self, attachment: u64, held: Held) {
        let memory = held.memory();
        if memory > self.memory_max {
            return;
        }
        let mut gone = Vec::new();
        let mut queue = self.queue();
        queue.memory += memory;
        queue.held.push_back((attachment, held));
        while queue.held.len() > self.places || queue.memory > self.memory_max {
            gone.extend(queue.leave());
        }
        drop(queue);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self, attachment: u64) -> Option<Held> {
        let place = self.held.iter().rposition(|(of, _)| *of == attachment)?;
        let (_, held) = self.held.remove(place)?;
        self.memory -= held.memory();
        Some(held)
    }

    fn leave(&mut self) -> Option<Held> {
        let (_, held) = self.held.pop_front()?;
        self.memory -= held.memory();
        Some(held)
    }
}
