//! A regular expression as an automaton over bytes, reduced to the states from which a text can still come to match.

use std::collections::{HashMap, VecDeque};

use regex_automata::dfa::{Automaton, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

/// What an automaton may take while it is built: a quarter of a plugin's memory.
const BUILD_BYTES_MAX: usize = 8 << 20;

/// States at most: a bounded repetition has one for each character that it counts.
const STATES_MAX: usize = 8192;

/// The state that no match can follow.
pub const DEAD: u32 = u32::MAX;

/// A compiled pattern. State 0 is that of the empty text.
#[derive(Debug)]
pub struct Pattern {
    /// Bytes that no state tells apart are in one class.
    classes: [u8; 256],
    class_count: usize,
    /// By state, then by class: the next state, or [`DEAD`].
    next: Vec<u32>,
    /// Whether the text so far matches.
    accepts: Vec<bool>,
}

impl Pattern {
    /// Compiles a pattern that a whole text must match.
    ///
    /// # Errors
    ///
    /// What is wrong with it: its syntax, its size, or that no text matches it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let config = dense::Config::new()
            // Not the first alternative but any that goes on: it is the whole text that counts.
            .match_kind(MatchKind::All)
            .start_kind(regex_automata::dfa::StartKind::Anchored)
            .dfa_size_limit(Some(BUILD_BYTES_MAX))
            .determinize_size_limit(Some(BUILD_BYTES_MAX));
        let dfa = dense::Builder::new()
            .configure(config)
            .thompson(thompson::Config::new().nfa_size_limit(Some(BUILD_BYTES_MAX)))
            .build(pattern)
            .map_err(|error| format!("`pattern` cannot be compiled: {}", causes(&error)))?;
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|error| format!("`pattern` cannot be started: {error}"))?;
        let states = Reached::from(&dfa, start)?;
        states
            .alive()
            .ok_or_else(|| "`pattern` matches no text at all".to_owned())
    }

    /// The state behind one more byte. `state` must not be [`DEAD`].
    #[must_use]
    pub fn step(&self, state: u32, byte: u8) -> u32 {
        let class = usize::from(self.classes[usize::from(byte)]);
        self.next[state as usize * self.class_count + class]
    }

    /// The state behind more bytes.
    #[must_use]
    pub fn walk(&self, state: u32, bytes: &[u8]) -> u32 {
        let step = |state, byte: &u8| {
            if state == DEAD {
                DEAD
            } else {
                self.step(state, *byte)
            }
        };
        bytes.iter().fold(state, step)
    }

    /// Whether a text that came to a state matches.
    #[must_use]
    pub fn accepts(&self, state: u32) -> bool {
        self.accepts[state as usize]
    }

    /// Whether nothing may follow.
    #[must_use]
    pub fn is_final(&self, state: u32) -> bool {
        let from = state as usize * self.class_count;
        self.next[from..from + self.class_count]
            .iter()
            .all(|next| *next == DEAD)
    }

    /// How many states there are.
    #[must_use]
    pub fn states(&self) -> u32 {
        u32::try_from(self.accepts.len()).unwrap_or(u32::MAX)
    }
}

/// All states that a text can come to, dead ones too, numbered in the order in which they are found.
struct Reached {
    classes: [u8; 256],
    class_count: usize,
    next: Vec<u32>,
    accepts: Vec<bool>,
}

impl Reached {
    fn from(dfa: &dense::DFA<Vec<u32>>, start: StateID) -> Result<Self, String> {
        let mut classes = [0; 256];
        for byte in 0..=u8::MAX {
            classes[usize::from(byte)] = dfa.byte_classes().get(byte);
        }
        let class_count = usize::from(classes.iter().copied().max().unwrap_or_default()) + 1;
        // One byte of each class.
        let mut bytes = vec![0; class_count];
        for byte in 0..=u8::MAX {
            bytes[usize::from(classes[usize::from(byte)])] = byte;
        }
        let mut numbers = HashMap::from([(start, 0)]);
        let mut waiting = VecDeque::from([start]);
        let (mut next, mut accepts) = (Vec::new(), Vec::new());
        while let Some(state) = waiting.pop_front() {
            // A match is told of one byte late.
            accepts.push(dfa.is_match_state(dfa.next_eoi_state(state)));
            for byte in &bytes {
                let target = dfa.next_state(state, *byte);
                let number = u32::try_from(numbers.len()).unwrap_or(DEAD);
                next.push(*numbers.entry(target).or_insert_with(|| {
                    waiting.push_back(target);
                    number
                }));
            }
            if numbers.len() > STATES_MAX {
                return Err(format!(
                    "`pattern` has more than {STATES_MAX} states; make its repetitions shorter or unbounded"
                ));
            }
        }
        Ok(Self {
            classes,
            class_count,
            next,
            accepts,
        })
    }

