//! What an endpoint takes and gives in this dialect: a tensor model what its file says, any other what its task means.

use selvedge_model::{Element, Model, Task};
use selvedge_plugin::Stage;
use serde_json::{Value, json};

use crate::generation::Ready;

/// The input of an endpoint whose model takes texts.
pub(super) const TEXT: &str = "text";

/// The input of an endpoint whose model generates, and of `generate`.
pub(super) const TEXT_INPUT: &str = "text_input";

/// Its output.
pub(super) const TEXT_OUTPUT: &str = "text_output";

/// The output where a post-processor wrote JSON: one element, the text of it.
pub(super) const JSON: &str = "json";

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    /// Its name.
    pub(super) name: String,
    /// The type of its elements.
    pub(super) element: Element,
    /// Its dimensions; -1 where one is open.
    pub(super) shape: Vec<i64>,
}

/// Inputs and outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ports {
    /// What it takes.
    pub(super) inputs: Vec<Port>,
    /// What it may give.
    pub(super) outputs: Vec<Port>,
}

impl Port {
    fn new(name: &str, element: Element, shape: &[i64]) -> Self {
        Self {
            name: name.to_owned(),
            element,
            shape: shape.to_vec(),
        }
    }

    /// As metadata has it.
    pub(super) fn metadata(&self) -> Value {
        json!({ "name": self.name, "datatype": self.element.name(), "shape": self.shape })
    }

    /// As Triton's configuration has it.
    pub(super) fn config(&self) -> Value {
        let datatype = match self.element {
            Element::Text => "STRING",
            other => other.name(),
        };
        json!({ "name": self.name, "data_type": format!("TYPE_{datatype}"), "dims": self.shape })
    }

    /// As `INT64 [-1, -1]`.
    pub(super) fn describe(&self) -> String {
        format!("{} {:?}", self.element.name(), self.shape)
    }
}

impl Ports {
    /// Those of an endpoint.
    pub(super) fn of(endpoint: &Ready) -> Self {
        let card = endpoint.backend.model().map(Model::card);
        let width = |len: Option<usize>| len.and_then(|len| i64::try_from(len).ok()).unwrap_or(-1);
        let mut ports = match endpoint.backend.task() {
            Task::Tensor => endpoint.backend.model().map(signature).unwrap_or_default(),
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
        if endpoint.stage(Stage::Postprocess).next().is_some() {
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
    pub(super) fn output(&self, name: &str) -> Option<&Port> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

/// What a file says, but for what is no tensor or of a type that nothing here can carry.
fn signature(model: &Model) -> Ports {
    let port = |port: &selvedge_model::Port| Some(Port::new(&port.name, port.element?, &port.shape));
    let signature = model.signature();
    Ports {
        inputs: signature.inputs.iter().filter_map(port).collect(),
        outputs: signature.outputs.iter().filter_map(port).collect(),
    }
}

/// Names in a row, for a message.
pub(super) fn names(ports: &[Port]) -> String {
    let names: Vec<String> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
    names.join(", ")
}

/// The type of a datatype's name.
pub(super) fn element(name: &str) -> Option<Element> {
    const ALL: [Element; 14] = [
        Element::Boolean,
        Element::Uint8,
        Element::Uint16,
        Element::Uint32,
        Element::Uint64,
        Element::Int8,
        Element::Int16,
        Element::Int32,
        Element::Int64,
        Element::Float16,
        Element::Bfloat16,
        Element::Float32,
        Element::Float64,
        Element::Text,
    ];
    ALL.into_iter().find(|element| element.name() == name)
}
