//! What a pipeline gave, as named tensors.

use selvedge_model::{Element, Model};
use selvedge_plugin::value::{Label, Output, Tensor};

use super::classes::Classes;
use super::written::push_counted;
use crate::generation::Ready;
use crate::pipeline::convert::element_out;
use crate::pipeline::{HostFault, RequestError};
use crate::ports::{JSON, TEXT};

/// An output.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    /// Its name.
    pub(super) name: String,
    /// What it holds.
    pub(super) tensor: Tensor,
    /// What its values stand for.
    pub(super) classes: Classes,
}

impl Named {
    fn new(name: &str, tensor: Tensor) -> Self {
        Self {
            name: name.to_owned(),
            tensor,
            classes: Classes::ByPlace(Vec::new()),
        }
    }

    /// Texts, in one dimension.
    pub(super) fn texts<'a>(name: &str, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut data, mut count) = (Vec::new(), 0);
        for text in texts {
            push_counted(&mut data, text.as_bytes());
            count += 1;
        }
        Self::new(name, tensor(Element::Text, vec![count], data))
    }
}

fn tensor(element: Element, shape: Vec<u32>, data: Vec<u8>) -> Tensor {
    Tensor {
        element: element_out(element),
        shape,
        data: data.into(),
    }
}

/// The tensors of a result.
///
/// # Errors
///
/// Where a post-processor left what is no tensor.
pub(super) fn tensors(endpoint: &Ready, output: Output) -> Result<Vec<Named>, RequestError> {
    let card = endpoint.backend.model().map(Model::card);
    let names = card.map(|card| card.output.labels.clone()).unwrap_or_default();
    Ok(match output {
        Output::Json(text) => vec![Named::texts(JSON, [text.as_str()])],
        Output::Text(texts) => vec![Named::texts(TEXT, texts.iter().map(String::as_str))],
        Output::Tensors(tensors) => {
            let named = |(name, tensor)| Named {
                name,
                tensor,
                classes: Classes::ByPlace(names.clone()),
            };
            tensors.into_iter().map(named).collect()
        }
        Output::Embeddings(vectors) => {
            let shape = shape(endpoint, vectors.iter().map(Vec::len))?;
            let data = vectors
                .iter()
                .flatten()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            vec![Named::new("embeddings", tensor(Element::Float32, shape, data))]
        }
        Output::Labels(inputs) => labels(endpoint, &inputs, &names)?,
    })
}

/// Labels of each input, best first, and their scores.
fn labels(endpoint: &Ready, inputs: &[Vec<Label>], known: &[String]) -> Result<Vec<Named>, RequestError> {
    let shape = shape(endpoint, inputs.iter().map(Vec::len))?;
    let (mut names, mut scores) = (Vec::new(), Vec::new());
    for label in inputs.iter().flatten() {
        push_counted(&mut names, label.name.as_bytes());
        scores.extend(label.score.to_le_bytes());
    }
    let class = |(place, label): (usize, &Label)| {
        let number = known.iter().position(|name| *name == label.name);
        (number.unwrap_or(place), label.name.clone())
    };
    let classes = inputs
        .iter()
        .map(|labels| labels.iter().enumerate().map(class).collect());
    let mut scores = Named::new("scores", tensor(Element::Float32, shape.clone(), scores));
    scores.classes = Classes::ByRow(classes.collect());
    Ok(vec![
        Named::new("labels", tensor(Element::Text, shape, names)),
        scores,
    ])
}

/// The shape of rows, which must be of one length.
fn shape(
    endpoint: &Ready,
    mut lengths: impl ExactSizeIterator<Item = usize>,
) -> Result<Vec<u32>, RequestError> {
    let rows = lengths.len();
    let width = lengths.next().unwrap_or_default();
    if lengths.any(|length| length != width) {
        let reason = "a post-processor left rows of unlike length, which are no tensor".to_owned();
        let endpoint = endpoint.name.as_ref().to_owned();
        return Err(HostFault::Unavailable { endpoint, reason }.into());
    }
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(vec![narrow(rows), narrow(width)])
}
