//! What is counted of one model. Who collects it, and under which description, is the host's affair.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{Counter, Histogram, counter, histogram};

/// How long an input, or a sequence, was with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// From its arrival to the batch, or row, that took it.
    pub waited: Duration,
    /// From there to its answer's last part.
    pub ran: Duration,
}

/// The counters of a model.
#[derive(Clone)]
pub(crate) struct Meters {
    queue: Histogram,
    inference: Histogram,
    items: Histogram,
    tokens: Histogram,
    padding: Histogram,
    rows: Histogram,
    late: Counter,
    /// How often the model ran, for those who ask the model itself.
    runs: Arc<AtomicU64>,
}

impl Meters {
    /// Those of a model of this name, of which `runs` counts the runs.
    pub(crate) fn new(model: &str, runs: &Arc<AtomicU64>) -> Self {
        let name = || model.to_owned();
        Self {
            queue: histogram!("selvedge_queue_seconds", "model" => name()),
            inference: histogram!("selvedge_inference_seconds", "model" => name()),
            items: histogram!("selvedge_batch_size", "model" => name()),
            tokens: histogram!("selvedge_batch_tokens", "model" => name()),
            padding: histogram!("selvedge_padding_ratio", "model" => name()),
            rows: histogram!("selvedge_decode_rows", "model" => name()),
            late: counter!("selvedge_decode_late_total", "model" => name()),
            runs: Arc::clone(runs),
        }
    }

    /// The model ran once, and did not fail.
    pub(crate) fn ran(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// Something that came at that time has its turn.
    pub(crate) fn waited(&self, since: Instant) {
        self.queue.record(since.elapsed());
    }

    /// A batch of inputs of these lengths ran for so long.
    pub(crate) fn batch(&self, lengths: impl Iterator<Item = usize>, took: Duration) {
        let (mut items, mut sum, mut longest) = (0_usize, 0_usize, 1_usize);
        for len in lengths {
            (items, sum, longest) = (items + 1, sum + len, longest.max(len));
        }
        let padded = items * longest;
        self.inference.record(took);
        self.items.record(count(items));
        self.tokens.record(count(padded));
        self.padding.record(1.0 - count(sum) / count(padded.max(1)));
    }

    /// A step wrote a token of each of so many sequences; so many others sat it out, since nobody had said what may come there.
    pub(crate) fn step(&self, rows: usize, late: usize, took: Duration) {
        self.ran();
        self.rows.record(count(rows));
        self.late.increment(late as u64);
        self.inference.record(took);
    }
}

/// Exact up to four thousand million, which is more than a batch has.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
