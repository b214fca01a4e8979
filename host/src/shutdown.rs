//! The end of a node: a signal begins it, tasks are told and awaited, and a deadline cuts off what is left.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle on the node's end; clones share it.
#[derive(Clone, Default)]
pub struct Shutdown {
    leaving: CancellationToken,
    retire: CancellationToken,
    handed_over: CancellationToken,
    drain: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// From now on the node is not ready, and still serves.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Whether the node is about to end.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Accepts no more connections, and asks those that there are to end with their next answer.
    pub fn retire(&self) {
        self.retire.cancel();
    }

    /// Returns true if connections are to end with their next answer.
    #[must_use]
    pub fn is_retiring(&self) -> bool {
        self.retire.is_cancelled()
    }

    /// Waits until no more connections are accepted.
    pub async fn retiring(&self) {
        self.retire.cancelled().await;
    }

    /// Notes that another process has the listening sockets.
    pub fn hand_over(&self) {
        self.handed_over.cancel();
    }

    /// Returns true if another process has the listening sockets.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.is_cancelled()
    }

    /// Tells every task to finish what it has and take nothing new.
    pub fn begin(&self) {
        self.retire.cancel();
        self.drain.cancel();
        self.tasks.close();
    }

    /// Whether the node drains.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits until the node drains.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Tells every task that is still at work to drop what it has: nobody waits for it any more.
    pub fn cut_off(&self) {
        self.cut.cancel();
    }

    /// Waits until what is still at work is to be dropped.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Starts a task that the end of the node waits for. The only place that calls `tokio::spawn`, by the tracker.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Starts a task that goes on until the process ends, and that nobody waits for.
    #[expect(
        clippy::disallowed_methods,
        reason = "it must not hold up the end of the node"
    )]
    pub fn spawn_to_the_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Dropping the handle lets it run.
        drop(tokio::spawn(task));
    }

    /// Waits until every task has ended; false where the deadline came first.
    pub async fn finished(&self, within: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(within, self.tasks.wait()).await.is_ok()
    }
}

/// What an operator asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To end, by a signal of this name.
    End(&'static str),
    /// To read its configuration again: SIGHUP.
    Reload,
    /// To hand its listening sockets to a new process of the binary: SIGUSR2.
    Upgrade,
}

/// SIGTERM, SIGINT, SIGHUP and SIGUSR2, from the moment that this is made.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

impl Signals {
    /// Listens for them. Must be called on the executor.
    ///
    /// # Errors
    ///
    /// Where the system refuses a signal handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next of them. One that came while nobody waited is told once, an end first.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::End("SIGTERM"),
            _ = self.interrupt.recv() => Asked::End("SIGINT"),
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.upgrade.recv() => Asked::Upgrade,
        }
    }

    /// Waits until it should end, and names the signal; what else is asked meanwhile is left to [`Signals::next`].
    pub async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Asked, Signals};

    #[tokio::test]
    async fn what_is_asked_while_only_an_end_is_waited_for_is_told_afterwards() {
        let mut signals = Signals::listen().expect("handlers");
        for signal in [Signal::USR2, Signal::HUP] {
            kill_process(getpid(), signal).expect("signalled");
        }
        // Time in which they would be lost.
        let ended = tokio::time::timeout(Duration::from_millis(100), signals.end()).await;
        assert_eq!(ended.ok(), None);
        for asked in [Asked::Reload, Asked::Upgrade] {
            let next = tokio::time::timeout(Duration::from_secs(60), signals.next()).await;
            assert_eq!(next.ok(), Some(asked));
        }
    }
}
