//! Gives observers their events: a task for each observer, in batches, again after a while where one fails, until it has taken
//! them or they are given up.
//!
//! What fails is told apart. An observer that cannot work now (a server that is down) is left alone for a while, all its events
//! with it. A batch that fails is given again event by event, so that one bad event is given up alone.

use std::time::Duration;

use metrics::counter;
use selvedge_plugin::{Attachment, CallError, Fault};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::now_ms;
use super::queue::Queue;
use super::rows::{Next, Row};
use crate::config;
use crate::generation::{EndpointState, Generation};
use crate::shutdown::Shutdown;
use crate::state::StateError;
use crate::telemetry::spans;

/// How often the queue is looked at without news: an operator may have put an event back.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How long a call that runs when the node or the generation ends is still waited for. What it would have taken is given again
/// after the next start.
const END_GRACE: Duration = Duration::from_secs(5);

/// How long an observer that cannot work now is left alone at most, so that events which an operator puts back are not long
/// in coming.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long to wait where the state file cannot be read.
const STATE_PAUSE: Duration = Duration::from_secs(5);

/// The deliveries of one generation; they end where this is dropped.
pub struct Deliveries(CancellationToken);

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Deliveries {
    /// Starts a delivery for each observer of a generation.
    #[must_use]
    pub fn start(generation: &Generation, queue: &Queue, shutdown: &Shutdown) -> Self {
        let (end, mut names) = (CancellationToken::new(), Vec::new());
        for endpoint in &generation.endpoints {
            let EndpointState::Ready(ready) = &endpoint.state else {
                continue;
            };
            for observer in &ready.observers {
                names.push(observer.name.clone());
                let delivery = Delivery {
                    observer: observer.name.clone(),
                    attachment: observer.attachment.clone(),
                    queue: queue.clone(),
                    items_max: queue.options().batch_items_max,
                    failures: 0,
                };
                let (draining, end) = (shutdown.clone(), end.clone());
                shutdown.spawn(async move {
                    let stop = CancellationToken::new();
                    let ended = async {
                        tokio::select! {
                            () = draining.draining() => {}
                            () = end.cancelled() => {}
                        }
                        stop.cancel();
                    };
                    tokio::select! {
                        _ = async { tokio::join!(delivery.run(&stop), ended) } => {}
                        () = draining.cut() => {}
                    }
                });
            }
        }
        let queue = queue.clone();
        shutdown.spawn(async move {
            if let Err(error) = queue.warn_of_orphans(names).await {
                tracing::error!(%error, "the queue of events cannot be read");
            }
        });
        Self(end)
    }
}

/// The delivery to one observer.
struct Delivery {
    observer: String,
    attachment: Attachment,
    queue: Queue,
    /// Events that it is given at once: fewer after a call that was too much for it, then slowly more.
    items_max: usize,
    /// Calls in a row after which the observer had to be left alone.
    failures: u32,
}

/// What to wait for before the queue is looked at again.
enum Wait {
    /// So long, whatever comes.
    Pause(Duration),
    /// An event, and no longer than this.
    News(Duration),
}

/// What a call that failed means for the events that it was given, and for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The observer cannot work now.
    Unable,
    /// It may be these events.
    Doubtful,
    /// It says that these events will never do.
    Hopeless,
}

