//! How long a text may be. Pure.

use serde::Deserialize;
use serde_json::Value;

/// What an operator configures; its schema is in manifest.json.
#[derive(Debug, Deserialize)]
pub struct Rule {
    /// Characters of `text` at most.
    #[serde(default = "length_max")]
    pub length_max: usize,
}

fn length_max() -> usize {
    1000
}

impl Rule {
    /// Whether a body's text is short enough. What is wrong with a body otherwise is for others to say.
    ///
    /// # Errors
    ///
    /// What to do about it, where it is not.
    pub fn check(&self, body: &[u8]) -> Result<(), String> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let length = body["text"].as_str().map_or(0, |text| text.chars().count());
        if length <= self.length_max {
            return Ok(());
        }
        let max = self.length_max;
        Err(format!("String should have at most {max} characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn counts_characters_and_not_bytes() {
        let rule = Rule { length_max: 2 };
        assert_eq!(rule.check("{\"text\":\"äö\"}".as_bytes()), Ok(()));
        assert!(rule.check(b"{\"text\":\"abc\"}").is_err());
        assert_eq!(rule.check(b"not JSON"), Ok(()));
    }
}
