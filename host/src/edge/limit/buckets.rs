//! Tokens in a time: a bucket for each caller, out of which an estimate is taken, and what it turns out to be is settled. Knows no
//! request.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{CALLERS_KEPT, Left, Limited, Unit, Who, over};
use crate::pipeline::ClientFault;

/// The longest time that anybody is told to wait: a year.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Buckets that fill evenly, one for each caller; what is taken may turn out to be another amount.
pub struct Buckets {
    max: f64,
    per: Duration,
    /// What was in each at a time.
    levels: Mutex<HashMap<Who, (f64, Instant)>>,
    turn: AtomicUsize,
}

impl Buckets {
    /// Buckets that hold `max`, and fill in the time `per`.
    #[must_use]
    pub fn new(max: NonZeroU32, per: Duration) -> Self {
        Self {
            max: f64::from(max.get()),
            per,
            levels: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Who, (f64, Instant)>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filled(&self, (level, at): (f64, Instant), now: Instant) -> f64 {
        let part = now.saturating_duration_since(at).as_secs_f64() / self.per.as_secs_f64();
        (level + part * self.max).min(self.max)
    }

    /// Buckets of these measures: those before with what is in them, where they have the same.
    #[must_use]
    pub fn following(before: Option<&Arc<Self>>, max: NonZeroU32, per: Duration) -> Arc<Self> {
        let is_same = |before: &&Arc<Self>| before.max == f64::from(max.get()) && before.per == per;
        before
            .filter(is_same)
            .map_or_else(|| Arc::new(Self::new(max, per)), Arc::clone)
    }

    /// How long a caller has to wait until there is so much in its bucket; none where there is.
    #[must_use]
    pub fn wait(&self, who: &Who, amount: f64) -> Option<Duration> {
        let now = Instant::now();
        let level = self
            .lock()
            .get(who)
            .map_or(self.max, |bucket| self.filled(*bucket, now));
        let missing = amount.min(self.max) - level;
        (missing > 0.0).then(|| self.time_of(missing))
    }

    /// Takes an amount, whether it is there or not.
    pub fn take(&self, who: &Who, amount: f64) -> f64 {
        self.take_from(&mut self.lock(), who, amount, Instant::now())
    }

    /// Takes an amount where it is there.
    fn take_if_there(&self, who: &Who, amount: f64) -> Result<f64, ClientFault> {
        let (mut levels, now) = (self.lock(), Instant::now());
        let level = levels
            .get(who)
            .map_or(self.max, |bucket| self.filled(*bucket, now));
        if amount > level {
            let wait = self.time_of(amount - level);
            let (max, left) = (whole(self.max), self.left(level));
            return Err(over(Limited::Tokens, max, self.per, wait, Some(left)));
        }
        Ok(self.take_from(&mut levels, who, amount, now))
    }

    fn take_from(
        &self,
        levels: &mut HashMap<Who, (f64, Instant)>,
        who: &Who,
        amount: f64,
        now: Instant,
    ) -> f64 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if levels.len() >= CALLERS_KEPT && turn.is_multiple_of(CALLERS_KEPT) {
            levels.retain(|_, bucket| self.filled(*bucket, now) < self.max);
        }
        let bucket = levels.entry(who.clone()).or_insert((self.max, now));
        *bucket = (self.filled(*bucket, now) - amount, now);
        bucket.0
    }

    /// What somebody is told who has to wait, since wrong credentials came from its address.
    #[must_use]
    pub fn refusal(&self, wait: Duration) -> ClientFault {
        over(Limited::Failures, whole(self.max), self.per, wait, None)
    }

    /// How long so much takes to flow in; what an upstream says that it used may be anything.
    fn time_of(&self, amount: f64) -> Duration {
        let seconds = self.per.as_secs_f64() * amount.max(0.0) / self.max;
        Duration::try_from_secs_f64(seconds).map_or(TIME_MAX, |time| time.min(TIME_MAX))
    }

    fn left(&self, level: f64) -> Left {
        Left {
            unit: Unit::Tokens,
            max: whole(self.max),
            left: whole(level),
            reset: self.time_of(self.max - level),
        }
    }

    /// Takes an estimate; more than the bucket holds is taken for all that it holds.
    pub(super) fn reserve(self: &Arc<Self>, who: &Who, estimate: u64) -> Result<Reserved, ClientFault> {
        let amount = real(estimate).min(self.max);
        let left = self.take_if_there(who, amount)?;
        Ok(Reserved {
            buckets: Arc::clone(self),
            who: who.clone(),
            amount,
            left,
        })
    }
}

/// An estimate that was taken; what is not settled is given back.
pub(super) struct Reserved {
    buckets: Arc<Buckets>,
    who: Who,
    amount: f64,
    left: f64,
}

impl Reserved {
    /// It is over, and took so many; the estimate itself is given back as it is dropped.
    pub(super) fn settle(self, tokens: u64) {
        self.buckets.take(&self.who, real(tokens));
    }

    /// Takes what an estimate is more than the one before, there or not.
    pub(super) fn raise(&mut self, estimate: u64) {
        let more = self.missing(estimate);
        if more > 0.0 {
            self.left = self.buckets.take(&self.who, more);
            self.amount += more;
        }
    }

    /// The same, only where it is there.
    pub(super) fn claim(&mut self, estimate: u64) -> Result<(), ClientFault> {
        let more = self.missing(estimate);
        if more > 0.0 {
            self.left = self.buckets.take_if_there(&self.who, more)?;
            self.amount += more;
        }
        Ok(())
    }

    fn missing(&self, estimate: u64) -> f64 {
        real(estimate).min(self.buckets.max) - self.amount
    }

    pub(super) fn left(&self) -> Left {
        self.buckets.left(self.left)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.buckets.take(&self.who, -self.amount);
    }
}

/// Exact as far as limits go.
#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate of more than 2^52 tokens is cut to the limit anyway"
)]
fn real(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a level is at most 2^32, and a debt is told as nothing left"
)]
fn whole(level: f64) -> u64 {
    level.max(0.0) as u64
}
