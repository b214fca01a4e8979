//! Calls to other servers, for plugins that an operator grants some: `allow = { http = ["https://api.example"] }`.

use std::time::Duration;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme};

/// Bytes that are written at once: as many as `wasi:io` takes in one blocking call.
const WRITE_LEN: usize = 4096;

/// A URL in the parts that a call needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is spoken to by TLS.
    pub is_https: bool,
    /// Host, perhaps with a port.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Url {
    /// Reads `https://host/path` or `http://host/path`.
    ///
    /// # Errors
    ///
    /// What it must look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || format!("`{text}` is not a URL such as https://api.example/hook");
        let (is_https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(wanted()),
        };
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let is_bad =
            |character: char| character.is_whitespace() || character.is_control() || character == '#';
        if authority.is_empty() || authority.contains('@') || text.contains(is_bad) {
            return Err(wanted());
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_https,
            authority: authority.to_owned(),
            path: format!("{slash}{path}"),
        })
    }
}

/// Posts a body and answers the status; what else is answered is not read. Blocks for at most `time_max`.
///
/// # Errors
///
/// Why there is no answer; where the host is not granted, that.
pub fn post(url: &Url, headers: &[(&str, String)], body: &[u8], time_max: Duration) -> Result<u16, String> {
    let fields = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes()))
        .chain([("content-length".to_owned(), body.len().to_string().into_bytes())]);
    let fields = Fields::from_list(&fields.collect::<Vec<_>>())
        .map_err(|error| format!("a header is wrong: {error:?}"))?;
    let request = OutgoingRequest::new(fields);
    let scheme = if url.is_https { Scheme::Https } else { Scheme::Http };
    request
        .set_method(&Method::Post)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(&url.authority)))
        .and_then(|()| request.set_path_with_query(Some(&url.path)))
        .map_err(|()| "the URL cannot be called".to_owned())?;
    let options = RequestOptions::new();
    let nanos = u64::try_from(time_max.as_nanos()).unwrap_or(u64::MAX);
    options.set_connect_timeout(Some(nanos)).ok();
    options.set_first_byte_timeout(Some(nanos)).ok();
    let outgoing = request
        .body()
        .map_err(|()| "the request takes no body".to_owned())?;
    let answer = outgoing_handler::handle(request, Some(options)).map_err(|error| said(&error))?;
    // Where the host does not take the body, its answer says why.
    write(outgoing, body).ok();
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(response))) => Ok(response.status()),
        Some(Ok(Err(error))) => Err(said(&error)),
        Some(Err(())) | None => Err("the call was given up".to_owned()),
    }
}

fn write(outgoing: OutgoingBody, body: &[u8]) -> Result<(), String> {
    let stream = outgoing
        .write()
        .map_err(|()| "the body was written before".to_owned())?;
    for chunk in body.chunks(WRITE_LEN) {
        stream
            .blocking_write_and_flush(chunk)
            .map_err(|error| error.to_string())?;
    }
    drop(stream);
    OutgoingBody::finish(outgoing, None).map_err(|error| said(&error))
}

fn said(error: &ErrorCode) -> String {
    match error {
        ErrorCode::HttpRequestDenied => {
            "the host is not granted: add it to `allow = { http = [..] }`".to_owned()
        }
        ErrorCode::DestinationIpProhibited => {
            "the host is at a private address, and that is not granted: `{ url = \"..\", private = true }`"
                .to_owned()
        }
        ErrorCode::DnsError(_) => "the host's name cannot be found".to_owned(),
        ErrorCode::ConnectionRefused => "nobody answers at the host".to_owned(),
        ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionTimeout => {
            "there was no answer in time".to_owned()
        }
        ErrorCode::ConnectionTerminated => "the connection broke off".to_owned(),
        other => format!("the call failed: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn takes_a_url_apart() {
        let url = |is_https, authority: &str, path: &str| Url {
            is_https,
            authority: authority.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(Url::parse("https://a.example"), Ok(url(true, "a.example", "/")));
        assert_eq!(
            Url::parse("http://[::1]:80/x?y"),
            Ok(url(false, "[::1]:80", "/x?y"))
        );
        assert_eq!(Url::parse("http://a?y"), Ok(url(false, "a", "/?y")));
        for text in [
            "a.example",
            "https://",
            "ftp://a",
            "https://u@a/",
            "https://a/b c",
            "https://a/#b",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
