//! Where generated text comes from: the endpoint's backend, or where that fails before its first word, one behind it.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, BoxStream, SelectAll, StreamExt};
use selvedge_model::generate::guide;
use selvedge_model::{
    Event, Finish as ModelFinish, GenerateRequest, Generation, InferError, Inference, Input, Model, Piece,
    Sampling,
};
use selvedge_plugin::value::{Finish, Request};
use selvedge_plugin::{Attachment, Stage};

use super::completed::Counts;
use super::decode::Driver;
use super::order::Prompt;
use super::params::Params;
use super::{Fault, RequestError};
use crate::backend::Backend;
use crate::generation::Ready;
use crate::telemetry::Meters;
use crate::upstream::{Said, Words};

/// What a source tells of the answers to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heard {
    /// Text of an answer.
    Text(usize, Piece),
    /// An answer is complete.
    End(usize, Finish),
    /// Token counts, to be added to those that are known.
    Counts(Counts),
}

/// What is told, as it is told. Where it is dropped, nobody works on the answers any more.
pub(super) type Source = SelectAll<BoxStream<'static, Result<Heard, RequestError>>>;

/// Opens a source: asks the backend, then those behind it, until one does not fail at once. With it comes what is known of the
/// token counts already.
///
/// # Errors
///
/// Where the order is wrong, or the last of them fails.
pub(super) async fn open(
    endpoint: &Ready,
    request: &Arc<Request>,
    prompt: Prompt,
    params: &Params,
) -> Result<(Source, Counts), RequestError> {
    // Only on an endpoint whose backend is a model of this node.
    let decider = endpoint.stage(Stage::Decode).next();
    let decider = decider.map(|attached| (&attached.attachment, request));
    let mut backends = std::iter::once(&endpoint.backend).chain(&endpoint.fallbacks);
    let mut backend = backends.next().unwrap_or(&endpoint.backend);
    loop {
        let opened = match backend {
            Backend::Model(model) => open_model(model, &endpoint.meters, &prompt, params, decider).await,
            Backend::Upstream(upstream) => {
                let words = upstream.generate(&prompt, params).await;
                words.map(|words| heard(words, Arc::clone(&endpoint.meters)))
            }
        };
        match (opened, backends.next()) {
            (Err(error), Some(next)) if passes_on(&error) => {
                tell(endpoint, backend, next, &error);
                backend = next;
            }
            (opened, _) => return opened,
        }
    }
}

/// Runs a backend on what it is given, or where it fails, one behind it. What it took is counted.
///
/// # Errors
///
/// Where the input is wrong, or the last of them fails.
pub(super) async fn infer(endpoint: &Ready, input: Input) -> Result<Inference, RequestError> {
    let inputs = match &input {
        Input::Texts(texts) => texts.len(),
        Input::Tensors(_) => 1,
    };
    let inference = asked(endpoint, input).await?;
    if let Some(took) = inference.tokenized {
        endpoint.meters.tokenized(took);
    }
    endpoint.meters.inferred(inputs, inference.turn);
    Ok(inference)
}

async fn asked(endpoint: &Ready, input: Input) -> Result<Inference, RequestError> {
    for (backend, next) in std::iter::once(&endpoint.backend)
        .chain(&endpoint.fallbacks)
        .zip(&endpoint.fallbacks)
    {
        match backend.infer(input.clone()).await {
            Err(error) if passes_on(&error) => tell(endpoint, backend, next, &error),
            outcome => return outcome,
        }
    }
    endpoint
        .fallbacks
        .last()
        .unwrap_or(&endpoint.backend)
        .infer(input)
        .await
}

fn tell(endpoint: &Ready, from: &Backend, to: &Backend, error: &RequestError) {
    let (endpoint, from, to) = (&*endpoint.name, from.name(), to.name());
    tracing::warn!(endpoint, from, to, %error, "a backend failed before its first word; the next one is asked");
}

/// Whether another backend could do better.
fn passes_on(error: &RequestError) -> bool {
    match &error.fault {
        Fault::Upstream(error) => error.kind.is_upstream_s(),
        Fault::Model(error) => error.may_pass(),
        Fault::Client(_) | Fault::Plugin(_) | Fault::Host(_) => false,
    }
}

