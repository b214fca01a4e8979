//! Turns a request into what the model is given, by a template in Jinja2's language over the body's fields.
//!
//! The template is compiled in `configure` and is part of the snapshot. The core is in `prompt`, and knows nothing of WIT.

mod prompt;

selvedge_sdk::world!("templater-plugin");

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::templater::{self, Prompt, Rendered};
use selvedge_sdk::{Configured, Failure, Message, Request, bad_config, failure};

pub use prompt::{Config, MessageTemplate, Output, Template};

struct Plugin;

/// The template, with the parameters that go with what it renders, as JSON.
static TEMPLATE: Configured<(Template, Option<String>)> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        let params = config
            .params
            .as_ref()
            .map(|params| serde_json::json!(params).to_string());
        TEMPLATE.set((Template::compile(config).map_err(bad_config)?, params))
    }
}

impl templater::Guest for Plugin {
    fn render(request: &Request, _so_far: Option<Rendered>) -> Result<Rendered, Failure> {
        let body = selvedge_sdk::read_body(request);
        let (template, params) = TEMPLATE.get()?;
        let prompt = match template
            .render(&body)
            .map_err(|error| failure("template-failed", error))?
        {
            Output::Text(text) => Prompt::Text(text),
            Output::Messages(turns) => Prompt::Messages(
                turns
                    .into_iter()
                    .map(|(role, content)| Message { role, content })
                    .collect(),
            ),
        };
        Ok(Rendered {
            prompt,
            params: params.clone(),
        })
    }
}

export!(Plugin);
