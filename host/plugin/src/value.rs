//! What stages take and give, as plain Rust: what crosses the border of this crate. `abi` turns it into WIT and back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::{ATTRIBUTE_LEN_MAX, ATTRIBUTES_MAX, TIMINGS_MAX};
use crate::spool::Spooled;

/// One request, as every stage sees it. Plugins copy out of it only what they read.
#[derive(Debug, Default)]
pub struct Request {
    /// Request id, also sent to the client.
    pub id: String,
    /// Name of the endpoint.
    pub endpoint: Arc<str>,
    /// Wire dialect: `endpoint`, `openai`, `oip` or `ollama`.
    pub dialect: &'static str,
    /// Id of the key that authenticated the request.
    pub principal: Option<String>,
    /// Header names in lower case, with one entry a value.
    pub headers: Vec<(String, Bytes)>,
    /// The body after content decoding and after earlier validators' amendments; of a form, its JSON.
    pub body: Bytes,
    /// The parts of a form, in the order in which they came; of any other request none.
    pub parts: Arc<[Part]>,
    /// What plugins left for later stages.
    pub attributes: Attributes,
    /// How long each stage took so far.
    pub timings: Timings,
}

impl Request {
    /// The same request with another body, as an amendment leaves it.
    #[must_use]
    pub fn with_body(&self, body: Bytes) -> Self {
        Self {
            id: self.id.clone(),
            endpoint: Arc::clone(&self.endpoint),
            dialect: self.dialect,
            principal: self.principal.clone(),
            headers: self.headers.clone(),
            body,
            parts: Arc::clone(&self.parts),
            attributes: self.attributes.clone(),
            timings: self.timings.clone(),
        }
    }
}

/// One part of a form.
#[derive(Debug)]
pub struct Part {
    /// Name of the form's field.
    pub name: String,
    /// What the client calls its file, without folders; none for a plain field.
    pub file_name: Option<String>,
    /// What the client says that it is, in lower case and without parameters.
    pub media_type: Option<String>,
    /// Its bytes.
    pub content: Spooled,
}

/// Keys and values that plugins leave for later stages and for the log, bounded in number and in bytes. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Attributes(Arc<Mutex<Vec<(String, String)>>>);

impl Attributes {
    /// Leaves a value under a key, in place of what was there. One too many is dropped; one too long is cut.
    pub fn set(&self, key: &str, value: &str) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = cut(value, ATTRIBUTE_LEN_MAX.saturating_sub(key.len()));
        if let Some((_, old)) = entries.iter_mut().find(|(known, _)| known == key) {
            value.clone_into(old);
        } else if entries.len() < ATTRIBUTES_MAX && key.len() < ATTRIBUTE_LEN_MAX {
            entries.push((key.to_owned(), value.to_owned()));
        }
    }

    /// What was left under a key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<String> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.clone())
    }

    /// All of it, in the order in which keys were first set.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How long the stages of a request took, bounded in number. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Timings(Arc<Mutex<Vec<Timing>>>);

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The stage's name, or `model`.
    pub stage: String,
    /// The plugin's name in the configuration; empty for the model.
    pub plugin: String,
    /// Microseconds.
    pub micros: u64,
}

impl Timings {
    /// Notes what a stage took. One too many is dropped.
    pub fn add(&self, stage: &str, plugin: &str, took: Duration) {
        let mut timings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if timings.len() < TIMINGS_MAX {
            timings.push(Timing {
                stage: stage.to_owned(),
                plugin: plugin.to_owned(),
                micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            });
        }
    }

    /// All of them, in the order in which the stages ended.
    #[must_use]
    pub fn all(&self) -> Vec<Timing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What observers are told of a request that is over. As JSON it may lack what a later version added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Unique, and the same whenever the event is given again.
    pub id: String,
    /// The request's id, which a client may have chosen.
    pub request_id: String,
    /// Name of the endpoint.
    pub endpoint: String,
    /// Name of its model.
    pub model: String,
    /// Wire dialect, as [`Request::dialect`].
    pub dialect: String,
    /// As [`Request::principal`].
    pub principal: Option<String>,
    /// When the request ended, in milliseconds since 1970.
    pub time_ms: u64,
    /// What the client was sent; 499 where it left before.
    pub status: u16,
    /// Why generation ended; none where nothing was generated.
    pub finish: Option<Finish>,
    /// Token counts, where there was a result.
    pub usage: Option<Usage>,
    /// How long the stages took.
    pub timings: Vec<Timing>,
    /// What plugins left on the request.
    pub attributes: Vec<(String, String)>,
    /// The span of the request, as `traceparent` has it, where it was traced. The observer is not told; its span leads there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The request's body as it came. Not part of the event's JSON, since it need not be text.
    #[serde(skip)]
    pub request_body: Option<Bytes>,
    /// The response's body as it was sent. Not part of the event's JSON either.
    #[serde(skip)]
    pub response_body: Option<Bytes>,
}

