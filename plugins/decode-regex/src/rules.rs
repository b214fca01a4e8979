//! What may come in each state of a pattern: worked out once where there are few states, when it is needed where there are many.

use std::collections::HashMap;

use crate::pattern::{DEAD, Pattern};
use crate::words::Words;

/// States whose masks are made in `configure`: 6 KiB each with a vocabulary of 49,152 tokens, a millisecond at most. One beyond
/// costs that millisecond each time that a text comes to it, while the model computes.
const PREPARED_MAX: u32 = 512;

/// A pattern and a vocabulary, with what the one says of the other.
#[derive(Debug)]
pub struct Rules {
    pattern: Pattern,
    words: Words,
    /// By state, for the first ones.
    prepared: Vec<Prepared>,
    masks: Vec<Vec<u32>>,
}

/// A rule; masks that several states have are kept once.
#[derive(Debug, Clone, Copy)]
enum Prepared {
    Stop,
    Force(u32),
    Mask(usize),
}

/// What may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Nothing: the text matches, and no longer one does.
    Stop,
    /// This token.
    Force(u32),
    /// One of these, a bit each.
    Mask(Vec<u32>),
}

impl Rules {
    /// Works out what may come.
    #[must_use]
    pub fn new(pattern: Pattern, words: Words) -> Self {
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let states = pattern.states().min(PREPARED_MAX);
        let prepare = |state| match rule(&pattern, &words, state) {
            Rule::Stop => Prepared::Stop,
            Rule::Force(token) => Prepared::Force(token),
            Rule::Mask(mask) => {
                let place = known.len();
                Prepared::Mask(*known.entry(mask).or_insert(place))
            }
        };
        let prepared: Vec<Prepared> = (0..states).map(prepare).collect();
        let mut masks: Vec<(Vec<u32>, usize)> = known.into_iter().collect();
        masks.sort_by_key(|(_, place)| *place);
        Self {
            masks: masks.into_iter().map(|(mask, _)| mask).collect(),
            pattern,
            words,
            prepared,
        }
    }

    /// What may come in a state.
    #[must_use]
    pub fn rule(&self, state: u32) -> Rule {
        match self.prepared.get(state as usize) {
            Some(Prepared::Stop) => Rule::Stop,
            Some(Prepared::Force(token)) => Rule::Force(*token),
            Some(Prepared::Mask(place)) => Rule::Mask(self.masks[*place].clone()),
            None => rule(&self.pattern, &self.words, state),
        }
    }

    /// The state behind more tokens; none where they are not what a rule allowed.
    #[must_use]
    pub fn walk(&self, state: u32, tokens: &[u32]) -> Option<u32> {
        let step = |state, token: &u32| self.pattern.walk(state, self.words.bytes(*token));
        Some(tokens.iter().fold(state, step)).filter(|state| *state != DEAD)
    }
}

fn rule(pattern: &Pattern, words: &Words, state: u32) -> Rule {
    if pattern.is_final(state) {
        return Rule::Stop;
    }
    let mask = words.mask(pattern, state);
    let mut only = (0..).zip(&mask).filter(|(_, word)| **word != 0);
    match (only.next(), only.next()) {
        (Some((place, word)), None) if word.is_power_of_two() && !pattern.accepts(state) => {
            Rule::Force(place * u32::BITS + word.trailing_zeros())
        }
        _ => Rule::Mask(mask),
    }
}

#[cfg(test)]
mod tests {
    use super::{PREPARED_MAX, Rule, Rules};
    use crate::pattern::Pattern;
    use crate::words::Words;

    fn rules(pattern: &str) -> Rules {
        let mut words = Words::default();
        words.extend(b"ab-abend", &[1, 1, 1, 2, 3]);
        words.finish(vec![4]);
        Rules::new(Pattern::new(pattern).expect("it compiles"), words)
    }

    #[test]
    fn forces_what_alone_is_left_and_stops_at_the_end() {
        let rules = rules("[ab]-");
        assert_eq!(rules.rule(0), Rule::Mask(vec![0b11]));
        let behind = rules.walk(0, &[1]).expect("allowed");
        assert_eq!(rules.rule(behind), Rule::Force(2));
        let end = rules.walk(0, &[1, 2]).expect("allowed");
        assert_eq!(rules.rule(end), Rule::Stop);
        assert_eq!(rules.walk(0, &[2]), None);
    }

    #[test]
    fn leaves_the_end_to_the_model_where_a_longer_text_matches_too() {
        let rules = rules("a(-a)*");
        let state = rules.walk(0, &[0]).expect("allowed");
        assert_eq!(rules.rule(state), Rule::Mask(vec![0b1_0100]));
    }

    #[test]
    fn a_state_that_was_not_prepared_has_its_rule_all_the_same() {
        let rules = rules("a{1500}b");
        let far = u32::try_from(1499).expect("small");
        assert!(far > PREPARED_MAX);
        let tokens = vec![0; far as usize];
        let state = rules.walk(0, &tokens).expect("allowed");
        assert_eq!(rules.rule(state), Rule::Mask(vec![0b1001]));
    }
}
