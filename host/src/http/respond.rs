//! Errors to answers: the only place where what went wrong becomes a status, a stable code and words for the client.
//!
//! A fault has two messages. The *external* one says what the client can do about it. The *internal* one, which may name
//! files, plugins' messages and traps, goes to the log alone. Each dialect dresses the same description in its own
//! clothes (`respond/clothes.rs`).

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use metrics::counter;
use selvedge_model::InferError;
use selvedge_plugin::value::{Problem, Step};
use selvedge_plugin::{CallError, Fault as PluginFault};
use serde::Serialize;
use serde_json::{Value, json};

use clothes::dress;

use super::{Response, full};
use crate::edge::limit::Left;
use crate::pipeline::{ClientFault, Fault, HostFault, RequestError};
use crate::router::Dialect;
use crate::telemetry::meters;
use crate::upstream::{UpstreamError, UpstreamFault};

mod clothes;

/// JSON with a status.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // What is serialised here has string keys and no failing part.
    raw_json(status, serde_json::to_vec(value).unwrap_or_default())
}

/// JSON that is text already, with a status.
#[must_use]
pub fn raw_json(status: StatusCode, text: Vec<u8>) -> Response {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What a client is told.
struct Description<'a> {
    status: u16,
    code: Cow<'a, str>,
    message: Cow<'a, str>,
    /// The field of the body that is at fault, for OpenAI's clients.
    param: Option<String>,
    /// FastAPI's entries; on own paths they are the answer.
    detail: Option<Value>,
    retry_after: Option<Duration>,
    /// What is left of the limit that refuses the request.
    left: Option<Left>,
    allow: Option<&'static str>,
}

impl<'a> Description<'a> {
    fn new(status: u16, code: impl Into<Cow<'a, str>>, message: impl Into<Cow<'a, str>>) -> Self {
        let (code, message) = (code.into(), message.into());
        Self {
            status,
            code,
            message,
            param: None,
            detail: None,
            retry_after: None,
            left: None,
            allow: None,
        }
    }
}

/// The answer to a request that has no result; and the line in the log, where it is the node's affair.
#[must_use]
pub fn error(dialect: Dialect, error: &RequestError, request_id: &str) -> Response {
    let described = log(error, request_id);
    let (status, value) = dress(dialect, &described, request_id);
    let mut response = json(
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        &value,
    );
    let headers = response.headers_mut();
    if let Some(after) = described.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    if let Some(left) = described.left {
        left.write_headers(headers);
    }
    if status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(allow) = described.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Rounded up, so that nobody comes too early.
fn whole_seconds(time: Duration) -> u64 {
    let more = u64::from(time.subsec_nanos() > 0);
    (time.as_secs() + more).max(1)
}

/// What is said of an error in the middle of a stream, whose status is sent already.
#[must_use]
pub fn stream_error(dialect: Dialect, error: &RequestError, request_id: &str) -> Value {
    dress(dialect, &log(error, request_id), request_id).1
}

fn log<'a>(error: &'a RequestError, request_id: &str) -> Description<'a> {
    let described = describe(&error.fault);
    if let 401 | 403 | 429 | 503 = described.status {
        // A plugin's own words would have no end.
        let reason = match &error.fault {
            Fault::Client(ClientFault::Rejected(_)) => "plugin".to_owned(),
            Fault::Upstream(_) => "upstream".to_owned(),
            _ => described.code.clone().into_owned(),
        };
        counter!("selvedge_rejected_total", "reason" => reason).increment(1);
    }
    if let Fault::Plugin(failed) = &error.fault {
        meters::count_failure(failed);
    }
    if described.status >= 500 {
        tracing::error!(id = request_id, code = &*described.code, error = %error, "a request failed");
    } else {
        tracing::debug!(id = request_id, code = &*described.code, error = %error, "a request was refused");
    }
    described
}

fn describe(fault: &Fault) -> Description<'_> {
    match fault {
        Fault::Client(fault) => describe_client(fault),
        Fault::Plugin(error) => describe_plugin(error),
        Fault::Model(error) => describe_model(error),
        Fault::Upstream(error) => describe_upstream(error),
        Fault::Host(fault) => describe_host(fault),
    }
}

