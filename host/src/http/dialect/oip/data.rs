//! The `data` of a tensor in JSON, read without knowing its type, which may stand behind it: the numbers as they stand, eight bytes
//! each, whatever their nesting; only then do they become elements. How it is written is in `written`.

use std::fmt;

use half::f16;
use selvedge_model::Element;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::written::push_counted;

/// Dimensions of a nested array at most.
const RANK_MAX: usize = 16;

/// A flat or nested array, row-major.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Data {
    /// Lengths of the array and the arrays in it, outermost first; none for a single value.
    pub(super) shape: Vec<usize>,
    values: Values,
}

/// Values of one kind. Whole numbers and others may be mixed, and are all others then.
#[derive(Debug, Clone, Default, PartialEq)]
enum Values {
    #[default]
    None,
    Booleans(Vec<u8>),
    Unsigned(Vec<u64>),
    Signed(Vec<i64>),
    Floats(Vec<f64>),
    /// Each with its length before it, as text tensors hold them.
    Texts {
        bytes: Vec<u8>,
        count: usize,
    },
}

const MIXED: &str = "values of one array must be of one type: numbers, booleans or strings";

impl Values {
    fn push_unsigned(&mut self, value: u64) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Unsigned(vec![value]),
            Self::Unsigned(values) => values.push(value),
            Self::Signed(values) => values.push(i64::try_from(value).map_err(|_| "numbers beyond 64 bits")?),
            #[expect(
                clippy::cast_precision_loss,
                reason = "it stands among numbers that are not whole"
            )]
            Self::Floats(values) => values.push(value as f64),
            Self::Booleans(_) | Self::Texts { .. } => return Err(MIXED),
        }
        Ok(())
    }

    fn push_signed(&mut self, value: i64) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Signed(vec![value]),
            Self::Unsigned(values) => {
                let signed: Result<Vec<i64>, _> = values.iter().map(|value| i64::try_from(*value)).collect();
                *self = Self::Signed(signed.map_err(|_| "numbers beyond 64 bits")?);
                return self.push_signed(value);
            }
            Self::Signed(values) => values.push(value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "it stands among numbers that are not whole"
            )]
            Self::Floats(values) => values.push(value as f64),
            Self::Booleans(_) | Self::Texts { .. } => return Err(MIXED),
        }
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "they stand among numbers that are not whole"
    )]
    fn push_float(&mut self, value: f64) -> Result<(), &'static str> {
        let mut floats = match std::mem::take(self) {
            Self::None => Vec::new(),
            Self::Unsigned(values) => values.into_iter().map(|value| value as f64).collect(),
            Self::Signed(values) => values.into_iter().map(|value| value as f64).collect(),
            Self::Floats(values) => values,
            Self::Booleans(_) | Self::Texts { .. } => return Err(MIXED),
        };
        floats.push(value);
        *self = Self::Floats(floats);
        Ok(())
    }

    fn push_boolean(&mut self, value: bool) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Booleans(vec![u8::from(value)]),
            Self::Booleans(values) => values.push(u8::from(value)),
            _ => return Err(MIXED),
        }
        Ok(())
    }

    fn push_text(&mut self, text: &str) -> Result<(), &'static str> {
        if *self == Self::None {
            *self = Self::Texts {
                bytes: Vec::new(),
                count: 0,
            };
        }
        let Self::Texts { bytes, count } = self else {
            return Err(MIXED);
        };
        push_counted(bytes, text.as_bytes());
        *count += 1;
        Ok(())
    }

    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Booleans(values) => values.len(),
            Self::Unsigned(values) => values.len(),
            Self::Signed(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Texts { count, .. } => *count,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Booleans(_) => "booleans",
            Self::Unsigned(_) | Self::Signed(_) => "whole numbers",
            Self::Floats(_) => "numbers that are not whole",
            Self::Texts { .. } => "strings",
        }
    }
}

