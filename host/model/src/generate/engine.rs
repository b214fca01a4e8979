//! The thread of one decoder: who waits, who has a row, and what runs next.
//!
//! Rows 0..n are decoded, a token each in every step. Others are in prefill, in rows behind them: one chunk of one of them
//! between two steps, so that a long prompt holds up nobody for longer than a chunk, mostly of the one that has least left, so
//! that a short prompt does not wait for a long one. Who leaves gives its row to the last of the others, so that the rows stay
//! together. Chunks lie on a fixed grid, so that a prompt gives the same numbers whatever runs beside it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokenizers::Tokenizer as HfTokenizer;
use tokio::sync::mpsc;

use super::decoder::{Decoder, Prefix, Row};
use super::guide::Guide;
use super::sequence::{Progress, Sequence};
use super::{GenerateOptions, GenerateRequest, Generation};
use crate::error::InferError;
use crate::meters::Meters;

/// The queue before a decoder's thread; requests put into it.
pub(crate) struct Engine {
    options: GenerateOptions,
    vocabulary: usize,
    state: Mutex<State>,
    /// Woken when something waits, or at the end.
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Sequence>,
    /// Sequences that have a row.
    running: usize,
    stopped: bool,
    /// How long sequences take from their row to their end, lately.
    pace: Duration,
}

/// A prompt of at most so many chunks is read where it will be decoded: moving it would cost more than being in the way.
const SHORT_CHUNKS: usize = 4;

/// Of so many chunks, one is of the prompt that came first.
const FIRST_COME_EVERY: usize = 4;

/// How long all rows wait for guides that are a little late: less than a tenth of a step, in which those rows would sit out.
const LATE_GRACE: Duration = Duration::from_micros(500);

/// How long the thread waits for a guide at a time where there is nothing else to do; then it looks at the queue.
const LATE_WAIT: Duration = Duration::from_millis(1);

/// The bounds of a refused client's patience.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Engine {
    pub(crate) fn new(options: GenerateOptions, vocabulary: usize) -> Self {
        Self {
            options,
            vocabulary,
            state: Mutex::default(),
            work: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn options(&self) -> &GenerateOptions {
        &self.options
    }

    /// Sequences that wait for a row, and that have one.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        let wanted = |sequence: &&Sequence| !sequence.is_abandoned();
        (state.waiting.iter().filter(wanted).count(), state.running)
    }

    /// Queues a sequence.
    ///
    /// # Errors
    ///
    /// Where it can never fit, or too many wait.
    pub(crate) fn submit(
        &self,
        request: GenerateRequest,
        guide: Option<Guide>,
    ) -> Result<Generation, InferError> {
        self.check(&request)?;
        if guide.is_some() && request.constraint.is_some() {
            let why = "somebody else decides already which tokens may come".to_owned();
            return Err(InferError::Structure(why));
        }
        let mut state = self.lock();
        if state.stopped {
            return Err(InferError::Stopped);
        }
        state.waiting.retain(|sequence| !sequence.is_abandoned());
        let waiting = state.waiting.len();
        if waiting >= self.options.queue_len_max {
            let turns = waiting / self.options.slots.max(1) + 1;
            let wait = state
                .pace
                .saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX));
            return Err(InferError::SlotsBusy {
                waiting,
                max: self.options.queue_len_max,
                retry_after: wait.clamp(RETRY_AFTER.0, RETRY_AFTER.1),
            });
        }
        let (reply, events) = mpsc::unbounded_channel();
        let sequence = Sequence::new(request, guide, self.options.context_max, reply);
        state.waiting.push_back(sequence);
        drop(state);
        self.work.notify_one();
        Ok(Generation { events })
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), InferError> {
        let (prompt, context_max) = (request.prompt.len(), self.options.context_max);
        if prompt == 0 || request.tokens_max == 0 {
            return Err(InferError::Empty);
        }
        if prompt >= context_max {
            return Err(InferError::ContextExceeded { prompt, context_max });
        }
        // ONNX Runtime does not check them.
        match request.prompt.iter().find(|id| **id as usize >= self.vocabulary) {
            Some(id) => Err(InferError::UnknownToken {
                index: 0,
                id: *id,
                vocabulary: self.vocabulary,
            }),
            None => Ok(()),
        }
    }

    /// Ends the thread; what waits or runs is told.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.work.notify_all();
    }
}