/// FastAPI's entry for a body that is no JSON; `at` is the byte where it ceases to be.
fn not_json(why: &str, at: usize) -> Value {
    json!([{
        "type": "json_invalid",
        "loc": ["body", at],
        "msg": "JSON decode error",
        "input": {},
        "ctx": { "error": why },
    }])
}

fn describe_client(fault: &ClientFault) -> Description<'_> {
    let message = fault.to_string();
    match fault {
        ClientFault::NotJson { message: why, at } => Description {
            detail: Some(not_json(why, *at)),
            ..Description::new(422, "invalid_json", message)
        },
        ClientFault::BadBody {
            kind,
            param,
            message: why,
        } => {
            let steps = param.split('.').filter(|step| !step.is_empty());
            let steps = steps.map(|step| {
                step.parse::<u32>()
                    .map_or_else(|_| json!(step), |index| json!(index))
            });
            let loc: Vec<Value> = std::iter::once(json!("body")).chain(steps).collect();
            Description {
                detail: Some(json!([{ "type": kind, "loc": loc, "msg": why, "input": null }])),
                param: (!param.is_empty()).then(|| param.clone()),
                ..Description::new(422, *kind, message)
            }
        }
        ClientFault::Rejected(refused) => describe_rejection(&refused.rejection, &refused.inputs),
        ClientFault::UnknownPath(_) => Description::new(404, "not_found", message),
        ClientFault::Method { allow } => Description {
            allow: Some(allow),
            ..Description::new(405, "method_not_allowed", message)
        },
        ClientFault::UnknownModel(_) => Description {
            param: Some("model".to_owned()),
            ..Description::new(404, "model_not_found", message)
        },
        ClientFault::UnknownVersion { .. } => Description::new(404, "version_not_found", message),
        ClientFault::Unsupported(_) => Description::new(501, "unsupported", message),
        ClientFault::Loop => Description::new(508, "loop_detected", message),
        ClientFault::WrongTask { .. } => Description {
            param: Some("model".to_owned()),
            ..Description::new(400, "wrong_task", message)
        },
        ClientFault::Unauthenticated(_) => Description::new(401, "unauthenticated", message),
        ClientFault::Forbidden { .. } => Description::new(403, "forbidden", message),
        ClientFault::RateLimited {
            retry_after, left, ..
        } => Description {
            retry_after: Some(*retry_after),
            left: *left,
            ..Description::new(429, "rate_limited", message)
        },
        ClientFault::ReloadBusy => Description {
            retry_after: Some(Duration::from_secs(1)),
            ..Description::new(409, "reload_busy", message)
        },
        ClientFault::ReloadRefused(_) => Description::new(422, "reload_refused", message),
        ClientFault::MediaType { .. } => Description::new(415, "unsupported_media_type", message),
        ClientFault::Encoding(_) => Description::new(415, "unsupported_encoding", message),
        ClientFault::BodyTooLarge { .. } => Description::new(413, "body_too_large", message),
        ClientFault::BodyTimeout(_) => Description::new(408, "body_timeout", message),
        ClientFault::BodyBroken(_) => Description::new(400, "body_broken", message),
        ClientFault::BadForm(_) => Description::new(400, "invalid_form", message),
        ClientFault::FormTooLarge(_) => Description::new(413, "form_too_large", message),
        ClientFault::TooManyUploads(_) => Description {
            retry_after: Some(Duration::from_secs(1)),
            ..Description::new(429, "too_many_uploads", message)
        },
    }
}

