//! A change of the binary without a refused connection: the node starts its binary anew with its listening sockets, and ends only when
//! the new process says that it serves. If that fails, the node goes on. SIGUSR2 asks for it, as with nginx.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::activation::{FIRST, READY};
use crate::listeners::Listeners;
use crate::service;
use crate::shutdown::Asked;

/// Longest time until the new process serves: as long as the largest models take to load from a slow disk.
const START_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// Longest time that the new process waits for the old one to tell systemd of it, which takes no time.
const TURN_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest time that a new process may take to end after it closed its channel, and the interval of the looks.
const END_TIME_MAX: Duration = Duration::from_secs(5);
const END_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Message of the new process: it serves.
const SERVES: u8 = b'S';

/// Message of the new process: it does not serve, for the reasons that follow up to the channel's end.
const REFUSES: u8 = b'R';

/// Bytes of those reasons: more than any log shows, and less than a socket takes without a reader.
const REASONS_SIZE_MAX: usize = 64 * 1024;

/// Answer of the old process: the new one is the service now.
const TURN: u8 = b'T';

/// Error of a hand-over, after which the node goes on itself.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The binary cannot be started.
    #[error("{path} cannot be started: {source}")]
    Start {
        /// The binary.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It has ended.
    #[error("the new process ended before it served ({0}); what it says of it stands before this")]
    Ended(String),
    /// It does not serve, for these reasons.
    #[error("the new process refuses to serve: {0}")]
    Refused(String),
    /// It took too long.
    #[error("the new process did not serve within {START_TIME_MAX:?}, and was ended")]
    Late,
    /// It served, and has ended or closed its channel before it was the service.
    #[error("the new process was gone before it took over ({0})")]
    Gone(String),
    /// There is no channel to it.
    #[error("a channel to the new process cannot be made: {0}")]
    Channel(std::io::Error),
    /// The sockets cannot be shared.
    #[error("the listening sockets cannot be shared: {0}")]
    Sockets(std::io::Error),
}

/// Path of the binary, where another version may lie by now, and the arguments of this process.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The program of this process. Must be called at its start: the path is relative to the folder that it was started in.
    ///
    /// # Errors
    ///
    /// If the system does not tell the path.
    pub fn of_process() -> std::io::Result<Self> {
        let mut arguments = std::env::args_os();
        let typed = arguments.next().map(PathBuf::from).unwrap_or_default();
        // A link that is named stays a link, which may lead to another version later.
        let path = match typed.components().count() {
            0 | 1 => std::env::current_exe()?,
            _ => std::path::absolute(typed)?,
        };
        Ok(Self {
            path,
            arguments: arguments.collect(),
        })
    }

    /// Starts the binary with a node's sockets, waits until it serves, and returns its process id. From then on it is the service. If
    /// the future is dropped, the new process is ended.
    ///
    /// # Errors
    ///
    /// If the new process cannot be started, refuses to serve, ends, or takes too long; then it is gone.
    pub async fn succeed(&self, listeners: &Listeners) -> Result<u32, UpgradeError> {
        let mut successor = self.start(listeners.share().map_err(UpgradeError::Sockets)?)?;
        successor.serves().await?;
        successor.give_turn().await
    }

    /// Starts the binary with these sockets, each with its name.
    fn start(&self, mut sockets: Vec<(&'static str, OwnedFd)>) -> Result<Successor, UpgradeError> {
        let (ours, theirs) = UnixStream::pair().map_err(UpgradeError::Channel)?;
        let channel = ours
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UnixStream::from_std(ours))
            .map_err(UpgradeError::Channel)?;
        sockets.push((READY, theirs.into()));
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // They name this process.
            .env_remove("LISTEN_PID")
            .env_remove("WATCHDOG_PID");
        let numbers = i32::try_from(FIRST).unwrap_or(i32::MAX)..;
        let mappings = sockets.into_iter().zip(numbers);
        let mappings = mappings.map(|((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd });
        let started = command
            .fd_mappings(mappings.collect())
            .map_err(std::io::Error::other);
        let started = started.and_then(|command| command.spawn());
        let child = started.map_err(|source| UpgradeError::Start {
            path: self.path.clone(),
            source,
        })?;
        Ok(Successor {
            child: Some(child),
            channel,
        })
    }
}

