//! Text in capital letters. Pure.

use serde::Deserialize;

/// What an operator configures; its schema is in manifest.json.
#[derive(Debug, Default, Deserialize)]
pub struct Shout {
    /// The characters that are changed; none for all.
    pub only: Option<String>,
}

impl Shout {
    /// A text, changed.
    #[must_use]
    pub fn of(&self, text: &str) -> String {
        let changes = |character: char| self.only.as_ref().is_none_or(|only| only.contains(character));
        let mut loud = String::with_capacity(text.len());
        for character in text.chars() {
            if changes(character) {
                loud.extend(character.to_uppercase());
            } else {
                loud.push(character);
            }
        }
        loud
    }
}

#[cfg(test)]
mod tests {
    use super::Shout;

    #[test]
    fn changes_what_it_is_told_to() {
        assert_eq!(Shout::default().of("a b ß"), "A B SS");
        let only = Some("a".to_owned());
        assert_eq!(Shout { only }.of("a b"), "A b");
    }
}
