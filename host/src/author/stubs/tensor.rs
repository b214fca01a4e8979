//! A tensor as cases write one, in the form in which they tell of tensors too: `{"name": "logits", "element": "Float32", "shape": [1, 2],
//! "values": [0.1, 0.9]}`, the values row-major and flat.

use half::{bf16, f16};
use selvedge_plugin::value::{Element, Tensor};
use serde::Deserialize;
use serde_json::Value;

use crate::pipeline::convert::ELEMENTS;

/// A tensor with its name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Named {
    /// The model's name of the output.
    pub(super) name: String,
    /// The tensor.
    pub(super) tensor: Tensor,
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    element: String,
    shape: Vec<u32>,
    values: Vec<Value>,
}

impl TryFrom<Written> for Named {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written {
            name,
            element,
            shape,
            values,
        } = written;
        let known = ELEMENTS.iter().find(|known| format!("{known:?}") == element);
        let Some(element) = known.copied() else {
            let names: Vec<String> = ELEMENTS.iter().map(|element| format!("{element:?}")).collect();
            let names = names.join(", ");
            return Err(format!(
                "tensor `{name}`: {element:?} is no `element`, which are {names}"
            ));
        };
        let wanted = shape.iter().map(|dimension| u64::from(*dimension));
        let wanted = wanted.fold(1, u64::saturating_mul);
        if wanted != values.len() as u64 {
            let there = values.len();
            return Err(format!(
                "tensor `{name}`: a shape {shape:?} has {wanted} values, and there are {there}"
            ));
        }
        let mut data = Vec::new();
        for (place, value) in values.iter().enumerate() {
            let pushed = push(&mut data, element, value);
            pushed
                .ok_or_else(|| format!("tensor `{name}`: value {place}, {value}, is none of {element:?}"))?;
        }
        let data = data.into();
        Ok(Self {
            name,
            tensor: Tensor { element, shape, data },
        })
    }
}

/// Adds a value as an element of a type, little-endian; none where it is none of the type's.
fn push(data: &mut Vec<u8>, element: Element, value: &Value) -> Option<()> {
    let whole = value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from));
    match element {
        Element::Boolean => data.push(u8::from(value.as_bool()?)),
        Element::Uint8 => data.extend(u8::try_from(whole?).ok()?.to_le_bytes()),
        Element::Uint16 => data.extend(u16::try_from(whole?).ok()?.to_le_bytes()),
        Element::Uint32 => data.extend(u32::try_from(whole?).ok()?.to_le_bytes()),
        Element::Uint64 => data.extend(u64::try_from(whole?).ok()?.to_le_bytes()),
        Element::Int8 => data.extend(i8::try_from(whole?).ok()?.to_le_bytes()),
        Element::Int16 => data.extend(i16::try_from(whole?).ok()?.to_le_bytes()),
        Element::Int32 => data.extend(i32::try_from(whole?).ok()?.to_le_bytes()),
        Element::Int64 => data.extend(i64::try_from(whole?).ok()?.to_le_bytes()),
        Element::Float16 => data.extend(f16::from_f64(value.as_f64()?).to_le_bytes()),
        Element::Bfloat16 => data.extend(bf16::from_f64(value.as_f64()?).to_le_bytes()),
        Element::Float32 => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the tensor's precision is what is asked for"
            )]
            let single = value.as_f64()? as f32;
            data.extend(single.to_le_bytes());
        }
        Element::Float64 => data.extend(value.as_f64()?.to_le_bytes()),
        Element::Text => {
            let text = value.as_str()?;
            data.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
            data.extend(text.as_bytes());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use selvedge_plugin::value::Element;
    use serde_json::{Value, json};

    use super::Named;

    fn read(element: &str, shape: Value, values: Value) -> Result<Named, String> {
        let written = json!({ "name": "x", "element": element, "shape": shape, "values": values });
        serde_json::from_value(written).map_err(|error| error.to_string())
    }

    #[test]
    fn elements_are_little_endian_and_texts_have_their_lengths() {
        for (element, values, bytes) in [
            ("Float32", json!([1, -0.5]), &[0_u8, 0, 128, 63, 0, 0, 0, 191][..]),
            (
                "Int64",
                json!([-1, 2]),
                &[255, 255, 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 0, 0, 0],
            ),
            ("Uint8", json!([0, 255]), &[0, 255]),
            ("Float16", json!([1, 2]), &[0, 60, 0, 64]),
            ("Boolean", json!([true, false]), &[1, 0]),
            ("Text", json!(["ab", ""]), &[2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]),
        ] {
            let read = read(element, json!([1, 2]), values).expect("a tensor");
            assert_eq!(read.tensor.data, bytes, "{element}");
            assert_eq!((read.name.as_str(), &read.tensor.shape), ("x", &vec![1, 2]));
        }
        let one = read("Uint64", json!([]), json!([u64::MAX])).expect("a tensor");
        assert_eq!((one.tensor.element, one.tensor.data.len()), (Element::Uint64, 8));
    }

    #[test]
    fn what_is_no_tensor_is_told_with_its_place() {
        for (element, shape, values, part) in [
            (
                "F32",
                json!([1]),
                json!([1]),
                "\"F32\" is no `element`, which are Boolean",
            ),
            (
                "Float32",
                json!([2, 2]),
                json!([1, 2, 3]),
                "[2, 2] has 4 values, and there are 3",
            ),
            (
                "Uint8",
                json!([1]),
                json!([256]),
                "value 0, 256, is none of Uint8",
            ),
            (
                "Int32",
                json!([1]),
                json!([0.5]),
                "value 0, 0.5, is none of Int32",
            ),
            ("Float32", json!([1]), json!(["1"]), "none of Float32"),
            ("Float32", json!([1]), json!([[1]]), "none of Float32"),
        ] {
            let why = read(element, shape, values).expect_err("refused");
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
