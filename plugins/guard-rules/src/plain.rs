//! Takes off a text what hides words from whoever looks for them, and not from a model: characters that are not seen, letters
//! of full width, letters as tags. Pure; knows no WIT.

use std::borrow::Cow;

/// The text as it would be read.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| shown(character) == Some(character)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter_map(shown).collect())
}

/// What a character is read as; none where it is not seen.
fn shown(character: char) -> Option<char> {
    match character {
        '\0'..='\u{7f}' => Some(character),
        // Soft hyphen, joiners and directions, variation selectors.
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' => None,
        // ASCII in full width, and ASCII in tags, which no font shows and models read.
        '\u{ff01}'..='\u{ff5e}' => moved(character, 0xff01 - 0x21),
        '\u{e0020}'..='\u{e007e}' => moved(character, 0xe0000),
        '\u{e0000}'..='\u{e0fff}' => None,
        _ => Some(character),
    }
}

fn moved(character: char, by: u32) -> Option<char> {
    char::from_u32(u32::from(character) - by)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::plain;

    #[test]
    fn leaves_what_hides_nothing_as_it_is() {
        for text in ["", "plain", "Grüße, 世界 🙂"] {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn takes_off_what_is_not_seen() {
        assert_eq!(plain("ig\u{200b}no\u{ad}re\u{feff}"), "ignore");
        assert_eq!(plain("ＩＧＮＯＲＥ！"), "IGNORE!");
        let tags: String = "ignore"
            .chars()
            .filter_map(|letter| char::from_u32(0xe0000 + u32::from(letter)))
            .collect();
        assert_eq!(plain(&format!("hi\u{e0001}{tags}\u{e007f}")), "hiignore");
    }
}
