//! What the machine has room for: mappings and memory, counted for all instances together.
//!
//! Beyond Linux's `vm.max_map_count` a process does not get an error that it could tell anybody: an allocation somewhere fails
//! and it aborts. So instances are admitted by the mappings that they will take. Knows no plugin and no wasmtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::{Fault, LoadError, Scarce};

/// Mappings of a slot for a stack, which the pool makes at its start: the stack and its guard.
const STACK_MAPPINGS: usize = 2;

/// Mappings of a live instance, for each of its memories: what was written of the snapshot's image, the image, what it grew
/// by, and what it may still grow to. Counted by `benches/streams.rs`.
const MEMORY_MAPPINGS: usize = 4;

/// The same where there is no pool: stack and tables are the instance's own as well.
const UNPOOLED_MAPPINGS: usize = 8;

/// What is left for all else: libraries, threads, models, allocations, observers, and plugins that are being attached.
const RESERVE_MAPPINGS: usize = 8_000;

/// Linux's default.
const MAP_COUNT_MAX: usize = 65_530;

/// How many instances may be alive at once, and why not more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// As configured (`sandbox.instances_max`).
    pub instances_max: usize,
    /// As many of one memory as the mappings are enough for.
    pub instances_fit: usize,
    /// Mappings that the process may have (`vm.max_map_count`).
    pub mappings_max: usize,
    /// Memory of all instances together, at most, in bytes.
    pub memory_max: usize,
}

impl Room {
    /// How many fit where the process may have so many mappings: each has a slot for its stack and its own.
    pub(crate) fn instances_fit(mappings_max: usize) -> usize {
        mappings_max.saturating_sub(RESERVE_MAPPINGS) / (STACK_MAPPINGS + MEMORY_MAPPINGS)
    }

    /// Checks what is configured against what fits.
    ///
    /// # Errors
    ///
    /// [`LoadError::TooManyInstances`] where the process would abort before that many are alive.
    pub(crate) fn check(
        instances_max: usize,
        mappings_max: Option<usize>,
        memory_max: usize,
    ) -> Result<Self, LoadError> {
        let mappings_max = mappings_max.unwrap_or_else(map_count_max);
        let instances_fit = Self::instances_fit(mappings_max);
        if instances_max > instances_fit {
            return Err(LoadError::TooManyInstances {
                asked: instances_max,
                fit: instances_fit,
                mappings_max,
                needed: instances_max * (STACK_MAPPINGS + MEMORY_MAPPINGS) + RESERVE_MAPPINGS,
            });
        }
        Ok(Self {
            instances_max,
            instances_fit,
            mappings_max,
            memory_max,
        })
    }
}

/// What the system lets a process have.
fn map_count_max() -> usize {
    let told = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    told.ok()
        .and_then(|told| told.trim().parse().ok())
        .unwrap_or(MAP_COUNT_MAX)
}

/// The instances that may be alive at once, by number and by mappings.
pub(crate) struct Slots {
    count: usize,
    free: Arc<Semaphore>,
    mappings: Arc<Semaphore>,
    mappings_max: usize,
    each: usize,
}

/// An instance's place.
pub(crate) struct Slot {
    _instance: OwnedSemaphorePermit,
    _mappings: OwnedSemaphorePermit,
}

impl Slots {
    pub(crate) fn new(room: &Room, pooled: bool) -> Self {
        let stacks = if pooled {
            STACK_MAPPINGS * room.instances_max
        } else {
            0
        };
        let left = room.mappings_max.saturating_sub(RESERVE_MAPPINGS + stacks);
        let mappings = left.min(Semaphore::MAX_PERMITS);
        Self {
            count: room.instances_max,
            free: Arc::new(Semaphore::new(room.instances_max)),
            mappings: Arc::new(Semaphore::new(mappings)),
            mappings_max: room.mappings_max,
            each: if pooled {
                MEMORY_MAPPINGS
            } else {
                UNPOOLED_MAPPINGS
            },
        }
    }

