//! What is answered of a label. Pure.

use serde::{Deserialize, Serialize};

/// What an operator configures; its schema is in manifest.json.
#[derive(Debug, Deserialize)]
pub struct Rule {
    /// The score from which on the model is sure.
    #[serde(default = "threshold")]
    pub threshold: f32,
}

fn threshold() -> f32 {
    0.8
}

#[derive(Serialize)]
struct Answer<'a> {
    label: &'a str,
    sure: bool,
}

impl Rule {
    /// The answer, in JSON.
    #[must_use]
    pub fn answer(&self, label: &str, score: f32) -> String {
        let sure = score >= self.threshold;
        // A text and a truth value: there is nothing that fails to serialise.
        serde_json::to_string(&Answer { label, sure }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn is_sure_from_the_threshold_on() {
        let rule = Rule { threshold: 0.5 };
        assert_eq!(rule.answer("a", 0.5), r#"{"label":"a","sure":true}"#);
        assert_eq!(rule.answer("a", 0.25), r#"{"label":"a","sure":false}"#);
    }
}
