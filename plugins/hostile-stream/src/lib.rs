//! Does its worst on a stream, one deed a configuration: `{"push": "loop"}`. It is no example.

selvedge_sdk::world!("stream-plugin");

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::stream_postprocessor::{self, Action, Chunk, GuestProcessor};
use selvedge_sdk::types::FinishReason;
use selvedge_sdk::{Configured, Failure, Request, Usage};
use serde::Deserialize;

/// What `push` does.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    /// Lets everything through.
    Pass,
    /// Traps at the third call.
    TrapThird,
    /// Never returns.
    Loop,
    /// Answers with 6 MiB for each chunk.
    Multiply,
    /// Answers for a choice that the stream does not have.
    BadChoice,
    /// Ends generation at the third call.
    StopThird,
    /// Answers with 1 MiB each time.
    Amplify,
    /// Makes a million processors in place of one.
    Million,
    /// Never returns from the destructor.
    LoopInDrop,
    /// Drops another processor, whose destructor never returns.
    DropOther,
    /// Says what its clocks say: seconds since the stream was opened, and since 1970.
    Clocks,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    push: Deed,
}

struct Plugin;

static DEED: Configured<Deed> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        DEED.set(config.push)
    }
}

struct Processor {
    calls: Cell<u32>,
    opened: Instant,
}

impl Processor {
    fn new() -> Self {
        Self {
            calls: Cell::new(0),
            opened: Instant::now(),
        }
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        while matches!(DEED.get(), Ok(Deed::LoopInDrop | Deed::DropOther)) {
            black_box(());
        }
    }
}

impl stream_postprocessor::Guest for Plugin {
    type Processor = Processor;
}

impl GuestProcessor for Processor {
    fn open(_request: &Request) -> Result<stream_postprocessor::Processor, Failure> {
        Ok(stream_postprocessor::Processor::new(Self::new()))
    }

    fn push(&self, chunks: Vec<Chunk>) -> Result<Action, Failure> {
        self.calls.set(self.calls.get() + 1);
        let third = self.calls.get() == 3;
        Ok(match DEED.get()? {
            Deed::TrapThird if third => core::arch::wasm32::unreachable(),
            Deed::StopThird if third => Action::Stop((chunks, FinishReason::ContentFilter)),
            Deed::Loop => loop {
                black_box(());
            },
            Deed::Multiply => Action::Emit(vec![Chunk {
                choice: 0,
                text: "x".repeat(6 << 20),
            }]),
            Deed::Amplify => Action::Emit(vec![Chunk {
                choice: 0,
                text: "x".repeat(1 << 20),
            }]),
            Deed::Million => {
                for _ in 0..1_000_000 {
                    let one = stream_postprocessor::Processor::new(Self::new());
                    std::mem::forget(one);
                }
                Action::Pass
            }
            Deed::DropOther => {
                drop(stream_postprocessor::Processor::new(Self::new()));
                Action::Pass
            }
            Deed::BadChoice => Action::Emit(vec![Chunk {
                choice: 7,
                text: "x".to_owned(),
            }]),
            Deed::Clocks => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let text = format!("{} {}", self.opened.elapsed().as_secs(), now.as_secs());
                Action::Emit(vec![Chunk { choice: 0, text }])
            }
            Deed::Pass | Deed::TrapThird | Deed::StopThird | Deed::LoopInDrop => Action::Pass,
        })
    }

    fn finish(&self, _reason: FinishReason, _usage: Usage) -> Result<Vec<Chunk>, Failure> {
        Ok(vec![Chunk {
            choice: 0,
            text: format!("[finished after {} calls]", self.calls.get()),
        }])
    }
}

export!(Plugin);
