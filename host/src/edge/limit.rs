//! How much a caller may ask for: requests and tokens in a time, and requests at once.
//!
//! Requests are counted by governor. Tokens are not known when a request comes: an estimate is taken then, and what it turns out
//! to be is settled when it ends, which governor has no way to; so they have buckets of their own, which may be in debt for a
//! while. Where it is known how long an answer may be, so much is claimed first. Answers are not cut for it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue};

pub use buckets::Buckets;
use buckets::Reserved;

use super::Peer;
use crate::config::Rate;
use crate::pipeline::ClientFault;

mod buckets;

/// Callers that are remembered before those with nothing to remember are forgotten; looked at each so many requests.
const CALLERS_KEPT: usize = 10_000;

/// Whom a limit is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// Whoever has a key, or is the subject of a token.
    Principal(Arc<str>),
    /// Whoever calls from an address.
    Address(Peer),
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Principal(id) => f.write_str(id),
            Self::Address(address) => address.fmt(f),
        }
    }
}

type Governor = RateLimiter<Who, DashMapStateStore<Who>, DefaultClock, StateInformationMiddleware>;

/// One limit for many callers, each by itself.
pub struct Limiter {
    rate: Rate,
    requests: Option<Requests>,
    tokens: Option<Arc<Buckets>>,
    concurrent: Option<Arc<Concurrent>>,
}

impl Limiter {
    /// A limit that nobody has used yet.
    #[must_use]
    pub fn new(rate: &Rate) -> Self {
        let per = rate.per.0;
        Self {
            rate: rate.clone(),
            requests: rate.requests.and_then(|count| Requests::new(count, per)),
            tokens: rate.tokens.map(|count| Arc::new(Buckets::new(count, per))),
            concurrent: rate.concurrent.map(|max| Arc::new(Concurrent::new(max))),
        }
    }

    /// The limit of a rate, where there is one: the one before with what it has counted, where its rate is the same, so that
    /// nobody begins anew by a reload.
    #[must_use]
    pub fn following(before: Option<&Arc<Self>>, rate: Option<&Rate>) -> Option<Arc<Self>> {
        let rate = rate?;
        let same = before.filter(|before| before.rate == *rate);
        Some(same.map_or_else(|| Arc::new(Self::new(rate)), Arc::clone))
    }

    /// Counts a request of about so many tokens.
    ///
    /// # Errors
    ///
    /// Where it is one too many, or too many tokens, or too many are at work.
    pub fn admit(&self, who: &Who, estimate: u64) -> Result<Admission, ClientFault> {
        // What is taken here is given back where the next limit refuses.
        let running = match &self.concurrent {
            Some(concurrent) => Some(concurrent.begin(who)?),
            None => None,
        };
        let tokens = match &self.tokens {
            Some(buckets) => Some(buckets.reserve(who, estimate)?),
            None => None,
        };
        let requests = match &self.requests {
            Some(requests) => Some(requests.count(who)?),
            None => None,
        };
        Ok(Admission {
            requests,
            tokens,
            _running: running,
        })
    }
}

/// Requests in a time.
struct Requests {
    governor: Governor,
    max: u32,
    per: Duration,
    turn: AtomicUsize,
}

impl Requests {
    fn new(max: NonZeroU32, per: Duration) -> Option<Self> {
        let quota = Quota::with_period(per / max.get())?.allow_burst(max);
        Some(Self {
            governor: RateLimiter::dashmap(quota).with_middleware::<StateInformationMiddleware>(),
            max: max.get(),
            per,
            turn: AtomicUsize::new(0),
        })
    }

    fn count(&self, who: &Who) -> Result<Left, ClientFault> {
        if self.turn.fetch_add(1, Ordering::Relaxed) % CALLERS_KEPT == CALLERS_KEPT - 1 {
            self.governor.retain_recent();
        }
        let max = u64::from(self.max);
        match self.governor.check_key(who) {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let reset = self.per / self.max * self.max.saturating_sub(left);
                Ok(Left {
                    unit: Unit::Requests,
                    max,
                    left: u64::from(left),
                    reset,
                })
            }
            Err(refused) => {
                let wait = refused.wait_time_from(self.governor.clock().now());
                let left = Left {
                    unit: Unit::Requests,
                    max,
                    left: 0,
                    reset: wait + self.per / self.max * self.max.saturating_sub(1),
                };
                Err(over(Limited::Requests, max, self.per, wait, Some(left)))
            }
        }
    }
}

