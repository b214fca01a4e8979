//! The life of a request that generates text: validate, template, prompt, sequences, postprocess.
//!
//! As in `run`, every wait is cancel-safe: where [`Running`] is dropped, its sequences end after the step that runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, BoxStream, SelectAll, StreamExt};
use selvedge_model::generate::TokenReport;
use selvedge_model::{
    Done, Event, Finish, GenerateRequest, Generation, InferError, Message, Piece, Sampling,
};
use selvedge_plugin::Stage;
use selvedge_plugin::value::{
    Completion, Finish as PluginFinish, Output, Prompt as Rendered, Request, Usage,
};
use serde_json::Value;

use super::params::Params;
use super::run::{postprocess, template, validate};
use super::{ClientFault, HostFault, RequestError};
use crate::generation::Ready;

/// What is to be generated.
#[derive(Debug)]
pub struct Order {
    /// What from; where the body does not say, that is an error unless a templater does.
    pub prompt: Result<Prompt, ClientFault>,
    /// And how.
    pub params: Params,
}

/// What text is generated from.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation, by the model's chat template.
    Messages(Vec<Message>),
    /// A text, as it is.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// One answer of several to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its text.
    pub text: String,
    /// Its tokens, where their probabilities were asked for.
    pub tokens: Vec<TokenReport>,
    /// Why it ended.
    pub finish: Finish,
}

/// All answers to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// In order.
    pub choices: Vec<Choice>,
    /// Token counts of all.
    pub counts: Counts,
    /// The endpoint's answer as it is, where a post-processor wrote one.
    pub json: Option<String>,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Of the prompt, once.
    pub prompt: usize,
    /// Of these, those that were read before.
    pub cached: usize,
    /// Of all answers together.
    pub completion: usize,
}

impl Counts {
    fn add(&mut self, done: Done) {
        self.prompt = done.prompt_tokens;
        self.cached = self.cached.max(done.cached_tokens);
        self.completion += done.completion_tokens;
    }
}

/// What a running request tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Text of an answer.
    Text {
        /// Which, from 0.
        choice: usize,
        /// The text, and tokens where they were asked for.
        piece: Piece,
    },
    /// An answer is complete.
    End {
        /// Which, from 0.
        choice: usize,
        /// Why.
        finish: Finish,
    },
}

/// The events of each answer, with which it is. They come as the sequences tell them.
type Events = SelectAll<BoxStream<'static, (usize, Result<Event, InferError>)>>;

/// A request whose sequences were admitted.
pub struct Running {
    endpoint: Arc<Ready>,
    request: Arc<Request>,
    count: usize,
    ended: usize,
    events: Events,
    /// What is told before the events: all of it, where post-processors saw the whole.
    ready: VecDeque<Told>,
    counts: Counts,
    first_at: Option<Instant>,
}

impl Running {
    /// Takes a request to where its sequences are admitted. `decode` makes an order of the body that the validators left.
    ///
    /// # Errors
    ///
    /// Where a plugin refuses the request or fails, or the model does not admit it.
    pub async fn start(
        endpoint: &Arc<Ready>,
        request: Arc<Request>,
        decode: impl FnOnce(&Request) -> Result<Order, RequestError>,
    ) -> Result<Self, RequestError> {
        let request = validate(endpoint, request).await?;
        let mut order = decode(&request)?;
        if let Some(rendered) = template(endpoint, &request).await? {
            order.prompt = Ok(prompt_of(endpoint, rendered.prompt)?);
            if let Some(params) = rendered.params {
                amend(endpoint, &mut order.params, &params)?;
            }
        }
        let prompt = match order.prompt? {
            Prompt::Messages(messages) => endpoint.model.chat_prompt(&messages).await?,
            Prompt::Text(text) => endpoint.model.text_prompt(text).await?,
            Prompt::Tokens(tokens) => tokens,
        };
        let params = order.params;
        let mut events = SelectAll::new();
        for choice in 0..params.count {
            let generation = endpoint.model.generate(GenerateRequest {
                prompt: prompt.clone(),
                tokens_max: params.tokens_max.unwrap_or(usize::MAX),
                stop: params.stop.clone(),
                sampling: Sampling {
                    seed: params.sampling.seed.wrapping_add(choice as u64),
                    ..params.sampling.clone()
                },
            })?;
            events.push(events_of(choice, generation));
        }
        Ok(Self {
            endpoint: Arc::clone(endpoint),
            request,
            count: params.count,
            ended: 0,
            events,
            ready: VecDeque::new(),
            counts: Counts::default(),
            first_at: None,
        })
    }

    /// What comes next; none once all answers are complete. Nothing is lost where the future is dropped.
    ///
    /// # Errors
    ///
    /// Where the model fails.
    pub async fn next(&mut self) -> Option<Result<Told, RequestError>> {
        if let Some(told) = self.ready.pop_front() {
            return Some(Ok(told));
        }
        if self.ended == self.count {
            return None;
        }
        let event = self.events.next().await;
        self.first_at.get_or_insert_with(Instant::now);
        match event {
            Some((choice, Ok(Event::Text(piece)))) => Some(Ok(Told::Text { choice, piece })),
            Some((choice, Ok(Event::Done(done)))) => {
                self.ended += 1;
                self.counts.add(done);
                Some(Ok(Told::End {
                    choice,
                    finish: done.finish,
                }))
            }
            Some((_, Err(error))) => {
                self.ended = self.count;
                Some(Err(error.into()))
            }
            None => {
                self.ended = self.count;
                let error = InferError::Failed("a sequence ended without saying so".to_owned());
                Some(Err(error.into()))
            }
        }
    }

