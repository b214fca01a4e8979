//! Writes generated text in capital letters, as it comes. The core is in `shout`, and knows nothing of WIT.
//!
//! A plugin that looks for something longer than a character must hold back what might be its beginning: an empty
//! `Action::Emit` does, and `finish` gives the rest.

mod shout;

selvedge_sdk::world!("stream-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::stream_postprocessor::{self, Action, Chunk, GuestProcessor};
use selvedge_sdk::types::FinishReason;
use selvedge_sdk::{Configured, Failure, Request, Usage};

pub use shout::Shout;

struct Plugin;

static SHOUT: Configured<Shout> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        SHOUT.set(selvedge_sdk::parse_config(&config)?)
    }
}

/// One stream. What is to be known from one push to the next is kept here, in a `RefCell`.
struct Processor;

@STAGE@

export!(Plugin);
