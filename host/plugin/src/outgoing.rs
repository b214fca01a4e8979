//! Calls that plugins make by `wasi:http`: to the hosts that the operator granted, within limits, and nowhere else.
//!
//! Decides whether a call may be made; [`Caller`] makes it, since this crate speaks no HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};
use tracing::Instrument;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use crate::grant::Origin;
use crate::log::Log;
use crate::state::{Identity, Phase};

/// A body that comes bit by bit.
pub type CallBody = UnsyncBoxBody<Bytes, io::Error>;

/// What a call came to.
pub type CallAnswer = Result<Response<CallBody>, CallFailure>;

/// Makes the calls that plugins are granted.
pub trait Caller: Send + Sync {
    /// Makes a call to a granted place. Where the future is dropped, the connection is closed.
    fn call(
        &self,
        origin: Origin,
        request: Request<CallBody>,
    ) -> Pin<Box<dyn Future<Output = CallAnswer> + Send>>;
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The name is none, or cannot be looked up.
    #[error("the name cannot be found: {0}")]
    Unknown(String),
    /// The name is one of a private address, and that was not granted.
    #[error("{0}")]
    Prohibited(String),
    /// It may not be made after all.
    #[error("denied: {0}")]
    Denied(String),
    /// Nobody listens.
    #[error("no connection: {0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// TLS failed.
    #[error("no connection by TLS: {0}")]
    Tls(String),
    /// The connection broke off, or what came was no HTTP.
    #[error("the connection broke off: {0}")]
    Broken(String),
}

impl CallFailure {
    /// A stable code of what happened, such as `connection-refused`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "name-unknown",
            Self::Prohibited(_) => "address-prohibited",
            Self::Denied(_) => "denied",
            Self::Refused(_) => "connection-refused",
            Self::TimedOut => "timeout",
            Self::Tls(_) => "tls",
            Self::Broken(_) => "connection-broken",
        }
    }
}

/// Bytes of an answer's body at most: a plugin calls for a word, not for a file.
const ANSWER_LEN_MAX: usize = 8 << 20;

/// How long an answer's head may take; the limits of the plugin's call hold besides.
const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(60);

/// What a header's name or value may take in the host, all of a request's together.
const FIELDS_LEN_MAX: usize = 64 << 10;

/// What a store has of `wasi:http`, made where it is asked for.
pub(crate) struct Http {
    pub(crate) context: WasiHttpCtx,
    pub(crate) hooks: Hooks,
}

/// Who calls, and whether it may now.
pub(crate) struct Hooks {
    pub(crate) identity: Arc<Identity>,
    pub(crate) phase: Phase,
    /// What it logs, and may still log.
    log: Arc<Log>,
}

impl Http {
    pub(crate) fn new(identity: &Arc<Identity>, phase: Phase, log: &Arc<Log>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS_LEN_MAX);
        let identity = Arc::clone(identity);
        Self {
            context,
            hooks: Hooks {
                identity,
                phase,
                log: Arc::clone(log),
            },
        }
    }
}

/// The work that is left once the head of an answer is there: none, the body brings itself.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Rest), Error>> + Send> {
        let caller = Self {
            identity: Arc::clone(&self.identity),
            phase: self.phase,
            log: Arc::clone(&self.log),
        };
        let sent = async move {
            let response = caller.send(request, options.unwrap_or_default()).await?;
            Ok((response, Box::new(std::future::ready(Ok(()))) as Rest))
        };
        // It runs as a task of its own, and is part of what the plugin does now all the same.
        Box::new(sent.in_current_span())
    }
}

impl Hooks {
    async fn send(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let identity = &self.identity;
        let granted = Origin::of(request.uri()).and_then(|wanted| {
            let mut granted = identity.grants.http.iter();
            granted.find(|origin| origin.is_same(&wanted)).cloned()
        });
        if self.phase == Phase::Configure {
            return Err(Error::HttpRequestDenied);
        }
        let (Some(origin), Some(caller)) = (granted, &identity.grants.caller) else {
            self.log.deny("http", &place(request.uri()));
            return Err(Error::HttpRequestDenied);
        };
        let request = request.map(|body| body.map_err(io::Error::other).boxed_unsync());
        let time_max = options
            .first_byte_timeout
            .unwrap_or(FIRST_BYTE_TIME_MAX)
            .min(FIRST_BYTE_TIME_MAX);
        let called = tokio::time::timeout(time_max, caller.call(origin, request)).await;
        let response = called.unwrap_or(Err(CallFailure::TimedOut)).map_err(|failure| {
            let (plugin, endpoint) = (&*identity.plugin, &*identity.endpoint);
            tracing::debug!(target: "plugin", plugin, endpoint, %failure, "a call failed");
            if matches!(failure, CallFailure::Prohibited(_) | CallFailure::Denied(_)) {
                identity.count_denial("http");
            }
            told(failure)
        })?;
        Ok(response.map(|body| {
            Limited::new(body, ANSWER_LEN_MAX)
                .map_err(|error| match error.downcast::<io::Error>() {
                    Ok(error) => Error::InternalError(Some(error.to_string())),
                    Err(_) => Error::HttpResponseBodySize(Some(ANSWER_LEN_MAX as u64)),
                })
                .boxed_unsync()
        }))
    }
}

/// Where a plugin wanted to call, without the path.
fn place(uri: &http::Uri) -> String {
    format!(
        "{}://{}",
        uri.scheme_str().unwrap_or_default(),
        uri.host().unwrap_or_default()
    )
}

/// What a plugin is told of a failure: its kind. Addresses and the like are for the log.
fn told(failure: CallFailure) -> Error {
    match failure {
        CallFailure::Unknown(_) => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        CallFailure::Denied(_) => Error::HttpRequestDenied,
        CallFailure::Prohibited(_) => Error::DestinationIpProhibited,
        CallFailure::Refused(_) => Error::ConnectionRefused,
        CallFailure::TimedOut => Error::HttpResponseTimeout,
        CallFailure::Tls(_) => Error::TlsProtocolError,
        CallFailure::Broken(_) => Error::ConnectionTerminated,
    }
}
