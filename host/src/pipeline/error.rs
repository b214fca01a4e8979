//! Why a request has no result: whose fault it is, and what. What the client is told is decided in `http/respond.rs` alone.

use std::time::Duration;

use selvedge_model::InferError;
use selvedge_plugin::CallError;
use selvedge_plugin::value::Rejection;

use crate::edge::limit::{Left, Limited};
use crate::upstream::UpstreamError;

/// A request without a result.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub struct RequestError {
    /// Whose fault it is, and what.
    pub fault: Fault,
}

/// Whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The client's: it can do better.
    #[error(transparent)]
    Client(#[from] ClientFault),
    /// A plugin's.
    #[error(transparent)]
    Plugin(#[from] CallError),
    /// The model's, or the model's input that a plugin made.
    #[error(transparent)]
    Model(#[from] InferError),
    /// Another server's, which does a model's work.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The node's.
    #[error(transparent)]
    Host(#[from] HostFault),
}

/// What a client did wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientFault {
    /// The body is not JSON.
    #[error("the body is not JSON: {message}")]
    NotJson {
        /// What is wrong with it.
        message: String,
        /// Byte at which it is wrong.
        at: usize,
    },
    /// The body is JSON and not what is needed.
    #[error("{message}")]
    BadBody {
        /// Machine-readable, after pydantic: `missing`, `string_type`.
        kind: &'static str,
        /// The field, as in `input` or `input.3`; empty for the whole body.
        param: String,
        /// One sentence.
        message: String,
    },
    /// A plugin refused it.
    #[error("refused by plugin `{}`: {}", .0.plugin, .0.rejection.message)]
    Rejected(Box<Rejected>),
    /// There is nothing at the path.
    #[error("there is nothing at `{0}`")]
    UnknownPath(String),
    /// The path has other methods.
    #[error("the method is not one of {allow}")]
    Method {
        /// The methods that it has.
        allow: &'static str,
    },
    /// No endpoint has the name.
    #[error("the model `{0}` does not exist")]
    UnknownModel(String),
    /// The model has no such version.
    #[error("the model `{model}` has no version {version}; its only version is 1")]
    UnknownVersion {
        /// The endpoint.
        model: String,
        /// What was asked for.
        version: String,
    },
    /// The protocol has it, and this node does not.
    #[error("{0}")]
    Unsupported(String),
    /// The endpoint's model does something else.
    #[error("`{endpoint}` is for {task}, which this path is not for")]
    WrongTask {
        /// The endpoint.
        endpoint: String,
        /// What its model does.
        task: &'static str,
    },
    /// There are no credentials, or wrong ones.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller is known, and may not.
    #[error("this key or token may not use it: the scope `{scope}` is missing")]
    Forbidden {
        /// What it would need.
        scope: String,
    },
    /// The caller is over a limit of its own.
    #[error("too much: at most {max} {}", limit_text(*.limited, *.per))]
    RateLimited {
        /// What there is too much of.
        limited: Limited,
        /// How much there may be.
        max: u64,
        /// In how long.
        per: Duration,
        /// How long to wait.
        retry_after: Duration,
        /// What is left of it, where it is one of requests or tokens in a time.
        left: Option<Left>,
    },
    /// It is one of the node's own calls, which came back.
    #[error("the request was made by this very node: the `upstream` of one of its models leads back to it")]
    Loop,
    /// A reload is under way.
    #[error("a reload is under way; ask again when it is done")]
    ReloadBusy,
    /// A configuration is refused; nothing was changed.
    #[error("{0}")]
    ReloadRefused(String),
    /// The body is something else by its own account.
    #[error("the content type is `{given}`, and must be `{wanted}`")]
    MediaType {
        /// What it says.
        given: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The body is packed in a way that is not known.
    #[error("the content encoding is `{0}`, and must be gzip, deflate or zstd, or none")]
    Encoding(String),
    /// The body is too long.
    #[error("the body is longer than {max} bytes (`server.body_size_max`)")]
    BodyTooLarge {
        /// The limit.
        max: usize,
    },
    /// The body did not come in time.
    #[error("the body did not come within {0:?} (`server.request_timeout`)")]
    BodyTimeout(Duration),
    /// The body is not a form, or not a whole one.
    #[error("the form cannot be read: {0}")]
    BadForm(String),
    /// A form, or a part of it, is beyond a limit.
    #[error("{0}")]
    FormTooLarge(String),
    /// The caller's files take all the room that there is for one caller's.
    #[error(
        "this caller's files take {0} bytes, which is all they may (`uploads.caller_bytes_max`); try again"
    )]
    TooManyUploads(u64),
    /// The body broke off.
    #[error("the body broke off: {0}")]
    BodyBroken(String),
}

fn limit_text(limited: Limited, per: Duration) -> String {
    match limited {
        Limited::Concurrent => limited.name().to_owned(),
        _ => format!("{} in {per:?}", limited.name()),
    }
}

/// A plugin's refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// The plugin.
    pub plugin: String,
    /// Its answer.
    pub rejection: Rejection,
    /// What of the body each of its problems is about; null where that is long.
    pub inputs: Vec<serde_json::Value>,
}

/// What the node could not do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HostFault {
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The endpoint's model or one of its plugins could not be loaded.
    #[error("endpoint `{endpoint}` is not available: {reason}")]
    Unavailable {
        /// The endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The queue of events has no room, and no request may go without its event.
    #[error("the queue of events is full, and none may be lost (`observe.full = \"refuse\"`)")]
    Unobserved,
    /// The files that are being uploaded take all the room there is for them.
    #[error("the files of all requests take {0} bytes, which is all they may (`uploads.bytes_max`)")]
    SpoolFull(u64),
    /// A file that is uploaded cannot be kept while its request is answered.
    #[error("an uploaded file cannot be kept in `state.dir`: {0}")]
    Unspooled(String),
    /// The node is loading.
    #[error("the node is starting")]
    Starting,
    /// A bug: something panicked. Only this request ends.
    #[error("a panic, contained: {0}")]
    Panic(String),
}

impl<T: Into<Fault>> From<T> for RequestError {
    fn from(fault: T) -> Self {
        Self { fault: fault.into() }
    }
}
