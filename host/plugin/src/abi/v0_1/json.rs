//! JSON that plugins answer with: it must be some, and nest no deeper than whoever reads it can follow.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::Fault;
use crate::value::safe;

/// Checks a text that a plugin answers with as JSON; keeps nothing of it.
///
/// # Errors
///
/// [`Fault::Json`] in an error of wasmtime's where it is none, or nests deeper than serde_json's 128.
pub(super) fn check(text: &str) -> wasmtime::Result<()> {
    serde_json::from_str::<Checked>(text)
        .map(|Checked| ())
        .map_err(|error| wasmtime::Error::new(Fault::Json(safe(&error.to_string(), 256))))
}

/// Any value; unlike [`IgnoredAny`], which skips what is in it, it is read value by value, so that depth is counted.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while let Some(Checked) = items.next_element()? {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while let Some((IgnoredAny, Checked)) = fields.next_entry()? {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn takes_json_and_nothing_else() {
        for text in [
            "null",
            "1e400",
            r#"{"a":[1,-2,3.5,true,"\u00e9"]}"#,
            &("[".repeat(127) + &"]".repeat(127)),
        ] {
            assert_eq!(check(text).is_ok(), text != "1e400", "{text}");
        }
        for text in [
            "",
            "{",
            "{} {}",
            "NaN",
            "\u{feff}1",
            &("[".repeat(129) + &"]".repeat(129)),
        ] {
            let error = check(text).expect_err(text).to_string();
            assert!(error.contains("JSON"), "{error}");
        }
    }
}
