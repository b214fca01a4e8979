//! The life of a request that generates text: validate, template, prompt, sequences, postprocess.
//!
//! As in `run`, every wait is cancel-safe: where [`Running`] is dropped, its sequences end after the step that runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{SelectAll, StreamExt};
use selvedge_model::{InferError, Piece};
use selvedge_plugin::value::{Chunk, Completion, Finish, Output, Request, StreamAction};
use selvedge_plugin::{Stage, StreamInstance};
use tracing::Instrument;

use super::completed::{Choice, Completed, Counts};
use super::order::{Order, Prompt, unavailable};
use super::params::Params;
use super::run::{blamed, postprocess, template, validate};
use super::source::{self, Heard, Source};
use super::{ClientFault, RequestError};
use crate::aside::aside;
use crate::generation::Ready;
use crate::telemetry::{Step, Watch};

/// How often plugins on a stream are called at most: tokens that come faster are given together. A little less than what a token
/// of one stream takes on a small machine, so that none waits there.
const PUSH_EVERY: Duration = Duration::from_millis(8);

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

/// A request that was admitted.
pub struct Running {
    endpoint: Arc<Ready>,
    request: Arc<Request>,
    count: usize,
    ended: usize,
    source: Source,
    /// What is told before what the source tells: all of it, where post-processors saw the whole.
    ready: VecDeque<Told>,
    /// Of each answer, where plugins are on the stream; else empty.
    finishes: Vec<Finish>,
    /// The plugins on the stream, in order; started with the first event, so that who waits for a slot holds no instance. One
    /// that fails ends the request: what nobody saw must not pass.
    filters: Vec<StreamInstance>,
    /// What was waited for and not looked at yet.
    pending: Option<Option<Result<Heard, RequestError>>>,
    counts: Counts,
    /// Until the last token.
    watch: Watch,
    opened_at: Instant,
    first_at: Option<Instant>,
    /// When the plugins were last given something.
    pushed_at: Option<Instant>,
}

impl Running {
    /// Takes a request to where a model, or another server, has taken it on. `decode` makes an order of the body that the
    /// validators left; `claim` lets the order through once it is known with all that templaters make of it.
    ///
    /// # Errors
    ///
    /// Where a plugin refuses the request or fails, `claim` does, or nobody takes it on.
    pub async fn start(
        endpoint: &Arc<Ready>,
        request: Arc<Request>,
        decode: impl FnOnce(&Request) -> Result<Order, RequestError>,
        claim: impl FnOnce(&Prompt, &Params) -> Result<(), ClientFault>,
    ) -> Result<Self, RequestError> {
        let meters = &endpoint.meters;
        let request = meters.during(Step::Validate, validate(endpoint, request)).await?;
        let order = aside(request.body.len(), || decode(&request)).await?;
        let made = meters
            .during(Step::Template, template(endpoint, &request))
            .await?;
        let by = made.as_ref().map(|made| made.by);
        let (prompt, params) = order.completed(endpoint, made)?;
        claim(&prompt, &params)?;
        let (count, mut watch) = (params.count, meters.watch(Step::Model));
        let opened_at = Instant::now();
        let opened = source::open(endpoint, &request, prompt, &params).instrument(watch.span());
        let opened = opened.await.inspect_err(|_| watch.end());
        let (source, counts) = opened.map_err(|error| blamed(endpoint, by, error))?;
        let filtered = endpoint.stage(Stage::Stream).next().is_some();
        Ok(Self {
            endpoint: Arc::clone(endpoint),
            request,
            count,
            ended: 0,
            source,
            ready: VecDeque::new(),
            finishes: vec![Finish::Stop; if filtered { count } else { 0 }],
            filters: Vec::new(),
            pending: None,
            counts,
            watch,
            opened_at,
            first_at: None,
            pushed_at: None,
        })
    }

    /// What comes next; none once all answers are complete.
    ///
    /// # Errors
    ///
    /// Where the model or a stream's plugin fails.
    pub async fn next(&mut self) -> Option<Result<Told, RequestError>> {
        loop {
            if let Some(told) = self.take() {
                return Some(Ok(told));
            }
            if self.is_over() {
                return None;
            }
            if let Err(error) = self.advance().await {
                return Some(Err(error));
            }
        }
    }

    /// What is ready to be told.
    pub fn take(&mut self) -> Option<Told> {
        self.ready.pop_front()
    }

