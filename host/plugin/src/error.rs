//! What can go wrong: a plugin that cannot be attached ([`LoadError`]), and a call that fails ([`CallError`]).

use std::sync::Arc;
use std::time::Duration;

/// Why a plugin cannot be loaded or attached. The endpoint that needs it is refused; others are not touched.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no component.
    #[error("{what}; {remedy}")]
    NotAComponent {
        /// What they are.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The component is larger than the node accepts.
    #[error("the component has {len} bytes, more than `sandbox.component_size_max` allows ({max})")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// It exports no stage.
    #[error("it exports no stage of selvedge:plugin@0.1; it exports {exports}")]
    NoStage {
        /// What it exports instead.
        exports: String,
    },
    /// It lacks `lifecycle`.
    #[error("it does not export `selvedge:plugin/lifecycle@0.1.0`, which every plugin must")]
    NoLifecycle,
    /// It imports what nothing grants.
    #[error("it imports `{import}`, which nothing grants; {remedy}")]
    ImportDenied {
        /// The import.
        import: String,
        /// The line that would grant it, or that none would.
        remedy: String,
    },
    /// Its manifest wants what the operator did not grant.
    #[error("it wants {what}, which nothing grants; {remedy}")]
    WantDenied {
        /// What it wants.
        what: String,
        /// The line that would grant it.
        remedy: String,
    },
    /// Its manifest wants what the component cannot ask for.
    #[error("its manifest wants {what}, and the component does not import `{import}`")]
    WantUntrue {
        /// What it wants.
        what: String,
        /// The import that would ask for it.
        import: &'static str,
    },
    /// Its manifest cannot be read.
    #[error("its manifest (custom section `selvedge:manifest`) cannot be read: {0}")]
    Manifest(String),
    /// The attachment's configuration does not match the schema in the manifest.
    #[error("`config`{at}: {message}")]
    ConfigRefused {
        /// Where in the configuration, as `.schema.type`.
        at: String,
        /// What the schema says.
        message: String,
    },
    /// `configure` answered that it cannot work with the configuration.
    #[error("`configure` refused the configuration ({code}): {message}")]
    ConfigureFailed {
        /// The plugin's code.
        code: String,
        /// The plugin's message.
        message: String,
    },
    /// `configure` did not finish in time.
    #[error("`configure` did not finish in time (`limits.configure_time`, {0:?})")]
    ConfigureTime(Duration),
    /// `configure` trapped or went over another limit.
    #[error("`configure` {0}")]
    Configure(Fault),
    /// The snapshot and a freshly configured instance disagree.
    #[error(
        "a snapshot of it does not answer the manifest's self-test as a freshly configured instance does"
    )]
    SelfTest,
    /// wasmtime cannot compile or link it.
    #[error("it cannot be compiled or linked: {0}")]
    Compile(String),
    /// It reads the tokens of the endpoint's model, which has none.
    #[error(
        "it works on the tokens of the endpoint's model, which must be one of this node that generates text"
    )]
    NoVocabulary,
    /// The compiler panicked.
    #[error("the compiler failed on it (a panic, contained)")]
    CompilerPanicked,
    /// The file of compiled code cannot be written or read.
    #[error("the cache of compiled plugins at {path}: {source}")]
    Cache {
        /// The file or folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no thread for the ticker.
    #[error("the system gives no thread: {0}")]
    Thread(std::io::Error),
    /// More instances than the process may have mappings for.
    #[error(
        "`sandbox.instances_max` ({asked}) is more than the process can hold: at most {fit} fit into vm.max_map_count ({mappings_max}); lower it, or run `sysctl -w vm.max_map_count={needed}`"
    )]
    TooManyInstances {
        /// What is configured.
        asked: usize,
        /// How many fit.
        fit: usize,
        /// Mappings that the process may have.
        mappings_max: usize,
        /// How many would be enough.
        needed: usize,
    },
    /// Compiling it would take too long.
    #[error("{what} (`{key}`); a node does not compile what would hold it up")]
    TooMuchCode {
        /// What there is too much of, with the numbers.
        what: String,
        /// The limit's key.
        key: &'static str,
    },
    /// The limit of this attachment is beyond what the sandbox has.
    #[error("`limits.memory` ({asked} bytes) is more than `sandbox.memory_max` ({max} bytes)")]
    MemoryBeyondPool {
        /// What the attachment asks for.
        asked: usize,
        /// What an instance can have.
        max: usize,
    },
}

/// A call that did not give a result. The instance is gone; the next call starts from the snapshot.
#[derive(Debug, Clone, thiserror::Error)]
#[error("plugin `{plugin}` on endpoint `{endpoint}` {fault}")]
pub struct CallError {
    /// Name of the plugin in the configuration.
    pub plugin: Arc<str>,
    /// Name of the endpoint.
    pub endpoint: Arc<str>,
    /// What happened.
    pub fault: Fault,
}

