//! Finds the label that a text names: a whole word or several, in upper and lower case alike. Pure; knows no WIT.
//!
//! Of names that begin at a place the longest counts, so `not spam` is not a mention of `spam` where both are labels. What
//! a sentence says of a name is not understood: without such a label, `not spam` names `spam`.

use std::collections::BTreeMap;

/// Labels' names in lower case with the verdicts that they stand for, the longest name first.
pub(crate) struct Names(Vec<(String, String)>);

/// What a text names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mention<'a> {
    None,
    /// One label or several, but one verdict.
    One(&'a str),
    Several,
}

impl Names {
    pub(crate) fn new(labels: &BTreeMap<String, String>) -> Self {
        let names = labels.iter();
        let mut names: Vec<_> = names
            .map(|(name, verdict)| (name.to_lowercase(), verdict.clone()))
            .collect();
        names.retain(|(lower, _)| !lower.is_empty());
        names.sort_by_key(|(lower, _)| std::cmp::Reverse(lower.len()));
        Self(names)
    }

    pub(crate) fn find(&self, text: &str) -> Mention<'_> {
        let text = text.to_lowercase();
        let (mut at, mut mention) = (0, Mention::None);
        while let Some(character) = text[at..].chars().next() {
            let Some((lower, verdict)) = self.0.iter().find(|(lower, _)| stands_at(&text, at, lower)) else {
                at += character.len_utf8();
                continue;
            };
            match mention {
                Mention::One(known) if known != verdict => return Mention::Several,
                _ => mention = Mention::One(verdict),
            }
            at += lower.len();
        }
        mention
    }
}

/// Whether a word stands there as a whole; a side of it that is no letter or digit may touch anything.
fn stands_at(text: &str, at: usize, word: &str) -> bool {
    let (before, behind) = text.split_at(at);
    let Some(behind) = behind.strip_prefix(word) else {
        return false;
    };
    let runs_on = |left: Option<char>, right: Option<char>| {
        left.is_some_and(char::is_alphanumeric) && right.is_some_and(char::is_alphanumeric)
    };
    !runs_on(before.chars().next_back(), word.chars().next())
        && !runs_on(word.chars().next_back(), behind.chars().next())
}

#[cfg(test)]
mod tests {
    use super::{Mention, Names};

    fn names(names: &[&str]) -> Names {
        let same = |&name: &&str| (name.to_owned(), name.to_owned());
        Names::new(&names.iter().map(same).collect())
    }

    #[test]
    fn finds_a_name_however_it_is_dressed() {
        let names = names(&["spam", "ham"]);
        for text in [
            "SPAM",
            " spam.",
            "**Spam**",
            "_spam_",
            "The answer is: SPAM",
            "\"spam\", yes, spam",
        ] {
            assert_eq!(names.find(text), Mention::One("spam"), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_word_is_no_mention() {
        let names = names(&["spam", "ham"]);
        for text in ["", "spammer", "Birmingham", "antispam", "spam2"] {
            assert_eq!(names.find(text), Mention::None, "{text}");
        }
    }

    #[test]
    fn tells_several_from_one() {
        assert_eq!(names(&["spam", "ham"]).find("SPAM, not ham"), Mention::Several);
        assert_eq!(
            names(&["spam", "ham"]).find("spam, spam and spam"),
            Mention::One("spam")
        );
    }

    #[test]
    fn names_that_stand_for_one_verdict_agree() {
        let labels = [("spam", "BAD"), ("junk", "BAD"), ("ham", "GOOD")];
        let labels = labels.map(|(name, verdict)| (name.to_owned(), verdict.to_owned()));
        assert_eq!(
            Names::new(&labels.into()).find("Junk, or spam."),
            Mention::One("BAD")
        );
    }

    #[test]
    fn the_longest_name_at_a_place_counts() {
        let names = names(&["spam", "not spam", "c", "c++", "très-bon"]);
        assert_eq!(names.find("This is Not Spam."), Mention::One("not spam"));
        assert_eq!(names.find("C++"), Mention::One("c++"));
        assert_eq!(names.find("c++11"), Mention::One("c++"));
        assert_eq!(names.find("TRÈS-BON!"), Mention::One("très-bon"));
    }
}