    /// Whether all answers are complete, and all of them told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ready.is_empty() && self.ended == self.count
    }

    /// Works on what a sequence tells next; what comes of it is ready then, if anything does. Where plugins are on the stream
    /// and the future is dropped, so must the request be.
    ///
    /// # Errors
    ///
    /// Where the model or a stream's plugin fails; it is over then.
    pub async fn advance(&mut self) -> Result<(), RequestError> {
        let told = match self.event().await {
            Ok(told) if self.finishes.is_empty() => {
                self.ready.push_back(told);
                Ok(())
            }
            Ok(told) => self.filter(told).await,
            Err(error) => Err(error),
        };
        if told.is_err() {
            self.ended = self.count;
        }
        if self.ended == self.count {
            self.watch.end();
        }
        told
    }

    /// What the source told, and what it tells within [`PUSH_EVERY`] of the last push, as chunks for the stream's plugins.
    async fn batch(&mut self, first: Told) -> Result<Vec<Chunk>, RequestError> {
        let until = self.pushed_at.map_or_else(Instant::now, |at| at + PUSH_EVERY);
        let mut told = first;
        let mut chunks: Vec<Chunk> = Vec::new();
        loop {
            match told {
                Told::Text { choice, piece } => {
                    let choice = u32::try_from(choice).unwrap_or(u32::MAX);
                    match chunks.last_mut().filter(|last| last.choice == choice) {
                        Some(last) => last.text += &piece.text,
                        None => chunks.push(Chunk {
                            choice,
                            text: piece.text,
                        }),
                    }
                }
                Told::End { choice, finish } => self.finishes[choice] = finish,
            }
            if self.ended == self.count {
                return Ok(chunks);
            }
            // What is there already is taken also where the time is over.
            match tokio::time::timeout_at(until.into(), self.event()).await {
                Ok(Ok(next)) => told = next,
                Ok(Err(error)) => {
                    // Told next; what came before it is told first.
                    self.pending = Some(Some(Err(error)));
                    return Ok(chunks);
                }
                Err(_) => return Ok(chunks),
            }
        }
    }

    /// Waits until there is something for [`advance`](Self::advance) to work on. Nothing is lost where the future is dropped.
    pub async fn wait(&mut self) {
        if self.ready.is_empty() && self.ended < self.count && self.pending.is_none() {
            self.pending = Some(self.source.next().await);
        }
    }

    /// What the source tells next.
    async fn event(&mut self) -> Result<Told, RequestError> {
        loop {
            let heard = match self.pending.take() {
                Some(heard) => heard,
                None => self.source.next().await,
            };
            self.first_at.get_or_insert_with(Instant::now);
            let unfinished = || InferError::Failed("an answer ended without saying so".to_owned());
            match heard.ok_or_else(unfinished)?? {
                Heard::Text(choice, piece) => {
                    self.counts.completion = self.counts.completion.saturating_add(piece.count);
                    return Ok(Told::Text { choice, piece });
                }
                Heard::End(choice, finish) => {
                    self.ended += 1;
                    if self.ended == self.count {
                        self.request.timings.add("model", "", self.opened_at.elapsed());
                    }
                    return Ok(Told::End { choice, finish });
                }
                Heard::Counts(counts) => self.counts.add(counts),
            }
        }
    }

    async fn start_filters(&mut self) -> Result<(), RequestError> {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        let endpoint = Arc::clone(&self.endpoint);
        for attached in endpoint.stage(Stage::Stream) {
            let open = attached.attachment.open_stream(&self.request, count);
            // What a client takes bit by bit is worked on outside of the request's span.
            self.filters.push(open.instrument(self.watch.span()).await?);
        }
        Ok(())
    }

    /// Has the stream's plugins see what a sequence told; what they let through is ready then. Ends wait for all answers,
    /// since a plugin may hold text back to the last.
    async fn filter(&mut self, told: Told) -> Result<(), RequestError> {
        if self.filters.is_empty() {
            self.start_filters().await?;
        }
        let mut stop = None;
        let mut chunks = self.batch(told).await?;
        for (place, filter) in self.filters.iter_mut().enumerate() {
            if chunks.is_empty() {
                break;
            }
            match filter.push(&chunks).await? {
                StreamAction::Pass => {}
                StreamAction::Emit(emitted) => chunks = emitted,
                StreamAction::Stop(last, reason) => {
                    chunks = last;
                    stop = Some((place, reason));
                }
            }
        }
        self.pushed_at = Some(Instant::now());
        self.let_go(chunks);
        if let Some((_, reason)) = stop {
            // What is dropped here ends after the step that runs.
            (self.source, self.pending) = (SelectAll::new(), None);
            self.ended = self.count;
            self.finishes.fill(reason);
        }
        if self.ended == self.count {
            self.finish_filters(stop.map(|(place, _)| place)).await?;
        }
        Ok(())
    }

    /// Tells each plugin that the text is over; what it held back goes through those behind it. Where one of them ended the
    /// text, what those before it held back is not sent.
    async fn finish_filters(&mut self, mut stopped: Option<usize>) -> Result<(), RequestError> {
        let mut filters = VecDeque::from(std::mem::take(&mut self.filters));
        let mut place = 0;
        while let Some(filter) = filters.pop_front() {
            let reason = self.finishes.first().copied().unwrap_or(Finish::Stop);
            let mut chunks = filter.finish(reason, self.counts.usage()).await?;
            if stopped.is_some_and(|stopped| place < stopped) {
                chunks.clear();
            }
            for (behind, next) in filters.iter_mut().enumerate() {
                if chunks.is_empty() {
                    break;
                }
                match next.push(&chunks).await? {
                    StreamAction::Pass => {}
                    StreamAction::Emit(emitted) => chunks = emitted,
                    StreamAction::Stop(last, reason) => {
                        chunks = last;
                        stopped = Some(place + 1 + behind);
                        self.finishes.fill(reason);
                    }
                }
            }
            self.let_go(chunks);
            place += 1;
        }
        for (choice, finish) in self.finishes.iter().copied().enumerate() {
            self.ready.push_back(Told::End { choice, finish });
        }
        Ok(())
    }

    fn let_go(&mut self, chunks: Vec<Chunk>) {
        let told = |chunk: Chunk| Told::Text {
            choice: chunk.choice as usize,
            piece: Piece {
                text: chunk.text,
                tokens: Vec::new(),
                count: 0,
            },
        };
        self.ready.extend(
            chunks
                .into_iter()
                .filter(|chunk| !chunk.text.is_empty())
                .map(told),
        );
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
                count: 0,
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
        let texts = choices.iter_mut().map(|choice| std::mem::take(&mut choice.text));
        let done = Completion {
            output: Output::Text(texts.collect()),
            finish: choices.first().map_or(Finish::Stop, |choice| choice.finish),
            usage: self.counts.usage(),
        };
        let mut json = None;
        let postprocess = postprocess(&self.endpoint, &self.request, done);
        match self
            .endpoint
            .meters
            .during(Step::Postprocess, postprocess)
            .await?
            .output
        {
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
