//! What is to be generated: by the client's body, and what templaters make of it.

use selvedge_model::Message;
use selvedge_plugin::Stage;
use selvedge_plugin::value::{Prompt as RenderedPrompt, Rendered};
use serde_json::Value;

use super::params::Params;
use super::{ClientFault, HostFault, RequestError};
use crate::generation::Ready;

/// What is to be generated.
#[derive(Debug)]
pub struct Order {
    /// What from; where the body does not say, that is an error unless a templater does.
    pub prompt: Result<Prompt, ClientFault>,
    /// And how.
    pub params: Params,
}

impl Order {
    /// The order with what templaters made of the request.
    ///
    /// # Errors
    ///
    /// Where they made something that is none, nobody says what text is generated from, or the endpoint's plugins do not let it
    /// be generated so.
    pub(super) fn completed(
        mut self,
        endpoint: &Ready,
        rendered: Option<Rendered>,
    ) -> Result<(Prompt, Params), RequestError> {
        if let Some(rendered) = rendered {
            self.prompt = Ok(prompt_of(endpoint, rendered.prompt)?);
            if let Some(params) = rendered.params {
                amend(endpoint, &mut self.params, &params)?;
            }
        }
        check_logprobs(endpoint, &self.params)?;
        check_structure(endpoint, &self.params)?;
        Ok((self.prompt?, self.params))
    }
}

/// What text is generated from.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation, by the model's chat template.
    Messages(Vec<Message>),
    /// A text, as it is.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// What a templater rendered, as a prompt.
fn prompt_of(endpoint: &Ready, prompt: RenderedPrompt) -> Result<Prompt, RequestError> {
    Ok(match prompt {
        RenderedPrompt::Text(text) => Prompt::Text(text),
        RenderedPrompt::TokenIds(tokens) => Prompt::Tokens(tokens),
        RenderedPrompt::Messages(messages) => Prompt::Messages(
            messages
                .into_iter()
                .map(|(role, content)| Message { role, content })
                .collect(),
        ),
        RenderedPrompt::MessagesJson(json) => {
            let messages = serde_json::from_str(&json);
            Prompt::Messages(messages.map_err(|error| {
                unavailable(
                    endpoint,
                    format!("its template renders messages that are none: {error}"),
                )
            })?)
        }
        RenderedPrompt::Texts(_) | RenderedPrompt::Tensors(_) => {
            let reason =
                "its template renders several texts or tensors, and its model takes one prompt".to_owned();
            return Err(unavailable(endpoint, reason));
        }
    })
}

/// Takes over a templater's parameters. What is wrong with them is not the client's fault.
fn amend(endpoint: &Ready, params: &mut Params, json: &str) -> Result<(), RequestError> {
    let wrong = |why: String| {
        unavailable(
            endpoint,
            format!("its template sets parameters that are none: {why}"),
        )
    };
    match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => params.amend(&fields).map_err(|fault| wrong(fault.to_string())),
        Ok(_) => Err(wrong("no object".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Tokens and their probabilities would tell what a plugin hides.
fn check_logprobs(endpoint: &Ready, params: &Params) -> Result<(), ClientFault> {
    let mut rewriting = endpoint
        .stage(Stage::Stream)
        .chain(endpoint.stage(Stage::Postprocess));
    match rewriting.next() {
        Some(attached) if params.sampling.logprobs.is_some() => {
            let plugin = &attached.attachment.plugin().name;
            Err(ClientFault::BadBody {
                kind: "unsupported_value",
                param: "logprobs".to_owned(),
                message: format!("`logprobs` cannot be given, since the plugin `{plugin}` changes the text"),
            })
        }
        _ => Ok(()),
    }
}

/// What a plugin lets come and what a schema does need have no text in common.
fn check_structure(endpoint: &Ready, params: &Params) -> Result<(), ClientFault> {
    match endpoint.stage(Stage::Decode).next() {
        Some(attached) if params.structure.is_some() => {
            let plugin = &attached.attachment.plugin().name;
            Err(ClientFault::BadBody {
                kind: "unsupported_value",
                param: "response_format".to_owned(),
                message: format!(
                    "`response_format` cannot be given, since the plugin `{plugin}` decides which tokens may come"
                ),
            })
        }
        _ => Ok(()),
    }
}

pub(super) fn unavailable(endpoint: &Ready, reason: String) -> RequestError {
    let endpoint = endpoint.name.as_ref().to_owned();
    HostFault::Unavailable { endpoint, reason }.into()
}
