//! The stage on streams of WIT 0.1.0, as `veteran` has the others. It is no example, and is not changed either: its component was
//! compiled once and is kept.

selvedge_sdk::world!("stream-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::stream_postprocessor::{self, Chunk, GuestProcessor};
use selvedge_sdk::types::FinishReason;
use selvedge_sdk::{Configured, Failure, Request, Usage, finish_name};
use serde_json::Value;

struct Plugin;

static CONFIG: Configured<Value> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        CONFIG.set(selvedge_sdk::parse_config(&config)?)
    }
}

struct Processor;

impl stream_postprocessor::Guest for Plugin {
    type Processor = Processor;
}

impl GuestProcessor for Processor {
    fn open(_request: &Request) -> Result<stream_postprocessor::Processor, Failure> {
        Ok(stream_postprocessor::Processor::new(Self))
    }

    fn push(&self, chunks: Vec<Chunk>) -> Result<stream_postprocessor::Action, Failure> {
        let upper = chunks.into_iter().map(|chunk| Chunk {
            choice: chunk.choice,
            text: chunk.text.to_uppercase(),
        });
        Ok(stream_postprocessor::Action::Emit(upper.collect()))
    }

    fn finish(&self, reason: FinishReason, _usage: Usage) -> Result<Vec<Chunk>, Failure> {
        let mark = CONFIG.get()?["mark"].as_str().unwrap_or_default();
        let text = format!(" [{mark} {}]", finish_name(reason));
        Ok(vec![Chunk { choice: 0, text }])
    }
}

export!(Plugin);