impl Data {
    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The little-endian bytes of the values as elements of a type.
    ///
    /// # Errors
    ///
    /// Which value is none of the type's.
    pub(super) fn into_bytes(self, element: Element) -> Result<Vec<u8>, String> {
        /// Whole numbers, each of which must be within the type.
        macro_rules! whole {
            ($type:ty) => {
                match &self.values {
                    Values::Unsigned(values) => each(values, element, |value| {
                        <$type>::try_from(value).ok().map(<$type>::to_le_bytes)
                    }),
                    Values::Signed(values) => each(values, element, |value| {
                        <$type>::try_from(value).ok().map(<$type>::to_le_bytes)
                    }),
                    other => Err(wrong_kind(other, element)),
                }
            };
        }
        match (element, &self.values) {
            (Element::Bfloat16, _) => Err("BF16 has no form in JSON: send it as binary data".to_owned()),
            (_, Values::None) => Ok(Vec::new()),
            (Element::Boolean, Values::Booleans(_)) | (Element::Text, Values::Texts { .. }) => {
                match self.values {
                    Values::Booleans(bytes) | Values::Texts { bytes, .. } => Ok(bytes),
                    other => Err(wrong_kind(&other, element)),
                }
            }
            (Element::Boolean | Element::Text, other) => Err(wrong_kind(other, element)),
            (Element::Uint8, _) => whole!(u8),
            (Element::Uint16, _) => whole!(u16),
            (Element::Uint32, _) => whole!(u32),
            (Element::Uint64, _) => whole!(u64),
            (Element::Int8, _) => whole!(i8),
            (Element::Int16, _) => whole!(i16),
            (Element::Int32, _) => whole!(i32),
            (Element::Int64, _) => whole!(i64),
            (Element::Float16, _) => {
                let half = |value| Some(f16::from_f64(value)).filter(|half| half.is_finite());
                self.floats(element, |value| half(value).map(f16::to_le_bytes))
            }
            (Element::Float32, _) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the tensor's precision is what is asked for"
                )]
                let single = |value: f64| Some(value as f32).filter(|single| single.is_finite());
                self.floats(element, |value| single(value).map(f32::to_le_bytes))
            }
            (Element::Float64, _) => self.floats(element, |value| Some(value.to_le_bytes())),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a whole number among others is one of them"
    )]
    fn floats<const N: usize>(
        &self,
        element: Element,
        bytes: impl Fn(f64) -> Option<[u8; N]>,
    ) -> Result<Vec<u8>, String> {
        match &self.values {
            Values::Unsigned(values) => each(values, element, |value| bytes(value as f64)),
            Values::Signed(values) => each(values, element, |value| bytes(value as f64)),
            Values::Floats(values) => each(values, element, bytes),
            other => Err(wrong_kind(other, element)),
        }
    }
}

fn wrong_kind(values: &Values, element: Element) -> String {
    format!("{} are no elements of {}", values.kind(), element.name())
}

fn each<T: Copy + fmt::Display, const N: usize>(
    values: &[T],
    element: Element,
    bytes: impl Fn(T) -> Option<[u8; N]>,
) -> Result<Vec<u8>, String> {
    let mut all = Vec::with_capacity(values.len() * N);
    for (place, value) in values.iter().enumerate() {
        let beyond = || format!("element {place} is {value}, which is beyond {}", element.name());
        all.extend(bytes(*value).ok_or_else(beyond)?);
    }
    Ok(all)
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reader = Reader::default();
        Level {
            reader: &mut reader,
            depth: 0,
        }
        .deserialize(deserializer)?;
        let shape = reader.shape.into_iter().map(Option::unwrap_or_default).collect();
        Ok(Self {
            shape,
            values: reader.values,
        })
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    /// The lengths that are known, by depth: of the first array that ended there.
    shape: Vec<Option<usize>>,
    /// How deep values stand.
    depth: Option<usize>,
    values: Values,
}

/// One value at a depth, or an array of them.
struct Level<'a> {
    reader: &'a mut Reader,
    depth: usize,
}

