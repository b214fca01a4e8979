//! A plugin on an endpoint: what requests call. Clones share everything; each call has an instance of its own, unless the operator
//! has them serve several (`reuse`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::Instrument;
use wasmtime::Store;

use crate::abi::v0_1::{Len, Outcome, Stages};
use crate::call::{Live, classify};
use crate::cases::Clock;
use crate::code::Linkage;
use crate::error::{CallError, Fault};
use crate::grant::Grants;
use crate::inspect::{Plugin, Stage};
use crate::limits::Limits;
use crate::reuse::{Held, Waiting};
use crate::room::Slot;
use crate::sandbox::Shared;
use crate::span;
use crate::spent::Spent;
use crate::state::{Identity, Phase, State};
use crate::value::{Action, Completion, Event, Rendered, Request, Verdict};
use crate::vocabulary::Vocabulary;

/// How a plugin is attached to an endpoint.
#[derive(Debug, Clone)]
pub struct AttachOptions {
    /// Name of the endpoint, for errors and the log.
    pub endpoint: Arc<str>,
    /// The attachment's `config`; checked against the manifest's schema and given to `configure`.
    pub config: Value,
    /// What it may use.
    pub limits: Limits,
    /// Request headers that the operator lets it read; it reads those of them that its manifest wants.
    pub headers: Vec<String>,
    /// What the operator grants it.
    pub grants: Grants,
    /// The tokens of the endpoint's model; only a plugin that imports them needs any.
    pub vocabulary: Option<Arc<Vocabulary>>,
    /// How its instances are to start.
    pub start: Start,
    /// Requests that one instance serves, one after the other, unless it fails before. Default 1: each has its own, and finds
    /// nothing of another's. Streams, decoders and observers always have their own.
    pub reuse: u32,
    /// Who wants to know what its calls take of its limits. A node that serves does not.
    pub spent: Option<Arc<Spent>>,
    /// The plugin's clocks, where they are not the machine's.
    pub clock: Option<Clock>,
}

/// How instances are to start, as the operator wants it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// From a snapshot; where that is not sound, as `ConfigureEach`.
    #[default]
    Snapshot,
    /// By running `configure` for each request.
    ConfigureEach,
}

/// How an attachment's instances start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Startup {
    /// From the memory as it was after `configure`.
    Snapshot {
        /// Whether `configure` drew randomness, which is then the same in every instance.
        entropy_frozen: bool,
    },
    /// By running `configure` for each request: slower, always sound.
    Configure {
        /// Why.
        reason: String,
    },
}

/// A linked component with all that its calls need.
pub(crate) struct Linked {
    pub(crate) linkage: Linkage,
    pub(crate) stages: Stages,
    pub(crate) identity: Arc<Identity>,
    pub(crate) startup: Startup,
    pub(crate) config: String,
    /// How many linear memories an instance has.
    pub(crate) memories: usize,
}

impl Linked {
    pub(crate) async fn validate(&self, live: &mut Live, request: &Request) -> Result<Verdict, Fault> {
        let outcome = self
            .stages
            .validate(&mut live.store, &live.instance, request)
            .await;
        self.answer(&mut live.store, outcome)
    }

    pub(crate) async fn render(&self, live: &mut Live, so_far: Option<Rendered>) -> Result<Rendered, Fault> {
        let outcome = self.stages.render(&mut live.store, &live.instance, so_far).await;
        self.answer(&mut live.store, outcome)
    }

    pub(crate) async fn process(&self, live: &mut Live, done: Completion) -> Result<Action, Fault> {
        let outcome = self.stages.process(&mut live.store, &live.instance, done).await;
        self.answer(&mut live.store, outcome)
    }

    async fn observe(&self, events: &[Event]) -> Result<(), Fault> {
        let mut live = Live::start_for(self, Phase::Observe, None).await?;
        let outcome = self.stages.observe(&mut live.store, &live.instance, events).await;
        self.answer(&mut live.store, outcome)
    }

