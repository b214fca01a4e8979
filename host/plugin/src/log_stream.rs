//! A plugin's standard output and error: complete lines become log lines in its name, up to its limit; it never traps.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::state::{Identity, LOG_CUT, take_log};
use crate::value::{Request, cut};

/// How much a line matters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// Writes one line to the host's log, and to whoever wants to know what the plugin does.
    pub(crate) fn emit(self, identity: &Identity, request: &str, message: &str) {
        if let Some(spent) = &identity.spent {
            spent.line(self.name(), message);
        }
        let (plugin, endpoint) = (&*identity.plugin, &*identity.endpoint);
        match self {
            Self::Trace => tracing::trace!(target: "plugin", plugin, endpoint, request, "{message}"),
            Self::Debug => tracing::debug!(target: "plugin", plugin, endpoint, request, "{message}"),
            Self::Info => tracing::info!(target: "plugin", plugin, endpoint, request, "{message}"),
            Self::Warn => tracing::warn!(target: "plugin", plugin, endpoint, request, "{message}"),
            Self::Error => tracing::error!(target: "plugin", plugin, endpoint, request, "{message}"),
        }
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One of the two streams. All handles on it share the line in progress and what is left of the limit.
#[derive(Clone)]
pub(crate) struct LogStream {
    level: Level,
    identity: Arc<Identity>,
    request: Option<Arc<Request>>,
    left: Arc<Mutex<usize>>,
    line: Arc<Mutex<Vec<u8>>>,
}

impl LogStream {
    pub(crate) fn new(
        level: Level,
        identity: Arc<Identity>,
        request: Option<Arc<Request>>,
        left: Arc<Mutex<usize>>,
    ) -> Self {
        Self {
            level,
            identity,
            request,
            left,
            line: Arc::default(),
        }
    }

    /// Keeps a line until its end, and at most as much of it as may be logged at all.
    fn take(&self, bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = self.identity.limits.log.saturating_sub(line.len());
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.emit(&line);
                line.clear();
            }
        }
    }

    fn emit(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        let Some((len, last)) = take_log(&self.left, text.len()) else {
            return;
        };
        let request = self.request.as_ref().map_or("", |request| request.id.as_str());
        let end = if last { LOG_CUT } else { "" };
        let text = cut(&text, len).escape_debug();
        self.level.emit(&self.identity, request, &format!("{text}{end}"));
    }
}

impl Drop for LogStream {
    /// A last line without its newline is logged with the last handle.
    fn drop(&mut self) {
        if let Some(line) = Arc::get_mut(&mut self.line) {
            let line = std::mem::take(line.get_mut().unwrap_or_else(PoisonError::into_inner));
            if !line.is_empty() {
                self.emit(&line);
            }
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// Not reached: only the p2 interfaces are linked.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(1 << 16)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}
