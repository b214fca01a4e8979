//! OpenAI's dialect of generated text: `/v1/chat/completions` and `/v1/completions`, whole or as it comes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use selvedge_model::generate::TokenReport;
use selvedge_model::{Piece, Task};
use selvedge_plugin::value::Finish;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Next, Timed, enter, finish_name, generate, messages, openai, unix_seconds};
use crate::aside::aside;
use crate::generation::{Generation, Ready};
use crate::http::handle::Received;
use crate::http::{Response, respond, sse};
use crate::pipeline::completed::{Choice, Counts};
use crate::pipeline::generate::Told;
use crate::pipeline::order::{Order, Prompt};
use crate::pipeline::params::{Params, natural};
use crate::pipeline::{ClientFault, RequestError, size};
use crate::router::Dialect;

/// Tokens of a completion where the request does not say, as OpenAI has it.
const COMPLETION_TOKENS: usize = 16;

/// Which of the two paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// Answers a request.
///
/// # Errors
///
/// Where the body is not as it must be, no endpoint has the name, or the pipeline ends in an error.
pub async fn answer(
    generation: &Generation,
    kind: Kind,
    received: Received,
) -> Result<Response, RequestError> {
    let read = |body: &[u8]| {
        let fields = openai::object(body)?;
        let model = openai::model_name(&fields)?;
        Ok((Head::read(kind, &model, &received, &fields), model))
    };
    let (head, model) = received.read(read).await?;
    let endpoint = generation.endpoint(&model);
    let endpoint = enter(
        endpoint.ok_or(ClientFault::UnknownModel(model))?,
        &received.call,
        received.estimate,
    )?;
    check_task(endpoint)?;
    let head = head?;
    let decode = |body: &[u8]| Ok(order(kind, &openai::object(body)?)?);
    let mut timed = generate(endpoint, &received, Dialect::OpenAi, decode).await?;
    if head.stream == Streamed::No {
        let completed = timed.complete().await?;
        let encode = || respond::json(StatusCode::OK, &head.whole(&completed.choices, completed.counts));
        return Ok(timed
            .time()
            .aside(size::of_choices(&completed.choices), encode)
            .await?);
    }
    timed.settle().await?;
    let limit = timed.limit(&received);
    let stream = Stream {
        begun: vec![false; timed.running().count()],
        head,
        timed,
        phase: Phase::Text,
    };
    Ok(sse::response(
        "text/event-stream; charset=utf-8",
        limit,
        stream,
        Stream::next,
    ))
}

fn check_task(endpoint: &Arc<Ready>) -> Result<(), ClientFault> {
    let task = endpoint.backend.task();
    if task == Task::TextGeneration {
        return Ok(());
    }
    Err(ClientFault::WrongTask {
        endpoint: endpoint.name.as_ref().to_owned(),
        task: task.name(),
    })
}

fn order(kind: Kind, fields: &Map<String, Value>) -> Result<Order, ClientFault> {
    let mut params = Params::read(fields)?;
    let prompt = match kind {
        Kind::Chat => messages::read(fields).map(Prompt::Messages),
        Kind::Completion => {
            params.tokens_max = params.tokens_max.or(Some(COMPLETION_TOKENS));
            prompt(fields)
        }
    };
    // A templater may do without; what is there must be right.
    let key = match kind {
        Kind::Chat => "messages",
        Kind::Completion => "prompt",
    };
    if fields.contains_key(key) {
        let prompt = Ok(prompt?);
        return Ok(Order { prompt, params });
    }
    Ok(Order { prompt, params })
}

fn bad(kind: &'static str, param: &str, message: impl Into<String>) -> ClientFault {
    ClientFault::BadBody {
        kind,
        param: param.to_owned(),
        message: message.into(),
    }
}