    /// Waits for the first thing to tell, so that what fails at once has a status of its own. Where post-processors must
    /// see the whole text, that is all of it.
    ///
    /// # Errors
    ///
    /// Where the model or a post-processor fails, or refuses it.
    pub async fn settle(&mut self) -> Result<(), RequestError> {
        if self.endpoint.stage(Stage::Postprocess).next().is_none() {
            if let Some(told) = self.next().await {
                self.ready.push_front(told?);
            }
            return Ok(());
        }
        let completed = self.complete().await?;
        for (choice, done) in completed.choices.into_iter().enumerate() {
            let piece = Piece {
                text: done.text,
                tokens: done.tokens,
            };
            self.ready.push_back(Told::Text { choice, piece });
            self.ready.push_back(Told::End {
                choice,
                finish: done.finish,
            });
        }
        Ok(())
    }

    /// Waits for all answers, and has the post-processors see them.
    ///
    /// # Errors
    ///
    /// Where the model or a post-processor fails, or refuses it.
    pub async fn complete(&mut self) -> Result<Completed, RequestError> {
        let empty = Choice {
            text: String::new(),
            tokens: Vec::new(),
            finish: Finish::Stop,
        };
        let mut choices = vec![empty; self.count];
        while let Some(told) = self.next().await {
            match told? {
                Told::Text { choice, piece } => {
                    choices[choice].text += &piece.text;
                    choices[choice].tokens.extend(piece.tokens);
                }
                Told::End { choice, finish } => choices[choice].finish = finish,
            }
        }
        self.postprocessed(choices).await
    }

    async fn postprocessed(&mut self, mut choices: Vec<Choice>) -> Result<Completed, RequestError> {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let done = Completion {
            output: Output::Text(choices.iter().map(|choice| choice.text.clone()).collect()),
            finish: match choices.first().map(|choice| choice.finish) {
                Some(Finish::Length) => PluginFinish::Length,
                Some(Finish::Stop) | None => PluginFinish::Stop,
            },
            usage: Usage {
                prompt_tokens: narrow(self.counts.prompt),
                completion_tokens: narrow(self.counts.completion),
            },
        };
        let mut json = None;
        match postprocess(&self.endpoint, &self.request, done).await?.output {
            Output::Text(texts) if texts.len() == choices.len() => {
                for (choice, text) in choices.iter_mut().zip(texts) {
                    choice.text = text;
                }
            }
            Output::Json(text) => {
                choices.truncate(1);
                choices[0].text.clone_from(&text);
                json = Some(text);
            }
            _ => {
                let reason = "a post-processor left something else than a text for each answer".to_owned();
                return Err(unavailable(&self.endpoint, reason));
            }
        }
        Ok(Completed {
            choices,
            counts: self.counts,
            json,
        })
    }

    /// When the model first told something: the prompt was read then.
    #[must_use]
    pub fn first_at(&self) -> Option<Instant> {
        self.first_at
    }

    /// Answers to the prompt.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Token counts, complete once all answers are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

fn events_of(
    choice: usize,
    generation: Generation,
) -> BoxStream<'static, (usize, Result<Event, InferError>)> {
    let next = move |mut generation: Generation| async move {
        let event = generation.next().await?;
        Some(((choice, event), generation))
    };
    stream::unfold(generation, next).boxed()
}

fn unavailable(endpoint: &Ready, reason: String) -> RequestError {
    let endpoint = endpoint.name.as_ref().to_owned();
    HostFault::Unavailable { endpoint, reason }.into()
}

/// What a templater rendered, as a prompt.
fn prompt_of(endpoint: &Ready, prompt: Rendered) -> Result<Prompt, RequestError> {
    Ok(match prompt {
        Rendered::Text(text) => Prompt::Text(text),
        Rendered::TokenIds(tokens) => Prompt::Tokens(tokens),
        Rendered::Messages(messages) => Prompt::Messages(
            messages
                .into_iter()
                .map(|(role, content)| Message { role, content })
                .collect(),
        ),
        Rendered::MessagesJson(json) => {
            let messages = serde_json::from_str(&json);
            Prompt::Messages(messages.map_err(|error| {
                unavailable(
                    endpoint,
                    format!("its template renders messages that are none: {error}"),
                )
            })?)
        }
        Rendered::Texts(_) | Rendered::Tensors(_) => {
            let reason =
                "its template renders several texts or tensors, and its model takes one prompt".to_owned();
            return Err(unavailable(endpoint, reason));
        }
    })
}

/// Takes over a templater's parameters. What is wrong with them is not the client's fault.
fn amend(endpoint: &Ready, params: &mut Params, json: &str) -> Result<(), RequestError> {
    let wrong = |why: String| {
        unavailable(
            endpoint,
            format!("its template sets parameters that are none: {why}"),
        )
    };
    match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => params.amend(&fields).map_err(|fault| wrong(fault.to_string())),
        Ok(_) => Err(wrong("no object".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}
