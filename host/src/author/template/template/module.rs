//! Puts an instruction before the text. The core is in `prompt`, and knows nothing of WIT.

use crate::Plugin;
use crate::exports::selvedge::plugin::templater::{self, Prompt, Rendered};
use crate::prompt::Instruction;
use selvedge_sdk::{Configured, Failure, Message, Request, failure};

pub(crate) static INSTRUCTION: Configured<Instruction> = Configured::new();

@STAGE@