/// What the thread owns.
pub(crate) struct Stepper {
    engine: Arc<Engine>,
    decoder: Decoder,
    tokenizer: Arc<HfTokenizer>,
    /// Tokens that end a text.
    ends: Vec<u32>,
    /// By row.
    decoding: Vec<Sequence>,
    /// In rows behind them, in the order in which they came.
    prefilling: Vec<(usize, Sequence)>,
    /// Counts chunks.
    turn: usize,
    prefixes: Prefixes,
    /// Of [`State::running`], those that are here.
    counted: usize,
    meters: Meters,
}

impl Stepper {
    pub(crate) fn new(
        engine: Arc<Engine>,
        decoder: Decoder,
        tokenizer: Arc<HfTokenizer>,
        ends: Vec<u32>,
        meters: Meters,
    ) -> Self {
        let tokens_max = engine.options.prefix_tokens_max;
        Self {
            engine,
            decoder,
            tokenizer,
            ends,
            decoding: Vec::new(),
            prefilling: Vec::new(),
            turn: 0,
            prefixes: Prefixes::new(tokens_max),
            counted: 0,
            meters,
        }
    }

    /// Serves until the engine stops. Blocks.
    pub(crate) fn serve(mut self) {
        while self.admit() {
            let turn = catch_unwind(AssertUnwindSafe(|| {
                self.prefill();
                self.decode();
            }));
            if turn.is_err() {
                self.fail_all(&InferError::Failed(
                    "it panicked; the panic is contained".to_owned(),
                ));
            }
        }
        self.fail_all(&InferError::Stopped);
    }