/// A plugin's refusal, with FastAPI's entries where it says what is wrong with the body.
fn describe_rejection<'a>(
    rejection: &'a selvedge_plugin::value::Rejection,
    inputs: &[Value],
) -> Description<'a> {
    let described = Description::new(rejection.status, &rejection.code, &rejection.message);
    let retry_after = (rejection.status == 503 || rejection.status == 429).then_some(Duration::from_secs(1));
    let Some(first) = rejection.problems.first() else {
        return Description {
            retry_after,
            ..described
        };
    };
    let dotted: Vec<String> = first.loc.iter().map(step_text).collect();
    let param = dotted.join(".");
    let place = if param.is_empty() {
        String::new()
    } else {
        format!("{param}: ")
    };
    Description {
        message: format!("{place}{}", first.msg).into(),
        param: (!param.is_empty()).then_some(param),
        detail: Some(
            rejection
                .problems
                .iter()
                .zip(inputs)
                .map(|(problem, input)| entry(problem, input))
                .collect(),
        ),
        retry_after,
        ..described
    }
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Key(key) => key.clone(),
        Step::Index(index) => index.to_string(),
    }
}

/// One of FastAPI's `detail` entries.
fn entry(problem: &Problem, input: &Value) -> Value {
    let steps = problem.loc.iter().map(|step| match step {
        Step::Key(key) => json!(key),
        Step::Index(index) => json!(index),
    });
    let loc: Vec<Value> = std::iter::once(json!("body")).chain(steps).collect();
    json!({ "type": problem.kind, "loc": loc, "msg": problem.msg, "input": input })
}

/// The plugin is named; what it said is for the operator.
fn describe_plugin(error: &CallError) -> Description<'_> {
    let plugin = &error.plugin;
    let failed = |what: &str| {
        Description::new(
            502,
            error.fault.code(),
            format!("plugin `{plugin}` {what}; the request ends here"),
        )
    };
    match &error.fault {
        PluginFault::Time(_) => failed("used more than its CPU time"),
        PluginFault::WallTime(_) => failed("did not return in time"),
        PluginFault::Memory(_) => failed("wanted more memory than it may have"),
        PluginFault::Table(_) => failed("wanted larger tables than it may have"),
        PluginFault::HostBytes(_) => failed("brought too many bytes into the host"),
        PluginFault::Output { .. } | PluginFault::StreamOutput(_) => failed("gave too long an answer"),
        PluginFault::Handles(_) => failed("held too many resources"),
        PluginFault::Stack => failed("ran out of stack"),
        PluginFault::Trap(_) => failed("trapped"),
        PluginFault::Abi(_) => failed("broke the component model's rules"),
        PluginFault::Json(_) => failed("answered with JSON that cannot be read"),
        PluginFault::Choice { .. } => failed("answered with a choice that the stream does not have"),
        PluginFault::Prompt(_) => failed("made a prompt that the model does not take"),
        PluginFault::Decision(_) => failed("did not say which tokens may come"),
        PluginFault::Failed { retryable: false, .. } => failed("failed"),
        PluginFault::Failed { retryable: true, .. } => Description {
            status: 503,
            retry_after: Some(Duration::from_secs(1)),
            ..failed("failed, and may succeed later")
        },
        PluginFault::Busy(_) => Description {
            retry_after: Some(Duration::from_secs(1)),
            ..Description::new(
                503,
                error.fault.code(),
                "there is no room for another instance of a plugin; try again",
            )
        },
    }
}

