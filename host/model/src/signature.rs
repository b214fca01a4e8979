//! What an ONNX file takes and gives, read from the file, and whether what a request or a card says agrees with it.

use ort::value::{Outlet, ValueType};

use crate::card::{CacheKind, Card, InputKind, Pooling, Task};
use crate::error::InferError;
use crate::generate::decoder::Shape;
use crate::tensor::{Element, Tensor, count};

/// Inputs and outputs of a file, in its order.
#[derive(Debug, Clone)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// Type of its elements; none where it is no tensor, or of a type that nothing here can carry.
    pub element: Option<Element>,
    /// Its dimensions; -1 where the file leaves one open.
    pub shape: Vec<i64>,
}

impl Port {
    fn of(outlet: &Outlet) -> Self {
        let (element, shape) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => (Element::of(*ty), shape.to_vec()),
            _ => (None, Vec::new()),
        };
        Self {
            name: outlet.name().to_owned(),
            element,
            shape,
        }
    }

    /// As `INT64 [-1, -1]`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{} {:?}",
            self.element.map_or("no tensor", Element::name),
            self.shape
        )
    }

    /// Whether a shape is one of this port's.
    fn fits(&self, shape: &[usize]) -> bool {
        shape.len() == self.shape.len()
            && shape
                .iter()
                .zip(&self.shape)
                .all(|(given, asked)| *asked < 0 || i64::try_from(*given) == Ok(*asked))
    }
}

impl Signature {
    pub(crate) fn of(session: &ort::session::Session) -> Self {
        Self {
            inputs: session.inputs().iter().map(Port::of).collect(),
            outputs: session.outputs().iter().map(Port::of).collect(),
        }
    }

    /// Whether the file has an input of a name.
    #[must_use]
    pub fn has_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|port| port.name == name)
    }

    /// Checks a card against the file.
    ///
    /// # Errors
    ///
    /// What the card says, and what the file says.
    pub fn check_card(&self, card: &Card) -> Result<(), String> {
        match card.task {
            Task::Tensor => return Ok(()),
            Task::TextGeneration => {
                let shape = Shape::of(self)?;
                return match card.generate.cache {
                    CacheKind::Shared => shape.check_shared(),
                    CacheKind::Copied => Ok(()),
                };
            }
            Task::TextClassification | Task::FeatureExtraction => {}
        }
        self.check_inputs(card)?;
        let name = &card.output.name;
        let output = self.outputs.iter().find(|port| port.name == *name);
        let output =
            output.ok_or_else(|| format!("the card's output `{name}` is not in {}", names(&self.outputs)))?;
        if !matches!(output.element, Some(Element::Float32 | Element::Float16)) {
            return Err(format!(
                "the output `{name}` must be FP32 or FP16, and is {}",
                output.describe()
            ));
        }
        let rank = if card.output.pooling == Pooling::None {
            2
        } else {
            3
        };
        if output.shape.len() != rank {
            let pooling = card.output.pooling;
            return Err(format!(
                "with pooling {pooling:?} the output `{name}` must have {rank} dimensions, and is {}",
                output.describe()
            ));
        }
        let width = output.shape.last().copied().filter(|width| *width >= 0);
        let expected = match card.task {
            Task::TextClassification => Some(("labels", card.output.labels.len())),
            _ => card
                .output
                .dimensions
                .map(|dimensions| ("dimensions", dimensions)),
        };
        match (width, expected) {
            (Some(width), Some((key, count))) if i64::try_from(count) != Ok(width) => Err(format!(
                "the card's `output.{key}` are {count}, and the output `{name}` has {width}"
            )),
            _ => Ok(()),
        }
    }

    fn check_inputs(&self, card: &Card) -> Result<(), String> {
        let (known, element): (Vec<&str>, Element) = match card.input.kind {
            InputKind::Tokens => (
                vec!["input_ids", "attention_mask", "token_type_ids"],
                Element::Int64,
            ),
            InputKind::Utf8Bytes => (card.input.name.as_deref().into_iter().collect(), Element::Uint8),
            InputKind::Tensors => return Ok(()),
        };
        if !self.has_input(known[0]) {
            return Err(format!(
                "the card needs the input `{}`, and the file has {}",
                known[0],
                names(&self.inputs)
            ));
        }
        for port in &self.inputs {
            if !known.contains(&port.name.as_str()) {
                return Err(format!(
                    "the file needs the input `{}`, which a card of this kind does not give",
                    port.name
                ));
            }
            if port.element != Some(element) || port.shape.len() != 2 {
                let expected = format!("{} [batch, length]", element.name());
                return Err(format!(
                    "the input `{}` must be {expected}, and is {}",
                    port.name,
                    port.describe()
                ));
            }
        }
        Ok(())
    }

    /// Checks a request's tensors: every input once, with the file's type and shape, and as many elements as the shape says.
    ///
    /// # Errors
    ///
    /// The name, what was expected and what was given.
    pub fn check_tensors(&self, tensors: &[(String, Tensor)]) -> Result<(), InferError> {
        let wrong = |message: String| Err(InferError::WrongTensor(message));
        for port in &self.inputs {
            match tensors.iter().filter(|(name, _)| *name == port.name).count() {
                1 => {}
                0 => {
                    return wrong(format!(
                        "the input `{}` is missing: expected {}",
                        port.name,
                        port.describe()
                    ));
                }
                more => return wrong(format!("the input `{}` is there {more} times", port.name)),
            }
        }
        for (name, tensor) in tensors {
            let Some(port) = self.inputs.iter().find(|port| port.name == *name) else {
                return wrong(format!(
                    "there is no input `{name}`; the model takes {}",
                    names(&self.inputs)
                ));
            };
            if port.element != Some(tensor.element) || !port.fits(&tensor.shape) {
                let given = format!("{} {:?}", tensor.element.name(), tensor.shape);
                return wrong(format!(
                    "the input `{name}`: expected {}, got {given}",
                    port.describe()
                ));
            }
            let product = tensor
                .shape
                .iter()
                .try_fold(1_usize, |product, dim| product.checked_mul(*dim));
            if product.is_none() || product != count(tensor) {
                let bytes = tensor.data.len();
                return wrong(format!(
                    "the input `{name}`: {bytes} bytes of data are not of shape {:?}",
                    tensor.shape
                ));
            }
        }
        Ok(())
    }
}

fn names(ports: &[Port]) -> String {
    ports
        .iter()
        .map(|port| format!("`{}`", port.name))
        .collect::<Vec<_>>()
        .join(", ")
}
