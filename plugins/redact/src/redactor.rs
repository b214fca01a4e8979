//! Finds words and patterns in text that comes in pieces, and lets no part of a match through.
//!
//! At each place it runs an automaton that knows, at the end of what is there, whether a match may still come: only text
//! that no match can begin in is let go. Patterns must be of bounded length, so what is held back is bounded too. Of several
//! matches at a place the longest counts.

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};
use serde::Deserialize;

/// Bytes of a match at most.
const MATCH_LEN_MAX: usize = 1024;

/// What is hidden, as configured.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Patterns that come along: `email`, `phone`, `card`.
    pub builtin: Vec<String>,
    /// Regular expressions of bounded length.
    pub patterns: Vec<String>,
    /// Words, in upper and lower case alike; whole ones only.
    pub words: Vec<String>,
    /// What stands in a match's place. Default `[REDACTED]`.
    pub replacement: Option<String>,
}

/// What is hidden, ready to be looked for.
pub struct Rules {
    automaton: DFA,
    replacement: String,
}

impl Rules {
    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// Which pattern is wrong, and why.
    pub fn new(config: &Config) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for name in &config.builtin {
            patterns.push(builtin(name)?.to_owned());
        }
        patterns.extend(config.patterns.iter().cloned());
        patterns.extend(config.words.iter().map(|word| whole_word(word)));
        if patterns.is_empty() {
            return Err("there is nothing to hide: give `builtin`, `patterns` or `words`".to_owned());
        }
        for pattern in &patterns {
            check(pattern)?;
        }
        let all: Vec<String> = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect();
        let config_of = DFA::config().match_kind(MatchKind::All);
        let automaton = DFA::builder()
            .configure(config_of)
            .thompson(thompson::Config::new().nfa_size_limit(Some(16 << 20)))
            .build(&all.join("|"))
            .map_err(|error| error.to_string())?;
        let replacement = config.replacement.clone();
        Ok(Self {
            automaton,
            replacement: replacement.unwrap_or_else(|| "[REDACTED]".to_owned()),
        })
    }
}

fn builtin(name: &str) -> Result<&'static str, String> {
    match name {
        "email" => Ok(r"[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z]{2,24}"),
        "phone" => Ok(r"\+?[0-9](?:[ ().\-]{0,2}[0-9]){7,14}"),
        "card" => Ok(r"[0-9](?:[ \-]?[0-9]){12,18}"),
        _ => Err(format!(
            "`{name}` is no builtin pattern; email, phone and card are"
        )),
    }
}

/// A word with boundaries on those of its sides where it has a letter or digit.
fn whole_word(word: &str) -> String {
    let edge = |character: Option<char>| match character {
        Some(character) if character.is_ascii_alphanumeric() => r"(?-u:\b)",
        _ => "",
    };
    let (first, last) = (edge(word.chars().next()), edge(word.chars().next_back()));
    format!("{first}(?i:{}){last}", regex_syntax::escape(word))
}

fn check(pattern: &str) -> Result<(), String> {
    let parsed = regex_syntax::parse(pattern).map_err(|error| format!("`{pattern}`: {error}"))?;
    let properties = parsed.properties();
    match (properties.minimum_len(), properties.maximum_len()) {
        (None | Some(0), _) => Err(format!(
            "`{pattern}` matches nothing at all; it must match one character at least"
        )),
        (_, Some(1..=MATCH_LEN_MAX)) => Ok(()),
        _ => Err(format!(
            "`{pattern}` may match more than {MATCH_LEN_MAX} bytes, so text would be held back without end; \
             write `{{1,64}}` in place of `+` or `*`"
        )),
    }
}

/// What is held back of one text.
pub struct Redactor {
    cache: Cache,
    /// What is not let go yet, behind at most one character that is, for boundaries of words.
    text: String,
    /// Where in it what is held back begins.
    start: usize,
}

/// What there is at a place.
enum Found {
    /// A match that ends here.
    Match(usize),
    /// None, whatever follows.
    Nothing,
    /// It depends on what follows.
    Undecided,
}

