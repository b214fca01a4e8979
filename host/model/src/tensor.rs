//! Tensors as they come and go: an element type, a shape and bytes; and their conversion to ONNX Runtime's values.

use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType};

use crate::error::InferError;

/// A tensor: row-major, little-endian, without padding.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Type of one element.
    pub element: Element,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The elements' bytes; text as a u32 length and UTF-8 bytes in turn.
    pub data: Vec<u8>,
}

/// Type of a tensor's element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Element {
    Boolean,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Float16,
    Bfloat16,
    Float32,
    Float64,
    Text,
}

impl Element {
    /// The Open Inference Protocol's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Float16 => "FP16",
            Self::Bfloat16 => "BF16",
            Self::Float32 => "FP32",
            Self::Float64 => "FP64",
            Self::Text => "BYTES",
        }
    }

    /// Bytes of one element; none for text.
    #[must_use]
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Boolean | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Float32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Float64 => Some(8),
            Self::Text => None,
        }
    }

    /// The element type of an ONNX tensor; none for the few that nothing here can carry.
    pub(crate) fn of(ty: TensorElementType) -> Option<Self> {
        Some(match ty {
            TensorElementType::Bool => Self::Boolean,
            TensorElementType::Uint8 => Self::Uint8,
            TensorElementType::Uint16 => Self::Uint16,
            TensorElementType::Uint32 => Self::Uint32,
            TensorElementType::Uint64 => Self::Uint64,
            TensorElementType::Int8 => Self::Int8,
            TensorElementType::Int16 => Self::Int16,
            TensorElementType::Int32 => Self::Int32,
            TensorElementType::Int64 => Self::Int64,
            TensorElementType::Float16 => Self::Float16,
            TensorElementType::Bfloat16 => Self::Bfloat16,
            TensorElementType::Float32 => Self::Float32,
            TensorElementType::Float64 => Self::Float64,
            TensorElementType::String => Self::Text,
            _ => return None,
        })
    }
}

/// A primitive whose little-endian bytes a tensor holds.
macro_rules! primitives {
    ($($element:ident => $type:ty),+ $(,)?) => {
        /// The value that ONNX Runtime is given. Element count and shape must agree.
        pub(crate) fn to_value(tensor: &Tensor) -> Result<DynValue, InferError> {
            let shape = tensor.shape.clone();
            let value = match tensor.element {
                $(Element::$element => {
                    let (chunks, _) = tensor.data.as_chunks::<{ size_of::<$type>() }>();
                    let values: Vec<$type> = chunks.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).collect();
                    OrtTensor::from_array((shape, values)).map(OrtTensor::into_dyn)
                })+
                Element::Boolean => {
                    let values: Vec<bool> = tensor.data.iter().map(|byte| *byte != 0).collect();
                    OrtTensor::from_array((shape, values)).map(OrtTensor::into_dyn)
                }
                Element::Text => {
                    OrtTensor::from_string_array((shape, texts(&tensor.data)?.as_slice())).map(OrtTensor::into_dyn)
                }
            };
            value.map_err(|error| InferError::WrongTensor(error.to_string()))
        }

        /// What ONNX Runtime gave, copied out.
        pub(crate) fn from_value(value: &DynValue) -> Result<Tensor, InferError> {
            let failed = |error: ort::Error| InferError::Failed(error.to_string());
            let element = value.dtype().tensor_type().and_then(Element::of);
            let element = element.ok_or_else(|| InferError::Failed(format!("it gave a {}", value.dtype())))?;
            let (shape, data) = match element {
                $(Element::$element => {
                    let (shape, values) = value.try_extract_tensor::<$type>().map_err(failed)?;
                    (shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
                })+
                Element::Boolean => {
                    let (shape, values) = value.try_extract_tensor::<bool>().map_err(failed)?;
                    (shape, values.iter().map(|value| u8::from(*value)).collect())
                }
                Element::Text => {
                    let (shape, values) = value.try_extract_strings().map_err(failed)?;
                    (shape, values.iter().flat_map(|text| counted(text)).collect())
                }
            };
            let shape = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or_default()).collect();
            Ok(Tensor { element, shape, data })
        }
    };
}

primitives! {
    Uint8 => u8,
    Uint16 => u16,
    Uint32 => u32,
    Uint64 => u64,
    Int8 => i8,
    Int16 => i16,
    Int32 => i32,
    Int64 => i64,
    Float16 => half::f16,
    Bfloat16 => half::bf16,
    Float32 => f32,
    Float64 => f64,
}

/// A text with its length in front, as text tensors hold it.
fn counted(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.extend_from_slice(&text.as_bytes()[..len as usize]);
    bytes
}

/// The texts of a text tensor's bytes.
fn texts(mut bytes: &[u8]) -> Result<Vec<String>, InferError> {
    let broken =
        || InferError::WrongTensor("a text tensor's bytes are not lengths and UTF-8 in turn".to_owned());
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(broken)?;
        let (text, rest) = rest
            .split_at_checked(u32::from_le_bytes(*len) as usize)
            .ok_or_else(broken)?;
        texts.push(std::str::from_utf8(text).map_err(|_| broken())?.to_owned());
        bytes = rest;
    }
    Ok(texts)
}

/// How many elements a tensor's bytes hold, where they hold whole ones.
pub(crate) fn count(tensor: &Tensor) -> Option<usize> {
    match tensor.element.size() {
        Some(size) => tensor
            .data
            .len()
            .is_multiple_of(size)
            .then(|| tensor.data.len() / size),
        None => texts(&tensor.data).ok().map(|texts| texts.len()),
    }
}
