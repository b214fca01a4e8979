//! Between the plugins' types and the models', which do not know each other.

use selvedge_model as model;
use selvedge_plugin::value as plugin;

/// What a templater rendered, as a model is given it.
///
/// # Errors
///
/// Where no model takes such a prompt but one that writes.
pub fn input(prompt: plugin::Prompt) -> Result<model::Input, &'static str> {
    Ok(match prompt {
        plugin::Prompt::Text(text) => model::Input::Texts(vec![model::Text::Text(text)]),
        plugin::Prompt::Texts(texts) => {
            model::Input::Texts(texts.into_iter().map(model::Text::Text).collect())
        }
        plugin::Prompt::TokenIds(ids) => model::Input::Texts(vec![model::Text::Tokens(ids)]),
        plugin::Prompt::Tensors(tensors) => tensors_in(tensors),
        plugin::Prompt::Messages(_) | plugin::Prompt::MessagesJson(_) => {
            return Err("a conversation, and the model takes texts");
        }
    })
}

/// What a model gave, as a post-processor sees it.
#[must_use]
pub fn completion(inference: model::Inference) -> plugin::Completion {
    let prompt_tokens = u32::try_from(inference.tokens).unwrap_or(u32::MAX);
    let label = |label: model::Label| plugin::Label {
        name: label.name,
        score: label.score,
    };
    let output = match inference.output {
        model::Output::Embeddings(vectors) => plugin::Output::Embeddings(vectors),
        model::Output::Labels(inputs) => plugin::Output::Labels(
            inputs
                .into_iter()
                .map(|labels| labels.into_iter().map(label).collect())
                .collect(),
        ),
        model::Output::Tensors(tensors) => plugin::Output::Tensors(
            tensors
                .into_iter()
                .map(|(name, tensor)| (name, tensor_out(tensor)))
                .collect(),
        ),
    };
    plugin::Completion {
        output,
        finish: plugin::Finish::Stop,
        usage: plugin::Usage {
            prompt_tokens,
            completion_tokens: 0,
        },
    }
}

/// What a plugin says of the next token, as a model's sequence is told it.
#[must_use]
pub fn decision(decision: selvedge_plugin::Decision) -> model::generate::Decision {
    match decision {
        selvedge_plugin::Decision::Draw { allowed, bias } => {
            model::generate::Decision::Draw { allowed, bias }
        }
        selvedge_plugin::Decision::Force(tokens) => model::generate::Decision::Force(tokens),
        selvedge_plugin::Decision::Stop => model::generate::Decision::Stop,
    }
}

/// Tensors of a plugin, as a model is given them.
#[must_use]
pub fn tensors_in(tensors: Vec<(String, plugin::Tensor)>) -> model::Input {
    let tensors = tensors.into_iter();
    model::Input::Tensors(tensors.map(|(name, tensor)| (name, tensor_in(tensor))).collect())
}

fn tensor_in(tensor: plugin::Tensor) -> model::Tensor {
    model::Tensor {
        element: element_in(tensor.element),
        shape: tensor.shape.iter().map(|dim| *dim as usize).collect(),
        data: tensor.data.into(),
    }
}

fn tensor_out(tensor: model::Tensor) -> plugin::Tensor {
    plugin::Tensor {
        element: element_out(tensor.element),
        shape: tensor
            .shape
            .iter()
            .map(|dim| u32::try_from(*dim).unwrap_or(u32::MAX))
            .collect(),
        data: tensor.data.into(),
    }
}

/// The two enums of element types, which have the same names.
macro_rules! elements {
    ($($name:ident)+) => {
        /// All element types, as plugins have them.
        pub const ELEMENTS: &[plugin::Element] = &[$(plugin::Element::$name,)+];

        /// A plugin's element type as the models' types have it.
        #[must_use]
        pub fn element_in(element: plugin::Element) -> model::Element {
            match element { $(plugin::Element::$name => model::Element::$name,)+ }
        }

        /// A model's element type as the plugins' types have it.
        #[must_use]
        pub fn element_out(element: model::Element) -> plugin::Element {
            match element { $(model::Element::$name => plugin::Element::$name,)+ }
        }
    };
}

elements! {
    Boolean Uint8 Uint16 Uint32 Uint64 Int8 Int16 Int32 Int64 Float16 Bfloat16 Float32 Float64 Text
}
