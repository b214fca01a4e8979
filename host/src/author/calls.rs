//! What stands in for other servers in a case: answers to calls by `wasi:http`, by their method and address.
//!
//! ```text
//! {"method": "POST", "url": "https://api.example/v1/*", "status": 200, "headers": {"x-a": "b"}, "body": {"ok": true}, "delay_ms": 20}
//! {"url": "https://api.example/down", "error": "refused"}
//! ```
//!
//! The first that fits answers, as often as it is asked; where `method` is left out, any fits, and `*` at an address's end stands for
//! whatever follows. A body that is text is sent as it is, any other as JSON. A delay is waited for, within the limits of the call.
//! A call that none fits is denied, and told of with the case.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use selvedge_plugin::cases::Found;
use selvedge_plugin::{CallAnswer, CallBody, CallFailure, Caller, Origin};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Bytes of a call's body that are kept to be told.
const BODY_LEN_MAX: usize = 1 << 20;

/// Calls that are told of a case.
const CALLS_MAX: usize = 1000;

/// An answer, as the file has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    url: String,
    method: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    delay_ms: u64,
    error: Option<Failure>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Failure {
    /// Nobody listens.
    Refused,
    /// The name cannot be found.
    Unknown,
    /// It does not answer in time.
    Timeout,
    /// TLS fails.
    Tls,
    /// The connection breaks off.
    Broken,
}

/// An answer, checked.
#[derive(Debug, Clone)]
pub(super) struct Stub {
    url: String,
    method: Option<Method>,
    answer: Result<(u16, HeaderMap, Bytes), Failure>,
    delay: Duration,
}

impl Stub {
    /// Reads one, and the place that is called.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(said: Value) -> Result<(Self, Origin), String> {
        let said: Said = serde_json::from_value(said).map_err(|error| error.to_string())?;
        let plain = said.url.strip_suffix('*').unwrap_or(&said.url);
        let uri: Option<Uri> = plain.parse().ok();
        let origin = uri.as_ref().and_then(Origin::of);
        let origin =
            origin.ok_or_else(|| format!("`url`: {:?} is no address that may be called", said.url))?;
        let method = said.method.map(|name| {
            let method = Method::from_bytes(name.to_ascii_uppercase().as_bytes());
            method.map_err(|_| format!("`method`: {name:?} is none"))
        });
        let stub = Self {
            method: method.transpose()?,
            delay: Duration::from_millis(said.delay_ms),
            answer: match (said.error, said.status) {
                (Some(_), Some(_)) => return Err("it has both `status` and `error`".to_owned()),
                (Some(failure), None) => Err(failure),
                (None, status) => Ok((status_of(status)?, headers(&said.headers)?, body(&said.body))),
            },
            url: said.url,
        };
        Ok((stub, origin))
    }

    fn fits(&self, method: &Method, url: &str) -> bool {
        let fits = match self.url.strip_suffix('*') {
            Some(begin) => url.starts_with(begin),
            None => url == self.url,
        };
        fits && self.method.as_ref().is_none_or(|known| known == method)
    }

    fn shown(&self) -> String {
        let method = self.method.as_ref().map_or("any method", Method::as_str);
        format!("{method} {}", self.url)
    }
}

fn status_of(said: Option<u16>) -> Result<u16, String> {
    match said.unwrap_or(200) {
        status @ 200..=599 => Ok(status),
        status => Err(format!("`status`: {status} is not within 200 to 599")),
    }
}

fn headers(said: &std::collections::BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in said {
        let parsed = http::HeaderName::from_bytes(name.as_bytes())
            .ok()
            .zip(value.parse().ok());
        let (key, value) =
            parsed.ok_or_else(|| format!("`headers`: {name:?} with {value:?} is no header"))?;
        headers.insert(key, value);
    }
    Ok(headers)
}

fn body(said: &Value) -> Bytes {
    match said {
        Value::Null => Bytes::new(),
        Value::String(text) => text.clone().into(),
        json => json.to_string().into(),
    }
}

/// The answers of a case, and the calls that were made. Clones share them.
#[derive(Debug, Clone)]
pub struct Calls {
    stubs: Arc<[Stub]>,
    made: Arc<Mutex<Vec<Made>>>,
}

#[derive(Debug)]
struct Made {
    told: Value,
    /// What it was, where nothing answered it.
    unanswered: Option<String>,
}

impl Calls {
    pub(super) fn new(stubs: Vec<Stub>) -> Self {
        Self {
            stubs: stubs.into(),
            made: Arc::default(),
        }
    }

