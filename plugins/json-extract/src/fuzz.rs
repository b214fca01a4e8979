//! What holds for any text: reading never panics, costs time in proportion, and leaves valid JSON as it is.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::extractor::{Config, Extractor};
use crate::finder::find;
use crate::reader::{Ending, read};

/// Marsaglia's xorshift: seeded, so that a failure can be seen again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn text(&mut self, pieces: &[&str], pieces_max: usize) -> String {
        (0..self.below(pieces_max)).map(|_| self.of(pieces)).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        const PIECES: [&str; 9] = ["a", " ", "\"", "\\", "é", "😀", "\n", "```", "\u{1}"];
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(1000)),
            3 => json!(f64::from_bits(
                u64::try_from(self.below(usize::MAX)).expect("64 bits") << 33
            )),
            4 => json!(i64::MIN + i64::try_from(self.below(1000)).expect("small")),
            5 => json!(self.text(&PIECES, 8)),
            6 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let fields = (0..self.below(5)).map(|_| (self.text(&PIECES, 4), self.value(depth - 1)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

const SHARDS: [&str; 40] = [
    "{", "}", "[", "]", ",", ":", "\"", "'", "“", "”", "‘", "\\", "\\u", "d83d", "\\\"", "//", "/*", "*/",
    "#", "```", "json", "\n", " ", "\u{feff}", "true", "Non", "NaN", "1", "-", ".", "e", "0", "a", "é", "😀",
    "$", "<think>", "</think>", "{\"a\":", "[1,",
];

#[test]
fn never_panics_and_gives_json_that_it_would_give_again() {
    let mut random = Random(0x5e1_7ed6e);
    let extractor = Extractor::new(&Config::default()).expect("no schema");
    let mut read = 0;
    for _ in 0..50_000 {
        let text = random.text(&SHARDS, 30);
        let ending = random.of(&[Ending::Meant, Ending::MayBeCut]);
        if let Ok(json) = extractor.extract(&text, ending) {
            assert_eq!(extractor.extract(&json, ending).as_ref(), Ok(&json), "{text:?}");
            serde_json::from_str::<Value>(&json).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            read += 1;
        }
    }
    assert!(read > 3_000, "only {read} were read");
}

#[test]
fn leaves_valid_json_as_it_is() {
    let mut random = Random(0x0dd_ba11);
    for _ in 0..5_000 {
        let value = random.value(4);
        for text in [value.to_string(), format!("{value:#}")] {
            let found = read(&text, 0, Ending::Meant).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert_eq!(found.value.to_string(), value.to_string());
            assert_eq!((found.end, found.cut), (text.len(), false), "{text}");
        }
    }
}

#[test]
fn reads_the_beginning_of_valid_json_wherever_it_is_cut() {
    let mut random = Random(0xc0_ffee);
    for _ in 0..300 {
        let value = json!({ "first": 1, "rest": random.value(3) });
        let text = value.to_string();
        let cuts = text.char_indices().map(|(at, _)| at).skip(r#"{"first":1,"#.len());
        for cut in cuts {
            let found = find(&text[..cut], Ending::MayBeCut);
            assert_eq!(found.values.len(), 1, "{}", &text[..cut]);
            assert_eq!(found.values[0]["first"], 1);
        }
    }
}

#[test]
fn a_mebibyte_of_anything_takes_time_in_proportion() {
    for shard in [
        "[",
        "{",
        "\"",
        "'",
        "“",
        "\\",
        "```",
        "/*",
        " ",
        "1",
        "[1]",
        "[1,",
        "[\"",
        "['",
        "[\"\"",
        "[/*",
        "[#",
        "[1e",
        "[tru",
        " [",
        "a[",
        "[[[]",
        "``` [",
        "{x",
        "{a:",
        "{\"a\":",
        "{\"a\":1,",
        "{\"a\":?",
        "{\"a\":[",
        "{\"a\":1}```",
        "\"\\u",
    ] {
        let text = shard.repeat((1 << 20) / shard.len());
        let started = Instant::now();
        find(&text, Ending::Meant);
        // Where it grew with the square, this would be hours.
        assert!(started.elapsed() < Duration::from_secs(20), "{shard}");
    }
}