/// Bytes of a name that are told: of one out of a component, or of one that is none.
pub const NAME_LEN_SHOWN: usize = 256;

/// The longest prefix of `text` that has at most `len_max` bytes and ends at a character.
pub(crate) fn cut(text: &str, len_max: usize) -> &str {
    &text[..text.floor_char_boundary(len_max)]
}

/// The same, made safe for a log or a terminal: what a plugin says must not look like a line of the node's own.
#[must_use]
pub fn safe(text: &str, len: usize) -> String {
    let text = cut(text, len);
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// What a validator decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The request goes on as it is.
    Accept,
    /// It goes on with another body, where there is one; attributes are already set on the request.
    Amend(Option<Bytes>),
    /// It ends here.
    Reject(Rejection),
}

/// An answer to the client in place of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    /// 400 to 499, or 503.
    pub status: u16,
    /// Stable and kebab-case.
    pub code: String,
    /// For the client.
    pub message: String,
    /// What is wrong with the body; empty unless `status` is 422.
    pub problems: Vec<Problem>,
}

/// One thing wrong with a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Machine-readable, e.g. `missing`.
    pub kind: String,
    /// From the body's root.
    pub loc: Vec<Step>,
    /// For people.
    pub msg: String,
}

/// A step into a JSON body.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The key of an object.
    Key(String),
    /// The index of an array.
    Index(u32),
}

/// What a templater rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// What the model is given.
    pub prompt: Prompt,
    /// Generation parameters, a JSON object with OpenAI's names.
    pub params: Option<String>,
}

/// What a model is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Many texts, one result each.
    Texts(Vec<String>),
    /// A conversation, as role and content.
    Messages(Vec<(String, String)>),
    /// The same as OpenAI's `messages` array, in JSON.
    MessagesJson(String),
    /// Token ids.
    TokenIds(Vec<u32>),
    /// Named tensors.
    Tensors(Vec<(String, Tensor)>),
}

/// A tensor: row-major, little-endian, without padding.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Type of one element.
    pub element: Element,
    /// Dimensions, outermost first.
    pub shape: Vec<u32>,
    /// Elements, `shape`'s product times the element's size; text as a u32 length and UTF-8 bytes in turn.
    pub data: Bytes,
}

/// Type of a tensor's element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Element {
    Boolean,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Float16,
    Bfloat16,
    Float32,
    Float64,
    Text,
}

impl Element {
    /// Bytes of one element; none for text, whose elements differ.
    #[must_use]
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Boolean | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Float32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Float64 => Some(8),
            Self::Text => None,
        }
    }
}

/// What a model made, as a post-processor sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The result.
    pub output: Output,
    /// Why it ended.
    pub finish: Finish,
    /// Token counts.
    pub usage: Usage,
}

/// A model's result, or what a post-processor put in its place.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Generated text, one a choice.
    Text(Vec<String>),
    /// Labels of each input, best first.
    Labels(Vec<Vec<Label>>),
    /// One vector an input.
    Embeddings(Vec<Vec<f32>>),
    /// Named tensors.
    Tensors(Vec<(String, Tensor)>),
    /// JSON text: the answer as it is.
    Json(String),
}

/// One label of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// The model's name of it.
    pub name: String,
    /// 0 to 1.
    pub score: f32,
}

/// Token counts of one inference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the input.
    pub prompt_tokens: u32,
    /// Of what was generated.
    pub completion_tokens: u32,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "OpenAI's names")]
pub enum Finish {
    Stop,
    Length,
    ContentFilter,
    ToolCalls,
    Cancelled,
    Error,
}

/// A piece of text of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Which of the answers, from 0.
    pub choice: u32,
    /// The text.
    pub text: String,
}

/// What a stream's post-processor decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamAction {
    /// What was pushed goes on as it is.
    Pass,
    /// This goes on in its place; where it is empty, the plugin holds back.
    Emit(Vec<Chunk>),
    /// This goes on, and then generation ends.
    Stop(Vec<Chunk>, Finish),
}

/// What a post-processor decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The result stays as it is.
    Pass,
    /// This in its place.
    Replace(Output),
    /// The request ends with this answer.
    Refuse(Rejection),
}