    /// The same without the states from which nothing matches; none where the first is such a one.
    fn alive(self) -> Option<Pattern> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.accepts.len()];
        for (state, targets) in (0..).zip(self.next.chunks(self.class_count)) {
            for target in targets {
                before[*target as usize].push(state);
            }
        }
        let mut alive = self.accepts.clone();
        let mut waiting: Vec<u32> = (0..)
            .zip(&alive)
            .filter(|(_, alive)| **alive)
            .map(|(state, _)| state)
            .collect();
        while let Some(state) = waiting.pop() {
            for earlier in &before[state as usize] {
                if !std::mem::replace(&mut alive[*earlier as usize], true) {
                    waiting.push(*earlier);
                }
            }
        }
        if !alive[0] {
            return None;
        }
        let mut numbers = vec![DEAD; alive.len()];
        let living = || {
            alive
                .iter()
                .enumerate()
                .filter(|(_, alive)| **alive)
                .map(|(state, _)| state)
        };
        for (number, state) in (0..).zip(living()) {
            numbers[state] = number;
        }
        let next = living().flat_map(|state| {
            let from = state * self.class_count;
            self.next[from..from + self.class_count]
                .iter()
                .map(|target| numbers[*target as usize])
        });
        Some(Pattern {
            next: next.collect(),
            accepts: living().map(|state| self.accepts[state]).collect(),
            classes: self.classes,
            class_count: self.class_count,
        })
    }
}

/// An error with what caused it: the outermost says the least.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{DEAD, Pattern};

    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = Pattern::new(pattern).expect("it compiles");
        let state = pattern.walk(0, text.as_bytes());
        state != DEAD && pattern.accepts(state)
    }

    #[test]
    fn the_whole_text_must_match_whichever_alternative() {
        for (pattern, text, expected) in [
            ("a|ab", "ab", true),
            ("a|ab", "abc", false),
            ("[0-9]{3}-[0-9]{2}", "123-45", true),
            ("[0-9]{3}-[0-9]{2}", "123-4", false),
            ("(yes|no)( [a-z]+)*", "no more words", true),
            (r"\w+", "é", true),
            ("^a$", "a", true),
            ("(?i)yes", "YES", true),
            ("a*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn knows_where_nothing_can_follow_and_where_nothing_can_match() {
        let pattern = Pattern::new("ab?").expect("it compiles");
        let (a, ab) = (pattern.walk(0, b"a"), pattern.walk(0, b"ab"));
        assert!(!pattern.is_final(a) && pattern.accepts(a));
        assert!(pattern.is_final(ab));
        assert_eq!(pattern.walk(0, b"b"), DEAD);
        // It could go on for ever without ever matching.
        let trap = Pattern::new("a|x+$y").expect("it compiles");
        assert_eq!(trap.walk(0, b"x"), DEAD);
    }

    #[test]
    fn a_half_character_is_no_end() {
        let pattern = Pattern::new("é|x").expect("it compiles");
        let half = pattern.walk(0, &"é".as_bytes()[..1]);
        assert!(half != DEAD && !pattern.accepts(half) && !pattern.is_final(half));
    }

    #[test]
    fn refuses_what_it_cannot_keep_to_and_says_why() {
        let error = |pattern: &str| Pattern::new(pattern).expect_err("refused");
        assert!(error("(").contains("unclosed group"), "{}", error("("));
        assert!(error("x$y").contains("no text at all"), "{}", error("x$y"));
        let long = error(r"(\w{0,200}x){200}");
        assert!(
            long.contains("cannot be compiled") || long.contains("states"),
            "{long}"
        );
    }
}
