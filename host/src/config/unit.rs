//! Sizes and times as people write them: `"8MiB"`, `"250ms"`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A number of bytes, written as `"512KiB"`, `"8MiB"`, `"2GiB"` or `"100B"`; powers of 1,024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

/// A time, written as `"250us"`, `"250ms"`, `"30s"`, `"5m"` or `"1h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

const TIME_UNITS: [(&str, u64); 5] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
];

/// A whole number followed by one of the units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Reads a quoted number with a unit, and says what one looks like where it is none.
struct Quoted<T> {
    units: &'static [(&'static str, u64)],
    expecting: &'static str,
    make: fn(u64) -> T,
}

impl<T> Visitor<'_> for Quoted<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let number = parse(text, self.units);
        number
            .map(self.make)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Quoted {
            units: &SIZE_UNITS,
            expecting: "a size such as \"8MiB\" (B, KiB, MiB, GiB)",
            make: |bytes| Size(usize::try_from(bytes).unwrap_or(usize::MAX)),
        })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Quoted {
            units: &TIME_UNITS,
            expecting: "a time such as \"250ms\" (us, ms, s, m, h)",
            make: |micros| Time(Duration::from_micros(micros)),
        })
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exactly, and as it is read.
        serializer.collect_str(&format_args!("{}us", self.0.as_micros()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SIZE_UNITS, Size, TIME_UNITS, Time, parse};

    #[test]
    fn reads_numbers_with_units() {
        assert_eq!(parse("8MiB", &SIZE_UNITS), Some(8 << 20));
        assert_eq!(parse("100 B", &SIZE_UNITS), Some(100));
        assert_eq!(parse("250ms", &TIME_UNITS), Some(250_000));
        assert_eq!(parse("1h", &TIME_UNITS), Some(3_600_000_000));
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in ["8", "8MB", "MiB", "-1s", "1.5s", "8mib", "99999999999999GiB", ""] {
            assert_eq!(
                parse(text, &SIZE_UNITS).or(parse(text, &TIME_UNITS)),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn shows_the_largest_unit_that_is_exact() {
        assert_eq!(Size(8 << 20).to_string(), "8MiB");
        assert_eq!(Size(1025).to_string(), "1025B");
        assert_eq!(Time(Duration::from_millis(250)).to_string(), "250ms");
    }
}
