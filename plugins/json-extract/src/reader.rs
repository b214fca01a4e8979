//! Reads one JSON value out of a text that a model wrote, and repairs what can be read in one way only. Pure; knows no WIT.
//!
//! Valid JSON is read as it is. Repaired are commas too many or too few, comments, keys without quotes, a bracket that the
//! next outer one closes, and all that an early end of the text leaves open; `scalar` repairs texts, numbers and words. A
//! text without quotes or a quote within a text can be meant in several ways, so both are faults. Libraries for this were
//! tried: they have no limit of depth, make up keys, or put out what is no JSON.

use serde_json::{Map, Value};

use crate::scalar::closing_quotes;

/// Begins and ends a fenced block; outside of texts it ends the value too.
pub(crate) const FENCE: &str = "```";

/// Arrays and objects in each other, as many as serde_json and most clients read.
const DEPTH_MAX: usize = 127;

/// Whether the text may have ended before its writer meant it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The model ended it.
    Meant,
    /// A limit may have: a number at the end of what is still open may lack digits, so it is left out.
    MayBeCut,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) value: Value,
    /// Where the text goes on, in bytes.
    pub(crate) end: usize,
    /// Whether the text ended within it.
    pub(crate) cut: bool,
    /// Whether it is surely meant as JSON: there is a key with its colon, or a text in quotes.
    pub(crate) sure: bool,
}

/// Why nothing was read.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Where, in bytes.
    pub(crate) at: usize,
    /// What is there, and what was expected.
    pub(crate) what: String,
    /// As in [`Read`].
    pub(crate) sure: bool,
}

