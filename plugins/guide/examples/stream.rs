//! Shouts.

selvedge_sdk::world!("stream-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::stream_postprocessor::{self, Action, Chunk, GuestProcessor};
use selvedge_sdk::types::FinishReason;
use selvedge_sdk::{Failure, Request, Usage};

struct Plugin;

impl lifecycle::Guest for Plugin {
    fn configure(_config: String) -> Result<(), Failure> {
        Ok(())
    }
}

struct Processor;

impl stream_postprocessor::Guest for Plugin {
    type Processor = Processor;
}

impl GuestProcessor for Processor {
    fn open(_request: &Request) -> Result<stream_postprocessor::Processor, Failure> {
        Ok(stream_postprocessor::Processor::new(Processor))
    }

    fn push(&self, chunks: Vec<Chunk>) -> Result<Action, Failure> {
        let upper = |chunk: Chunk| Chunk {
            text: chunk.text.to_uppercase(),
            ..chunk
        };
        Ok(Action::Emit(chunks.into_iter().map(upper).collect()))
    }

    fn finish(&self, _reason: FinishReason, _usage: Usage) -> Result<Vec<Chunk>, Failure> {
        Ok(Vec::new())
    }
}

export!(Plugin);