fn describe_model(error: &InferError) -> Description<'_> {
    use InferError::{Failed, Guide};
    let input = |index: usize| Some(format!("input.{index}"));
    let bad_input = |kind: &'static str, param: Option<String>| Description {
        detail: Some(json!([{ "type": kind, "loc": ["body"], "msg": error.to_string(), "input": null }])),
        param,
        ..Description::new(422, kind, error.to_string())
    };
    match error {
        InferError::Empty => bad_input("empty_input", Some("input".to_owned())),
        InferError::TooLong { index, .. } => bad_input("input_too_long", input(*index)),
        InferError::UnknownToken { index, .. } => bad_input("unknown_token", input(*index)),
        InferError::WrongInput { .. } => bad_input("wrong_input", Some("input".to_owned())),
        InferError::TooMany { .. } => bad_input("too_many_inputs", Some("input".to_owned())),
        InferError::WrongTensor(_) => bad_input("wrong_tensor", Some("inputs".to_owned())),
        InferError::Busy { retry_after, .. } => Description {
            retry_after: Some(*retry_after),
            ..Description::new(503, "queue_full", error.to_string())
        },
        InferError::ContextExceeded { .. } | InferError::PromptTooLong { .. } => Description {
            param: Some("messages".to_owned()),
            ..bad_input("context_length_exceeded", None)
        },
        InferError::Structure(_) => Description {
            param: Some("response_format".to_owned()),
            ..bad_input("invalid_json_schema", None)
        },
        InferError::Template(_) => bad_input("invalid_conversation", Some("messages".to_owned())),
        InferError::SlotsBusy { retry_after, .. } => Description {
            retry_after: Some(*retry_after),
            ..Description::new(503, "queue_full", error.to_string())
        },
        Guide | Failed(_) => Description::new(502, "model_failed", "the model failed on this input"),
        InferError::Stopped => Description {
            retry_after: Some(Duration::from_secs(1)),
            ..Description::new(503, "model_unloaded", error.to_string())
        },
    }
}

/// The server behind an endpoint is not named to clients, and what it said only where it is about their request.
fn describe_upstream(error: &UpstreamError) -> Description<'_> {
    let failed = |status, code, what: &str| {
        Description::new(status, code, format!("the server behind this endpoint {what}"))
    };
    let later = |retry_after, described| Description {
        retry_after: Some(retry_after),
        ..described
    };
    let second = Duration::from_secs(1);
    match &error.kind {
        UpstreamFault::Unreachable(_) => {
            later(second, failed(502, "upstream_unreachable", "cannot be reached"))
        }
        UpstreamFault::FirstTokenTimeout(_) | UpstreamFault::Timeout(_) => {
            failed(504, "upstream_timeout", "did not answer in time")
        }
        UpstreamFault::BrokeOff(_) => failed(502, "upstream_broke_off", "broke off its answer"),
        UpstreamFault::Garbage(_) => failed(502, "upstream_garbage", "gave an answer that is none"),
        UpstreamFault::Refused {
            message, code, param, ..
        } => Description {
            param: param.clone(),
            ..Description::new(
                400,
                code.as_deref().unwrap_or("upstream_refused"),
                format!("the server behind this endpoint refused the request: {message}"),
            )
        },
        UpstreamFault::Failed { .. } | UpstreamFault::FailedLate(_) => {
            failed(502, "upstream_failed", "failed")
        }
        UpstreamFault::Busy { retry_after, .. } => later(
            *retry_after,
            failed(503, "upstream_busy", "has too much to do; try again"),
        ),
        UpstreamFault::Full { max } => later(
            second,
            Description::new(
                503,
                "queue_full",
                format!("{max} requests are at work already; try again"),
            ),
        ),
    }
}

fn describe_host(fault: &HostFault) -> Description<'_> {
    match fault {
        HostFault::Timeout(_) => Description::new(504, "timeout", fault.to_string()),
        HostFault::Unavailable { endpoint, .. } => Description {
            retry_after: Some(Duration::from_secs(60)),
            ..Description::new(
                503,
                "endpoint_unavailable",
                format!("endpoint `{endpoint}` is not available"),
            )
        },
        HostFault::Starting => Description {
            retry_after: Some(Duration::from_secs(1)),
            ..Description::new(503, "starting", fault.to_string())
        },
        HostFault::Unobserved => Description {
            retry_after: Some(Duration::from_secs(10)),
            ..Description::new(503, "events_full", "the node cannot keep records of requests now")
        },
        HostFault::SpoolFull(_) => Description {
            retry_after: Some(Duration::from_secs(1)),
            ..Description::new(
                503,
                "uploads_full",
                "too many files are being uploaded; try again",
            )
        },
        HostFault::Unspooled(_) => {
            Description::new(500, "upload_failed", "the node cannot keep the files now")
        }
        HostFault::Panic(_) => Description::new(500, "internal", "the node failed on this request"),
    }
}