/// Reads the value that begins at a place; says what stands in the way where there is none.
pub(crate) fn read(text: &str, at: usize, ending: Ending) -> Result<Read, Fault> {
    let mut reader = Reader {
        text,
        at,
        ending,
        open: Vec::new(),
        cut: false,
        sure: false,
    };
    let value = reader.value()?;
    match value {
        Some(value) if !reader.cut || !is_empty(&value) => Ok(Read {
            value,
            end: reader.at,
            cut: reader.cut,
            sure: reader.sure,
        }),
        _ => Err(reader.fault("the text ends before there is a value")),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A place in a text, and what is open there. What yields `None` met the end of the text before there was a whole of it.
pub(crate) struct Reader<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
    pub(crate) ending: Ending,
    /// The brackets that close what is open, innermost last.
    pub(crate) open: Vec<char>,
    pub(crate) cut: bool,
    pub(crate) sure: bool,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Option<Value>, Fault> {
        self.skip_blank();
        match self.peek() {
            None => Ok(self.end()),
            Some('{') => self.object().map(Some),
            Some('[') => self.array().map(Some),
            Some('0'..='9' | '-' | '+' | '.') => self.number(),
            Some(quote) => match closing_quotes(quote) {
                Some(closing) => Ok(Some(Value::String(self.quoted(closing)))),
                None => self.word(),
            },
        }
    }

    fn array(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        self.enter(']')?;
        while self.goes_on()? {
            let Some(item) = self.value()? else { break };
            items.push(item);
        }
        self.open.pop();
        Ok(Value::Array(items))
    }

    fn object(&mut self) -> Result<Value, Fault> {
        let mut fields = Map::new();
        self.enter('}')?;
        while self.goes_on()? {
            let Some((key, value)) = self.field()? else { break };
            fields.insert(key, value);
        }
        self.open.pop();
        Ok(Value::Object(fields))
    }

    fn field(&mut self) -> Result<Option<(String, Value)>, Fault> {
        let key = self.key()?;
        self.skip_blank();
        match self.peek() {
            None => return Ok(self.end()),
            Some(':') => self.at += 1,
            Some(_) => return Err(self.fault(format!("expected `:` behind the key `{}`", short(&key)))),
        }
        self.sure = true;
        Ok(self.value()?.map(|value| (key, value)))
    }

    fn key(&mut self) -> Result<String, Fault> {
        if let Some(closing) = self.peek().and_then(closing_quotes) {
            return Ok(self.quoted(closing));
        }
        let bare = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$' | '-');
        let key = self.take_while(bare);
        if key.is_empty() {
            return Err(self.fault("expected a key"));
        }
        Ok(key.to_owned())
    }

    fn enter(&mut self, closing: char) -> Result<(), Fault> {
        if self.open.len() == DEPTH_MAX {
            return Err(self.fault(format!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(closing);
        self.at += 1;
        Ok(())
    }

    /// Whether the innermost array or object has more in it. If not, its bracket is passed, where it has one.
    fn goes_on(&mut self) -> Result<bool, Fault> {
        self.skip_blank();
        while self.peek() == Some(',') {
            self.at += 1;
            self.skip_blank();
        }
        match self.peek() {
            None => {
                self.cut = true;
                Ok(false)
            }
            Some(bracket @ ('}' | ']')) => {
                if self.open.last() == Some(&bracket) {
                    self.at += 1;
                } else if !self.open.contains(&bracket) {
                    return Err(self.fault(format!("`{bracket}` closes nothing")));
                }
                Ok(false)
            }
            Some(_) => Ok(true),
        }
    }

    /// Passes white space and comments. A fence ends the text here.
    pub(crate) fn skip_blank(&mut self) {
        loop {
            self.take_while(|character| character.is_whitespace() || character == '\u{feff}');
            let rest = &self.text[self.at..];
            let len = if rest.starts_with("//") || rest.starts_with('#') {
                rest.find('\n')
            } else if rest.starts_with("/*") {
                rest.find("*/").map(|end| end + 2)
            } else {
                if rest.starts_with(FENCE) {
                    self.text = &self.text[..self.at];
                }
                return;
            };
            self.at += len.unwrap_or(rest.len());
        }
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let taken = &rest[..rest.find(|character| !wanted(character)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    pub(crate) fn end<T>(&mut self) -> Option<T> {
        self.cut = true;
        None
    }

    pub(crate) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            at: self.at,
            what: what.into(),
            sure: self.sure,
        }
    }
}

/// As much of a text as a message shows.
pub(crate) fn short(text: &str) -> &str {
    const LEN_MAX: usize = 40;
    &text[..text.floor_char_boundary(LEN_MAX)]
}

#[cfg(test)]
mod tests {
    use super::{Ending, Fault, read};
    use serde_json::{Value, json};

    fn value(text: &str) -> Value {
        let read = read(text, 0, Ending::Meant).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        assert_eq!(read.end, text.len(), "{text}");
        read.value
    }

    fn fault(text: &str) -> Fault {
        read(text, 0, Ending::Meant)
            .err()
            .unwrap_or_else(|| panic!("{text} was read"))
    }

    #[test]
    fn repairs_commas_and_comments() {
        assert_eq!(value("[1,,2,]"), json!([1, 2]));
        assert_eq!(value("{\"a\": 1\n \"b\": 2,}"), json!({ "a": 1, "b": 2 }));
        assert_eq!(value("[1, // one\n 2 /* two */, # end\n]"), json!([1, 2]));
    }

    #[test]
    fn reads_keys_without_quotes() {
        assert_eq!(
            value("{a: 1, $b-c: 2, größe: 3, 4: 5}"),
            json!({ "a": 1, "$b-c": 2, "größe": 3, "4": 5 })
        );
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(
            value(r#"{"a": 1, "b": 2, "a": 3}"#).to_string(),
            r#"{"a":3,"b":2}"#
        );
    }

    #[test]
    fn an_outer_bracket_closes_what_is_open_in_it() {
        assert_eq!(value(r#"{"a": [1, {"b": 2]}"#), json!({ "a": [1, { "b": 2 }] }));
        assert_eq!(value(r#"{"a": [1, 2}"#), json!({ "a": [1, 2] }));
        assert_eq!(fault("[1, 2}").what, "`}` closes nothing");
    }

    #[test]
    fn closes_what_the_end_leaves_open() {
        for (text, expected) in [
            (r#"{"a": {"b": [1, "x"#, json!({ "a": { "b": [1, "x"] } })),
            (r#"{"a": 1, "b"#, json!({ "a": 1 })),
            (r#"{"a": 1, "b""#, json!({ "a": 1 })),
            (r#"{"a": 1, "b": "#, json!({ "a": 1 })),
            (r#"{"a": 1, b"#, json!({ "a": 1 })),
            (r#"{"a": 1, "b": fal"#, json!({ "a": 1 })),
            (r#"{"a": [{"b": 1}, {"#, json!({ "a": [{ "b": 1 }, {}] })),
            (r#"[1, "a\u00e"#, json!([1, "a"])),
            (r#"[1, "a\"#, json!([1, "a"])),
            ("[1, 2, /* three", json!([1, 2])),
        ] {
            assert_eq!(value(text), expected);
        }
    }

    #[test]
    fn a_number_at_the_end_counts_only_where_the_end_was_meant() {
        let text = r#"{"a": 1, "b": 12"#;
        assert_eq!(value(text), json!({ "a": 1, "b": 12 }));
        assert_eq!(
            read(text, 0, Ending::MayBeCut).expect("read").value,
            json!({ "a": 1 })
        );
        assert_eq!(value(r#"{"a": 1, "b": 1e"#), json!({ "a": 1 }));
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (text, at, what) in [
            ("", 0, "the text ends before there is a value"),
            ("[ ", 2, "the text ends before there is a value"),
            ("{\"a\": }", 6, "expected a value"),
            ("{\"a\" 1}", 5, "expected `:` behind the key `a`"),
            ("{\"a\": 1, ?}", 9, "expected a key"),
            ("[\"a\" = 1]", 5, "expected a value"),
        ] {
            let fault = fault(text);
            assert_eq!((fault.at, fault.what.as_str()), (at, what), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_nested_beyond_reason() {
        let nested = |depth: usize| "[".repeat(depth) + "1" + &"]".repeat(depth);
        assert_eq!(
            serde_json::from_str::<Value>(&nested(127)).ok(),
            Some(value(&nested(127)))
        );
        assert!(fault(&nested(128)).what.contains("127"));
        assert!(serde_json::from_str::<Value>(&nested(128)).is_err());
    }
}
