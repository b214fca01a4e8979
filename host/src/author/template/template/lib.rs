//! Puts an instruction before the text. The core is in `prompt`, and knows nothing of WIT.

mod prompt;

selvedge_sdk::world!("templater-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::templater::{self, Prompt, Rendered};
use selvedge_sdk::{Configured, Failure, Message, Request, failure};

pub use prompt::Instruction;

struct Plugin;

static INSTRUCTION: Configured<Instruction> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        INSTRUCTION.set(selvedge_sdk::parse_config(&config)?)
    }
}

@STAGE@

export!(Plugin);