fn prompt(fields: &Map<String, Value>) -> Result<Prompt, ClientFault> {
    let wrong = || {
        bad(
            "invalid_type",
            "prompt",
            "`prompt` must be a string or an array of token ids; one prompt a request",
        )
    };
    let tokens = |ids: &[Value]| {
        let id = |id: &Value| natural(id).and_then(|id| u32::try_from(id).ok());
        ids.iter()
            .map(id)
            .collect::<Option<Vec<_>>>()
            .map(Prompt::Tokens)
            .ok_or_else(wrong)
    };
    match fields.get("prompt") {
        None => Err(bad("missing", "prompt", "you must provide a `prompt`")),
        Some(Value::String(text)) if text.is_empty() => {
            Err(bad("too_short", "prompt", "`prompt` must not be empty"))
        }
        Some(Value::String(text)) => Ok(Prompt::Text(text.clone())),
        Some(Value::Array(items)) => match items.as_slice() {
            [] => Err(bad("too_short", "prompt", "`prompt` must not be empty")),
            [Value::String(text)] if !text.is_empty() => Ok(Prompt::Text(text.clone())),
            [Value::Array(ids)] => tokens(ids),
            ids => tokens(ids),
        },
        Some(_) => Err(wrong()),
    }
}

/// Whether the answer comes bit by bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streamed {
    No,
    Yes,
    /// With the token counts at the end.
    WithUsage,
}

/// What all chunks of an answer have alike.
struct Head {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    stream: Streamed,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

impl Head {
    /// What a body says of its answer, where all of it is as it must be: that is said before it costs a plugin anything. It is read
    /// again from what the validators left.
    fn read(
        kind: Kind,
        model: &str,
        received: &Received,
        fields: &Map<String, Value>,
    ) -> Result<Self, ClientFault> {
        let flag = |fields: &Map<String, Value>, key: &str| match fields.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => Ok(false),
            Some(Value::Bool(true)) => Ok(true),
            Some(_) => Err(bad("invalid_type", key, format!("`{key}` must be true or false"))),
        };
        let usage = match fields.get("stream_options") {
            None | Some(Value::Null) => false,
            Some(Value::Object(options)) => flag(options, "include_usage")?,
            Some(_) => {
                let key = "stream_options";
                return Err(bad("invalid_type", key, format!("`{key}` must be an object")));
            }
        };
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        let head = Self {
            kind,
            id: format!("{prefix}-{}", received.id),
            created: unix_seconds(Instant::now()),
            model: model.to_owned(),
            stream: match (flag(fields, "stream")?, usage) {
                (false, _) => Streamed::No,
                (true, false) => Streamed::Yes,
                (true, true) => Streamed::WithUsage,
            },
        };
        order(kind, fields)?;
        Ok(head)
    }

    fn answer(&self, object: &'static str, choices: Vec<Value>, usage: Option<Value>) -> Answer<'_> {
        Answer {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            choices,
            usage,
        }
    }

    fn whole(&self, choices: &[Choice], counts: Counts) -> Answer<'_> {
        let entry = |(index, choice): (usize, &Choice)| {
            let (finish, logprobs) = (finish_name(choice.finish), self.logprobs(&choice.tokens));
            match self.kind {
                Kind::Chat => json!({
                    "index": index,
                    "message": { "role": "assistant", "content": choice.text, "refusal": null },
                    "logprobs": logprobs,
                    "finish_reason": finish,
                }),
                Kind::Completion => json!({
                    "text": choice.text, "index": index, "logprobs": logprobs, "finish_reason": finish,
                }),
            }
        };
        let object = match self.kind {
            Kind::Chat => "chat.completion",
            Kind::Completion => "text_completion",
        };
        self.answer(
            object,
            choices.iter().enumerate().map(entry).collect(),
            Some(usage(counts)),
        )
    }

    /// A chunk of a stream. All but the one with the counts have a null in their place, where counts are asked for.
    fn chunk(&self, choice: Option<Value>, counts: Option<Counts>) -> Bytes {
        let object = match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        let usage = match counts {
            Some(counts) => Some(usage(counts)),
            None => (self.stream == Streamed::WithUsage).then_some(Value::Null),
        };
        sse::event(&self.answer(object, choice.into_iter().collect(), usage))
    }

