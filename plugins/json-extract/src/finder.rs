//! Where in an answer its JSON is: the whole of it, a fenced block, or a value in prose. Pure; knows no WIT.
//!
//! One pass: a bracket that begins no value is prose, and the search goes on where reading it failed, so that nothing is
//! read over and over. What is surely JSON and broken is not searched for the values in it, which would be taken for the
//! whole: after it only fenced blocks count.

use serde_json::Value;

use crate::reader::{Ending, FENCE, Fault, read};

/// Values of one answer that are looked at: one that holds more is no answer with JSON in it.
const VALUES_MAX: usize = 64;

/// Where a reasoning model thinks aloud, which is no part of its answer.
const THOUGHTS: (&str, &str) = ("<think>", "</think>");

/// What was found in an answer.
pub(crate) struct Found {
    /// Values, the likeliest first.
    pub(crate) values: Vec<Value>,
    /// What is wrong with the first that is surely JSON and cannot be read.
    pub(crate) fault: Option<Fault>,
}

/// Looks for JSON in an answer.
pub(crate) fn find(answer: &str, ending: Ending) -> Found {
    let mut search = Search {
        answer,
        ending,
        values: Vec::new(),
        fault: None,
    };
    let start = after_thoughts(answer);
    let whole = search.whole(start);
    // An array or object that is the whole answer is all there is; a text may still hold JSON.
    if let Ok(Some(value @ (Value::Object(_) | Value::Array(_)))) = whole {
        return Found {
            values: vec![value],
            fault: None,
        };
    }
    let mut at = start;
    while let Some(bracket) = answer[at..].find(['{', '[']).map(|next| at + next) {
        at = search.look(bracket);
        if search.values.len() == VALUES_MAX {
            break;
        }
    }
    let (whole, doubt) = match whole {
        Ok(whole) => (whole, None),
        Err(fault) => (None, Some(fault)),
    };
    search.values.sort_by_key(|(rank, _)| *rank);
    // What may be a reference is not taken in place of what is broken.
    let is_broken = search.fault.is_some();
    let ranked = search.values.into_iter();
    let ranked = ranked.filter(|(rank, _)| !is_broken || *rank != Rank::Doubtful);
    let ranked = ranked.map(|(_, value)| value);
    let values: Vec<Value> = whole.into_iter().chain(ranked).collect();
    let fault = search.fault.or(doubt.filter(|_| values.is_empty()));
    Found { values, fault }
}

/// Where the answer begins.
fn after_thoughts(answer: &str) -> usize {
    let (begin, end) = THOUGHTS;
    if answer.trim_start().starts_with(begin) {
        answer.find(end).map_or(answer.len(), |at| at + end.len())
    } else {
        0
    }
}

struct Search<'a> {
    answer: &'a str,
    ending: Ending,
    values: Vec<(Rank, Value)>,
    fault: Option<Fault>,
}

/// How likely a value is to be what was asked for, the likeliest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// First in a fenced block.
    Fenced,
    /// In prose, and surely JSON.
    Sure,
    /// In prose, and perhaps a reference such as `[1]`.
    Doubtful,
}

/// Where a bracket stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// First in a fenced block whose language is JSON.
    Json,
    /// First in a fenced block that names no language, or first behind one.
    Fenced,
    /// Right behind a word, as in `list[0]`.
    Index,
    /// Anywhere else.
    Prose,
}

impl Search<'_> {
    /// The value that is the whole answer, or the whole of a block that is; a fault where it begins like one and is none.
    fn whole(&self, start: usize) -> Result<Option<Value>, Fault> {
        let text = self.answer[start..].trim_start();
        let (text, is_block) = match text.strip_prefix(FENCE).and_then(|block| block.split_once('\n')) {
            Some((_, block)) => (block.trim_start(), true),
            None => (text, false),
        };
        let is_container = text.starts_with(['{', '[']);
        match read(self.answer, self.answer.len() - text.len(), self.ending) {
            Ok(found) => {
                let rest = self.answer[found.end..].trim();
                let is_whole = rest.is_empty() || is_block && rest == FENCE;
                Ok((is_whole && (is_container || !found.cut)).then_some(found.value))
            }
            Err(fault) if is_container => Err(fault),
            Err(_) => Ok(None),
        }
    }

    /// Reads what begins at a bracket; says where the search goes on.
    fn look(&mut self, bracket: usize) -> usize {
        let place = place(&self.answer[..bracket], &self.answer[bracket..]);
        if place == Place::Index {
            return bracket + 1;
        }
        match read(self.answer, bracket, self.ending) {
            Ok(found) => {
                let rank = match place {
                    Place::Json | Place::Fenced => Some(Rank::Fenced),
                    _ if self.fault.is_some() => None,
                    _ if found.sure => Some(Rank::Sure),
                    _ => (!found.cut).then_some(Rank::Doubtful),
                };
                self.values.extend(rank.map(|rank| (rank, found.value)));
                found.end
            }
            Err(fault) if fault.sure || place == Place::Json => {
                let behind = self.answer[fault.at..].find(FENCE);
                let next = behind.map_or(self.answer.len(), |behind| fault.at + behind);
                self.fault.get_or_insert(fault);
                next.max(bracket + 1)
            }
            Err(fault) => fault.at.max(bracket + 1),
        }
    }
}

