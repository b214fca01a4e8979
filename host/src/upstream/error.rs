//! Why another server gave no answer. What the client is told of it is decided in `http/respond.rs`.

use std::time::Duration;

use http::StatusCode;

/// A call that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("upstream `{upstream}`: {kind}")]
pub struct UpstreamError {
    /// Its name in the configuration.
    pub upstream: String,
    /// What happened.
    pub kind: UpstreamFault,
}

/// What happened to a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum UpstreamFault {
    /// No connection.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// No first word in time.
    #[error("no first word within {0:?} (`first_token_timeout`)")]
    FirstTokenTimeout(Duration),
    /// No end in time.
    #[error("no end within {0:?} (`timeout`)")]
    Timeout(Duration),
    /// The connection ended before the answer did.
    #[error("the answer broke off: {0}")]
    BrokeOff(String),
    /// The answer is not what such a server says.
    #[error("the answer is not one: {0}")]
    Garbage(String),
    /// It takes the request for wrong.
    #[error("it refused the request with {status}: {message}")]
    Refused {
        /// What it answered.
        status: StatusCode,
        /// What it said.
        message: String,
        /// Its code for it, where it has one.
        code: Option<String>,
        /// The field that it names.
        param: Option<String>,
    },
    /// It failed, or has no such model, or wants another key.
    #[error("it answered {status}: {message}")]
    Failed {
        /// What it answered.
        status: StatusCode,
        /// What it said.
        message: String,
    },
    /// It failed in the middle of its answer.
    #[error("it failed: {0}")]
    FailedLate(String),
    /// It has too much to do.
    #[error("it answered {status}, and to try again in {retry_after:?}")]
    Busy {
        /// What it answered: 429 or 503.
        status: StatusCode,
        /// When, as it says.
        retry_after: Duration,
    },
    /// This node has too many calls open.
    #[error("{max} calls are open (`calls_max`)")]
    Full {
        /// The limit.
        max: usize,
    },
}

impl UpstreamFault {
    /// Whether the same call, made again at once, may well succeed.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::BrokeOff(_) => true,
            Self::Failed { status, .. } => status.is_server_error(),
            Self::FirstTokenTimeout(_)
            | Self::Timeout(_)
            | Self::Garbage(_)
            | Self::Refused { .. }
            | Self::FailedLate(_)
            | Self::Busy { .. }
            | Self::Full { .. } => false,
        }
    }

    /// Whether another server could do better: all but what is wrong with the request itself.
    #[must_use]
    pub fn is_upstream_s(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}
