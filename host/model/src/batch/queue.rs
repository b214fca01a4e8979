//! What waits for a session: admitted by count and by tokens, ordered fairly, forgotten when its client leaves.
//!
//! A request of many inputs is cut into shares of a batch each. The second share queues behind what others brought in the
//! meantime, so that one client's two thousand texts do not hold up another's one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::BatchOptions;
use super::plan::{Bounds, plan};
use super::rows::Row;
use crate::card::Padding;
use crate::error::InferError;
use crate::meters::Turn;
use crate::tensor::Tensor;

/// One input, as a session is to be given it.
#[derive(Debug)]
pub(crate) enum Item {
    /// Token ids.
    Tokens(Vec<u32>),
    /// UTF-8 bytes.
    Bytes(Vec<u8>),
    /// All inputs of the file, for a run of its own.
    Tensors(Vec<(String, Tensor)>),
}

impl Item {
    /// Tokens or bytes; what a batch is bounded by.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Tokens(ids) => ids.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Tensors(tensors) => tensors.iter().map(|(_, tensor)| tensor.data.len()).sum(),
        }
        .max(1)
    }
}

/// An input with the one who waits for it.
pub(crate) struct Entry {
    pub(crate) item: Item,
    pub(crate) reply: oneshot::Sender<Result<(Row, Turn), InferError>>,
    request: u64,
    pub(crate) since: Instant,
}

/// Inputs that run together.
pub(crate) type Batch = Vec<Entry>;

/// The queue of one model; sessions take from it, requests put into it.
pub(crate) struct Queue {
    options: BatchOptions,
    padding: Padding,
    state: Mutex<State>,
    /// Woken when there may be something for an idle session.
    work: Condvar,
    /// Woken when the prefetcher may have something to do.
    spare: Condvar,
}

/// Place in the queue: the share's turn, whether it is a later share of a large request, then the order of arrival.
type Place = (u64, Order, u64);

/// Within a turn, what just arrived goes before the later shares of large requests, which gave way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    First,
    Later,
}

/// An amount of waiting work.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    items: usize,
    tokens: usize,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Place, Entry>,
    /// Inputs and tokens that count for admission: those of first shares. Later shares wait behind whoever comes.
    admitted: Load,
    /// Tokens of all that waits.
    tokens: usize,
    /// Advances with each batch; what arrives takes it, and its later shares the ones after.
    turn: u64,
    arrivals: u64,
    requests: u64,
    idle_sessions: usize,
    /// A full batch that waits for a session, closed ahead because nothing could be added to it.
    prepared: Option<Batch>,
    stopped: bool,
    /// Tokens a second lately, for `Retry-After`.
    pace: f64,
}

impl State {
    /// Adds an input to what waits, or takes it away.
    fn count(&mut self, item: &Item, order: Order, change: fn(usize, usize) -> usize) {
        let len = item.len();
        self.tokens = change(self.tokens, len);
        if order == Order::First {
            self.admitted.items = change(self.admitted.items, 1);
            self.admitted.tokens = change(self.admitted.tokens, len);
        }
    }

    fn items(&self) -> usize {
        self.waiting.len() + self.prepared.as_ref().map_or(0, Vec::len)
    }
}

impl Queue {
    pub(crate) fn new(options: BatchOptions, padding: Padding) -> Self {
        Self {
            options,
            padding,
            state: Mutex::default(),
            work: Condvar::new(),
            spare: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Inputs that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().items()
    }

    /// Admits the inputs of one request, or refuses them all. What is returned must be kept while waiting: dropping it
    /// takes what still waits out of the queue.
    ///
    /// # Errors
    ///
    /// Where the queue is full or the model is being unloaded.
    pub(crate) fn submit(self: &Arc<Self>, items: Vec<Item>) -> Result<Waiting, InferError> {
        let mut state = self.lock();
        if state.stopped {
            return Err(InferError::Stopped);
        }
        if !self.has_room(&state) {
            return Err(self.busy(&state));
        }
        let mut replies = Vec::with_capacity(items.len());
        let (since, turn) = (Instant::now(), state.turn);
        state.requests += 1;
        let request = state.requests;
        for (index, item) in items.into_iter().enumerate() {
            let (reply, receiver) = oneshot::channel();
            replies.push(receiver);
            let share = index / self.options.items_max;
            let order = if share == 0 { Order::First } else { Order::Later };
            state.arrivals += 1;
            let place = (turn + share as u64, order, state.arrivals);
            state.count(&item, order, usize::saturating_add);
            state.waiting.insert(
                place,
                Entry {
                    item,
                    reply,
                    request,
                    since,
                },
            );
        }
        let wake_prefetcher = state.idle_sessions == 0 && state.waiting.len() >= self.options.items_max;
        let wake_session = state.idle_sessions > 0;
        drop(state);
        if wake_session {
            self.work.notify_one();
        } else if wake_prefetcher {
            self.spare.notify_one();
        }
        Ok(Waiting {
            queue: Arc::clone(self),
            request,
            replies,
            answered: false,
        })
    }

    /// The next batch for a session, as soon as there is one; none when the model is being unloaded. Blocks.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(batch) = state.prepared.take().or_else(|| self.close_batch(&mut state)) {
                let more = !state.waiting.is_empty();
                drop(state);
                if more {
                    self.work.notify_one();
                    self.spare.notify_one();
                }
                return Some(batch);
            }
            state.idle_sessions += 1;
            let patience = self.patience(&state);
            state = match patience {
                Some(patience) => {
                    self.work
                        .wait_timeout(state, patience)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.idle_sessions -= 1;
        }
    }