    fn delta(
        &self,
        index: usize,
        delta: Value,
        text: &str,
        tokens: &[TokenReport],
        finish: Option<Finish>,
    ) -> Bytes {
        let (finish, logprobs) = (finish.map(finish_name), self.logprobs(tokens));
        self.chunk(
            Some(match self.kind {
                Kind::Chat => {
                    json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish })
                }
                Kind::Completion => {
                    json!({ "text": text, "index": index, "logprobs": logprobs, "finish_reason": finish })
                }
            }),
            None,
        )
    }

    fn logprobs(&self, tokens: &[TokenReport]) -> Value {
        if tokens.is_empty() {
            return Value::Null;
        }
        let entry = |(text, logprob): (&String, f32)| {
            // Of a token that is a part of a character there is no text, so its bytes are not known here.
            let bytes = (!text.contains('\u{fffd}')).then_some(text.as_bytes());
            json!({ "token": text, "logprob": logprob, "bytes": bytes })
        };
        match self.kind {
            Kind::Chat => {
                let token = |token: &TokenReport| {
                    let mut value = entry((&token.text, token.logprob));
                    value["top_logprobs"] = token
                        .likeliest
                        .iter()
                        .map(|(text, logprob)| entry((text, *logprob)))
                        .collect();
                    value
                };
                json!({ "content": tokens.iter().map(token).collect::<Vec<_>>(), "refusal": null })
            }
            Kind::Completion => {
                let top = |token: &TokenReport| {
                    let likeliest = token.likeliest.iter();
                    Value::Object(
                        likeliest
                            .map(|(text, logprob)| (text.clone(), json!(logprob)))
                            .collect(),
                    )
                };
                json!({
                    "tokens": tokens.iter().map(|token| &token.text).collect::<Vec<_>>(),
                    "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
                    "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
                })
            }
        }
    }
}

fn usage(counts: Counts) -> Value {
    json!({
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": { "cached_tokens": counts.cached },
    })
}

/// An answer that is being written.
struct Stream {
    head: Head,
    timed: Timed,
    /// Which choices have had their first chunk, which tells the role.
    begun: Vec<bool>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Text,
    Done,
    Over,
}

impl Stream {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let bytes = match self.phase {
            Phase::Text => self.text().await,
            Phase::Done => {
                self.phase = Phase::Over;
                sse::DONE
            }
            Phase::Over => return None,
        };
        Some((bytes, self))
    }

    async fn text(&mut self) -> Bytes {
        match self.timed.next().await {
            Ok(Next::Quiet) => sse::PING,
            Ok(Next::Told(Told::Text { choice, piece })) => {
                let len = size::of_text(&piece.text, &piece.tokens);
                aside(len, || self.piece(choice, &piece)).await
            }
            Ok(Next::Told(Told::End { choice, finish })) => {
                let first = self.begin(choice);
                let end = self.head.delta(choice, json!({}), "", &[], Some(finish));
                [first, end].concat().into()
            }
            Ok(Next::End) if self.head.stream == Streamed::WithUsage => {
                self.phase = Phase::Done;
                self.head.chunk(None, Some(self.timed.running().counts()))
            }
            Ok(Next::End) => {
                self.phase = Phase::Over;
                sse::DONE
            }
            Err(error) => {
                // Said in the stream, and then the end without `[DONE]`: what was sent is no whole answer.
                self.phase = Phase::Over;
                sse::event(&respond::stream_error(Dialect::OpenAi, &error, &self.head.id))
            }
        }
    }

    fn piece(&mut self, choice: usize, piece: &Piece) -> Bytes {
        let first = self.begin(choice);
        let delta = json!({ "content": piece.text });
        let next = self.head.delta(choice, delta, &piece.text, &piece.tokens, None);
        if first.is_empty() {
            return next;
        }
        [first, next].concat().into()
    }

    /// The chunk that tells a choice's role, the first time.
    fn begin(&mut self, choice: usize) -> Bytes {
        if self.head.kind == Kind::Completion || std::mem::replace(&mut self.begun[choice], true) {
            return Bytes::new();
        }
        let delta = json!({ "role": "assistant", "content": "" });
        self.head.delta(choice, delta, "", &[], None)
    }
}
