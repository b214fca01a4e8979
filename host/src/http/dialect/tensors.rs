//! Tensors in plain JSON: nested arrays in, `{"datatype", "shape", "data"}` out. Types and names come from the signature.

use selvedge_model::{Element, Input, Port, Signature, Tensor};
use selvedge_plugin::value::{Element as PluginElement, Tensor as PluginTensor};
use serde_json::{Map, Value, json};

use crate::pipeline::{ClientFault, RequestError};

/// Dimensions of a nested array at most.
const RANK_MAX: usize = 16;

/// The tensors of `{"inputs": {"name": nested array}}`.
///
/// # Errors
///
/// Where `inputs` is missing, a name is unknown, rows differ in length, or a value is not of the tensor's type.
pub fn decode(signature: &Signature, fields: &Map<String, Value>) -> Result<Input, RequestError> {
    let Some(Value::Object(inputs)) = fields.get("inputs") else {
        return Err(bad(
            "missing",
            "inputs",
            "Field required: an object of nested arrays by input name",
        )
        .into());
    };
    let tensors = inputs.iter().map(|(name, value)| {
        let port = signature.inputs.iter().find(|port| port.name == *name);
        let tensor = match port {
            Some(port) => tensor(port, value)?,
            // The model's own check names what it does take.
            None => Tensor {
                element: Element::Float32,
                shape: Vec::new(),
                data: Vec::new(),
            },
        };
        Ok((name.clone(), tensor))
    });
    Ok(Input::Tensors(tensors.collect::<Result<_, ClientFault>>()?))
}

fn bad(kind: &'static str, param: &str, message: &str) -> ClientFault {
    ClientFault::BadBody {
        kind,
        param: param.to_owned(),
        message: message.to_owned(),
    }
}

fn tensor(port: &Port, value: &Value) -> Result<Tensor, ClientFault> {
    let param = format!("inputs.{}", port.name);
    let element = port.element.unwrap_or(Element::Float32);
    let mut shape = Vec::new();
    let mut level = value;
    while let Value::Array(items) = level {
        shape.push(items.len());
        match items.first() {
            Some(first) if shape.len() < RANK_MAX => level = first,
            _ => break,
        }
    }
    let mut data = Vec::new();
    flatten(value, &shape, element, &mut data).map_err(|message| bad("value_error", &param, &message))?;
    Ok(Tensor { element, shape, data })
}

fn flatten(value: &Value, shape: &[usize], element: Element, data: &mut Vec<u8>) -> Result<(), String> {
    match (value, shape) {
        (Value::Array(items), [len, rest @ ..]) if items.len() == *len => items
            .iter()
            .try_for_each(|item| flatten(item, rest, element, data)),
        (Value::Array(items), [len, ..]) => Err(format!("rows differ in length: {} and {len}", items.len())),
        (Value::Array(_), []) => Err("rows differ in depth".to_owned()),
        (_, [_, ..]) => Err("rows differ in depth".to_owned()),
        (scalar, []) => push(scalar, element, data),
    }
}

/// The little-endian bytes of one value.
fn push(value: &Value, element: Element, data: &mut Vec<u8>) -> Result<(), String> {
    let wrong = || format!("{value} is not {}", element.name());
    /// Whole numbers must fit their type.
    macro_rules! integer {
        ($type:ty, $number:expr) => {
            data.extend(
                <$type>::try_from($number.ok_or_else(wrong)?)
                    .map_err(|_| wrong())?
                    .to_le_bytes(),
            )
        };
    }
    match element {
        Element::Boolean => data.push(u8::from(value.as_bool().ok_or_else(wrong)?)),
        Element::Uint8 => integer!(u8, value.as_u64()),
        Element::Uint16 => integer!(u16, value.as_u64()),
        Element::Uint32 => integer!(u32, value.as_u64()),
        Element::Uint64 => integer!(u64, value.as_u64()),
        Element::Int8 => integer!(i8, value.as_i64()),
        Element::Int16 => integer!(i16, value.as_i64()),
        Element::Int32 => integer!(i32, value.as_i64()),
        Element::Int64 => integer!(i64, value.as_i64()),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to the tensor's precision is what is asked for"
        )]
        Element::Float32 => data.extend((value.as_f64().ok_or_else(wrong)? as f32).to_le_bytes()),
        Element::Float64 => data.extend(value.as_f64().ok_or_else(wrong)?.to_le_bytes()),
        Element::Text => {
            let text = value.as_str().ok_or_else(wrong)?;
            data.extend(u32::try_from(text.len()).map_err(|_| wrong())?.to_le_bytes());
            data.extend(text.as_bytes());
        }
        Element::Float16 | Element::Bfloat16 => {
            return Err(format!("{} has no form in JSON", element.name()));
        }
    }
    Ok(())
}

/// `{"name": {"datatype", "shape", "data"}}`, the data flat and row-major.
///
/// # Errors
///
/// Where a value has no form in JSON, such as NaN.
pub fn encode(named: &[(String, PluginTensor)]) -> Result<Value, RequestError> {
    let mut outputs = Map::new();
    for (name, tensor) in named {
        let data = values(tensor).ok_or_else(|| {
            selvedge_model::InferError::Failed(format!(
                "the output `{name}` has values that JSON has no form for"
            ))
        })?;
        let datatype = format!("{:?}", tensor.element).to_lowercase();
        outputs.insert(
            name.clone(),
            json!({ "datatype": datatype, "shape": tensor.shape, "data": data }),
        );
    }
    Ok(Value::Object(outputs))
}

fn values(tensor: &PluginTensor) -> Option<Vec<Value>> {
    /// Each chunk of bytes as a number of a type.
    macro_rules! numbers {
        ($type:ty) => {{
            let chunks = tensor.data.as_chunks::<{ size_of::<$type>() }>().0;
            chunks
                .iter()
                .map(|bytes| number(<$type>::from_le_bytes(*bytes)))
                .collect()
        }};
    }
    fn number<T: serde::Serialize>(value: T) -> Option<Value> {
        serde_json::to_value(value).ok().filter(|value| !value.is_null())
    }
    match tensor.element {
        PluginElement::Boolean => Some(tensor.data.iter().map(|byte| json!(*byte != 0)).collect()),
        PluginElement::Uint8 => numbers!(u8),
        PluginElement::Uint16 => numbers!(u16),
        PluginElement::Uint32 => numbers!(u32),
        PluginElement::Uint64 => numbers!(u64),
        PluginElement::Int8 => numbers!(i8),
        PluginElement::Int16 => numbers!(i16),
        PluginElement::Int32 => numbers!(i32),
        PluginElement::Int64 => numbers!(i64),
        PluginElement::Float32 => numbers!(f32),
        PluginElement::Float64 => numbers!(f64),
        PluginElement::Float16 | PluginElement::Bfloat16 => None,
        PluginElement::Text => texts(&tensor.data),
    }
}

fn texts(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        texts.push(json!(std::str::from_utf8(text).ok()?));
        bytes = rest;
    }
    Some(texts)
}