/// The new process, which is ended where it is not let go.
struct Successor {
    child: Option<Child>,
    channel: tokio::net::UnixStream,
}

impl Successor {
    /// Waits until it serves.
    async fn serves(&mut self) -> Result<(), UpgradeError> {
        match tokio::time::timeout(START_TIME_MAX, self.channel.read_u8()).await {
            Ok(Ok(SERVES)) => Ok(()),
            Ok(Ok(REFUSES)) => {
                let reasons = self.reasons().await;
                self.end().await;
                Err(UpgradeError::Refused(reasons))
            }
            Ok(_) => Err(UpgradeError::Ended(self.end().await)),
            Err(_) => Err(UpgradeError::Late),
        }
    }

    /// Reasons why it does not serve.
    async fn reasons(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut rest = (&mut self.channel).take(REASONS_SIZE_MAX as u64);
        // What came before an error is told all the same.
        tokio::time::timeout(END_TIME_MAX, rest.read_to_end(&mut bytes))
            .await
            .ok();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Makes it the service, to which systemd listens from here on, and returns its process id.
    async fn give_turn(&mut self) -> Result<u32, UpgradeError> {
        let Some(id) = self.waiting() else {
            return Err(UpgradeError::Gone(self.end().await));
        };
        service::main_process(id);
        if self.channel.write_all(&[TURN]).await.is_err() {
            // It ended in this moment: systemd must not look after a process that is no more.
            service::main_process(std::process::id());
            return Err(UpgradeError::Gone(self.end().await));
        }
        self.child = None;
        Ok(id)
    }

    /// Its process id, if it runs and waits for its turn.
    fn waiting(&mut self) -> Option<u32> {
        let child = self.child.as_mut()?;
        let runs = matches!(child.try_wait(), Ok(None));
        // Nothing is to be read but the end of a channel that it closed.
        let waits =
            matches!(self.channel.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        (runs && waits).then(|| child.id())
    }

    /// Exit status as text, of a process that has ended or is ended here.
    async fn end(&mut self) -> String {
        let Some(mut child) = self.child.take() else {
            return String::new();
        };
        // Its channel is closed a little before its end, for which it may have something to say.
        let until = Instant::now() + END_TIME_MAX;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
            tokio::time::sleep(END_LOOK_EVERY).await;
        }
        child.kill().ok();
        child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Passes on to the process that has taken over what is asked of this one: whoever asked may not know of the other yet.
pub fn forward(asked: Asked, id: u32) {
    let signal = match asked {
        // This process ends already.
        Asked::End(_) => return,
        Asked::Reload => Signal::HUP,
        Asked::Upgrade => Signal::USR2,
    };
    let Some(process) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
        return;
    };
    match kill_process(process, signal) {
        Ok(()) => tracing::info!(?asked, "passed on to process {id}"),
        Err(error) => tracing::warn!(?asked, %error, "cannot be passed on to process {id}"),
    }
}

/// The node that hands over to this one, and waits to hear how the start went. To be kept until this process ends: an answer that comes
/// late must find somebody, or the node before would take this one for gone, and end it.
pub struct Predecessor(UnixStream);

/// Error of a hand-over, seen from the new process, which serves all the same.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// There is no answer yet.
    #[error(
        "the node before has not answered within {TURN_TIME_MAX:?}; if it is slow it ends later, and until then both serve"
    )]
    Late,
    /// The channel is closed.
    #[error("the node before is gone, or has given up waiting: {0}")]
    Gone(std::io::Error),
}

impl Predecessor {
    /// The node at the other end of a channel.
    #[must_use]
    pub fn new(channel: UnixStream) -> Self {
        Self(channel)
    }

