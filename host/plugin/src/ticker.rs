//! The thread that advances the engine's epoch, by which running plugins are made to yield and are stopped.
//!
//! It is a thread of its own, since a ticker on the executor would stand still just when a plugin hogs it; and it rests
//! while no plugin runs, so that an idle node uses no CPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// Length of a tick while a plugin runs: the grain of CPU limits and how often a plugin yields its executor thread.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Length of a tick that began while no plugin ran. On a busy node with quick plugins that is nearly always so, and each
/// tick takes a core from a model. A plugin that starts in such a tick holds its executor thread for as long before it
/// first yields.
const IDLE_TICK: Duration = Duration::from_millis(4);

/// Idle ticks in a row after which the thread rests. Waking it costs the next call a system call, so it does not rest
/// between two requests of a busy node.
const IDLE_TICKS_MAX: u32 = 50;

/// A handle on the ticker; the thread ends with the engine.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    running: AtomicUsize,
    resting: AtomicBool,
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
        });
        let engine = engine.weak();
        let seen = Arc::clone(&shared);
        let handle = thread::Builder::new()
            .name("selvedge-ticker".to_owned())
            .spawn(move || {
                let mut idle_ticks = 0;
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    if seen.running.load(Ordering::Relaxed) > 0 {
                        idle_ticks = 0;
                        thread::sleep(TICK);
                    } else if idle_ticks < IDLE_TICKS_MAX {
                        idle_ticks += 1;
                        thread::sleep(IDLE_TICK);
                    } else {
                        seen.rest();
                    }
                }
            })?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
        })
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
