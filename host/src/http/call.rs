//! One request as it is seen from outside, from its head to the last byte of its answer. Whoever works on it holds a share of its
//! [`Call`]; where the last one lets go, it is over, however it ended, and is counted and told to the log.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::Either;
use hyper::body::{Body as _, Frame, SizeHint};
use metrics::counter;
use selvedge_plugin::value::Timings;
use tracing::Span;

use crate::edge::address::{Peer, network};
use crate::edge::{Admission, Principal, Who};
use crate::generation::Ready;
use crate::observe::Noted;
use crate::pipeline::ClientFault;
use crate::router::Dialect;
use crate::telemetry::{Outcome, spans};

/// What is told of a request whose client left before its answer was complete; nginx's word for it.
const CLIENT_LEFT: u16 = 499;

/// A request that is being answered.
pub struct Call {
    /// Its id: the client's own where it is sane.
    pub id: String,
    /// When its head was there.
    pub since: Instant,
    /// Who sent it, by the network.
    pub address: Peer,
    /// Whose clothes its errors wear.
    pub dialect: Dialect,
    /// What observers will be told of it.
    pub noted: Noted,
    /// Its span, open until its answer is over.
    pub span: Span,
    method: Method,
    path: String,
    principal: OnceLock<Arc<Principal>>,
    endpoint: OnceLock<Arc<Ready>>,
    admissions: std::sync::Mutex<Vec<Admission>>,
    /// What plugins take of it, once it is one that plugins see.
    timings: OnceLock<Timings>,
    /// 0 until there is an answer.
    status: AtomicU16,
    /// Whether the answer went out to its last byte.
    complete: AtomicBool,
    prompt: AtomicU64,
    cached: AtomicU64,
    completion: AtomicU64,
    sent: AtomicU64,
}

