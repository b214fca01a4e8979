//! Reads texts, numbers and words, and repairs what can be read in one way only. Pure; knows no WIT.
//!
//! Repaired are single and typographic quotes round a text, line ends and unknown escapes in it, Python's and
//! JavaScript's words, a sign or a point at a number's edge.

use serde_json::{Number, Value};

use crate::reader::{Ending, Fault, Reader, short};

/// Words that stand for a value, in upper and lower case alike. JSON has no word for what is no number: that becomes null,
/// as JavaScript writes it.
const WORDS: [(&str, Value); 8] = [
    ("true", Value::Bool(true)),
    ("false", Value::Bool(false)),
    ("null", Value::Null),
    ("none", Value::Null),
    ("nil", Value::Null),
    ("undefined", Value::Null),
    ("nan", Value::Null),
    ("infinity", Value::Null),
];

/// What closes a text that begins with this character, where it is a quote. A straight quote is closed by its like alone,
/// as JSON has it; typographic ones are mixed up by models.
pub(crate) fn closing_quotes(quote: char) -> Option<&'static [char]> {
    match quote {
        '"' => Some(&['"']),
        '\'' => Some(&['\'']),
        '“' | '”' | '„' => Some(&['“', '”', '"']),
        '‘' | '’' | '‚' => Some(&['‘', '’', '\'']),
        _ => None,
    }
}

impl Reader<'_> {
    /// A text in quotes, or what there is of it where the end comes first.
    pub(crate) fn quoted(&mut self, closing: &[char]) -> String {
        let mut text = String::new();
        self.next();
        loop {
            text += self.take_while(|character| character != '\\' && !closing.contains(&character));
            match self.next() {
                Some('\\') => self.escape(&mut text),
                Some(_) => {
                    self.sure = true;
                    return text;
                }
                None => {
                    self.cut = true;
                    return text;
                }
            }
        }
    }

    /// What stands behind a backslash. One that escapes nothing is kept, as in a pattern's `\d`.
    fn escape(&mut self, text: &mut String) {
        let Some(character) = self.next() else { return };
        match character {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'u' => self.unicode(text),
            '\\' | '/' => text.push(character),
            quote if closing_quotes(quote).is_some() => text.push(quote),
            other => text.extend(['\\', other]),
        }
    }

    /// The four digits behind `\u`, and those of a second half that belongs to them.
    fn unicode(&mut self, text: &mut String) {
        let Some(unit) = self.hex(self.at) else {
            if self.text.len() - self.at < 4 {
                self.at = self.text.len();
            } else {
                text.push_str("\\u");
            }
            return;
        };
        self.at += 4;
        let second = self.text[self.at..]
            .starts_with("\\u")
            .then(|| self.hex(self.at + 2));
        let units = [unit, second.flatten().unwrap_or_default()];
        match char::decode_utf16(units).next() {
            Some(Ok(character)) => {
                if character.len_utf16() == 2 {
                    self.at += 6;
                }
                text.push(character);
            }
            _ => text.push(char::REPLACEMENT_CHARACTER),
        }
    }

    fn hex(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 4)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
    }

    pub(crate) fn number(&mut self) -> Result<Option<Value>, Fault> {
        let start = self.at;
        let digits =
            self.take_while(|character| matches!(character, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let number = parse_number(digits);
        let is_last = self.at == self.text.len() && !self.open.is_empty();
        match number {
            _ if is_last && self.ending == Ending::MayBeCut => Ok(self.end()),
            None if is_last => Ok(self.end()),
            Some(number) if self.is_at_an_edge() => Ok(Some(Value::Number(number))),
            _ => {
                self.at = start;
                let run =
                    self.take_while(|character| !character.is_whitespace() && !is_structural(character));
                self.at = start;
                Err(self.fault(format!("`{}` is no number", short(run))))
            }
        }
    }

    pub(crate) fn word(&mut self) -> Result<Option<Value>, Fault> {
        let start = self.at;
        let word = self.take_while(|character| character.is_alphanumeric() || character == '_');
        if let Some((_, value)) = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word))
            && self.is_at_an_edge()
        {
            return Ok(Some(value.clone()));
        }
        let begins = |known: &str| {
            known
                .get(..word.len())
                .is_some_and(|part| part.eq_ignore_ascii_case(word))
        };
        let is_last = self.at == self.text.len() && !self.open.is_empty();
        if is_last && WORDS.iter().any(|(known, _)| begins(known)) {
            return Ok(self.end());
        }
        self.at = start;
        Err(self.fault(if word.is_empty() {
            "expected a value".to_owned()
        } else {
            format!("`{}` is no value; a text needs quotes", short(word))
        }))
    }

    /// Whether a number or word that ends here can end here.
    fn is_at_an_edge(&self) -> bool {
        let edge = |character: char| character.is_whitespace() || is_structural(character);
        self.peek().is_none_or(edge)
    }
}