impl Level<'_> {
    fn value<E: Error>(self, push: impl FnOnce(&mut Values) -> Result<(), &'static str>) -> Result<(), E> {
        if *self.reader.depth.get_or_insert(self.depth) != self.depth || self.reader.shape.len() > self.depth
        {
            return Err(E::custom("rows differ in depth"));
        }
        push(&mut self.reader.values).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("numbers, booleans or strings, in arrays")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.value(|values| values.push_boolean(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.value(|values| values.push_unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.value(|values| values.push_signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.value(|values| values.push_float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.value(|values| values.push_text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let (reader, depth) = (self.reader, self.depth);
        if depth == RANK_MAX {
            return Err(A::Error::custom(format_args!("more than {RANK_MAX} dimensions")));
        }
        if reader.depth.is_some_and(|values| values <= depth) {
            return Err(A::Error::custom("rows differ in depth"));
        }
        if reader.shape.len() == depth {
            reader.shape.push(None);
        }
        let mut len = 0;
        while items
            .next_element_seed(Level {
                reader: &mut *reader,
                depth: depth + 1,
            })?
            .is_some()
        {
            len += 1;
        }
        match reader.shape[depth].replace(len) {
            Some(first) if first != len => Err(A::Error::custom(format_args!(
                "rows differ in length: {len} and {first}"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Data;
    use proptest::prelude::*;
    use selvedge_model::Element;

    fn read(json: &str, element: Element) -> Result<(Vec<usize>, Vec<u8>), String> {
        let data: Data = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Ok((data.shape.clone(), data.into_bytes(element)?))
    }

    #[test]
    fn reads_flat_and_nested_arrays_alike() {
        let bytes: Vec<u8> = [1_i64, -2, 3, 4]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert_eq!(read("[1,-2,3,4]", Element::Int64), Ok((vec![4], bytes.clone())));
        assert_eq!(read("[[1,-2],[3,4]]", Element::Int64), Ok((vec![2, 2], bytes)));
        assert_eq!(read("[[],[]]", Element::Float32), Ok((vec![2, 0], Vec::new())));
        assert_eq!(read("[true,false]", Element::Boolean), Ok((vec![2], vec![1, 0])));
        assert_eq!(
            read("[\"é\"]", Element::Text),
            Ok((vec![1], vec![2, 0, 0, 0, 0xc3, 0xa9]))
        );
        assert_eq!(
            read("[1,0.5]", Element::Float16),
            Ok((vec![2], vec![0, 0x3c, 0, 0x38]))
        );
        assert_eq!(
            read("[1,0.5]", Element::Float32).map(|(_, bytes)| bytes.len()),
            Ok(8)
        );
    }

    #[test]
    fn says_what_is_wrong_with_others() {
        for (json, element, said) in [
            ("[[1,2],[3]]", Element::Int64, "rows differ in length: 1 and 2"),
            ("[[1],2]", Element::Int64, "rows differ in depth"),
            ("[1,[2]]", Element::Int64, "rows differ in depth"),
            ("[[],1]", Element::Int64, "rows differ in depth"),
            ("[[[]],[1]]", Element::Int64, "rows differ in depth"),
            ("[1,true]", Element::Int64, "of one type"),
            ("[\"1\"]", Element::Int64, "strings are no elements of INT64"),
            ("[1.5]", Element::Int64, "not whole are no elements of INT64"),
            (
                "[0,300]",
                Element::Uint8,
                "element 1 is 300, which is beyond UINT8",
            ),
            ("[-1]", Element::Uint64, "element 0 is -1, which is beyond UINT64"),
            ("[18446744073709551615]", Element::Int64, "beyond INT64"),
            ("[18446744073709551615,-1]", Element::Int64, "beyond 64 bits"),
            ("[1e39]", Element::Float32, "beyond FP32"),
            ("[70000]", Element::Float16, "beyond FP16"),
            ("[1]", Element::Bfloat16, "binary data"),
            ("[1]", Element::Boolean, "whole numbers are no elements of BOOL"),
            ("[null]", Element::Int64, "expected numbers, booleans or strings"),
            ("[{}]", Element::Int64, "expected numbers, booleans or strings"),
        ] {
            let error = read(json, element).expect_err(json);
            assert!(error.contains(said), "{json}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
        assert!(
            read(&deep, Element::Int64)
                .expect_err("deep")
                .contains("16 dimensions")
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(json in "[\\[\\],0-9.\"eatru-]{0,40}") {
            let _ = read(&json, Element::Float32);
        }
    }
}
