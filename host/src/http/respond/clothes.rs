//! What a client is told of an error, in its dialect's clothes. Which status and which code of ours an error has is decided
//! in `respond`, before; here are the statuses and words that a dialect's clients know in their place.

use serde_json::{Value, json};

use super::Description;
use crate::router::Dialect;

/// Status and body, in a dialect's clothes.
pub(super) fn dress(dialect: Dialect, described: &Description<'_>, request_id: &str) -> (u16, Value) {
    let status = match (dialect, described.status) {
        // Only FastAPI's clients know 422 for a bad body.
        (Dialect::OpenAi | Dialect::Ollama | Dialect::OpenInference, 422) => 400,
        (_, status) => status,
    };
    let body = match dialect {
        Dialect::Endpoint => endpoint_body(described, request_id),
        Dialect::OpenAi => openai_body(status, described),
        Dialect::Ollama | Dialect::OpenInference => json!({ "error": described.message }),
    };
    (status, body)
}

fn endpoint_body(described: &Description<'_>, request_id: &str) -> Value {
    match &described.detail {
        Some(detail) => json!({ "detail": detail }),
        None => json!({ "detail": described.message, "code": described.code, "request_id": request_id }),
    }
}

fn openai_body(status: u16, described: &Description<'_>) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let error = json!({
        "message": described.message,
        "type": kind,
        "param": described.param,
        "code": openai_code(described),
    });
    json!({ "error": error })
}

/// The code that OpenAI's clients know in place of ours; where they know none, ours.
fn openai_code<'a>(described: &'a Description<'_>) -> &'a str {
    match (described.status, &*described.code) {
        (401, "unauthenticated") => "invalid_api_key",
        (429, "rate_limited") => "rate_limit_exceeded",
        // A model's queue, its slots, the instances of plugins, the events: whatever of the node is full.
        (503, "queue_full" | "plugins-busy" | "events_full") => "overloaded",
        (_, ours) => ours,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use selvedge_model::InferError;

    use super::super::{describe, dress};
    use crate::edge::limit::Limited;
    use crate::pipeline::{ClientFault, HostFault, RequestError};
    use crate::router::Dialect;

    /// Status, type and code.
    fn openai(error: impl Into<RequestError>) -> (u16, String, String) {
        let error: RequestError = error.into();
        let (status, body) = dress(Dialect::OpenAi, &describe(&error.fault), "req-1");
        let text = |key: &str| body["error"][key].as_str().unwrap_or_default().to_owned();
        (status, text("type"), text("code"))
    }

    fn limited() -> ClientFault {
        let second = Duration::from_secs(1);
        ClientFault::RateLimited {
            limited: Limited::Concurrent,
            max: 1,
            per: second,
            retry_after: second,
            left: None,
        }
    }

    #[test]
    fn openai_s_clients_are_told_the_codes_that_they_know() {
        let stranger = ClientFault::Unauthenticated("there is no key");
        let full = InferError::SlotsBusy {
            waiting: 1,
            max: 1,
            retry_after: Duration::from_secs(1),
        };
        let scope = "a".to_owned();
        let told = [
            openai(stranger),
            openai(ClientFault::Forbidden { scope }),
            openai(ClientFault::UnknownModel("a".to_owned())),
            openai(limited()),
            openai(full),
            openai(HostFault::Unobserved),
        ];
        let told = told
            .each_ref()
            .map(|(status, kind, code)| (*status, kind.as_str(), code.as_str()));
        let expected = [
            (401, "authentication_error", "invalid_api_key"),
            (403, "permission_error", "forbidden"),
            (404, "invalid_request_error", "model_not_found"),
            (429, "rate_limit_error", "rate_limit_exceeded"),
            (503, "server_error", "overloaded"),
            (503, "server_error", "overloaded"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn on_own_paths_the_codes_are_ours() {
        let error: RequestError = limited().into();
        let (status, body) = dress(Dialect::Endpoint, &describe(&error.fault), "req-1");
        assert_eq!((status, &body["code"]), (429, &"rate_limited".into()));
    }
}