impl Redactor {
    /// For a text that begins.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self {
            cache: rules.automaton.create_cache(),
            text: String::new(),
            start: 0,
        }
    }

    /// Takes more of the text; gives what can be let go.
    ///
    /// # Errors
    ///
    /// Where the automaton gives up.
    pub fn push(&mut self, rules: &Rules, piece: &str) -> Result<String, String> {
        self.text.push_str(piece);
        self.let_go(rules, End::Open)
    }

    /// The rest, where the text ends.
    ///
    /// # Errors
    ///
    /// Where the automaton gives up.
    pub fn finish(&mut self, rules: &Rules) -> Result<String, String> {
        self.let_go(rules, End::Here)
    }

    fn let_go(&mut self, rules: &Rules, end: End) -> Result<String, String> {
        let (mut out, mut at) = (String::new(), self.start);
        while let Some(character) = self.text[at..].chars().next() {
            match self.find(rules, at, end)? {
                Found::Undecided => break,
                Found::Match(end) => {
                    out.push_str(&rules.replacement);
                    at = end;
                }
                Found::Nothing => {
                    out.push(character);
                    at += character.len_utf8();
                }
            }
        }
        let context = self.text[..at].chars().next_back().map_or(0, char::len_utf8);
        self.text.drain(..at - context);
        self.start = context;
        Ok(out)
    }

    fn find(&mut self, rules: &Rules, at: usize, end: End) -> Result<Found, String> {
        let (automaton, cache) = (&rules.automaton, &mut self.cache);
        let input = Input::new(&self.text).range(at..).anchored(Anchored::Yes);
        let gave_up = |error: &dyn std::fmt::Display| format!("the automaton gave up: {error}");
        let mut state: LazyStateID = automaton
            .start_state_forward(cache, &input)
            .map_err(|error| gave_up(&error))?;
        let mut longest = None;
        for (place, byte) in self.text.bytes().enumerate().skip(at) {
            state = automaton
                .next_state(cache, state, byte)
                .map_err(|error| gave_up(&error))?;
            // A match is told one byte late, when it is known what follows it.
            if state.is_match() {
                longest = Some(place);
            } else if state.is_dead() || state.is_quit() {
                return Ok(longest.map_or(Found::Nothing, Found::Match));
            }
        }
        match end {
            End::Open => Ok(Found::Undecided),
            End::Here => {
                state = automaton
                    .next_eoi_state(cache, state)
                    .map_err(|error| gave_up(&error))?;
                if state.is_match() {
                    longest = Some(self.text.len());
                }
                Ok(longest.map_or(Found::Nothing, Found::Match))
            }
        }
    }
}

/// Whether more text may come.
#[derive(Clone, Copy)]
enum End {
    Open,
    Here,
}

#[cfg(test)]
mod tests {
    use super::{Config, Redactor, Rules};

    fn rules(config: serde_json::Value) -> Result<Rules, String> {
        Rules::new(&serde_json::from_value::<Config>(config).expect("a configuration"))
    }

    /// What comes out of a text in pieces of so many characters.
    fn redacted(rules: &Rules, text: &str, piece: usize) -> String {
        let mut redactor = Redactor::new(rules);
        let characters: Vec<char> = text.chars().collect();
        let mut out = String::new();
        for piece in characters.chunks(piece) {
            out += &redactor
                .push(rules, &piece.iter().collect::<String>())
                .expect("pushed");
        }
        out + &redactor.finish(rules).expect("finished")
    }

    #[test]
    fn the_cuts_between_pieces_do_not_matter() {
        let rules = rules(serde_json::json!({
            "builtin": ["email", "phone"], "words": ["Secret", "grün"], "replacement": "*"
        }))
        .expect("rules");
        let text =
            "Write to anna.b+x@mail.example.com, or call +49 (30) 1234-5678. A SECRET: secretary, Grün é ü!";
        let expected = "Write to *, or call *. A *: secretary, * é ü!";
        for piece in 1..text.len() {
            assert_eq!(redacted(&rules, text, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn lets_go_what_cannot_be_part_of_a_match() {
        let rules = rules(serde_json::json!({ "words": ["stop"] })).expect("rules");
        let mut redactor = Redactor::new(&rules);
        assert_eq!(redactor.push(&rules, "a st").expect("pushed"), "a ");
        assert_eq!(redactor.push(&rules, "one ").expect("pushed"), "stone ");
        assert_eq!(redactor.push(&rules, "stop").expect("pushed"), "");
        assert_eq!(redactor.finish(&rules).expect("finished"), "[REDACTED]");
    }

    #[test]
    fn the_longest_match_counts() {
        let rules =
            rules(serde_json::json!({ "patterns": ["ab", "abcd"], "replacement": "" })).expect("rules");
        assert_eq!(redacted(&rules, "xabcdxabcx", 1), "xxcx");
    }

    #[test]
    fn refuses_patterns_that_are_wrong_empty_or_without_bound() {
        for (pattern, said) in [
            ("(", "unclosed"),
            ("a*", "nothing at all"),
            ("a+", "`{1,64}`"),
            ("a{2000}", "1024"),
        ] {
            let error = rules(serde_json::json!({ "patterns": [pattern] }))
                .err()
                .expect("refused");
            assert!(error.contains(said), "{pattern}: {error}");
        }
        assert!(rules(serde_json::json!({})).is_err());
        assert!(rules(serde_json::json!({ "builtin": ["iban"] })).is_err());
    }
}
