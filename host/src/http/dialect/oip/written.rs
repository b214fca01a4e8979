//! The `data` of a tensor in JSON as it is written, from bytes that are as the binary form has them.

use half::f16;
use selvedge_model::Element;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// A tensor's bytes, to be written as a flat array.
pub(super) struct Written<'a> {
    /// The type of its elements.
    pub(super) element: Element,
    /// Their bytes.
    pub(super) bytes: &'a [u8],
}

impl Written<'_> {
    /// Whether all of it has a form in JSON.
    ///
    /// # Errors
    ///
    /// What has none.
    pub(super) fn check(&self) -> Result<(), String> {
        let finite = |all: bool| {
            if all {
                Ok(())
            } else {
                Err("a value that is no number or infinite".to_owned())
            }
        };
        match self.element {
            Element::Bfloat16 => Err("elements of BF16".to_owned()),
            Element::Float16 => finite(chunks(self.bytes).all(|bytes| f16::from_le_bytes(bytes).is_finite())),
            Element::Float32 => finite(chunks(self.bytes).all(|bytes| f32::from_le_bytes(bytes).is_finite())),
            Element::Float64 => finite(chunks(self.bytes).all(|bytes| f64::from_le_bytes(bytes).is_finite())),
            Element::Text => {
                let is_text = |texts: Vec<&[u8]>| texts.iter().all(|text| std::str::from_utf8(text).is_ok());
                let all = counted(self.bytes).is_some_and(is_text);
                if all {
                    Ok(())
                } else {
                    Err("bytes that are no UTF-8".to_owned())
                }
            }
            _ => Ok(()),
        }
    }

    fn texts<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = counted(self.bytes).unwrap_or_default();
        serializer.collect_seq(texts.iter().map(|text| String::from_utf8_lossy(text)))
    }
}

/// The elements' bytes.
pub(super) fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Numbers of a type that is written as itself.
        macro_rules! numbers {
            ($type:ty) => {
                sequence(serializer, chunks(self.bytes).map(<$type>::from_le_bytes))
            };
        }
        match self.element {
            Element::Boolean => sequence(serializer, self.bytes.iter().map(|byte| *byte != 0)),
            Element::Uint8 => numbers!(u8),
            Element::Uint16 => numbers!(u16),
            Element::Uint32 => numbers!(u32),
            Element::Uint64 => numbers!(u64),
            Element::Int8 => numbers!(i8),
            Element::Int16 => numbers!(i16),
            Element::Int32 => numbers!(i32),
            Element::Int64 => numbers!(i64),
            Element::Float32 => numbers!(f32),
            Element::Float64 => numbers!(f64),
            Element::Float16 => sequence(
                serializer,
                chunks(self.bytes).map(|bytes| f16::from_le_bytes(bytes).to_f32()),
            ),
            Element::Bfloat16 => sequence(
                serializer,
                chunks(self.bytes).map(|bytes| half::bf16::from_le_bytes(bytes).to_f32()),
            ),
            Element::Text => self.texts(serializer),
        }
    }
}

fn sequence<S: Serializer, T: Serialize>(
    serializer: S,
    items: impl Iterator<Item = T>,
) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(None)?;
    for item in items {
        sequence.serialize_element(&item)?;
    }
    sequence.end()
}

/// A text behind its length, as text tensors hold it.
pub(super) fn push_counted(bytes: &mut Vec<u8>, text: &[u8]) {
    // A body is bounded far below 4 GiB, and so is every text in it.
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend(len.to_le_bytes());
    bytes.extend(&text[..len as usize]);
}

/// The texts of a text tensor's bytes; none where lengths and bytes do not add up.
pub(super) fn counted(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        texts.push(text);
        bytes = rest;
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::{Written, counted, push_counted};
    use crate::http::dialect::oip::data::Data;
    use proptest::prelude::*;
    use selvedge_model::Element;

    #[test]
    fn what_has_no_form_in_json_is_found() {
        let check = |element, bytes: &[u8]| Written { element, bytes }.check();
        assert!(check(Element::Float32, &f32::NAN.to_le_bytes()).is_err());
        assert!(check(Element::Float16, &half::f16::INFINITY.to_le_bytes()).is_err());
        assert!(check(Element::Bfloat16, &[0, 0]).is_err());
        assert!(check(Element::Text, &[1, 0, 0, 0, 0xff]).is_err());
        assert_eq!(check(Element::Float64, &1.5_f64.to_le_bytes()), Ok(()));
    }

    #[test]
    fn texts_whose_lengths_do_not_add_up_are_none() {
        assert_eq!(counted(&[1, 0, 0, 0]), None);
        assert_eq!(counted(&[1, 0, 0]), None);
        assert_eq!(counted(&[0xff, 0xff, 0xff, 0xff, 1]), None);
        let mut bytes = Vec::new();
        push_counted(&mut bytes, b"ab");
        push_counted(&mut bytes, b"");
        assert_eq!(counted(&bytes), Some(vec![b"ab".as_slice(), b""]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(singles: Vec<f32>, whole: Vec<i64>, large: Vec<u64>, texts: Vec<String>) {
            let singles: Vec<u8> = singles.iter().filter(|value| value.is_finite()).flat_map(|value| value.to_le_bytes()).collect();
            let whole: Vec<u8> = whole.iter().flat_map(|value| value.to_le_bytes()).collect();
            let large: Vec<u8> = large.iter().flat_map(|value| value.to_le_bytes()).collect();
            let mut strings = Vec::new();
            texts.iter().for_each(|text| push_counted(&mut strings, text.as_bytes()));
            for (element, bytes) in [
                (Element::Float32, singles), (Element::Int64, whole), (Element::Uint64, large), (Element::Text, strings),
            ] {
                let json = serde_json::to_string(&Written { element, bytes: &bytes }).expect("JSON");
                let data: Data = serde_json::from_str(&json).expect("an array");
                prop_assert_eq!(data.into_bytes(element), Ok(bytes));
            }
        }
    }
}
