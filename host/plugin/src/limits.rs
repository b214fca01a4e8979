//! What one attachment of a plugin may use. Pure numbers; `state` and `call` enforce them.

use std::time::Duration;

/// The limits of one attachment. All are on by default; an operator changes them under `[plugins.NAME] limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all linear memories of an instance together. Default 32 MiB, at most the sandbox's `memory_max`.
    pub memory: usize,
    /// CPU time of one call, counted in ticks of 1 ms while the plugin runs. Default 100 ms. It yields at each tick, so a
    /// long call does not hold up its neighbours, and is ended when the ticks are spent.
    pub time: Duration,
    /// Time on the clock from the start of one call to its end, waiting included. Default 1 s.
    pub wall_time: Duration,
    /// CPU time and time on the clock of `configure`. Default 10 s: it compiles schemas and templates, once.
    pub configure_time: Duration,
    /// Elements of all tables of an instance together. Default 50,000.
    pub table_elements: usize,
    /// Bytes that one call may bring from the plugin into the host: arguments of imports, and the result. Default 8 MiB.
    pub host_bytes: usize,
    /// Bytes of what one call answers, without its framing. Default 4 MiB.
    pub output: usize,
    /// Bytes of what all calls on one stream answer together. Default 32 MiB: many times what a model writes.
    pub stream_output: usize,
    /// Host resources that an instance may hold at once, such as tensors and streams. Default 1,024.
    pub handles: usize,
    /// CPU time of one call of an observer. Default 1 s: it is given many events at once, and nobody waits for it.
    pub observe_time: Duration,
    /// Time on the clock of one call of an observer, what it waits for other servers included. Default 30 s.
    pub observe_wall_time: Duration,
    /// How long one run of a model may take that the plugin asks for, waiting included. Default 500 ms: less than `wall_time`, so
    /// that the plugin can do something about it.
    pub inference_time: Duration,
    /// Bytes that one store of keys and values may take, 64 a key counted besides what is in it. Default 16 MiB.
    pub kv: u64,
    /// Bytes that one journal may take on disk, all its files together. Default 1 GiB.
    pub journal: u64,
    /// Bytes of log lines and printed text of one call; what is beyond is dropped, and that is logged. Default 16 KiB.
    pub log: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 32 << 20,
            time: Duration::from_millis(100),
            wall_time: Duration::from_secs(1),
            configure_time: Duration::from_secs(10),
            table_elements: 50_000,
            host_bytes: 8 << 20,
            output: 4 << 20,
            stream_output: 32 << 20,
            handles: 1024,
            observe_time: Duration::from_secs(1),
            observe_wall_time: Duration::from_secs(30),
            inference_time: Duration::from_millis(500),
            kv: 16 << 20,
            journal: 1 << 30,
            log: 16 << 10,
        }
    }
}

/// Attributes that the plugins of one request may leave, in number.
pub(crate) const ATTRIBUTES_MAX: usize = 64;

/// Timings of one request: more than any endpoint has plugins.
pub(crate) const TIMINGS_MAX: usize = 128;

/// Bytes of an attribute's key and value together; the value is cut beyond. A log line should stay readable.
pub(crate) const ATTRIBUTE_LEN_MAX: usize = 4 << 10;

/// Bytes of a message that a plugin answers with; cut beyond.
pub(crate) const MESSAGE_LEN_MAX: usize = 4 << 10;

/// Problems that one rejection may list; more help nobody.
pub(crate) const PROBLEMS_MAX: usize = 256;