/// What headers tell the rest of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Requests,
    Tokens,
}

/// What is left of a limit in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    unit: Unit,
    max: u64,
    left: u64,
    /// Until all of it is there again.
    reset: Duration,
}

/// Requests at once.
struct Concurrent {
    max: u32,
    running: Mutex<HashMap<Who, u32>>,
}

impl Concurrent {
    fn new(max: NonZeroU32) -> Self {
        Self {
            max: max.get(),
            running: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Who, u32>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, who: &Who) -> Result<Running, ClientFault> {
        let mut all = self.lock();
        let running = all.entry(who.clone()).or_default();
        if *running >= self.max {
            let second = Duration::from_secs(1);
            let max = u64::from(self.max);
            return Err(over(Limited::Concurrent, max, second, second, None));
        }
        *running += 1;
        Ok(Running {
            concurrent: Arc::clone(self),
            who: who.clone(),
        })
    }
}

/// A request at work.
struct Running {
    concurrent: Arc<Concurrent>,
    who: Who,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = self.concurrent.lock();
        if let Some(running) = all.get_mut(&self.who) {
            *running -= 1;
            if *running == 0 {
                all.remove(&self.who);
            }
        }
    }
}

/// A request that was let through. Where it is dropped, it is no longer at work, and what was not settled is given back.
pub struct Admission {
    requests: Option<Left>,
    tokens: Option<Reserved>,
    _running: Option<Running>,
}

impl Admission {
    /// The request will take about so many tokens; where they are more than it was admitted with, they are taken, there or not.
    pub fn expect(&mut self, estimate: u64) {
        if let Some(reserved) = &mut self.tokens {
            reserved.raise(estimate);
        }
    }

    /// The request may take so many tokens; where they are more than were taken for it by now, the rest is taken too.
    ///
    /// # Errors
    ///
    /// Where the rest is not there.
    pub fn claim(&mut self, tokens: u64) -> Result<(), ClientFault> {
        self.tokens
            .as_mut()
            .map_or(Ok(()), |reserved| reserved.claim(tokens))
    }

    /// The request is over, and took so many tokens.
    pub fn settle(self, tokens: u64) {
        if let Some(reserved) = self.tokens {
            reserved.settle(tokens);
        }
    }

    /// Tells what is left, where it is less than what another limit has told: `x-ratelimit-*` as OpenAI has them.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        let tokens = self.tokens.as_ref().map(Reserved::left);
        for left in self.requests.iter().chain(&tokens) {
            left.write_headers(headers);
        }
    }
}

impl Left {
    /// Tells it, where it is less than what another limit has told.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        let unit = match self.unit {
            Unit::Requests => "requests",
            Unit::Tokens => "tokens",
        };
        let name = |part: &str| HeaderName::try_from(format!("x-ratelimit-{part}-{unit}")).ok();
        let told = |headers: &HeaderMap| {
            headers
                .get(name("remaining")?)?
                .to_str()
                .ok()?
                .parse::<u64>()
                .ok()
        };
        if told(headers).is_some_and(|told| told <= self.left) {
            return;
        }
        let values = [
            ("limit", self.max.to_string()),
            ("remaining", self.left.to_string()),
            ("reset", format!("{:.3}s", self.reset.as_secs_f64())),
        ];
        for (part, value) in values {
            if let (Some(name), Ok(value)) = (name(part), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
    }
}

/// What a caller has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Requests in a time.
    Requests,
    /// Tokens in a time.
    Tokens,
    /// Requests at once.
    Concurrent,
    /// Wrong keys or tokens.
    Failures,
}

impl Limited {
    /// In a sentence.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrent => "requests at once",
            Self::Failures => "wrong credentials",
        }
    }
}

/// The refusal of one too many.
fn over(limited: Limited, max: u64, per: Duration, wait: Duration, left: Option<Left>) -> ClientFault {
    ClientFault::RateLimited {
        limited,
        max,
        per,
        retry_after: wait,
        left,
    }
}

#[cfg(test)]
mod tests;
