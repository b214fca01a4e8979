//! What is to be generated: by the client's body, and what templaters make of it.

use selvedge_model::Message;
use selvedge_plugin::Stage;
use selvedge_plugin::value::Prompt as RenderedPrompt;
use serde_json::Value;

use super::params::Params;
use super::run::{Made, bad_prompt};
use super::{ClientFault, HostFault, RequestError};
use crate::generation::Ready;

/// Tokens of an answer, before it is known how many there are, or may be.
pub const ANSWER_TOKENS: u64 = 128;

/// Bytes of a token, of English.
pub const TOKEN_LEN: u64 = 4;

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
        made: Option<Made<'_>>,
    ) -> Result<(Prompt, Params), RequestError> {
        if let Some(Made { rendered, by }) = made {
            let bad = |why: String| bad_prompt(endpoint, by, why);
            self.prompt = Ok(prompt_of(rendered.prompt).map_err(bad)?);
            if let Some(params) = rendered.params {
                amend(&mut self.params, &params).map_err(bad)?;
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

/// How many tokens a request to generate may take, as near as it is known before it is tokenised: its prompt, and answers as long as
/// it lets them be, where prompt and answer together have at most `context_max`. Where it does not say how long, as many as most
/// answers have: who asks for no more than usual is not held to the most that there could be.
#[must_use]
pub fn tokens_of(prompt: &Prompt, params: &Params, context_max: Option<usize>) -> u64 {
    let len = |text: &String| text.len() as u64 / TOKEN_LEN;
    let prompt = match prompt {
        Prompt::Messages(messages) => messages.iter().map(|message| len(&message.content)).sum(),
        Prompt::Text(text) => len(text),
        Prompt::Tokens(tokens) => tokens.len() as u64,
    };
    let room = context_max.map_or(u64::MAX, |max| (max as u64).saturating_sub(prompt));
    let answer = params.tokens_max.map_or(ANSWER_TOKENS, |max| max as u64);
    let answers = answer.min(room).saturating_mul(params.count as u64);
    prompt.saturating_add(answers)
}

/// What a templater rendered, as a prompt; else why it is none.
fn prompt_of(prompt: RenderedPrompt) -> Result<Prompt, String> {
    Ok(match prompt {
        RenderedPrompt::Text(text) => Prompt::Text(text),
        RenderedPrompt::TokenIds(tokens) => Prompt::Tokens(tokens),
        RenderedPrompt::Messages(messages) => Prompt::Messages(
            messages
                .into_iter()
                .map(|(role, content)| Message { role, content })
                .collect(),
        ),
        RenderedPrompt::MessagesJson(json) => Prompt::Messages(
            serde_json::from_str(&json).map_err(|error| format!("messages that are none: {error}"))?,
        ),
        RenderedPrompt::Texts(_) | RenderedPrompt::Tensors(_) => {
            return Err("several texts or tensors, and the model takes one prompt".to_owned());
        }
    })
}

/// Takes over a templater's parameters; else says why they are none.
fn amend(params: &mut Params, json: &str) -> Result<(), String> {
    let wrong = |why: String| format!("parameters that are none: {why}");
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

#[cfg(test)]
mod tests {
    use super::{Params, Prompt, tokens_of};

    #[test]
    fn a_prompt_and_all_its_answers_are_claimed_as_far_as_the_context_has_room() {
        let params = |tokens_max: Option<usize>, count: usize| Params {
            tokens_max,
            count,
            ..Params::default()
        };
        let tokens = Prompt::Tokens(vec![1; 10]);
        assert_eq!(tokens_of(&tokens, &params(Some(100), 2), None), 210);
        assert_eq!(tokens_of(&tokens, &params(Some(100), 2), Some(50)), 90);
        assert_eq!(tokens_of(&tokens, &params(Some(usize::MAX), 8), None), u64::MAX);
        let text = Prompt::Text("word".repeat(10));
        assert_eq!(tokens_of(&text, &params(None, 1), Some(2048)), 10 + 128);
    }
}