    pub(crate) fn answer<T: Len>(&self, store: &mut Store<State>, outcome: Outcome<T>) -> Result<T, Fault> {
        let answer = outcome.map_err(|error| classify(&error, &self.identity))??;
        let (len, max) = (answer.len(), self.identity.limits.output);
        store.data_mut().usage.answered(len);
        if len > max {
            Err(Fault::Output { len, max })
        } else {
            Ok(answer)
        }
    }
}

/// An instance that was started and is held; dropped, it is gone with all it has.
pub struct Started {
    _live: Live,
    _slot: Slot,
}

/// A plugin on an endpoint, ready to be called.
#[derive(Clone)]
pub struct Attachment {
    plugin: Arc<Plugin>,
    pub(crate) linked: Arc<Linked>,
    waiting: Arc<Waiting>,
    pub(crate) shared: Arc<Shared>,
}

impl Attachment {
    pub(crate) fn new(plugin: Arc<Plugin>, linked: Linked, waiting: Waiting, shared: Arc<Shared>) -> Self {
        Self {
            plugin,
            linked: Arc::new(linked),
            waiting: Arc::new(waiting),
            shared,
        }
    }

    /// The plugin that is attached.
    #[must_use]
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// How its instances start.
    #[must_use]
    pub fn startup(&self) -> &Startup {
        &self.linked.startup
    }

    /// Requests that one of its instances serves at most.
    #[must_use]
    pub fn reuse(&self) -> u32 {
        self.waiting.reuse()
    }

    /// Who wants to know what its calls take.
    pub(crate) fn spent(&self) -> Option<&Spent> {
        self.linked.identity.spent.as_deref()
    }

    /// Whether the plugin exports a stage.
    #[must_use]
    pub fn has_stage(&self, stage: Stage) -> bool {
        self.plugin.stages.contains(&stage)
    }

    /// How often `configure` ran for it since it was attached: parsing of schemas and templates happens nowhere else. With a
    /// snapshot out of the cache that is never.
    #[must_use]
    pub fn configurations(&self) -> u64 {
        self.linked.identity.configurations.load(Ordering::Relaxed)
    }

    /// Stage 1: accept, amend or reject. Attributes are left on `request`. Where the future is dropped the call ends at
    /// the next tick.
    ///
    /// # Errors
    ///
    /// Where the plugin failed, trapped or went over a limit.
    pub async fn validate(&self, request: &Arc<Request>) -> Result<Verdict, CallError> {
        let call = async |live: &mut Live| self.linked.validate(live, request).await;
        self.served(Stage::Validate, request, call).await
    }

    /// Stage 2: what the model is given. `so_far` is what the templater before it rendered.
    ///
    /// # Errors
    ///
    /// Where the plugin failed, trapped or went over a limit.
    pub async fn render(
        &self,
        request: &Arc<Request>,
        so_far: Option<Rendered>,
    ) -> Result<Rendered, CallError> {
        let call = async |live: &mut Live| self.linked.render(live, so_far).await;
        self.served(Stage::Template, request, call).await
    }

    /// Stage 3 on a whole result.
    ///
    /// # Errors
    ///
    /// Where the plugin failed, trapped or went over a limit.
    pub async fn process(&self, request: &Arc<Request>, done: Completion) -> Result<Action, CallError> {
        let call = async |live: &mut Live| self.linked.process(live, done).await;
        self.served(Stage::Postprocess, request, call).await
    }

    /// Stage 4: events of requests that are over, in an instance of the observers' own pool. What it did before it failed it
    /// may have done.
    ///
    /// # Errors
    ///
    /// Where the plugin failed, trapped or went over a limit: the events are to be given again.
    pub async fn observe(&self, events: &[Event]) -> Result<(), CallError> {
        // Nobody waits for it, so it waits for its turn as long as that takes. The semaphore is never closed.
        let _slot = self.shared.observers.acquire().await.ok();
        let wall_time = self.linked.identity.limits.observe_wall_time;
        let deadline = tokio::time::Instant::now() + wall_time;
        let result = self.until(deadline, wall_time, self.linked.observe(events)).await;
        result.map_err(|fault| self.error(fault))
    }