    /// Closes full batches ahead while every session is busy, until the model is unloaded. Blocks; a thread of its own.
    ///
    /// A batch that still has room is left open: closing it early would only keep out what comes until a session is free.
    pub(crate) fn prefetch(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let busy = state.idle_sessions == 0 && state.prepared.is_none();
            if busy && state.waiting.len() >= self.options.items_max {
                state.prepared = self.plan_batch(&mut state);
            }
            state = self.spare.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A batch of what waits, unless it should still wait for company.
    fn close_batch(&self, state: &mut State) -> Option<Batch> {
        if self.patience(state).is_some() {
            return None;
        }
        self.plan_batch(state)
    }

    fn plan_batch(&self, state: &mut State) -> Option<Batch> {
        // More than four batches ahead there is nothing to gain in lengths that fit better.
        let window = 4 * self.options.items_max;
        let places: Vec<Place> = state.waiting.keys().take(window).copied().collect();
        let alone = state
            .waiting
            .values()
            .next()
            .is_some_and(|entry| matches!(entry.item, Item::Tensors(_)));
        let lengths: Vec<usize> = state
            .waiting
            .values()
            .take(window)
            .map(|entry| entry.item.len())
            .collect();
        let items_max = if alone { 1 } else { self.options.items_max };
        let bounds = Bounds {
            items_max,
            tokens_max: self.options.tokens_max,
            padding_percent_max: self.padding.percent_max(),
        };
        let chosen = plan(&lengths, bounds);
        state.turn = state.turn.max(places.first()?.0) + 1;
        let mut batch = Batch::with_capacity(chosen.len());
        for place in chosen.iter().map(|index| places[*index]) {
            if let Some(entry) = state.waiting.remove(&place) {
                state.count(&entry.item, place.1, usize::saturating_sub);
                batch.push(entry);
            }
        }
        Some(batch)
    }

    /// How much longer the first input may wait for company; none where it need not, or nothing waits.
    fn patience(&self, state: &State) -> Option<Duration> {
        if self.options.delay_max.is_zero() || state.waiting.len() >= self.options.items_max {
            return None;
        }
        let since = state.waiting.values().next()?.since;
        self.options
            .delay_max
            .checked_sub(since.elapsed())
            .filter(|left| !left.is_zero())
    }

    /// Takes a request's inputs out, since nobody waits for them any more.
    fn forget(&self, request: u64) {
        let mut state = self.lock();
        let theirs = |entry: &Entry| entry.request == request;
        let places: Vec<Place> = state
            .waiting
            .iter()
            .filter(|(_, entry)| theirs(entry))
            .map(|(place, _)| *place)
            .collect();
        for place in places {
            if let Some(entry) = state.waiting.remove(&place) {
                state.count(&entry.item, place.1, usize::saturating_sub);
            }
        }
    }

    /// Whether a request would be admitted now; so that it is refused before work is done for it.
    ///
    /// # Errors
    ///
    /// As [`Queue::submit`].
    pub(crate) fn check_room(&self) -> Result<(), InferError> {
        let state = self.lock();
        if self.has_room(&state) {
            Ok(())
        } else {
            Err(self.busy(&state))
        }
    }

    fn has_room(&self, state: &State) -> bool {
        let (items, tokens) = (state.admitted.items, state.admitted.tokens);
        items < self.options.queue_items_max && tokens < self.options.queue_tokens_max
    }

    fn busy(&self, state: &State) -> InferError {
        InferError::Busy {
            waiting: (state.admitted.items, state.admitted.tokens),
            max: (self.options.queue_items_max, self.options.queue_tokens_max),
            retry_after: retry_after(state.tokens, state.pace),
        }
    }

    /// Notes how fast a batch ran: `tokens` in `took`.
    pub(crate) fn note_pace(&self, tokens: usize, took: Duration) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a batch has far fewer than 2^53 tokens"
        )]
        let now = tokens as f64 / took.as_secs_f64().max(1e-6);
        let mut state = self.lock();
        state.pace = if state.pace == 0.0 {
            now
        } else {
            0.9 * state.pace + 0.1 * now
        };
    }

    /// Ends sessions and prefetcher; what waits is answered that the model is gone.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let entries = std::mem::take(&mut state.waiting)
            .into_values()
            .chain(state.prepared.take().into_iter().flatten());
        for entry in entries {
            // The one who waited may have left as well.
            entry.reply.send(Err(InferError::Stopped)).ok();
        }
        drop(state);
        self.work.notify_all();
        self.spare.notify_all();
    }
}

/// How long the queue needs at its recent pace, in whole seconds from 1 to 60.
fn retry_after(tokens: usize, pace: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a queue has far fewer than 2^53 tokens"
    )]
    let seconds = if pace > 0.0 { tokens as f64 / pace } else { 1.0 };
    Duration::from_secs_f64(seconds.ceil().clamp(1.0, 60.0))
}

/// A request's inputs in the queue.
pub(crate) struct Waiting {
    queue: Arc<Queue>,
    request: u64,
    replies: Vec<oneshot::Receiver<Result<(Row, Turn), InferError>>>,
    answered: bool,
}

impl Waiting {
    /// The rows, in the order of the inputs, and the turn of the input that waited longest. The first error ends it, and takes
    /// what still waits out of the queue.
    ///
    /// # Errors
    ///
    /// Where the model fails on one of the inputs or is unloaded.
    pub(crate) async fn rows(mut self) -> Result<(Vec<Row>, Turn), InferError> {
        let mut rows = Vec::with_capacity(self.replies.len());
        let mut longest = Turn::default();
        for reply in &mut self.replies {
            let (row, turn) = reply.await.unwrap_or(Err(InferError::Stopped))?;
            rows.push(row);
            if turn.waited >= longest.waited {
                longest = turn;
            }
        }
        self.answered = true;
        Ok((rows, longest))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            self.queue.forget(self.request);
        }
    }
}

#[cfg(test)]
mod tests;
