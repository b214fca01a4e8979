//! Calls to other servers as traces have them: a span of the client's kind, whose context goes along, so that the trace goes on
//! there (<https://www.w3.org/TR/trace-context/>).

use http::{HeaderMap, Request, StatusCode, Uri};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::HeaderInjector;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::spans::Spoken;
use super::traces::TARGET;

/// What is said of a call that was dropped before it had an answer: its time was over, or nobody waited for it any more.
const DROPPED: &str = "dropped";

/// A call to another server, from before it is sent to the head of its answer.
#[derive(Debug)]
pub struct Outgoing {
    span: Span,
    /// Whether the span says how it ended.
    told: bool,
}

impl Outgoing {
    /// Begins a span within the current one, and writes it into the request's headers, over what stands there. Where nothing
    /// is traced, the headers are left as they are.
    ///
    /// The span has the place that is called, and not the path: with those who take webhooks, that is as good as a key.
    #[must_use]
    pub fn begin<B>(request: &mut Request<B>) -> Self {
        let (method, uri) = (Spoken::of(request.method()), request.uri());
        let span = tracing::info_span!(
            target: TARGET,
            "call",
            otel.name = method.in_name(),
            otel.kind = "client",
            otel.status_code = Empty,
            http.request.method = method.told(),
            server.address = uri.host().map(|host| host.trim_matches(['[', ']'])),
            server.port = port(uri).map(i64::from),
            http.response.status_code = Empty,
            error.type = Empty,
        );
        if !span.is_disabled() {
            inject(&span, request.headers_mut());
        }
        Self { span, told: false }
    }

    /// The head of an answer is there. A refusal is an error here, whoever is to blame for it.
    pub fn answered(mut self, status: StatusCode) {
        self.told = true;
        self.span
            .record("http.response.status_code", i64::from(status.as_u16()));
        if status.is_client_error() || status.is_server_error() {
            self.fail(status.as_str());
        }
    }

    /// There will be none, for a reason that has this code.
    pub fn failed(mut self, code: &str) {
        self.told = true;
        self.fail(code);
    }

    fn fail(&self, code: &str) {
        self.span.record("otel.status_code", "ERROR");
        self.span.record("error.type", code);
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.told {
            self.fail(DROPPED);
        }
    }
}

/// The port that is called, also where it is not written.
fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or_else(|| match uri.scheme_str()? {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    })
}

fn inject(span: &Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    // The state is written also where there is none; what another trace's said goes with that.
    if headers.get("tracestate").is_some_and(|state| state.is_empty()) {
        headers.remove("tracestate");
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{Outgoing, port};

    #[test]
    fn what_is_not_traced_is_sent_as_it_is() {
        let mut request = Request::get("http://127.0.0.1/").body(()).expect("a request");
        let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        request
            .headers_mut()
            .insert("traceparent", own.parse().expect("a value"));
        Outgoing::begin(&mut request).failed("none");
        assert_eq!(request.headers()["traceparent"], own);
        assert_eq!(request.headers().len(), 1);
    }

    #[test]
    fn a_port_that_is_not_written_is_the_scheme_s() {
        for (uri, wanted) in [
            ("http://a/b", Some(80)),
            ("https://a", Some(443)),
            ("https://[::1]:8443/", Some(8443)),
            ("/a", None),
        ] {
            assert_eq!(port(&uri.parse().expect("a URI")), wanted, "{uri}");
        }
    }
}
