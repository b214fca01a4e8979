//! What is counted of one endpoint. Made once a generation, so that a request looks nothing up for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use selvedge_model::Turn;
use selvedge_plugin::value::Timings;
use selvedge_plugin::{CallError, Fault};
use tracing::{Instrument, Span};

use super::{Counts, Outcome, Tally, spans};

/// A part of a request's life that is timed, and that a client may leave in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Plugins look at the body.
    Validate,
    /// Plugins make the prompt.
    Template,
    /// It waits for the model, and the model works; for a stream, to its last token.
    Model,
    /// Plugins look at the result.
    Postprocess,
}

impl Step {
    const ALL: [Self; 4] = [Self::Validate, Self::Template, Self::Model, Self::Postprocess];

    /// Its name, as label and span.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Template => "template",
            Self::Model => "model",
            Self::Postprocess => "postprocess",
        }
    }
}

/// The counters of an endpoint.
///
/// `selvedge_stage_seconds` has stages within others: `tokenize`, `queue` and `infer` lie within `model`, where that is a model of
/// this node, and `plugin:NAME` within the step that calls the plugin.
#[derive(Debug)]
pub struct Meters {
    seconds: Histogram,
    first_token: Histogram,
    running: Gauge,
    steps: [(Histogram, Counter); Step::ALL.len()],
    tokenize: Histogram,
    queue: Histogram,
    infer: Histogram,
    /// By the plugin's name.
    plugins: Vec<(String, Histogram)>,
    /// Shared with the generations before and after.
    tally: Arc<Tally>,
    prompt: Counter,
    cached: Counter,
    completion: Counter,
}

impl Meters {
    /// Those of an endpoint of this name with plugins of these names. `before` are those of the endpoint in the generation before,
    /// whose counts go on.
    #[must_use]
    pub fn following(
        before: Option<&Self>,
        endpoint: &Arc<str>,
        plugins: impl Iterator<Item = String>,
    ) -> Self {
        let name = || Arc::clone(endpoint);
        let stage =
            |stage: String| histogram!("selvedge_stage_seconds", "endpoint" => name(), "stage" => stage);
        let step = |step: Step| {
            let seconds = stage(step.name().to_owned());
            let left = counter!("selvedge_cancelled_total", "endpoint" => name(), "phase" => step.name());
            (seconds, left)
        };
        let tokens =
            |kind: &'static str| counter!("selvedge_tokens_total", "endpoint" => name(), "type" => kind);
        Self {
            seconds: histogram!("selvedge_request_seconds", "endpoint" => name()),
            first_token: histogram!("selvedge_ttft_seconds", "endpoint" => name()),
            running: gauge!("selvedge_requests_running", "endpoint" => name()),
            steps: Step::ALL.map(step),
            tokenize: stage("tokenize".to_owned()),
            queue: stage("queue".to_owned()),
            infer: stage("infer".to_owned()),
            plugins: plugins
                .map(|plugin| {
                    let seconds = stage(format!("{PLUGIN}{plugin}"));
                    (plugin, seconds)
                })
                .collect(),
            tally: before.map_or_else(Arc::default, |before| Arc::clone(&before.tally)),
            prompt: tokens("prompt"),
            cached: tokens("cached"),
            completion: tokens("completion"),
        }
    }

    /// A request came to the endpoint.
    pub fn begin(&self) {
        self.running.increment(1.0);
    }

    /// It is over.
    pub fn end(&self, outcome: Outcome, took: Duration) {
        self.running.decrement(1.0);
        self.seconds.record(took);
        self.tally.end(outcome, took);
    }

    /// What its plugins took: a stage of one in a request is one observation.
    pub fn plugins(&self, timings: &Timings) {
        if self.plugins.is_empty() {
            return;
        }
        for timing in timings.all() {
            if let Some((_, seconds)) = self.plugins.iter().find(|(name, _)| *name == timing.plugin) {
                seconds.record(Duration::from_micros(timing.micros));
            }
        }
    }

    /// Tokens were made of its texts, the chat template and the wait for a thread included.
    pub fn tokenized(&self, took: Duration) {
        self.tokenize.record(took);
        self.tally.tokenized(took);
    }

    /// A backend came to the end of so many inputs; where it is a model of this node, with its times.
    pub fn inferred(&self, inputs: usize, turn: Option<Turn>) {
        if let Some(turn) = turn {
            self.queue.record(turn.waited);
            self.infer.record(turn.ran);
        }
        self.tally.inferred(inputs, turn);
    }

    /// What it came to since the endpoint is there.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// The first byte of a streamed answer went out.
    pub fn first_token(&self, after: Duration) {
        self.first_token.record(after);
    }

    /// Tokens of a request that is over; the cached ones are part of the prompt's.
    pub fn tokens(&self, prompt: u64, cached: u64, completion: u64) {
        self.prompt.increment(prompt);
        self.cached.increment(cached);
        self.completion.increment(completion);
    }

    /// Times a step; see [`Watch`].
    #[must_use]
    pub fn watch(self: &Arc<Self>, step: Step) -> Watch {
        Watch {
            meters: Arc::clone(self),
            step,
            span: spans::step(step),
            since: Instant::now(),
            ended: false,
        }
    }

    /// Times a step that is one future.
    pub async fn during<T>(self: &Arc<Self>, step: Step, work: impl Future<Output = T>) -> T {
        let mut watch = self.watch(step);
        let done = work.instrument(watch.span.clone()).await;
        watch.end();
        done
    }
}

/// What stands before a plugin's name where it is a stage of `selvedge_stage_seconds`.
pub const PLUGIN: &str = "plugin:";

/// Counts a call of a plugin that failed, whether the request ended with it or went on; where it trapped, that as well. Out of
/// stack is one of WebAssembly's traps; what a limit of the host ended is none.
pub fn count_failure(error: &CallError) {
    let (plugin, code) = (error.plugin.to_string(), error.fault.code());
    if matches!(error.fault, Fault::Trap(_) | Fault::Stack) {
        counter!("selvedge_plugin_traps_total", "plugin" => plugin.clone()).increment(1);
    }
    counter!("selvedge_plugin_failures_total", "plugin" => plugin, "code" => code).increment(1);
}

/// A step that is being timed. Where it is dropped and not ended, the request was left unfinished in it.
#[derive(Debug)]
pub struct Watch {
    meters: Arc<Meters>,
    step: Step,
    /// Open as long as the step is.
    span: Span,
    since: Instant,
    ended: bool,
}

impl Watch {
    /// The step's span; none once it has ended.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// The step came to its end, well or not.
    pub fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            spans::end(&self.span);
            self.span = Span::none();
            self.meters.steps[self.step as usize]
                .0
                .record(self.since.elapsed());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.ended {
            spans::end(&self.span);
            self.meters.steps[self.step as usize].1.increment(1);
        }
    }
}