fn is_structural(character: char) -> bool {
    matches!(character, ',' | ']' | '}' | '/' | '#' | '`')
}

/// A number as JSON has it, or with a sign or a point at its edge. One with leading zeros is rather a text.
fn parse_number(digits: &str) -> Option<Number> {
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    if unsigned.starts_with('0') && unsigned[1..].starts_with(|next: char| next.is_ascii_digit()) {
        return None;
    }
    let whole = match digits {
        "-0" => None,
        _ => digits.parse::<i64>().map(Number::from).ok(),
    };
    whole
        .or_else(|| digits.parse::<u64>().map(Number::from).ok())
        .or_else(|| Number::from_f64(digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use crate::reader::{Ending, read};
    use serde_json::{Value, json};

    fn value(text: &str) -> Result<Value, String> {
        read(text, 0, Ending::Meant)
            .map(|read| read.value)
            .map_err(|fault| fault.what)
    }

    #[test]
    fn reads_texts_in_any_quotes() {
        for (text, expected) in [
            (r#""a\"b'c”d""#, "a\"b'c”d"),
            (r"'a\'b“c'", "a'b“c"),
            ("“a”", "a"),
            ("„a“", "a"),
            ("“a\"", "a"),
            ("‘a’", "a"),
        ] {
            assert_eq!(value(text), Ok(json!(expected)), "{text}");
        }
    }

    #[test]
    fn reads_line_ends_and_escapes_in_texts() {
        for (text, expected) in [
            ("\"a\nb\tc\"", "a\nb\tc"),
            (r#""\n\t\r\b\f\/\\""#, "\n\t\r\u{8}\u{c}/\\"),
            (r#""\u00e9\ud83d\ude00!""#, "é😀!"),
            (r#""\ud83d \ud83d\u0041""#, "\u{fffd} \u{fffd}A"),
            (r#""\d+\_ \u12x4""#, "\\d+\\_ \\u12x4"),
            ("\"\\u12é\"", "\\u12é"),
        ] {
            assert_eq!(value(text), Ok(json!(expected)), "{text}");
        }
    }

    #[test]
    fn reads_numbers() {
        for (text, expected) in [
            ("-12", json!(-12)),
            ("+5", json!(5)),
            (".5", json!(0.5)),
            ("5.", json!(5.0)),
            ("1E3", json!(1000.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
        assert_eq!(value("-0").map(|zero| zero.to_string()).as_deref(), Ok("-0.0"));
    }

    #[test]
    fn refuses_what_may_be_a_text() {
        for text in ["[007]", "[1.2.3]", "[2024-01-01]", "[12px]", "[1e999]", "[-]"] {
            let word = &text[1..text.len() - 1];
            assert_eq!(value(text), Err(format!("`{word}` is no number")));
        }
        assert_eq!(
            value("[Bob Ross]"),
            Err("`Bob` is no value; a text needs quotes".to_owned())
        );
        assert_eq!(
            value("[true-ish]"),
            Err("`true` is no value; a text needs quotes".to_owned())
        );
    }

    #[test]
    fn reads_words_of_other_languages() {
        let expected = json!([true, false, null, null, null]);
        assert_eq!(value("[True, FALSE, None, undefined, NaN]"), Ok(expected));
    }
}