    /// Tells it that this process serves, and waits until it has made room. Blocks for a moment.
    ///
    /// # Errors
    ///
    /// If the old node is gone or does not answer in time. This one then serves all the same.
    pub fn take_over(&mut self) -> Result<(), TakeOverError> {
        self.take_over_within(TURN_TIME_MAX)
    }

    fn take_over_within(&mut self, time_max: Duration) -> Result<(), TakeOverError> {
        let channel = &mut self.0;
        channel
            .set_read_timeout(Some(time_max))
            .and_then(|()| channel.write_all(&[SERVES]))
            .map_err(TakeOverError::Gone)?;
        channel.read_exact(&mut [0]).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => TakeOverError::Late,
            _ => TakeOverError::Gone(error),
        })
    }

    /// Tells it why this process does not serve. If it is gone, nobody wants to know.
    pub fn refuse(mut self, reasons: &str) {
        let len = reasons.floor_char_boundary(REASONS_SIZE_MAX);
        let message = [&[REFUSES][..], &reasons.as_bytes()[..len]].concat();
        self.0
            .set_write_timeout(Some(TURN_TIME_MAX))
            .and_then(|()| self.0.write_all(&message))
            .ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::{Predecessor, Program, TakeOverError, UnixStream, UpgradeError};

    /// A program of the shell's, which has the channel as descriptor 3.
    fn shell(script: &str) -> Program {
        Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
        }
    }

    #[tokio::test]
    async fn a_process_that_serves_and_waits_is_given_its_turn() {
        let program = shell("printf S >&3; test \"$(head -c 1 <&3)\" = T");
        let mut successor = program.start(Vec::new()).expect("started");
        successor.serves().await.expect("it says so");
        let id = successor.give_turn().await.expect("it waits");
        let process = Pid::from_raw(i32::try_from(id).expect("an id"));
        let (_, status) = waitpid(process, WaitOptions::empty())
            .expect("it is a child of this process")
            .expect("it ends");
        assert_eq!(status.exit_status(), Some(0), "it was told");
    }

    #[tokio::test]
    async fn a_process_that_is_gone_is_not_the_service() {
        let mut successor = shell("printf S >&3").start(Vec::new()).expect("started");
        successor.serves().await.expect("it says so");
        // Its status is kept.
        successor
            .child
            .as_mut()
            .expect("it was started")
            .wait()
            .expect("it ends");
        match successor.give_turn().await {
            Err(UpgradeError::Gone(status)) => assert!(status.contains('0'), "{status}"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_process_that_refuses_says_why_and_one_that_fails_is_told_by_its_status() {
        let mut successor = shell("printf 'Rone; two' >&3")
            .start(Vec::new())
            .expect("started");
        match successor.serves().await {
            Err(UpgradeError::Refused(reasons)) => assert_eq!(reasons, "one; two"),
            other => panic!("{other:?}"),
        }
        let mut successor = shell("exit 3").start(Vec::new()).expect("started");
        match successor.serves().await {
            Err(UpgradeError::Ended(status)) => assert!(status.contains('3'), "{status}"),
            other => panic!("{other:?}"),
        }
        let missing = Program {
            path: "/nowhere/selvedge".into(),
            arguments: Vec::new(),
        };
        let refused = missing
            .start(Vec::new())
            .err()
            .expect("there is none")
            .to_string();
        assert!(refused.contains("/nowhere/selvedge"), "{refused}");
    }

    #[test]
    fn a_node_that_is_gone_is_told_from_one_that_is_slow() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        drop(theirs);
        let gone = Predecessor::new(ours).take_over();
        assert!(matches!(gone, Err(TakeOverError::Gone(_))), "{gone:?}");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let slow = Predecessor::new(ours).take_over_within(Duration::from_millis(1));
        assert!(matches!(slow, Err(TakeOverError::Late)), "{slow:?}");
        drop(theirs);
    }
}