/// Looks back no further than to the bracket before, so that all looks together cost what one over the answer does.
fn place(before: &str, bracket: &str) -> Place {
    let line = before.trim_end();
    let fence = line.trim_end_matches(char::is_alphanumeric);
    let language = &line[fence.len()..];
    if fence.trim_end().ends_with(FENCE) {
        if language.is_empty() {
            return Place::Fenced;
        }
        if language.to_ascii_lowercase().starts_with("js") {
            return Place::Json;
        }
    }
    let is_index = bracket.starts_with('[') && before.ends_with(char::is_alphanumeric);
    if is_index { Place::Index } else { Place::Prose }
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::reader::Ending;
    use serde_json::{Value, json};

    fn values(answer: &str) -> Vec<Value> {
        find(answer, Ending::Meant).values
    }

    #[test]
    fn finds_the_whole_a_block_and_a_value_in_prose() {
        for answer in [
            " {\"a\": 1}\n",
            "```json\n{\"a\": 1}\n```",
            "``` JSON\n{\"a\": 1}```\n",
            "Here you are:\n\n```json\n{\"a\": 1}\n```\nAnything else?",
            "The answer is {\"a\": 1}. Is that all?",
            "I think {this} and [see list[0]] come to: {\"a\": 1}",
            "<think>Is it {\"a\": 2}?</think>\n{\"a\": 1}",
        ] {
            assert_eq!(values(answer), [json!({ "a": 1 })], "{answer}");
        }
    }

    #[test]
    fn a_block_comes_before_prose_and_a_reference_last() {
        let answer = "[1] is {\"a\": 1}.\n```json\n{\"b\": 2}\n```\nThen {\"c\": 3} and [ ].";
        let expected = [
            json!({ "b": 2 }),
            json!({ "a": 1 }),
            json!({ "c": 3 }),
            json!([1]),
            json!([]),
        ];
        assert_eq!(values(answer), expected);
    }

    #[test]
    fn a_block_in_a_text_is_part_of_the_text() {
        let answer = r#"{"code": "```json\n[1]\n```"}"#;
        assert_eq!(values(answer), [json!({ "code": "```json\n[1]\n```" })]);
    }

    #[test]
    fn a_block_that_lacks_its_brackets_ends_with_its_fence() {
        let answer = "So:\n```json\n{\"a\": [1, 2\n```\nI hope that helps {you}.";
        assert_eq!(values(answer), [json!({ "a": [1, 2] })]);
    }

    #[test]
    fn does_not_take_a_part_of_what_is_broken_for_the_whole() {
        let found = find(r#"{"user": Bob, "address": {"city": "X"}}"#, Ending::Meant);
        assert!(found.values.is_empty());
        assert_eq!(found.fault.expect("a fault").at, 9);
        assert!(values("[1] says {\"user\": Bob}").is_empty());
        let found = find("{\"a\": oops} or\n```json\n{\"b\": 1}\n```", Ending::Meant);
        assert_eq!(found.values, [json!({ "b": 1 })]);
    }

    #[test]
    fn a_bracket_that_the_end_leaves_open_is_prose() {
        assert!(values("A list begins with [").is_empty());
        assert!(values("see [1, 2").is_empty());
        assert_eq!(
            values("So: {\"a\": 1, \"b\": [\"x"),
            [json!({ "a": 1, "b": ["x"] })]
        );
    }

    #[test]
    fn looks_at_a_bounded_number_of_values() {
        assert_eq!(values(&"[1] ".repeat(1000)).len(), 64);
    }
}
