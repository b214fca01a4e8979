//! Has a model summarise the text of a body.

selvedge_sdk::world!("templater-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::templater::{self, Prompt, Rendered};
use selvedge_sdk::{Failure, Message, Request, failure};

#[derive(serde::Deserialize)]
struct Body {
    text: String,
}

struct Plugin;

impl lifecycle::Guest for Plugin {
    fn configure(_config: String) -> Result<(), Failure> {
        Ok(())
    }
}

impl templater::Guest for Plugin {
    fn render(request: &Request, _so_far: Option<Rendered>) -> Result<Rendered, Failure> {
        let body: Body = serde_json::from_slice(&selvedge_sdk::read_body(request))
            .map_err(|error| failure("not-json", error.to_string()))?;
        Ok(Rendered {
            prompt: Prompt::Messages(vec![Message {
                role: "user".to_owned(),
                content: format!("Summarise in one sentence:\n\n{}", body.text),
            }]),
            params: Some(r#"{"temperature":0,"max_tokens":60}"#.to_owned()),
        })
    }
}

export!(Plugin);