    /// Starts an instance as a request does, and calls nothing on it: for those who want to know what that costs.
    ///
    /// # Errors
    ///
    /// Where no instance comes free, or the plugin trapped or went over a limit.
    pub async fn start(&self, request: &Arc<Request>) -> Result<Started, CallError> {
        let opened = self.opened(Live::start(&self.linked, request)).await;
        let (slot, live) = opened.map_err(|fault| self.error(fault))?;
        Ok(Started {
            _live: live,
            _slot: slot,
        })
    }

    /// Whether it is given the bodies of requests and responses.
    #[must_use]
    pub fn sees_bodies(&self) -> bool {
        self.linked.identity.grants.bodies
    }

    /// A call for a request, which is told how long it took.
    async fn served<T>(
        &self,
        stage: Stage,
        request: &Arc<Request>,
        call: impl AsyncFnOnce(&mut Live) -> Result<T, Fault>,
    ) -> Result<T, CallError> {
        let started = Instant::now();
        let plugin = &self.linked.identity.plugin;
        let span = span::span(plugin, stage);
        let result = self.held(request, call).instrument(span.clone()).await;
        let result = result.inspect_err(|fault| span::failed(&span, fault));
        request.timings.add(stage.name(), plugin, started.elapsed());
        result.map_err(|fault| self.error(fault))
    }

    /// A call on an instance that waits, or else on a fresh one, for which a place is waited for; it ends at the deadline on the
    /// clock.
    async fn held<T>(
        &self,
        request: &Arc<Request>,
        call: impl AsyncFnOnce(&mut Live) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let wall_time = self.linked.identity.limits.wall_time;
        let deadline = tokio::time::Instant::now() + wall_time;
        let mut held = match self.waiting.take() {
            Some(held) => held,
            None => Held::new(self.place(deadline).await?),
        };
        let call = async {
            let live = held.live(&self.linked, request).await?;
            call(live).await
        };
        let answer = self.until(deadline, wall_time, call).await?;
        // Where there is none free, somebody may wait for its place.
        if self.shared.slots.has_free(self.linked.memories) {
            self.waiting.give(held);
        }
        Ok(answer)
    }

    /// A call for which an instance is started: waits for one to be free, and ends at the deadline on the clock. With what it
    /// gives comes the instance's place, to be held as long as that is.
    pub(crate) async fn opened<T>(
        &self,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<(Slot, T), Fault> {
        let wall_time = self.linked.identity.limits.wall_time;
        let deadline = tokio::time::Instant::now() + wall_time;
        let slot = self.place(deadline).await?;
        let done = self.until(deadline, wall_time, call).await?;
        Ok((slot, done))
    }

    /// A place for an instance: a free one, or that of an instance that only waits, or the next that comes free.
    async fn place(&self, deadline: tokio::time::Instant) -> Result<Slot, Fault> {
        let (slots, memories) = (&self.shared.slots, self.linked.memories);
        loop {
            if let Some(slot) = slots.try_take(memories) {
                return Ok(slot);
            }
            if !self.shared.waiting_room.make_room() {
                return slots.take(memories, deadline).await;
            }
        }
    }

    /// One call of an instance that is held, which has all the time that a call has.
    pub(crate) async fn in_time<T>(&self, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let wall_time = self.linked.identity.limits.wall_time;
        self.until(tokio::time::Instant::now() + wall_time, wall_time, call)
            .await
    }

    /// One call, which is ended at the deadline.
    pub(crate) async fn until<T>(
        &self,
        deadline: tokio::time::Instant,
        wall_time: Duration,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let result = self.shared.ticker.until(deadline, call).await;
        result.unwrap_or(Err(Fault::WallTime(wall_time)))
    }

    pub(crate) fn error(&self, fault: Fault) -> CallError {
        let identity = &self.linked.identity;
        CallError {
            plugin: Arc::clone(&identity.plugin),
            endpoint: Arc::clone(&identity.endpoint),
            fault,
        }
    }
}