    /// Waits until there is work and gives rows to those that have waited longest; false at the end.
    fn admit(&mut self) -> bool {
        let engine = Arc::clone(&self.engine);
        let mut state = engine.lock();
        loop {
            if state.stopped {
                for mut sequence in state.waiting.drain(..) {
                    sequence.fail(InferError::Stopped);
                }
                return false;
            }
            state.waiting.retain(|sequence| !sequence.is_abandoned());
            while let Some(first) = state.waiting.front()
                && let Some(row) = self.free_row(first.prompt.len())
                && let Some(mut sequence) = state.waiting.pop_front()
            {
                self.meters.waited(sequence.since);
                sequence.waited = sequence.since.elapsed();
                sequence.since = Instant::now();
                self.decoder.clear_row(row);
                sequence.begin();
                self.prefilling.push((row, sequence));
            }
            let running = self.decoding.len() + self.prefilling.len();
            state.running = state.running + running - std::mem::replace(&mut self.counted, running);
            if running > 0 {
                break;
            }
            state = engine.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        true
    }

    /// A row for a prompt of so many tokens: the next to be decoded, where it will not long be in the way, else the last that is
    /// free, from which it moves when it is read.
    fn free_row(&self, len: usize) -> Option<usize> {
        let (next, slots) = (self.decoding.len(), self.engine.options.slots);
        let short = len <= SHORT_CHUNKS * self.engine.options.prefill_chunk;
        if short && self.prefilling.is_empty() && next < slots {
            return Some(next);
        }
        let is_free = |row: &usize| self.prefilling.iter().all(|(taken, _)| taken != row);
        (next..slots).rev().find(is_free)
    }

    /// Whose turn it is: the one that has least left to read, and now and then the one that came first, so that it comes to
    /// its end however many come after it.
    fn next_to_prefill(&mut self) -> Option<usize> {
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(FIRST_COME_EVERY) {
            return (!self.prefilling.is_empty()).then_some(0);
        }
        let left = |place: &usize| self.prefilling[*place].1.left();
        (0..self.prefilling.len()).min_by_key(left)
    }

    /// One chunk of one of the prompts that are being read; after its last the sequence joins the others.
    fn prefill(&mut self) {
        self.prefilling.retain(|(_, sequence)| !sequence.is_abandoned());
        let Some(place) = self.next_to_prefill() else {
            return;
        };
        let chunk = self.engine.options.prefill_chunk;
        let (row, sequence) = &mut self.prefilling[place];
        if sequence.filled == 0 {
            // What another one has read of the same prompt.
            let len = self
                .prefixes
                .restore(&mut self.decoder, *row, &sequence.prompt, chunk);
            (sequence.filled, sequence.cached) = (len, len);
        }
        let from = sequence.filled;
        let to = sequence.prompt.len().min(from + chunk);
        let logits = match self.decoder.prefill(*row, &sequence.prompt[from..to], from) {
            Ok(logits) => logits,
            Err(error) => {
                tracing::error!(%error, "a prompt failed");
                sequence.fail(error);
                self.prefilling.remove(place);
                return;
            }
        };
        self.meters.ran();
        sequence.filled = to;
        if to < sequence.prompt.len() {
            return;
        }
        let progress = sequence.advance(logits, &self.tokenizer, &self.ends);
        let (row, sequence) = self.prefilling.remove(place);
        self.prefixes.keep(&self.decoder, row, &sequence.prompt, chunk);
        match progress {
            Progress::Continues | Progress::Late => self.join(row, sequence),
            Progress::Ended => self.note_pace(&sequence),
        }
    }

    /// Makes a sequence one of those that are decoded, in the row behind them; who is there changes places with it.
    fn join(&mut self, row: usize, sequence: Sequence) {
        let target = self.decoding.len();
        let there = self.prefilling.iter_mut().find(|(taken, _)| *taken == target);
        match there {
            Some((taken, other)) => {
                self.decoder
                    .swap_rows((row, sequence.len()), (target, other.filled));
                *taken = row;
            }
            None if row != target => self.decoder.move_row(row, target, sequence.len()),
            None => {}
        }
        self.decoding.push(sequence);
    }

    /// One token of each sequence that has its prompt behind it.
    fn decode(&mut self) {
        self.leave(|sequence| sequence.is_abandoned());
        self.catch_up();
        let row = |sequence: &Sequence| Row {
            token: sequence.next,
            past: sequence.len(),
            sits_out: sequence.is_late(),
        };
        let rows: Vec<Row> = self.decoding.iter().map(row).collect();
        let running = rows.iter().filter(|row| !row.sits_out).count();
        if running == 0 {
            return;
        }
        let (vocabulary, started) = (self.decoder.vocabulary(), Instant::now());
        let logits = match self.decoder.step(&rows) {
            Ok(logits) => logits,
            Err(error) => {
                tracing::error!(sequences = rows.len(), %error, "a step failed");
                return self.fail_decoding(&error);
            }
        };
        self.meters.step(running, rows.len() - running, started.elapsed());
        let mut ended = Vec::new();
        for (row, (sequence, logits)) in self
            .decoding
            .iter_mut()
            .zip(logits.chunks_exact_mut(vocabulary))
            .enumerate()
        {
            if !sequence.is_late() && sequence.advance(logits, &self.tokenizer, &self.ends) == Progress::Ended
            {
                ended.push(row);
            }
        }
        let mut row = 0..;
        self.leave(|_| ended.contains(&row.next().unwrap_or_default()));
    }

    /// Lets those go on whose guide was late and has answered. The others are not held up for long: a row whose guide has not answered
    /// sits out the next step. Where there is nothing to run, one guide is waited for.
    fn catch_up(&mut self) {
        let idle = self.prefilling.is_empty() && self.decoding.iter().all(Sequence::is_late);
        let mut left = if idle { LATE_WAIT } else { LATE_GRACE };
        let mut ended = Vec::new();
        for (row, sequence) in self.decoding.iter_mut().enumerate() {
            if !sequence.is_late() {
                continue;
            }
            let started = Instant::now();
            let within = if idle || sequence.is_fresh() {
                left
            } else {
                Duration::ZERO
            };
            if sequence.catch_up(within, &self.tokenizer, &self.ends) == Progress::Ended {
                ended.push(row);
            }
            left = left.saturating_sub(started.elapsed());
        }
        let mut row = 0..;
        self.leave(|_| ended.contains(&row.next().unwrap_or_default()));
    }

    /// Takes out the sequences that a condition holds for, asked once each in the order of rows, and closes the gaps.
    fn leave(&mut self, mut leaves: impl FnMut(&Sequence) -> bool) {
        let gone: Vec<usize> = (0..self.decoding.len())
            .filter(|row| leaves(&self.decoding[*row]))
            .collect();
        // From the last, so that what moves into a gap stays.
        for row in gone.into_iter().rev() {
            let last = self.decoding.len() - 1;
            let sequence = self.decoding.swap_remove(row);
            self.note_pace(&sequence);
            if row < last {
                self.decoder.move_row(last, row, self.decoding[row].len());
            }
            self.decoder.clear_row(last);
        }
    }

    fn note_pace(&self, sequence: &Sequence) {
        let took = sequence.since.elapsed();
        let mut state = self.engine.lock();
        state.pace = if state.pace.is_zero() {
            took
        } else {
            (state.pace * 7 + took) / 8
        };
    }

    fn fail_decoding(&mut self, error: &InferError) {
        for mut sequence in self.decoding.drain(..) {
            sequence.fail(error.clone());
        }
    }

    fn fail_all(&mut self, error: &InferError) {
        self.fail_decoding(error);
        for (_, mut sequence) in self.prefilling.drain(..) {
            sequence.fail(error.clone());
        }
    }
}

/// Keys and values of prompts that were read lately, on the grid of chunks.
struct Prefixes {
    tokens_max: usize,
    /// The one used last is at the end.
    kept: Vec<(Vec<u32>, Prefix)>,
}

impl Prefixes {
    fn new(tokens_max: usize) -> Self {
        Self {
            tokens_max,
            kept: Vec::new(),
        }
    }

