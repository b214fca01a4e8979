//! How long an answer is, as `limits.output` counts it.

use crate::value::{Action, Chunk, Event, Output, Prompt, Rejection, Rendered, Step, StreamAction, Verdict};

/// What each item of a list counts besides its bytes, so that a million empty ones are not free.
const ITEM_LEN: usize = 16;

/// Bytes of an answer, as `limits.output` counts them.
pub(crate) trait Len {
    /// Bytes of the texts, vectors and tensors in it, and 16 for each item of a list.
    fn len(&self) -> usize;
}

impl Len for Verdict {
    fn len(&self) -> usize {
        match self {
            Self::Accept | Self::Amend(None) => 0,
            Self::Amend(Some(body)) => body.len(),
            Self::Reject(rejection) => rejection.len(),
        }
    }
}

/// An observer answers nothing.
impl Len for () {
    fn len(&self) -> usize {
        0
    }
}

impl Len for Rejection {
    fn len(&self) -> usize {
        let problems = self.problems.iter().map(|problem| {
            let steps = problem.loc.iter().map(|step| match step {
                Step::Key(key) => key.len() + ITEM_LEN,
                Step::Index(_) => ITEM_LEN,
            });
            problem.kind.len() + problem.msg.len() + steps.sum::<usize>()
        });
        self.code.len() + self.message.len() + problems.sum::<usize>()
    }
}

impl Len for Rendered {
    fn len(&self) -> usize {
        let prompt = match &self.prompt {
            Prompt::Text(text) | Prompt::MessagesJson(text) => text.len(),
            Prompt::Texts(texts) => texts.iter().map(|text| text.len() + ITEM_LEN).sum(),
            Prompt::Messages(turns) => turns
                .iter()
                .map(|(role, content)| role.len() + content.len() + ITEM_LEN)
                .sum(),
            Prompt::TokenIds(ids) => 4 * ids.len(),
            Prompt::Tensors(tensors) => tensors.iter().map(|(_, tensor)| tensor.data.len()).sum(),
        };
        prompt + self.params.as_ref().map_or(0, String::len)
    }
}

impl Len for Vec<Chunk> {
    fn len(&self) -> usize {
        self.iter().map(|chunk| chunk.text.len() + ITEM_LEN).sum()
    }
}

impl Len for StreamAction {
    fn len(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Emit(chunks) | Self::Stop(chunks, _) => Len::len(chunks),
        }
    }
}

impl Len for Action {
    fn len(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Refuse(rejection) => rejection.len(),
            Self::Replace(output) => output.len(),
        }
    }
}

impl Len for Output {
    fn len(&self) -> usize {
        match self {
            Self::Text(choices) => choices.iter().map(|text| text.len() + ITEM_LEN).sum(),
            Self::Labels(inputs) => inputs
                .iter()
                .map(|labels| {
                    ITEM_LEN
                        + labels
                            .iter()
                            .map(|label| label.name.len() + ITEM_LEN)
                            .sum::<usize>()
                })
                .sum(),
            Self::Embeddings(vectors) => vectors.iter().map(|vector| 4 * vector.len() + ITEM_LEN).sum(),
            Self::Tensors(tensors) => tensors.iter().map(|(_, tensor)| tensor.data.len()).sum(),
            Self::Json(json) => json.len(),
        }
    }
}

/// What an observer is told: bodies and attributes; the rest is a few words.
impl Len for Event {
    fn len(&self) -> usize {
        let bodies = [&self.request_body, &self.response_body];
        let bodies = bodies.into_iter().flatten().map(|body| body.len());
        let attributes = self.attributes.iter().map(|(key, value)| key.len() + value.len());
        bodies.chain(attributes).sum()
    }
}
