//! `/openapi.json` and `/docs`: what there is to call, for programs and for people.
//!
//! The page is one file with its own script and style. It loads nothing but the document, and its policy allows nothing else:
//! the script and the style that run are those whose hashes the policy names.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::{Response, full};
use crate::openapi::Document;

const PAGE: &str = include_str!("docs.html");

/// `GET /openapi.json`. `known` is what the client has already, by `If-None-Match`.
#[must_use]
pub fn document(document: &Document, known: Option<&HeaderValue>) -> Response {
    cached(known, &document.etag, "application/json", || {
        document.bytes.clone()
    })
}

/// `GET /docs`.
#[must_use]
pub fn page(known: Option<&HeaderValue>) -> Response {
    static POLICY: LazyLock<String> = LazyLock::new(|| policy(PAGE));
    static PAGE_ETAG: LazyLock<String> = LazyLock::new(|| format!("\"{}\"", hash(PAGE)));
    let mut response = cached(known, &PAGE_ETAG, "text/html; charset=utf-8", || PAGE.into());
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer that a client asks for again each time, and is sent only where it has another one.
fn cached(
    known: Option<&HeaderValue>,
    etag: &str,
    media_type: &'static str,
    body: impl FnOnce() -> bytes::Bytes,
) -> Response {
    let mut response = if known.is_some_and(|known| names(known, etag)) {
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = Response::new(full(body()));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    response
}

/// Whether a value of `If-None-Match` names a tag; a weak one will do. RFC 9110, 13.1.2.
fn names(value: &HeaderValue, etag: &str) -> bool {
    let value = value.to_str().unwrap_or_default();
    let mut tags = value.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The page's Content-Security-Policy.
fn policy(page: &str) -> String {
    let (script, style) = (hash(inside(page, "script")), hash(inside(page, "style")));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// What stands in the page's one element of a name.
fn inside<'a>(page: &'a str, element: &str) -> &'a str {
    let opened = page
        .split_once(&format!("<{element}>"))
        .map_or("", |(_, rest)| rest);
    opened
        .split_once(&format!("</{element}>"))
        .map_or("", |(inside, _)| inside)
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{PAGE, inside, names, policy};

    #[test]
    fn the_page_is_one_file_that_loads_nothing() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
            assert!(!inside(PAGE, element).is_empty(), "{element}");
        }
        for outside in [
            "src=",
            "http://",
            "https://",
            "@import",
            "url(",
            " style=\"",
            " onclick",
        ] {
            assert!(!PAGE.contains(outside), "the page has `{outside}`");
        }
        assert!(!policy(PAGE).contains("unsafe"));
    }

    #[test]
    fn a_tag_is_found_among_others_and_where_it_is_weak() {
        let names = |value: &'static str| names(&HeaderValue::from_static(value), "\"a\"");
        assert!(names("\"a\"") && names("\"b\", W/\"a\"") && names("*"));
        assert!(!names("\"b\"") && !names("a") && !names(""));
    }
}
