//! A node that was installed, from its start to its end, and a client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::Tool;

/// Longest time for a start: every plugin is compiled, perhaps on a busy machine.
const START: Duration = Duration::from_secs(300);

/// Longest time for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// A node.
pub(super) struct Server {
    child: Child,
    address: String,
    log: Receiver<String>,
}

impl Server {
    /// Starts it, and returns when it says where it listens.
    pub(super) fn start(mut command: Command) -> Result<Self> {
        // A group of its own, so that a signal reaches what a program in between started.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stderr.take().context("its log is a pipe")?).lines();
        let (sender, log) = channel();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)))?;
        let mut server = Self {
            child,
            address: String::new(),
            log,
        };
        server.address = server.listens()?;
        Ok(server)
    }

    fn listens(&self) -> Result<String> {
        let deadline = Instant::now() + START;
        let mut said = String::new();
        loop {
            match self
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    if let Some((_, address)) = line.split_once("listening on http://") {
                        let address = address.split_whitespace().next().unwrap_or_default();
                        return Ok(address.to_owned());
                    }
                    said += &line;
                    said.push('\n');
                }
                Err(RecvTimeoutError::Timeout) => bail!("it did not listen within {START:?}: {said}"),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended before it listened: {said}"),
            }
        }
    }

    /// Posts JSON; returns the status and the body.
    pub(super) fn post(&self, path: &str, body: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)
            .with_context(|| format!("it does not listen on {}", self.address))?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        status
            .zip(body)
            .with_context(|| format!("no answer of HTTP: {answer}"))
    }

    /// Tells it to end, and waits for that.
    pub(super) fn end(mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        Ok(self.child.wait()?)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let group = format!("-{}", self.child.id());
        Tool::new("kill").args(["-s", signal, "--", &group]).run()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("KILL").ok();
            self.child.wait().ok();
        }
    }
}
