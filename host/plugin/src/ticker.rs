//! The thread that advances the engine's epoch, by which running plugins are made to yield and are stopped.
//!
//! It is a thread of its own, since a ticker on the executor would stand still just when a plugin hogs it; and it rests
//! while no plugin runs, so that an idle node uses no CPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;
use wasmtime::Engine;

use crate::turns::Turns;

/// Length of a tick while a plugin runs: the grain of CPU limits and how often a plugin yields its executor thread.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Length of a tick that began while no plugin ran. On a busy node with quick plugins that is nearly always so, and each
/// tick takes a core from a model. A plugin that starts in such a tick holds its executor thread for as long before it
/// first yields.
const IDLE_TICK: Duration = Duration::from_millis(4);

/// Idle ticks in a row after which the thread rests. Waking it costs the next call a system call, so it does not rest
/// between two requests of a busy node.
const IDLE_TICKS_MAX: u32 = 50;

/// Ticks for which the idle ones are short behind a plugin that ran long: another such is to yield soon.
const WARY_TICKS: u32 = 1000;

/// A handle on the ticker; the thread ends with the engine.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    running: AtomicUsize,
    resting: AtomicBool,
    turns: Turns,
}

/// A running plugin, for which the ticker stays awake.
pub(crate) struct Running<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system refuses a thread.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            turns: Turns::default(),
        });
        let engine = engine.weak();
        let seen = Arc::clone(&shared);
        let handle = thread::Builder::new()
            .name("selvedge-ticker".to_owned())
            .spawn(move || {
                let mut pace = Pace::default();
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    pace.wait(&seen);
                }
            })?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
        })
    }

    /// Makes a call: keeps the ticker awake for it, gives it turns, and ends it at the deadline.
    pub(crate) async fn until<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let _running = self.run();
        tokio::time::timeout_at(deadline, self.shared.turns.give(call)).await
    }

    /// Keeps the ticker awake until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        // Sequentially consistent, as in `rest`: one of the two threads must see what the other wrote.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

/// How long the ticks are, by what happened in those before.
#[derive(Default)]
struct Pace {
    ran: bool,
    idle_ticks: u32,
    wary_ticks: u32,
}

impl Pace {
    /// Waits for as long as a tick is now.
    fn wait(&mut self, seen: &Shared) {
        let ran = std::mem::replace(&mut self.ran, seen.running.load(Ordering::Relaxed) > 0);
        if seen.turns.were_asked_for() {
            self.wary_ticks = WARY_TICKS;
        }
        if self.ran {
            if ran {
                seen.turns.rouse();
            }
            self.idle_ticks = 0;
            thread::sleep(TICK);
        } else if self.wary_ticks > 0 {
            self.wary_ticks -= 1;
            thread::sleep(TICK);
        } else if self.idle_ticks < IDLE_TICKS_MAX {
            self.idle_ticks += 1;
            thread::sleep(IDLE_TICK);
        } else {
            seen.rest();
        }
    }
}

impl Shared {
    /// Parks until a plugin runs; for at most a second, so that the thread sees that the engine is gone.
    fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        if self.running.load(Ordering::SeqCst) == 0 {
            thread::park_timeout(Duration::from_secs(1));
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