    /// Those that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.count - self.free.available_permits()
    }

    /// Whether there is a place for an instance with so many memories, and nobody waits for it.
    pub(crate) fn has_free(&self, memories: usize) -> bool {
        self.free.available_permits() > 0 && self.mappings.available_permits() >= self.mappings_of(memories)
    }

    fn mappings_of(&self, memories: usize) -> usize {
        memories.max(1) * self.each
    }

    /// A place for an instance with so many memories, where there is one and nobody waits for it.
    pub(crate) fn try_take(&self, memories: usize) -> Option<Slot> {
        let mappings = u32::try_from(self.mappings_of(memories)).unwrap_or(u32::MAX);
        let instance = Arc::clone(&self.free).try_acquire_owned().ok()?;
        let mappings = Arc::clone(&self.mappings).try_acquire_many_owned(mappings).ok()?;
        Some(Slot {
            _instance: instance,
            _mappings: mappings,
        })
    }

    /// Waits for a place for an instance with so many memories.
    ///
    /// # Errors
    ///
    /// [`Fault::Busy`] where none comes free before the deadline.
    pub(crate) async fn take(&self, memories: usize, deadline: Instant) -> Result<Slot, Fault> {
        let mappings = u32::try_from(self.mappings_of(memories)).unwrap_or(u32::MAX);
        let free = Arc::clone(&self.free).acquire_owned();
        // The semaphores are never closed.
        let Ok(Ok(instance)) = timeout_at(deadline, free).await else {
            return Err(Fault::Busy(Scarce::Instances(self.count)));
        };
        let free = Arc::clone(&self.mappings).acquire_many_owned(mappings);
        let Ok(Ok(mappings)) = timeout_at(deadline, free).await else {
            return Err(Fault::Busy(Scarce::Mappings(self.mappings_max)));
        };
        Ok(Slot {
            _instance: instance,
            _mappings: mappings,
        })
    }
}

/// The memory that all instances may have together; each is bounded by its own limit besides.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// Takes some of it.
    ///
    /// # Errors
    ///
    /// [`Fault::Busy`] where there is not as much left.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Fault> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        if used.saturating_add(bytes) > self.max {
            self.give(bytes);
            return Err(Fault::Busy(Scarce::Memory(self.max)));
        }
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What is taken, in bytes.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Half of the memory that the process may have: the machine's, or its control group's where that is less.
pub(crate) fn half_of_memory() -> usize {
    let info = rustix::system::sysinfo();
    let machine = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = group.lines().find_map(|line| line.strip_prefix("0::"));
    let limits = [own.unwrap_or_default(), ""].map(|path| {
        let file = format!("/sys/fs/cgroup{}/memory.max", path.trim_end_matches('/'));
        let told = std::fs::read_to_string(file).ok()?;
        told.trim().parse::<u64>().ok()
    });
    let least = limits.into_iter().flatten().fold(machine, u64::min);
    usize::try_from(least / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Budget, Room, Slots};
    use crate::error::{Fault, Scarce};

    #[test]
    fn eight_thousand_fit_into_what_linux_gives_a_process() {
        assert_eq!(Room::instances_fit(65_530), 9_588);
        assert_eq!(Room::instances_fit(8_000), 0);
        assert_eq!(Room::instances_fit(0), 0);
        assert!(Room::check(8_000, Some(65_530), 0).is_ok());
    }

    #[test]
    fn more_than_fit_are_refused_with_the_numbers() {
        let error = Room::check(256, Some(9_000), 0).expect_err("refused").to_string();
        for part in [
            "`sandbox.instances_max` (256)",
            "at most 166",
            "vm.max_map_count (9000)",
            "9536",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn instances_of_many_memories_take_the_place_of_several() {
        // 8,000 are kept back, 12 are the stacks', 24 are left: six instances of one memory, three of two.
        let room = Room::check(6, Some(8_036), 0).expect("they fit");
        let slots = Slots::new(&room, true);
        let soon = || Instant::now() + Duration::from_millis(10);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(slots.take(2, soon()).await.expect("room"));
        }
        let refused = slots.take(1, soon()).await.err();
        assert_eq!(refused, Some(Fault::Busy(Scarce::Mappings(8_036))));
        taken.pop();
        taken.push(slots.take(1, soon()).await.expect("room"));
        assert_eq!(slots.taken(), 3);
    }

    #[test]
    fn memory_is_given_back() {
        let budget = Budget::new(100);
        assert_eq!(budget.take(60), Ok(()));
        assert_eq!(budget.take(41), Err(Fault::Busy(Scarce::Memory(100))));
        assert_eq!(budget.take(40), Ok(()));
        budget.give(100);
        assert_eq!(budget.used(), 0);
    }
}