/// What happened to a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// It used up its CPU time.
    #[error("used more than its CPU time (`limits.time`, {0:?})")]
    Time(Duration),
    /// It did not come back in time.
    #[error("did not return in time (`limits.wall_time`, {0:?})")]
    WallTime(Duration),
    /// It wanted more memory than it may have.
    #[error("wanted more memory than it may have (`limits.memory`, {0} bytes)")]
    Memory(usize),
    /// It wanted larger tables than it may have.
    #[error("wanted larger tables than it may have (`limits.table_elements`, {0})")]
    Table(usize),
    /// It brought too many bytes into the host in one call.
    #[error("brought too many bytes into the host in one call (`limits.host_bytes`, {0})")]
    HostBytes(usize),
    /// Its answer is too long.
    #[error("answered with {len} bytes (`limits.output`, {max})")]
    Output {
        /// Bytes of the answer.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// It held too many host resources.
    #[error("held too many host resources (`limits.handles`, {0})")]
    Handles(usize),
    /// It ran out of stack.
    #[error("ran out of stack")]
    Stack,
    /// It trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// It broke the rules of the component model: a bad pointer, text that is not UTF-8, a handle that is none.
    #[error("broke the component model's rules: {0}")]
    Abi(String),
    /// It answered with JSON that is none, or that nests too deep.
    #[error("answered with JSON that cannot be read: {0}")]
    Json(String),
    /// It answered with a choice that the stream does not have.
    #[error("answered with choice {found}, and the stream has {count}")]
    Choice {
        /// The choice.
        found: u32,
        /// How many there are.
        count: u32,
    },
    /// What it said of the next token is no decision.
    #[error(transparent)]
    Decision(#[from] BadDecision),
    /// The model does not take what it rendered.
    #[error("rendered what the model does not take: {0}")]
    Prompt(String),
    /// It answered that it failed.
    #[error("failed ({code}): {message}")]
    Failed {
        /// The plugin's code.
        code: String,
        /// The plugin's message, cut.
        message: String,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
    /// Its stream's answers together are too long.
    #[error("answered with more bytes on one stream than it may (`limits.stream_output`, {0})")]
    StreamOutput(usize),
    /// There is no room for it beside the others, and none came free within `limits.wall_time`.
    #[error("could not run: {0}")]
    Busy(Scarce),
}

/// What all instances have together, and there was not enough of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Scarce {
    /// Instances.
    #[error("all {0} instances are taken (`sandbox.instances_max`)")]
    Instances(usize),
    /// Mappings, of which a process may have so many.
    #[error("instances take all mappings that the process can spare (vm.max_map_count, {0})")]
    Mappings(usize),
    /// Memory, in bytes.
    #[error("all instances together have the memory that they may (`sandbox.memory_total_max`, {0} bytes)")]
    Memory(usize),
    /// What a component is made of: memories, tables, stacks.
    #[error("the pool of instances has no place left")]
    Pool,
}

impl Fault {
    /// The stable code of the error, for clients, logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Time(_) => "plugin-time-limit",
            Self::WallTime(_) => "plugin-wall-time-limit",
            Self::Memory(_) => "plugin-memory-limit",
            Self::Table(_) => "plugin-table-limit",
            Self::HostBytes(_) => "plugin-host-bytes-limit",
            Self::Output { .. } | Self::StreamOutput(_) => "plugin-output-limit",
            Self::Handles(_) => "plugin-handles-limit",
            Self::Stack => "plugin-stack-overflow",
            Self::Trap(_) => "plugin-trap",
            Self::Abi(_) => "plugin-abi",
            Self::Json(_) => "plugin-bad-json",
            Self::Choice { .. } => "plugin-bad-choice",
            Self::Decision(bad) => bad.code(),
            Self::Prompt(_) => "plugin-bad-prompt",
            Self::Failed { .. } => "plugin-failed",
            Self::Busy(_) => "plugins-busy",
        }
    }
}

/// Why a plugin's answer does not decide which tokens may come.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadDecision {
    /// It names a token that there is not.
    #[error("answered with token {id}, and the vocabulary ends at {}", vocabulary.saturating_sub(1))]
    Token {
        /// The token.
        id: u32,
        /// How many there are.
        vocabulary: usize,
    },
    /// Its mask does not have a bit for each token.
    #[error("answered with a mask of {len} words, and the vocabulary needs {expected}")]
    Mask {
        /// Words of 32 bits that it has.
        len: usize,
        /// Words that it must have.
        expected: usize,
    },
    /// It would add to a logit what is no number, or too much.
    #[error("answered with a bias of {0}, which must be from -100 to 100")]
    Bias(f32),
    /// It leaves no token that may come.
    #[error("left no token that may come; it must answer `stop` to end a text")]
    Nothing,
}

impl BadDecision {
    fn code(self) -> &'static str {
        match self {
            Self::Token { .. } => "plugin-bad-token",
            Self::Mask { .. } => "plugin-bad-mask",
            Self::Bias(_) => "plugin-bad-bias",
            Self::Nothing => "plugin-no-token",
        }
    }
}