    /// What a plugin came to, with the calls that it made: `{"answer": .., "calls": [..]}`.
    #[must_use]
    pub fn told(&self, found: Found) -> Found {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let calls: Value = made.iter().map(|made| made.told.clone()).collect();
        Found {
            value: json!({ "answer": found.value, "calls": calls }),
            codes: found.codes,
        }
    }

    /// What is to be said of calls that nothing answered.
    #[must_use]
    pub fn unanswered(&self) -> Vec<String> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = made.iter().filter_map(|made| made.unanswered.clone());
        calls.collect()
    }

    fn note(&self, head: &http::request::Parts, body: &[u8], stub: Option<&Stub>) {
        let mut headers = Map::new();
        let mut names: Vec<&str> = head.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        for name in names {
            let values = head.headers.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            headers.insert(name.to_owned(), values.join(", ").into());
        }
        let (method, url) = (head.method.as_str(), head.uri.to_string());
        let known = || self.stubs.iter().map(Stub::shown).collect::<Vec<_>>().join(", ");
        let unanswered = match stub {
            Some(_) => None,
            None => Some(format!(
                "a call of {method} {url} was denied: allow.json has answers for {}",
                known()
            )),
        };
        let body: Value =
            serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
        let told = json!({ "method": method, "url": url, "headers": headers, "body": body });
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() < CALLS_MAX {
            made.push(Made { told, unanswered });
        }
    }

    async fn answer(self, request: Request<CallBody>) -> CallAnswer {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_LEN_MAX).collect().await;
        let body = body
            .map_err(|error| CallFailure::Broken(error.to_string()))?
            .to_bytes();
        let url = head.uri.to_string();
        let stub = self.stubs.iter().find(|stub| stub.fits(&head.method, &url));
        self.note(&head, &body, stub);
        let Some(stub) = stub else {
            return Err(CallFailure::Denied("no answer in the case fits".to_owned()));
        };
        tokio::time::sleep(stub.delay).await;
        match &stub.answer {
            Err(failure) => Err(failed(*failure)),
            Ok((status, headers, body)) => {
                let body = Full::new(body.clone()).map_err(io::Error::other);
                let mut response = Response::new(body.boxed_unsync());
                *response.status_mut() = http::StatusCode::from_u16(*status).unwrap_or_default();
                response.headers_mut().clone_from(headers);
                Ok(response)
            }
        }
    }
}

impl Caller for Calls {
    fn call(
        &self,
        _: Origin,
        request: Request<CallBody>,
    ) -> Pin<Box<dyn Future<Output = CallAnswer> + Send>> {
        Box::pin(self.clone().answer(request))
    }
}

fn failed(failure: Failure) -> CallFailure {
    let why = || "the case says so".to_owned();
    match failure {
        Failure::Refused => CallFailure::Refused(why()),
        Failure::Unknown => CallFailure::Unknown(why()),
        Failure::Timeout => CallFailure::TimedOut,
        Failure::Tls => CallFailure::Tls(why()),
        Failure::Broken => CallFailure::Broken(why()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Stub;

    fn error(said: Value) -> String {
        Stub::read(said).expect_err("refused")
    }

    #[test]
    fn fits_by_method_and_by_address() {
        let stub = |said| Stub::read(said).expect("a stub").0;
        let exact = stub(json!({ "url": "https://a.example/x?y=1", "method": "post" }));
        assert!(exact.fits(&http::Method::POST, "https://a.example/x?y=1"));
        assert!(!exact.fits(&http::Method::GET, "https://a.example/x?y=1"));
        assert!(!exact.fits(&http::Method::POST, "https://a.example/x"));
        let any = stub(json!({ "url": "https://a.example/v1/*" }));
        assert!(any.fits(&http::Method::DELETE, "https://a.example/v1/a/b"));
        assert!(!any.fits(&http::Method::DELETE, "https://a.example/v2/"));
    }

    #[test]
    fn says_what_is_wrong_with_one() {
        for (said, part) in [
            (json!({ "url": "a.example" }), "`url`"),
            (json!({ "url": "ftp://a.example/" }), "`url`"),
            (json!({ "method": "GET" }), "`url`"),
            (
                json!({ "url": "https://a.example/", "method": "G T" }),
                "`method`",
            ),
            (json!({ "url": "https://a.example/", "status": 99 }), "200 to 599"),
            (
                json!({ "url": "https://a.example/", "headers": { "a b": "" } }),
                "`headers`",
            ),
            (json!({ "url": "https://a.example/", "error": "oops" }), "oops"),
            (
                json!({ "url": "https://a.example/", "error": "tls", "status": 200 }),
                "both",
            ),
            (json!({ "url": "https://a.example/", "stauts": 200 }), "stauts"),
        ] {
            let why = error(said);
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
