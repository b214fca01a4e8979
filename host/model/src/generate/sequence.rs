//! One sequence: what it was asked, what it has, and what of it the client has seen.

use std::time::Instant;

use tokenizers::Tokenizer as HfTokenizer;
use tokio::sync::mpsc::UnboundedSender;

use super::sample::{Sampler, Scored};
use super::structure::{Constraint, Rest};
use super::text::{Detokenizer, Passed, StopFinder};
use super::{Done, Event, Finish, GenerateRequest, Piece, TokenReport};
use crate::error::InferError;

/// Where a sequence tells what happens. It holds no more than the sequence has tokens, which the context bounds, so that a
/// slow client holds up nobody.
pub(super) type Reply = UnboundedSender<Result<Event, InferError>>;

/// A sequence, from the queue to its end.
pub(super) struct Sequence {
    pub(super) prompt: Vec<u32>,
    /// Tokens of the prompt that are in the cache.
    pub(super) filled: usize,
    /// Of these, those that came from another sequence.
    pub(super) cached: usize,
    /// The token that the next step runs; it is not in the cache yet.
    pub(super) next: u32,
    pub(super) since: Instant,
    generated: usize,
    /// Of these, those that no piece has counted yet.
    untold: usize,
    tokens_max: usize,
    sampler: Sampler,
    constraint: Option<Constraint>,
    detokenizer: Detokenizer,
    stops: StopFinder,
    reports: Vec<TokenReport>,
    reply: Reply,
}

/// Whether a sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Continues,
    Ended,
}

impl Sequence {
    pub(super) fn new(request: GenerateRequest, context_max: usize, reply: Reply) -> Self {
        let left = context_max.saturating_sub(request.prompt.len());
        Self {
            filled: 0,
            cached: 0,
            next: 0,
            since: Instant::now(),
            generated: 0,
            untold: 0,
            tokens_max: request.tokens_max.min(left),
            sampler: Sampler::new(request.sampling, &request.prompt),
            constraint: request.constraint,
            detokenizer: Detokenizer::default(),
            stops: StopFinder::new(request.stop),
            reports: Vec::new(),
            prompt: request.prompt,
            reply,
        }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Tokens of the prompt that are not in the cache yet.
    pub(super) fn left(&self) -> usize {
        self.prompt.len() - self.filled
    }

    /// Tokens in the cache once the prompt is there.
    pub(super) fn len(&self) -> usize {
        self.prompt.len() + self.generated.saturating_sub(1)
    }

    /// Takes the logits behind its last token, chooses the next one and tells what can be told.
    pub(super) fn advance(&mut self, logits: &mut [f32], tokenizer: &HfTokenizer, ends: &[u32]) -> Progress {
        let allowed = self.constraint.as_mut().map(Constraint::allowed).transpose();
        let choice = match &allowed {
            Ok(allowed) => self
                .sampler
                .choose(logits, allowed.as_ref().map(|bits| bits.as_slice())),
            Err(error) => return self.fail(error.clone()),
        };
        self.next = choice.token;
        self.generated += 1;
        self.untold += 1;
        if ends.contains(&choice.token) {
            return self.end(Finish::Stop);
        }
        let taken = self
            .constraint
            .as_mut()
            .map(|constraint| constraint.take(choice.token));
        let rest = match taken.transpose() {
            Ok(rest) => rest.unwrap_or(Rest::More),
            Err(error) => return self.fail(error),
        };
        let text = match self.detokenizer.push(tokenizer, choice.token) {
            Ok(text) => text,
            Err(why) => return self.fail(InferError::Failed(why)),
        };
        if let Some((scored, likeliest)) = choice.scored {
            self.reports.push(report(tokenizer, scored, &likeliest));
        }
        match self.stops.push(&text) {
            Passed::Stop(text) => {
                self.tell(text);
                self.finish(Finish::Stop)
            }
            Passed::On(text) => {
                self.tell(text);
                match rest {
                    // The model could but say that it ends.
                    Rest::Nothing => self.end(Finish::Stop),
                    Rest::More if self.generated >= self.tokens_max => self.end(Finish::Length),
                    Rest::More => Progress::Continues,
                }
            }
        }
    }

    /// Ends it with what no stop string began in after all.
    fn end(&mut self, finish: Finish) -> Progress {
        let rest = self.stops.finish();
        self.tell(rest);
        self.finish(finish)
    }

    fn finish(&mut self, finish: Finish) -> Progress {
        let done = Done {
            finish,
            prompt_tokens: self.prompt.len(),
            cached_tokens: self.cached,
            completion_tokens: self.generated,
            untold_tokens: self.untold,
        };
        self.reply.send(Ok(Event::Done(done))).ok();
        Progress::Ended
    }

    pub(super) fn fail(&mut self, error: InferError) -> Progress {
        self.reply.send(Err(error)).ok();
        Progress::Ended
    }

    fn tell(&mut self, text: String) {
        if !text.is_empty() || !self.reports.is_empty() {
            let tokens = std::mem::take(&mut self.reports);
            self.reply
                .send(Ok(Event::Text(Piece {
                    text,
                    tokens,
                    count: std::mem::take(&mut self.untold),
                })))
                .ok();
        }
    }
}

fn report(tokenizer: &HfTokenizer, chosen: Scored, likeliest: &[Scored]) -> TokenReport {
    let text = |token: u32| tokenizer.decode(&[token], false).unwrap_or_default();
    TokenReport {
        text: text(chosen.token),
        logprob: chosen.logprob,
        likeliest: likeliest
            .iter()
            .map(|scored| (text(scored.token), scored.logprob))
            .collect(),
    }
}