    /// Fills a row with the longest beginning that a kept prompt shares with this one, in whole chunks; how many tokens it is.
    /// At least one token of the prompt is left, since the logits behind the last one are needed.
    fn restore(&mut self, decoder: &mut Decoder, row: usize, prompt: &[u32], chunk: usize) -> usize {
        let chunk = chunk.max(1);
        let shared = |kept: &[u32]| {
            let same = kept
                .iter()
                .zip(&prompt[..prompt.len() - 1])
                .take_while(|(a, b)| a == b)
                .count();
            same / chunk * chunk
        };
        let longest = self
            .kept
            .iter()
            .enumerate()
            .map(|(at, (kept, _))| (shared(kept), at))
            .max();
        let Some((len, at)) = longest.filter(|(len, _)| *len > 0) else {
            return 0;
        };
        let found = self.kept.remove(at);
        decoder.import(row, &found.1, len);
        self.kept.push(found);
        len
    }

    /// Keeps the whole chunks of a prompt that a row holds, unless they are kept already; the longest unused ones go.
    fn keep(&mut self, decoder: &Decoder, row: usize, prompt: &[u32], chunk: usize) {
        let len = (prompt.len() - 1) / chunk.max(1) * chunk;
        if len == 0
            || len > self.tokens_max
            || self.kept.iter().any(|(kept, _)| kept.starts_with(&prompt[..len]))
        {
            return;
        }
        let Some(prefix) = decoder.export(row, len) else {
            return;
        };
        // One that this one begins with is part of it.
        self.kept.retain(|(kept, _)| !prompt[..len].starts_with(kept));
        let mut total: usize = len + self.kept.iter().map(|(_, prefix)| prefix.len).sum::<usize>();
        while total > self.tokens_max {
            total -= self.kept.remove(0).1.len;
        }
        self.kept.push((prompt[..len].to_vec(), prefix));
    }
}
