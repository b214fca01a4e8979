//! Writes generated text in capital letters, as it comes. The core is in `shout`, and knows nothing of WIT.
//!
//! A plugin that looks for something longer than a character must hold back what might be its beginning: an empty
//! `Action::Emit` does, and `finish` gives the rest.

use crate::Plugin;
use crate::exports::selvedge::plugin::stream_postprocessor::{self, Action, Chunk, GuestProcessor};
use crate::shout::Shout;
use selvedge_sdk::types::FinishReason;
use selvedge_sdk::{Configured, Failure, Request, Usage};

pub(crate) static SHOUT: Configured<Shout> = Configured::new();

/// One stream. What is to be known from one push to the next is kept here, in a `RefCell`.
pub(crate) struct Processor;

@STAGE@