impl Delivery {
    /// Gives events until the generation or the node ends.
    async fn run(mut self, stop: &CancellationToken) {
        let turn = tokio::select! {
            turn = self.queue.turn(&self.observer) => turn,
            () = stop.cancelled() => return,
        };
        let _turn = match turn {
            Ok(turn) => turn,
            Err(error) => {
                tracing::error!(observer = self.observer, %error, "`state.dir` cannot be written to: no events are given");
                return;
            }
        };
        let mut news = self.queue.news();
        while !stop.is_cancelled() {
            news.mark_unchanged();
            let wait = match self.queue.next(&self.observer, self.items_max).await {
                Ok(Next::Batch(rows)) => match self.give(rows, stop).await {
                    Ok(pause) => Wait::Pause(pause),
                    Err(error) => self.trouble(&error),
                },
                Ok(Next::Unreadable(rows)) => match self.give_up(rows).await {
                    Ok(()) => Wait::Pause(Duration::ZERO),
                    Err(error) => self.trouble(&error),
                },
                Ok(Next::At(due_ms)) => {
                    let until = u64::try_from(due_ms - now_ms()).unwrap_or_default();
                    Wait::News(Duration::from_millis(until).min(LOOK_EVERY))
                }
                Ok(Next::Nothing) => Wait::News(LOOK_EVERY),
                Err(error) => self.trouble(&error),
            };
            let (time, heeds_news) = match wait {
                Wait::Pause(time) => (time, false),
                Wait::News(time) => (time, true),
            };
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                _ = news.changed(), if heeds_news => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn trouble(&self, error: &StateError) -> Wait {
        tracing::error!(observer = self.observer, %error, "the queue of events cannot be worked on");
        Wait::Pause(STATE_PAUSE)
    }

    /// Gives a batch, and notes what came of it. Answers how long the observer is to be left alone.
    async fn give(&mut self, rows: Vec<Row>, stop: &CancellationToken) -> Result<Duration, StateError> {
        let (places, events): (Vec<(i64, u32)>, Vec<_>) = rows
            .into_iter()
            .map(|row| ((row.id, row.attempts), row.event))
            .unzip();
        let span = spans::delivery(&self.observer, &self.attachment.plugin().name, &events);
        let given = self.attachment.observe(&events).instrument(span.clone());
        let given = tokio::select! {
            given = given => given.inspect_err(|error| spans::not_taken(&span, error)),
            () = async { stop.cancelled().await; tokio::time::sleep(END_GRACE).await } => return Ok(Duration::ZERO),
        };
        match given {
            Ok(()) => {
                self.failures = 0;
                self.count("taken", places.len());
                if places.len() == self.items_max {
                    self.items_max =
                        (self.items_max + self.items_max / 8 + 1).min(self.queue.options().batch_items_max);
                }
                self.queue
                    .taken(places.into_iter().map(|(id, _)| id).collect())
                    .await?;
                Ok(Duration::ZERO)
            }
            Err(error) => self.failed(&places, &error).await,
        }
    }

    /// Gives up what cannot be read, so that it does not hold up the rest.
    async fn give_up(&self, rows: Vec<(i64, String)>) -> Result<(), StateError> {
        for (event, why) in rows {
            let observer = &self.observer;
            tracing::error!(
                observer,
                event,
                why,
                "an event cannot be read from the queue and is given up"
            );
            self.count("dead", 1);
            let reason = format!("unreadable: {why}");
            self.queue.failed(vec![(event, None)], reason).await?;
        }
        Ok(())
    }

    fn count(&self, outcome: &'static str, events: usize) {
        let observer = self.observer.clone();
        counter!("selvedge_events_total", "observer" => observer, "outcome" => outcome)
            .increment(events as u64);
    }

    async fn failed(&mut self, places: &[(i64, u32)], error: &CallError) -> Result<Duration, StateError> {
        let options = self.queue.options();
        let failure = failure(&error.fault);
        if places.len() > 1 && is_too_much(&error.fault) {
            self.items_max = places.len() / 2;
        }
        let pause = if failure == Failure::Unable {
            self.failures += 1;
            backoff(options, self.failures).min(PAUSE_MAX)
        } else {
            Duration::ZERO
        };
        let now = now_ms();
        let due = places.iter().map(|(id, attempts)| {
            let attempts = attempts + 1;
            let due = match due_in(options, failure, places.len(), attempts) {
                Due::In(after) => Some(now + i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
                Due::Never => None,
            };
            (*id, due)
        });
        let due: Vec<(i64, Option<i64>)> = due.collect();
        let dead = due.iter().filter(|(_, due)| due.is_none()).count();
        let (observer, events) = (&self.observer, places.len());
        if dead > 0 {
            tracing::error!(observer, dead, %error, "events were given up; `selvedge events list --dead` shows them");
        } else {
            tracing::warn!(observer, events, ?pause, %error, "events were not taken and are given again");
        }
        self.count("dead", dead);
        self.count("again", events - dead);
        let reason = format!("{}: {}", error.fault.code(), error.fault);
        self.queue.failed(due, reason).await?;
        Ok(pause)
    }
}

/// Whether fewer events might have done.
fn is_too_much(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Time(_) | Fault::WallTime(_) | Fault::Memory(_) | Fault::HostBytes(_)
    )
}

/// What a fault means.
fn failure(fault: &Fault) -> Failure {
    match fault {
        Fault::Failed { retryable: true, .. } | Fault::WallTime(_) | Fault::Busy(_) => Failure::Unable,
        Fault::Failed { retryable: false, .. } => Failure::Hopeless,
        Fault::Time(_)
        | Fault::Memory(_)
        | Fault::Table(_)
        | Fault::HostBytes(_)
        | Fault::Output { .. }
        | Fault::StreamOutput(_)
        | Fault::Json(_)
        | Fault::Handles(_)
        | Fault::Stack
        | Fault::Trap(_)
        | Fault::Abi(_)
        | Fault::Choice { .. }
        | Fault::Decision(_)
        | Fault::Prompt(_) => Failure::Doubtful,
    }
}

/// When an event that was not taken is to be given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    In(Duration),
    Never,
}

fn due_in(options: &config::Observe, failure: Failure, batch_len: usize, attempts: u32) -> Due {
    match failure {
        // Which of them it was is seen when they come one by one.
        Failure::Doubtful | Failure::Hopeless if batch_len > 1 => Due::In(Duration::ZERO),
        Failure::Hopeless => Due::Never,
        Failure::Doubtful | Failure::Unable if attempts >= options.attempts_max => Due::Never,
        Failure::Doubtful | Failure::Unable => Due::In(backoff(options, attempts)),
    }
}

/// How long to wait after so many failures: twice as long each time, less up to a half by chance, so that what failed together
/// does not come back together.
fn backoff(options: &config::Observe, failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let whole = options
        .backoff_min
        .0
        .saturating_mul(doubled)
        .min(options.backoff_max.0);
    whole.mul_f64(1.0 - fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Due, Failure, backoff, due_in};
    use crate::config::Observe;

    #[test]
    fn waits_twice_as_long_each_time_up_to_the_limit() {
        let options = Observe::default();
        for (failures, whole) in [(1, 1), (2, 2), (5, 16), (9, 256), (11, 900), (1000, 900)] {
            for _ in 0..100 {
                let found = backoff(&options, failures).as_secs_f64();
                let whole = f64::from(whole);
                assert!(
                    found > whole / 2.0 - 1e-6 && found <= whole,
                    "{failures}: {found}"
                );
            }
        }
    }

    #[test]
    fn gives_a_batch_that_failed_one_by_one_and_gives_up_what_fails_alone() {
        let options = Observe::default();
        let due = |failure, batch_len, attempts| due_in(&options, failure, batch_len, attempts);
        assert_eq!(due(Failure::Hopeless, 5, 1), Due::In(Duration::ZERO));
        assert_eq!(due(Failure::Hopeless, 1, 1), Due::Never);
        assert_eq!(due(Failure::Doubtful, 5, 100), Due::In(Duration::ZERO));
        assert_eq!(due(Failure::Doubtful, 1, options.attempts_max), Due::Never);
        assert_eq!(due(Failure::Unable, 5, options.attempts_max), Due::Never);
        assert!(matches!(due(Failure::Unable, 5, 1), Due::In(after) if !after.is_zero()));
    }
}
