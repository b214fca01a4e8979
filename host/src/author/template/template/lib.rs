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

impl templater::Guest for Plugin {
    fn render(request: &Request, _so_far: Option<Rendered>) -> Result<Rendered, Failure> {
        let turns = INSTRUCTION.get()?.turns(&selvedge_sdk::read_body(request));
        let turns = turns.map_err(|why| failure("no-text", why))?;
        let message = |(role, content)| Message { role, content };
        Ok(Rendered {
            prompt: Prompt::Messages(turns.into_iter().map(message).collect()),
            params: None,
        })
    }
}

export!(Plugin);
