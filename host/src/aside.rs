//! Work as long as clients or plugins make it: reading a long body, writing a long answer. It is done beside the executor's threads
//! and not on them, so that nobody else's request waits behind it; and not all of it at once, so that those threads keep their share of
//! the machine.

use std::sync::LazyLock;

use selvedge_plugin::Patient;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

/// Bytes of JSON up to which work is done where it is: some tenths of a millisecond, less than the run of a plugin.
const SHORT_LEN: usize = 64 << 10;

/// The turns of long work.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(turns()));

/// How much of it is done at once: one less than there are cores.
fn turns() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).max(1)
}

/// Does work on so many bytes: at once where they are few, else in its turn, while the other tasks of this thread go on with another.
pub(crate) async fn aside<T>(len: usize, work: impl FnOnce() -> T) -> T {
    if len <= SHORT_LEN || Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    // It is never closed.
    let _turn = TURNS.acquire().await;
    tokio::task::block_in_place(|| {
        let _patient = Patient::begin();
        work()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::{SHORT_LEN, aside, turns};

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_threads_other_tasks_go_on_meanwhile() {
        let (tell, told) = mpsc::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(aside(SHORT_LEN + 1, move || {
            told.recv_timeout(Duration::from_secs(10)).is_ok()
        }));
        // The one thread comes to it second.
        tasks.spawn(async move { tell.send(()).is_ok() });
        assert_eq!(tasks.join_all().await, [true, true]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn not_all_is_done_at_once() {
        let turns = turns();
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..turns + 3 {
            let counts = Arc::clone(&counts);
            let work = move || {
                let (now, most) = &*counts;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                now.fetch_sub(1, Ordering::SeqCst);
            };
            tasks.spawn(aside(SHORT_LEN + 1, work));
        }
        tasks.join_all().await;
        assert!(counts.1.load(Ordering::SeqCst) <= turns);
    }
}