async fn open_model(
    model: &Model,
    meters: &Arc<Meters>,
    prompt: &Prompt,
    params: &Params,
    decider: Option<(&Attachment, &Arc<Request>)>,
) -> Result<(Source, Counts), RequestError> {
    let started = Instant::now();
    let tokens = match prompt {
        Prompt::Messages(messages) => model.chat_prompt(messages).await?,
        Prompt::Text(text) => model.text_prompt(text.clone()).await?,
        Prompt::Tokens(tokens) => tokens.clone(),
    };
    if !matches!(prompt, Prompt::Tokens(_)) {
        meters.tokenized(started.elapsed());
    }
    let constraint = match &params.structure {
        Some(structure) => Some(model.structure(structure.clone()).await?),
        None => None,
    };
    let mut source = SelectAll::new();
    for choice in 0..params.count {
        let order = GenerateRequest {
            prompt: tokens.clone(),
            tokens_max: params.tokens_max.unwrap_or(usize::MAX),
            stop: params.stop.clone(),
            sampling: Sampling {
                seed: params.sampling.seed.wrapping_add(choice as u64),
                ..params.sampling.clone()
            },
            constraint: constraint.clone(),
        };
        let (generation, driver) = match decider {
            None => (model.generate(order)?, None),
            Some((attachment, request)) => {
                let (guide, seat) = guide();
                let generation = model.generate_guided(order, guide)?;
                (generation, Some(Driver::start(attachment, request, choice, seat)))
            }
        };
        source.push(events(choice, generation, driver, Arc::clone(meters)));
    }
    let counts = Counts {
        prompt: tokens.len(),
        ..Counts::default()
    };
    Ok((source, counts))
}

/// What a sequence tells. With it ends the task of the plugin that decides for it, which alone knows why it failed.
fn events(
    choice: usize,
    generation: Generation,
    driver: Option<Driver>,
    meters: Arc<Meters>,
) -> BoxStream<'static, Result<Heard, RequestError>> {
    let next = move |(mut generation, mut driver, meters): (Generation, Option<Driver>, Arc<Meters>)| async move {
        let heard = match generation.next().await? {
            Ok(Event::Text(piece)) => vec![Ok(Heard::Text(choice, piece))],
            Ok(Event::Done(done)) => {
                if let Some(driver) = &mut driver {
                    driver.end().await;
                }
                meters.inferred(1, Some(done.turn));
                let counts = Counts {
                    prompt: done.prompt_tokens,
                    cached: done.cached_tokens,
                    completion: done.untold_tokens,
                };
                let finish = match done.finish {
                    ModelFinish::Stop => Finish::Stop,
                    ModelFinish::Length => Finish::Length,
                };
                vec![Ok(Heard::Counts(counts)), Ok(Heard::End(choice, finish))]
            }
            Err(error) => {
                let failed = match &mut driver {
                    Some(driver) if error == InferError::Guide => driver.end().await,
                    _ => None,
                };
                vec![Err(failed.map_or_else(|| error.into(), RequestError::from))]
            }
        };
        Some((stream::iter(heard), (generation, driver, meters)))
    };
    stream::unfold((generation, driver, meters), next)
        .flatten()
        .boxed()
}

fn heard(words: Words, meters: Arc<Meters>) -> (Source, Counts) {
    let heard = words.filter_map(move |said| {
        if let Ok(Said::End { .. }) = &said {
            meters.inferred(1, None);
        }
        std::future::ready(match said {
            Err(error) => Some(Err(error)),
            Ok(Said::Text { choice, text, tokens }) => {
                let count = 1;
                Some(Ok(Heard::Text(choice, Piece { text, tokens, count })))
            }
            Ok(Said::End { choice, finish }) => Some(Ok(Heard::End(choice, finish))),
            Ok(Said::Counts(counts)) => Some(Ok(Heard::Counts(counts))),
            Ok(Said::Alive | Said::Over) => None,
        })
    });
    (SelectAll::from_iter([heard.boxed()]), Counts::default())
}
