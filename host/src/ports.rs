//! What an endpoint takes and gives as tensors, by the Open Inference Protocol: a tensor model what its file says, any other what its
//! task means. Pure: `http/dialect/oip` keeps to it, and `openapi` tells it.

use selvedge_model::{Card, Element, Signature, Task};

use crate::pipeline::convert::{ELEMENTS, element_in};

/// The version of every model: an endpoint has one.
pub const VERSION: &str = "1";

/// The header that says how many bytes of a body are JSON, where tensors are behind it.
pub const JSON_LEN: &str = "inference-header-content-length";

/// The input of an endpoint whose model takes texts.
pub const TEXT: &str = "text";

/// The input of an endpoint whose model generates, and of `generate`.
pub const TEXT_INPUT: &str = "text_input";

/// Its output.
pub const TEXT_OUTPUT: &str = "text_output";

/// The output where a post-processor wrote JSON: one element, the text of it.
pub const JSON: &str = "json";

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub element: Element,
    /// Its dimensions; -1 where one is open.
    pub shape: Vec<i64>,
}

/// Inputs and outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it may give.
    pub outputs: Vec<Port>,
}

/// Whether post-processors may leave something else than the model's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Postprocessing {
    /// Nobody changes them.
    None,
    /// A text or JSON may come in their place.
    Some,
}

impl Port {
    fn new(name: &str, element: Element, shape: &[i64]) -> Self {
        Self {
            name: name.to_owned(),
            element,
            shape: shape.to_vec(),
        }
    }

    /// As `INT64 [-1, -1]`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} {:?}", self.element.name(), self.shape)
    }
}

impl Ports {
    /// Those of an endpoint whose model does a task: by its card, where it has one, and its file, where that is loaded.
    #[must_use]
    pub fn new(
        task: Task,
        card: Option<&Card>,
        signature: Option<&Signature>,
        postprocessing: Postprocessing,
    ) -> Self {
        let width = |len: Option<usize>| len.and_then(|len| i64::try_from(len).ok()).unwrap_or(-1);
        let mut ports = match task {
            Task::Tensor => signature.map(carried).unwrap_or_default(),
            Task::FeatureExtraction => {
                let width = width(card.and_then(|card| card.output.dimensions));
                Self::of_texts(
                    TEXT,
                    vec![Port::new("embeddings", Element::Float32, &[-1, width])],
                )
            }
            Task::TextClassification => {
                let width = width(card.map(|card| card.output.labels.len()));
                let labels = Port::new("labels", Element::Text, &[-1, width]);
                Self::of_texts(
                    TEXT,
                    vec![labels, Port::new("scores", Element::Float32, &[-1, width])],
                )
            }
            Task::TextGeneration => {
                return Self::of_texts(TEXT_INPUT, vec![Port::new(TEXT_OUTPUT, Element::Text, &[-1])]);
            }
        };
        if postprocessing == Postprocessing::Some {
            for name in [JSON, TEXT] {
                if ports.output(name).is_none() {
                    ports.outputs.push(Port::new(name, Element::Text, &[-1]));
                }
            }
        }
        ports
    }

    fn of_texts(input: &str, outputs: Vec<Port>) -> Self {
        Self {
            inputs: vec![Port::new(input, Element::Text, &[-1])],
            outputs,
        }
    }

    /// The output of a name.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&Port> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

/// What a file says, but for what is no tensor or of a type that nothing here can carry.
fn carried(signature: &Signature) -> Ports {
    let port = |port: &selvedge_model::Port| Some(Port::new(&port.name, port.element?, &port.shape));
    Ports {
        inputs: signature.inputs.iter().filter_map(port).collect(),
        outputs: signature.outputs.iter().filter_map(port).collect(),
    }
}

/// Names in a row, for a message.
#[must_use]
pub fn names(ports: &[Port]) -> String {
    let names: Vec<String> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
    names.join(", ")
}

/// The type of a datatype's name.
#[must_use]
pub fn element(name: &str) -> Option<Element> {
    let mut all = ELEMENTS.iter().map(|element| element_in(*element));
    all.find(|element| element.name() == name)
}
