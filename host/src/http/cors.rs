//! What browsers ask before, and want to see after, a page of another origin calls the node.
//! See <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::{Response, full};
use crate::config::Cors;

/// What a page may read of an answer besides its body.
const EXPOSED: &str = "x-request-id, retry-after, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, \
                       x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, \
                       x-ratelimit-reset-tokens, inference-header-content-length";

/// The answer to a browser that asks whether it may send a request, where origins are configured.
#[must_use]
pub fn preflight(cors: &Cors, method: &Method, headers: &HeaderMap) -> Option<Response> {
    if cors.origins.is_empty()
        || method != Method::OPTIONS
        || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    answer.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST"),
    );
    // Credentials are headers here, never cookies, so that any header may be sent.
    if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Some(response)
}

/// Lets a page of an origin read an answer, where the origin is configured.
pub fn open(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    let all = cors.origins.iter().any(|known| known == "*");
    let known = cors
        .origins
        .iter()
        .any(|known| known.as_bytes() == origin.as_bytes());
    if all {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else if !cors.origins.is_empty() {
        headers.append(VARY, HeaderValue::from_static("origin"));
        if known {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
    if all || known {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
