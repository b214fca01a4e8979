//! What is noted of a request while it runs, and becomes an event when it is over.
//!
//! Requests to endpoints without observers note nothing. Where a request is dropped before its answer is complete, since the
//! client left, that is an event too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use selvedge_plugin::value::{Event, Finish, Request, Usage};

use super::now_ms;
use super::queue::{Lost, Queue, Record};
use crate::generation::{Observer, Ready};
use crate::telemetry::spans;

/// Status of an event whose client left before its answer began, as nginx has it.
const LEFT: u16 = 499;

/// A request that may become an event; clones are the same one.
#[derive(Clone)]
pub struct Noted(Arc<Inner>);

struct Inner {
    queue: Queue,
    note: Mutex<Option<Note>>,
}

/// What is known of a request that reached an endpoint with observers.
struct Note {
    endpoint: Arc<Ready>,
    request: Arc<Request>,
    /// Of the request's span, where that is traced.
    traceparent: Option<String>,
    finish: Option<Finish>,
    usage: Option<Usage>,
    status: u16,
    /// What of the answer was sent so far, where an observer sees bodies and it is not too long.
    answer: Vec<u8>,
    answer_len: usize,
}

impl Noted {
    /// Nothing is noted yet.
    #[must_use]
    pub fn new(queue: Queue) -> Self {
        let note = Mutex::new(None);
        Self(Arc::new(Inner { queue, note }))
    }

    /// A request, whose span is the current one, reaches an endpoint. Nothing is noted where that has no observers.
    pub fn begin(&self, endpoint: &Arc<Ready>, request: &Arc<Request>) {
        if endpoint.observers.is_empty() {
            return;
        }
        let note = Note {
            endpoint: Arc::clone(endpoint),
            request: Arc::clone(request),
            traceparent: spans::traceparent(),
            finish: None,
            usage: None,
            status: LEFT,
            answer: Vec::new(),
            answer_len: 0,
        };
        *self.0.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    /// Whether a request reached an endpoint with observers.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.0
            .note
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Whether a request to this endpoint is to be refused, since its event might not be kept.
    #[must_use]
    pub fn refuses(&self, endpoint: &Ready) -> bool {
        !endpoint.observers.is_empty() && self.0.queue.refuses()
    }

    /// Token counts, as they are known.
    pub fn used(&self, usage: Usage) {
        self.change(|note| note.usage = Some(usage));
    }

    /// Why generation ended.
    pub fn finished(&self, finish: Finish) {
        self.change(|note| note.finish = Some(finish));
    }

    /// The status that the client is sent.
    pub fn answered(&self, status: u16) {
        self.change(|note| note.status = status);
    }

    /// A part of the answer's body, about to be sent.
    pub fn sent(&self, bytes: &[u8]) {
        let len_max = self.0.queue.options().body_bytes_max.0;
        self.change(|note| {
            note.answer_len += bytes.len();
            if note.answer_len > len_max || !note.sees_bodies() {
                note.answer = Vec::new();
            } else {
                note.answer.extend_from_slice(bytes);
            }
        });
    }

    /// The request is over: its event is kept, for the first caller of this alone.
    ///
    /// # Errors
    ///
    /// Where it cannot be kept.
    pub async fn end(&self) -> Result<(), Lost> {
        match self.records() {
            Some(records) => self.0.queue.record(records).await,
            None => Ok(()),
        }
    }

    /// The same where the answer did not get to its end.
    pub fn break_off(&self, finish: Finish) {
        self.change(|note| note.finish = Some(finish));
        if let Some(records) = self.records() {
            self.0.queue.record_later(records);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Note)) {
        let mut note = self.0.note.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(note) = note.as_mut() {
            change(note);
        }
    }

    fn records(&self) -> Option<Vec<Record>> {
        let note = self
            .0
            .note
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Some(note.records(self.0.queue.options().body_bytes_max.0))
    }
}

impl Note {
    fn sees_bodies(&self) -> bool {
        self.endpoint
            .observers
            .iter()
            .any(|observer| observer.attachment.sees_bodies())
    }

    /// The event, for each observer with what it may see.
    fn records(self, body_len_max: usize) -> Vec<Record> {
        let asked = self.request.body.clone();
        let asked = (asked.len() <= body_len_max).then_some(asked);
        let (request_len, answer_len) = (self.request.body.len(), self.answer_len);
        let answer = (answer_len <= body_len_max).then(|| Bytes::from(self.answer));
        let event = Event {
            id: event_id(),
            request_id: self.request.id.clone(),
            endpoint: self.endpoint.name.as_ref().to_owned(),
            model: self.endpoint.backend.name().to_owned(),
            dialect: self.request.dialect.to_owned(),
            principal: self.request.principal.clone(),
            time_ms: u64::try_from(now_ms()).unwrap_or_default(),
            status: self.status,
            finish: self.finish,
            usage: self.usage,
            timings: self.request.timings.all(),
            attributes: self.request.attributes.all(),
            traceparent: self.traceparent,
            request_body: None,
            response_body: None,
        };
        let record = |observer: &Observer| {
            let mut event = event.clone();
            if observer.attachment.sees_bodies() {
                for (name, body, len) in [
                    ("request", &asked, request_len),
                    ("response", &answer, answer_len),
                ] {
                    if body.is_none() {
                        let key = format!("selvedge.{name}-body");
                        let said = format!("left out: {len} bytes are more than `observe.body_bytes_max`");
                        event.attributes.push((key, said));
                    }
                }
                event.request_body.clone_from(&asked);
                event.response_body.clone_from(&answer);
            }
            Record {
                observer: observer.name.clone(),
                event,
            }
        };
        self.endpoint.observers.iter().map(record).collect()
    }
}

/// Unique on this node, in order, and not to be guessed into another node's.
fn event_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (count, chance) = (COUNT.fetch_add(1, Ordering::Relaxed), fastrand::u64(..));
    format!("evt_{:x}{:04x}{chance:016x}", now_ms(), count & 0xffff)
}
