//! One sequence: what it was asked, what it has, and what of it the client has seen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokenizers::Tokenizer as HfTokenizer;
use tokio::sync::mpsc::UnboundedSender;

use super::guide::{Decision, Gone, Guide};
use super::sample::{Choice, Sampler, Scored};
use super::structure::{Constraint, Rest};
use super::text::{Detokenizer, Passed, StopFinder};
use super::{Done, Event, Finish, GenerateRequest, Piece, TokenReport};
use crate::error::InferError;
use crate::meters::Turn;

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
    /// When it came; from its row on, when it got that.
    pub(super) since: Instant,
    /// How long it waited for a row.
    pub(super) waited: Duration,
    generated: usize,
    /// Of these, those that no piece has counted yet.
    untold: usize,
    tokens_max: usize,
    sampler: Sampler,
    constraint: Option<Constraint>,
    detokenizer: Detokenizer,
    stops: StopFinder,
    reports: Vec<TokenReport>,
    guided: Option<Guided>,
    late: Option<Late>,
    reply: Reply,
}

/// What a guide has to do with a sequence.
struct Guided {
    guide: Guide,
    /// Tokens that come next whatever the logits are.
    forced: VecDeque<u32>,
    /// Tokens of which the guide was not told yet.
    taken: Vec<u32>,
}

/// A sequence whose guide has not answered: all its tokens are in the cache.
struct Late {
    /// Those behind its last token.
    logits: Vec<f32>,
    /// Whether nobody has waited for the guide yet.
    fresh: bool,
}

/// Whether a sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Continues,
    /// Its guide has not answered yet; it keeps the logits.
    Late,
    Ended,
}

impl Sequence {
    pub(super) fn new(
        request: GenerateRequest,
        guide: Option<Guide>,
        context_max: usize,
        reply: Reply,
    ) -> Self {
        let left = context_max.saturating_sub(request.prompt.len());
        Self {
            filled: 0,
            cached: 0,
            next: 0,
            since: Instant::now(),
            waited: Duration::ZERO,
            generated: 0,
            untold: 0,
            tokens_max: request.tokens_max.min(left),
            sampler: Sampler::new(request.sampling, &request.prompt),
            constraint: request.constraint,
            detokenizer: Detokenizer::default(),
            stops: StopFinder::new(request.stop),
            reports: Vec::new(),
            guided: guide.map(|guide| Guided {
                guide,
                forced: VecDeque::new(),
                taken: Vec::new(),
            }),
            late: None,
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

    /// Tokens in the cache once the prompt is there: all but the one that the next step runs.
    pub(super) fn len(&self) -> usize {
        let next = usize::from(self.generated > 0 && self.late.is_none());
        self.prompt.len() + self.generated - next
    }

    /// Whether its guide has not answered yet.
    pub(super) fn is_late(&self) -> bool {
        self.late.is_some()
    }

    /// Whether nobody has waited for its guide yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.late.as_ref().is_some_and(|late| late.fresh)
    }

    /// Its prompt is about to be read: its guide can begin.
    pub(super) fn begin(&self) {
        if let Some(guided) = &self.guided {
            guided.guide.ask(Vec::new());
        }
    }

    /// Takes the logits behind its last token, chooses the next one and tells what can be told.
    pub(super) fn advance(&mut self, logits: &mut [f32], tokenizer: &HfTokenizer, ends: &[u32]) -> Progress {
        match self.decision(Duration::ZERO) {
            Ok(Some(decision)) => self.follow(&decision, logits, tokenizer, ends),
            Ok(None) => {
                let (logits, fresh) = (logits.to_vec(), true);
                self.late = Some(Late { logits, fresh });
                Progress::Late
            }
            Err(error) => self.fail(error),
        }
    }

    /// Goes on from the logits that it kept, where its guide answers within this time.
    pub(super) fn catch_up(&mut self, within: Duration, tokenizer: &HfTokenizer, ends: &[u32]) -> Progress {
        let Some(mut late) = self.late.take() else {
            return Progress::Continues;
        };
        match self.decision(within) {
            Ok(Some(decision)) => self.follow(&decision, &mut late.logits, tokenizer, ends),
            Ok(None) => {
                late.fresh = false;
                self.late = Some(late);
                Progress::Late
            }
            Err(error) => self.fail(error),
        }
    }

    /// What its guide says of the next token; nothing yet, where it has not said it within this time.
    fn decision(&mut self, within: Duration) -> Result<Option<Decision>, InferError> {
        let Some(guided) = &mut self.guided else {
            return Ok(Some(Decision::ANY));
        };
        if guided.forced.is_empty() {
            match guided.guide.answer(within) {
                Ok(Some(Decision::Force(tokens))) => guided.forced.extend(tokens),
                Ok(decision) => return Ok(decision),
                Err(Gone) => return Err(InferError::Guide),
            }
        }
        Ok(guided
            .forced
            .pop_front()
            .map(|token| Decision::Force(vec![token])))
    }

    fn follow(
        &mut self,
        decision: &Decision,
        logits: &mut [f32],
        tokenizer: &HfTokenizer,
        ends: &[u32],
    ) -> Progress {
        let choice = match decision {
            Decision::Stop => return self.end(Finish::Stop),
            Decision::Force(tokens) => self.forced(tokens, logits),
            Decision::Draw { allowed, bias } => self.draw(allowed.as_deref(), bias, logits),
        };
        match choice {
            Ok(choice) => self.take(choice, tokenizer, ends),
            Err(error) => self.fail(error),
        }
    }

    fn forced(&mut self, tokens: &[u32], logits: &[f32]) -> Result<Choice, InferError> {
        // ONNX Runtime does not check them.
        let known = tokens.first().filter(|token| (**token as usize) < logits.len());
        let unknown = || InferError::Failed("its guide forces a token that there is not".to_owned());
        Ok(self.sampler.force(logits, *known.ok_or_else(unknown)?))
    }

    fn draw(
        &mut self,
        allowed: Option<&[u32]>,
        bias: &[(u32, f32)],
        logits: &mut [f32],
    ) -> Result<Choice, InferError> {
        let structure = self.constraint.as_mut().map(Constraint::allowed).transpose()?;
        let allowed = structure.as_ref().map_or(allowed, |bits| Some(bits.as_slice()));
        let choice = self.sampler.choose(logits, allowed, bias);
        match allowed {
            Some(allowed) if !is_set(allowed, choice.token) => {
                let why = "no token that may come has a probability".to_owned();
                Err(InferError::Failed(why))
            }
            _ => Ok(choice),
        }
    }

    /// Makes a token part of the text.
    fn take(&mut self, choice: Choice, tokenizer: &HfTokenizer, ends: &[u32]) -> Progress {
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
                    Rest::More => {
                        self.ask();
                        Progress::Continues
                    }
                }
            }
        }
    }

    /// Tells the guide of the last token, and asks it for the next one where it has not said that already.
    fn ask(&mut self) {
        if let Some(guided) = &mut self.guided {
            guided.taken.push(self.next);
            if guided.forced.is_empty() {
                guided.guide.ask(std::mem::take(&mut guided.taken));
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
            turn: Turn {
                waited: self.waited,
                ran: self.since.elapsed(),
            },
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

fn is_set(bits: &[u32], token: u32) -> bool {
    let word = bits.get((token / u32::BITS) as usize);
    word.is_some_and(|word| word >> (token % u32::BITS) & 1 == 1)
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
