//! A change of the binary without a refused connection: the node starts its binary anew with its listening sockets, and ends only when
//! the new process says that it serves. If that fails, the node goes on. SIGUSR2 asks for it, as with nginx.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::activation::{FIRST, READY};
use crate::listeners::Listeners;
use crate::service;

/// Longest time until the new process serves: as long as the largest models take to load from a slow disk.
const START_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// Longest time that the new process waits for the old one to tell systemd of it, which takes no time.
const TURN_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest time that a new process may take to end after it closed its channel, and the interval of the looks.
const END_TIME_MAX: Duration = Duration::from_secs(5);
const END_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Message of the new process: it serves.
const SERVES: u8 = b'S';

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
    /// It took too long.
    #[error("the new process did not serve within {START_TIME_MAX:?}, and was ended")]
    Late,
    /// The sockets cannot be shared.
    #[error("the listening sockets cannot be shared: {0}")]
    Sockets(#[from] std::io::Error),
}

/// Path of the binary, where another version may lie by now, and the arguments of this process.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// A process that is ended where it is not let go.
struct Successor(Option<Child>);

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
    /// If the new process cannot be started, ends, or takes too long; then it is gone.
    pub async fn succeed(&self, listeners: &Listeners) -> Result<u32, UpgradeError> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut ours = tokio::net::UnixStream::from_std(ours)?;
        let child = self.start(listeners, theirs)?;
        let id = child.id();
        let mut child = Successor(Some(child));
        let mut said = [0];
        match tokio::time::timeout(START_TIME_MAX, ours.read_exact(&mut said)).await {
            Ok(Ok(_)) if said == [SERVES] => {}
            Ok(_) => return Err(UpgradeError::Ended(child.end().await)),
            Err(_) => return Err(UpgradeError::Late),
        }
        // From here on systemd listens to it.
        service::main_process(id);
        ours.write_all(&[TURN]).await?;
        child.0 = None;
        Ok(id)
    }

    fn start(&self, listeners: &Listeners, ready: UnixStream) -> Result<Child, UpgradeError> {
        let mut shared = listeners.share()?;
        shared.push((READY, ready.into()));
        let names: Vec<&str> = shared.iter().map(|(name, _)| *name).collect();
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", shared.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // They name this process.
            .env_remove("LISTEN_PID")
            .env_remove("WATCHDOG_PID");
        let numbers = i32::try_from(FIRST).unwrap_or(i32::MAX)..;
        let mappings = shared.into_iter().zip(numbers);
        let mappings = mappings.map(|((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd });
        let started = command
            .fd_mappings(mappings.collect())
            .map_err(std::io::Error::other);
        let started = started.and_then(|command| command.spawn());
        started.map_err(|source| UpgradeError::Start {
            path: self.path.clone(),
            source,
        })
    }
}

impl Successor {
    /// Exit status as text, of a process that has ended or is ended here.
    async fn end(&mut self) -> String {
        let Some(mut child) = self.0.take() else {
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
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Tells the node that hands over that this one serves, and waits until it has made room. Blocks for a moment.
///
/// # Errors
///
/// If the old node is gone or does not answer in time. This one then serves all the same.
pub fn take_over(mut ready: UnixStream) -> std::io::Result<()> {
    ready.set_read_timeout(Some(TURN_TIME_MAX))?;
    ready.write_all(&[SERVES])?;
    ready.read_exact(&mut [0])
}
