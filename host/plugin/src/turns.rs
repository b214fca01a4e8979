//! Who may hold the executor's threads for long. A plugin that runs for more than a few ticks goes on only when it is its turn,
//! tick by tick. There is one turn less than there are threads, so that one is left for all that is short: a request waits for
//! no plugin that runs for ever on somebody else's.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::patient::Patient;

/// Ticks of a call that may be short all the same: the first comes at any time.
pub(crate) const SHORT_TICKS: u64 = 1;

/// Ticks of a call that need no turn: most plugins that work hard are done by then.
const FREE_TICKS: u64 = 4;

/// The executor of the calls, and its turns; known with the first call.
#[derive(Default)]
pub(crate) struct Turns(OnceLock<Executor>);

struct Executor {
    handle: Handle,
    shared: Arc<Shared>,
}

struct Shared {
    free: Arc<Semaphore>,
    asked: AtomicBool,
}

thread_local! {
    /// The call that this thread polls.
    static POLLED: RefCell<Option<Polled>> = const { RefCell::new(None) };
}

/// A call while it is polled: its turn ends with the poll, since behind it the plugin waits, or has run for a tick.
struct Polled {
    shared: Arc<Shared>,
    turn: Option<OwnedSemaphorePermit>,
    patient: Option<Patient>,
}

impl Turns {
    /// A call whose plugin may ask for turns.
    pub(crate) async fn give<T>(&self, call: impl Future<Output = T>) -> T {
        let shared = &self.0.get_or_init(Executor::current).shared;
        let mut call = pin!(call);
        poll_fn(|context| {
            let _polls = Polls::begin(shared);
            call.as_mut().poll(context)
        })
        .await
    }

    /// Whether a plugin asked for a turn since somebody looked.
    pub(crate) fn were_asked_for(&self) -> bool {
        self.0
            .get()
            .is_some_and(|executor| executor.shared.asked.swap(false, Ordering::Relaxed))
    }

    /// Sees to it that a thread of the executor waits for sockets. One that is woken by a socket and finds one task there wakes
    /// no other, and while it runs a plugin nobody would look; a thread that rests looks once it has been woken for anything.
    pub(crate) fn rouse(&self) {
        if let Some(executor) = self.0.get() {
            executor.handle.spawn(async {});
        }
    }
}

impl Executor {
    fn current() -> Self {
        let handle = Handle::current();
        let turns = handle.metrics().num_workers().saturating_sub(1).max(1);
        let shared = Shared {
            free: Arc::new(Semaphore::new(turns)),
            asked: AtomicBool::new(false),
        };
        Self {
            handle,
            shared: Arc::new(shared),
        }
    }
}

/// Notes what this thread polls, until it is dropped.
struct Polls(Option<Polled>);

impl Polls {
    fn begin(shared: &Arc<Shared>) -> Self {
        let polled = Polled {
            shared: Arc::clone(shared),
            turn: None,
            patient: None,
        };
        Self(POLLED.replace(Some(polled)))
    }
}

impl Drop for Polls {
    fn drop(&mut self) {
        POLLED.set(self.0.take());
    }
}

/// Yields, and goes on when the running plugin, which has run for so many ticks, has its turn; patiently, to the end of the poll. At once
/// where nothing gives turns: what is configured ahead of requests has a thread of its own.
pub(crate) fn pause(ticks: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        let shared = POLLED.with_borrow(|polled| Some(Arc::clone(&polled.as_ref()?.shared)));
        let Some(shared) = shared else { return };
        let mut turn = None;
        if ticks > FREE_TICKS {
            shared.asked.store(true, Ordering::Relaxed);
            // The semaphore is never closed.
            turn = Arc::clone(&shared.free).acquire_owned().await.ok();
        }
        // The thread may be another than before.
        POLLED.with_borrow_mut(|polled| {
            if let Some(polled) = polled {
                polled.turn = turn;
                polled.patient.get_or_insert_with(Patient::begin);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    /// One that runs on and on, in turns; says how many did at once.
    async fn hog(turns: &Turns, at_once: &AtomicUsize, most: &AtomicUsize) {
        let run = async {
            for _ in 0..20 {
                pause(FREE_TICKS + 1).await;
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
                at_once.fetch_sub(1, Ordering::SeqCst);
            }
        };
        turns.give(run).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn all_threads_but_one_are_held_at_most_and_all_come_to_their_end() {
        let shared = Arc::new((Turns::default(), AtomicUsize::new(0), AtomicUsize::new(0)));
        let mut hogs = JoinSet::new();
        for _ in 0..6 {
            let shared = Arc::clone(&shared);
            hogs.spawn(async move { hog(&shared.0, &shared.1, &shared.2).await });
        }
        hogs.join_all().await;
        assert_eq!(shared.2.load(Ordering::SeqCst), 2);
        assert!(shared.0.were_asked_for() && !shared.0.were_asked_for());
    }

    #[tokio::test]
    async fn one_that_ran_for_few_ticks_needs_no_turn_and_is_patient_to_the_end_of_the_poll() {
        let is_patient = || POLLED.with_borrow(|polled| polled.as_ref()?.patient.as_ref().map(drop));
        let turns = Turns::default();
        let call = async {
            let polled = POLLED.with_borrow(|polled| Some(Arc::clone(&polled.as_ref()?.shared)));
            let shared = polled.expect("a call that is polled");
            let _only_turn = shared.free.try_acquire().expect("free");
            assert_eq!(is_patient(), None);
            pause(FREE_TICKS).await;
            assert_eq!(is_patient(), Some(()));
            tokio::task::yield_now().await;
            assert_eq!(is_patient(), None);
        };
        turns.give(call).await;
        assert!(!turns.were_asked_for());
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_leaves_its_turn_to_others() {
        let turns = Turns::default();
        let endless = async {
            loop {
                pause(FREE_TICKS + 1).await;
            }
        };
        let cut = tokio::time::timeout(Duration::from_millis(20), turns.give(endless)).await;
        assert!(cut.is_err());
        turns.give(pause(FREE_TICKS + 1)).await;
        // Where nobody gives turns, none is waited for.
        pause(FREE_TICKS + 1).await;
    }
}
