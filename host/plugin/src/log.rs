//! What a plugin logs and prints: its lines become the host's, in its name and up to its limit; printing never traps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::state::Identity;
use crate::value::{Request, cut, safe};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// What the last line says where the rest of a call's log is dropped.
const LOG_CUT: &str = " [the rest is beyond `limits.log` and is dropped]";

/// What a line costs besides its text, so that empty lines are not free.
const LOG_LINE_COST: usize = 32;

/// What a store logs: in whose name, for which request, and how much it still may. All handles on its streams share it.
pub(crate) struct Log {
    identity: Arc<Identity>,
    now: Mutex<Now>,
}

struct Now {
    request: Option<Arc<Request>>,
    /// Bytes that may still be logged.
    left: usize,
    /// Bytes that were beyond that and are not counted yet.
    dropped: usize,
    /// Lines in progress on standard output and error.
    out: Vec<u8>,
    error: Vec<u8>,
}

impl Log {
    pub(crate) fn new(identity: &Arc<Identity>, request: Option<&Arc<Request>>) -> Self {
        Self {
            identity: Arc::clone(identity),
            now: Mutex::new(Now {
                request: request.cloned(),
                left: identity.limits.log,
                dropped: 0,
                out: Vec::new(),
                error: Vec::new(),
            }),
        }
    }

    /// Another request, for which the limit begins anew.
    pub(crate) fn begin(&self, request: &Arc<Request>) {
        let mut now = self.now();
        now.request = Some(Arc::clone(request));
        now.left = self.identity.limits.log;
    }

    /// The request is over: what it left unfinished is logged in its name, and it is let go.
    pub(crate) fn end(&self) {
        let mut now = self.now();
        now.finish(&self.identity);
        now.request = None;
    }

    /// Bytes that were logged, for the request that there is now.
    pub(crate) fn used(&self) -> usize {
        self.identity.limits.log.saturating_sub(self.now().left)
    }

    /// Says what the plugin asked an import for and is not granted, and which key of `allow` would grant it; as far as it may log,
    /// since it may ask a million times. All are counted.
    pub(crate) fn deny(&self, import: &'static str, what: &str) {
        self.identity.count_denial(import);
        let (taken, request) = {
            let mut now = self.now();
            (now.take(what.len()), now.request.clone())
        };
        if let Some((len, _)) = taken {
            let id = request.as_ref().map_or("", |request| request.id.as_str());
            let what = safe(what, len);
            let line = format!("`{what}` is not granted (`allow = {{ {import} = [..] }}`)");
            Level::Warn.emit(&self.identity, id, &line);
        }
    }

    /// Logs a message, made safe for a log.
    pub(crate) fn write(&self, level: Level, message: &str) {
        let (taken, request) = {
            let mut now = self.now();
            (now.take(message.len()), now.request.clone())
        };
        if let Some((len, last)) = taken {
            let end = if last { LOG_CUT } else { "" };
            let id = request.as_ref().map_or("", |request| request.id.as_str());
            level.emit(&self.identity, id, &(safe(message, len) + end));
        }
    }

    /// Takes what is printed: keeps a line until its end, and at most as much of it as may be logged at all.
    fn print(&self, level: Level, bytes: &[u8]) {
        let mut now = self.now();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = now.line(level);
            let room = self.identity.limits.log.saturating_sub(line.len());
            let kept = piece.len().min(room);
            line.extend_from_slice(&piece[..kept]);
            now.dropped += piece.len() - kept;
            if piece.ends_with(b"\n") {
                now.emit(level, &self.identity);
            }
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    fn take(&mut self, len: usize) -> Option<(usize, bool)> {
        let left = self.left;
        if left == 0 {
            self.dropped += len;
            return None;
        }
        let share = len.min(left.saturating_sub(LOG_LINE_COST));
        self.dropped += len - share;
        let last = share < len || left <= len + LOG_LINE_COST;
        self.left = if last { 0 } else { left - len - LOG_LINE_COST };
        Some((share, last))
    }

    fn id(&self) -> &str {
        self.request.as_ref().map_or("", |request| request.id.as_str())
    }

    fn line(&mut self, level: Level) -> &mut Vec<u8> {
        match level {
            PRINTED => &mut self.out,
            _ => &mut self.error,
        }
    }

    /// Logs the line in progress, and begins the next.
    fn emit(&mut self, level: Level, identity: &Identity) {
        let mut line = std::mem::take(self.line(level));
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if let Some((len, last)) = self.take(text.len()) {
            let end = if last { LOG_CUT } else { "" };
            let text = cut(&text, len).escape_debug();
            level.emit(identity, self.id(), &format!("{text}{end}"));
        }
        drop(text);
        line.clear();
        *self.line(level) = line;
    }

    /// Logs last lines that have no newline, and counts what was dropped.
    fn finish(&mut self, identity: &Identity) {
        for level in [PRINTED, COMPLAINED] {
            if !self.line(level).is_empty() {
                self.emit(level, identity);
            }
        }
        if self.dropped > 0 {
            identity.count_dropped(std::mem::take(&mut self.dropped));
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let now = self.now.get_mut().unwrap_or_else(PoisonError::into_inner);
        now.finish(&self.identity);
    }
}

/// The level of standard output.
pub(crate) const PRINTED: Level = Level::Info;

/// The level of standard error.
pub(crate) const COMPLAINED: Level = Level::Warn;

/// One of the two streams.
#[derive(Clone)]
pub(crate) struct LogStream {
    level: Level,
    log: Arc<Log>,
}

impl LogStream {
    pub(crate) fn new(level: Level, log: &Arc<Log>) -> Self {
        let log = Arc::clone(log);
        Self { level, log }
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
        self.log.print(self.level, &bytes);
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