impl Call {
    /// A request whose head is here.
    #[must_use]
    pub fn new(id: String, address: Peer, head: &Parts, noted: Noted) -> Self {
        let path = head.uri.path();
        Self {
            id,
            since: Instant::now(),
            address,
            dialect: Dialect::of(path),
            noted,
            span: spans::request(head, address),
            method: head.method.clone(),
            path: path.to_owned(),
            principal: OnceLock::new(),
            endpoint: OnceLock::new(),
            admissions: std::sync::Mutex::default(),
            timings: OnceLock::new(),
            status: AtomicU16::new(0),
            complete: AtomicBool::new(false),
            prompt: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            completion: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// Who sent it, where that is known by now.
    #[must_use]
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.get()
    }

    /// Notes who sent it. Once.
    pub fn identify(&self, principal: Arc<Principal>) {
        self.principal.set(principal).ok();
    }

    /// Lets it into the endpoint that answers it, where its sender may use that and not too much of it. Once.
    ///
    /// # Errors
    ///
    /// Where a scope is missing, or a limit of the endpoint's is reached.
    pub fn enter(&self, endpoint: &Arc<Ready>, estimate: u64) -> Result<(), ClientFault> {
        if self.endpoint.set(Arc::clone(endpoint)).is_ok() {
            endpoint.meters.begin();
        }
        let may = |scope: &String| self.principal().is_none_or(|principal| principal.may(scope));
        if let Some(scope) = endpoint.scopes.iter().find(|scope| !may(scope)) {
            return Err(ClientFault::Forbidden { scope: scope.clone() });
        }
        if let Some(limiter) = &endpoint.limiter {
            self.admit(limiter.admit(&self.who(), estimate)?);
        }
        Ok(())
    }

    /// Whose limits it counts for.
    #[must_use]
    pub fn who(&self) -> Who {
        match self.principal() {
            Some(principal) => Who::Principal(Arc::clone(&principal.id)),
            None => Who::Address(network(self.address)),
        }
    }

    /// Notes where it will stand what plugins take of it. Once.
    pub fn timed(&self, timings: &Timings) {
        self.timings.set(timings.clone()).ok();
    }

    /// Notes a limit that it was let through by, and that hears of its end.
    pub fn admit(&self, admission: Admission) {
        self.admissions().push(admission);
    }

    /// Notes that it will take about so many tokens, where it is known better than by its head.
    pub fn expect(&self, estimate: u64) {
        for admission in &mut *self.admissions() {
            admission.expect(estimate);
        }
    }

    /// Notes that it may take so many tokens, which must be there where there is a limit of them.
    ///
    /// # Errors
    ///
    /// Where they are not.
    pub fn claim(&self, tokens: u64) -> Result<(), ClientFault> {
        let mut admissions = self.admissions();
        admissions
            .iter_mut()
            .try_for_each(|admission| admission.claim(tokens))
    }

    fn admissions(&self) -> std::sync::MutexGuard<'_, Vec<Admission>> {
        self.admissions
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes tokens; of the prompt's, `cached` were read before.
    pub fn count(&self, prompt: u64, cached: u64, completion: u64) {
        self.prompt.store(prompt, Ordering::Relaxed);
        self.cached.store(cached, Ordering::Relaxed);
        self.completion.store(completion, Ordering::Relaxed);
    }

    /// Turns to its answer: adds what every answer bears, and follows its body to its end.
    #[must_use]
    pub fn answered(self: &Arc<Self>, mut response: super::Response) -> http::Response<Followed> {
        if response.body().is_end_stream() {
            // Nothing will be asked for.
            self.complete.store(true, Ordering::Relaxed);
        }
        self.status.store(response.status().as_u16(), Ordering::Relaxed);
        // A limit that refuses has told what is left of it.
        if response.status() != StatusCode::TOO_MANY_REQUESTS {
            for admission in &*self.admissions() {
                admission.write_headers(response.headers_mut());
            }
        }
        response.map(|inner| Followed {
            call: Arc::clone(self),
            inner,
        })
    }

    fn log(&self, code: u16) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "access",
            id = %self.id,
            address = %self.address,
            principal = self.principal().map(|principal| principal.name.as_ref()),
            method = %self.method,
            path = %self.path,
            endpoint = self.endpoint.get().map(|endpoint| endpoint.name.as_ref()),
            status = code,
            bytes = self.sent.load(Ordering::Relaxed),
            prompt_tokens = self.prompt.load(Ordering::Relaxed),
            completion_tokens = self.completion.load(Ordering::Relaxed),
            micros,
            trace_id = spans::trace_id(&self.span),
        );
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let status = self.status.load(Ordering::Relaxed);
        let code = if self.complete.load(Ordering::Relaxed) {
            status
        } else {
            CLIENT_LEFT
        };
        let [prompt, cached, completion] =
            [&self.prompt, &self.cached, &self.completion].map(|count| count.load(Ordering::Relaxed));
        for admission in self.admissions().drain(..) {
            admission.settle(prompt.saturating_add(completion));
        }
        let endpoint: Arc<str> = self.endpoint.get().map_or_else(Arc::default, |endpoint| {
            let outcome = match code {
                200..=299 => Outcome::Answered,
                _ => Outcome::Failed,
            };
            endpoint.meters.end(outcome, self.since.elapsed());
            if let Some(timings) = self.timings.get() {
                endpoint.meters.plugins(timings);
            }
            endpoint.meters.tokens(prompt, cached, completion);
            Arc::clone(&endpoint.name)
        });
        let end = spans::End {
            id: &self.id,
            endpoint: &endpoint,
            status: code,
            tokens: (prompt, completion),
        };
        spans::ended(&self.span, &self.method, &end);
        counter!(
            "selvedge_requests_total",
            "endpoint" => endpoint,
            "dialect" => self.dialect.name(),
            "code" => code.to_string(),
        )
        .increment(1);
        self.log(code);
    }
}

/// The body of an answer, followed to its end.
pub struct Followed {
    // Dropped before the call, so that what is left of the work ends within the request.
    inner: super::Body,
    call: Arc<Call>,
}

impl Followed {
    fn sent(&self, bytes: &Bytes) {
        let before = self.call.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let comes_in_pieces = matches!(self.inner, Either::Right(_));
        if let Some(endpoint) = self.call.endpoint.get()
            && comes_in_pieces
            && before == 0
        {
            endpoint.meters.first_token(self.call.since.elapsed());
        }
    }
}

impl hyper::body::Body for Followed {
    type Data = Bytes;
    type Error = <super::Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    self.sent(bytes);
                }
                if self.inner.is_end_stream() {
                    self.call.complete.store(true, Ordering::Relaxed);
                }
            }
            Poll::Ready(None) => self.call.complete.store(true, Ordering::Relaxed),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
