//! Tokens to text as they come: never half a character, and never a part of a stop string.

use tokenizers::Tokenizer as HfTokenizer;
use tokenizers::tokenizer::step_decode_stream;

/// Turns the tokens of one sequence into text, piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Detokenizer {
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl Detokenizer {
    /// The text that a token completes; empty where a character still lacks bytes.
    ///
    /// # Errors
    ///
    /// What the tokenizer says, where it has no text for the token.
    pub fn push(&mut self, tokenizer: &HfTokenizer, token: u32) -> Result<String, String> {
        let Self {
            ids,
            prefix,
            prefix_index,
        } = self;
        let piece = step_decode_stream(tokenizer, vec![token], true, ids, prefix, prefix_index);
        piece
            .map(Option::unwrap_or_default)
            .map_err(|error| error.to_string())
    }
}

/// Finds stop strings in text that comes in pieces, also across them.
#[derive(Debug, Clone, Default)]
pub struct StopFinder {
    stops: Vec<String>,
    /// What was not passed on yet, since a stop string may begin in it.
    held: String,
}

/// What may be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// This, and the sequence goes on.
    On(String),
    /// This, and then a stop string came, which is not part of the text.
    Stop(String),
}

impl StopFinder {
    /// A finder of some strings; empty ones are ignored.
    #[must_use]
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            held: String::new(),
        }
    }

    /// Takes a piece of text; gives back what no stop string can begin in.
    pub fn push(&mut self, piece: &str) -> Passed {
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop)).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return Passed::Stop(std::mem::take(&mut self.held));
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max();
        let cut = self.held.len() - keep.unwrap_or_default();
        let rest = self.held.split_off(cut);
        Passed::On(std::mem::replace(&mut self.held, rest))
    }

    /// What is left where the text ends without a stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of a text with which a stop string begins, the most there are.
fn overlap(text: &str, stop: &str) -> usize {
    let begins = |len: &usize| text.as_bytes().ends_with(&stop.as_bytes()[..*len]);
    let lens = stop
        .char_indices()
        .map(|(at, _)| at)
        .filter(|len| *len <= text.len());
    lens.rev().find(begins).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Passed, StopFinder};
    use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

    /// What comes out of pieces, and whether a stop string ended it.
    fn passed(stops: &[&str], pieces: &[String]) -> (String, bool) {
        let mut finder = StopFinder::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut text = String::new();
        for piece in pieces {
            match finder.push(piece) {
                Passed::On(passed) => text += &passed,
                Passed::Stop(passed) => return (text + &passed, true),
            }
        }
        (text + &finder.finish(), false)
    }

    #[test]
    fn finds_a_stop_string_across_pieces_and_passes_no_part_of_it() {
        let pieces = ["Hello\n", "\nUs", "er", ": x"].map(str::to_owned);
        assert_eq!(passed(&["\n\nUser:"], &pieces), ("Hello".to_owned(), true));
    }

    #[test]
    fn passes_at_once_what_cannot_be_one() {
        let mut finder = StopFinder::new(vec!["END".to_owned()]);
        assert_eq!(finder.push("the EN"), Passed::On("the ".to_owned()));
        assert_eq!(finder.push("D"), Passed::Stop(String::new()));
        let mut finder = StopFinder::new(vec!["END".to_owned()]);
        assert_eq!(finder.push("the EN"), Passed::On("the ".to_owned()));
        assert_eq!(finder.push("VOY"), Passed::On("ENVOY".to_owned()));
    }

    #[test]
    fn the_first_of_several_ends_it() {
        assert_eq!(
            passed(&["b", "a"], &["xyabz".to_owned()]),
            ("xy".to_owned(), true)
        );
    }

    proptest! {
        #[test]
        fn the_cuts_between_pieces_do_not_matter(
            pieces in prop::collection::vec(
                prop_oneof![Just("a"), Just("b"), Just("ab"), Just("é"), Just("")].prop_map(str::to_owned), 0..12),
            stop in prop_oneof![Just("ab"), Just("aab"), Just("éa"), Just("bbb"), Just("aé")],
        ) {
            let whole = pieces.concat();
            let expected = match whole.find(stop) {
                Some(at) => (whole[..at].to_owned(), true),
                None => (whole.clone(), false),
            };
            prop_assert_eq!(passed(&[stop], &pieces), expected);
        }
    }
}
