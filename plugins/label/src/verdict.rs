//! The rules by which scores become a verdict. Pure; knows no WIT.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The attachment's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model's name of a label to the name that the client sees; a label that is not here keeps its own.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The score that a label must reach to be the verdict, by the model's name; 0 where it is not here.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f32>,
    /// The verdict where no label reaches its threshold; without it, the best label all the same.
    pub otherwise: Option<String>,
    /// Whether the answer holds every label's score besides.
    #[serde(default)]
    pub scores: bool,
}

/// One label with its score, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The model's name of it.
    pub name: String,
    /// After softmax or sigmoid.
    pub score: f32,
}

/// The rules, ready to use.
pub struct Rules(Config);

/// What the client is told of one input.
#[derive(Serialize)]
struct Verdict<'a> {
    label: &'a str,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<BTreeMap<&'a str, f32>>,
}

impl Rules {
    /// The rules of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(config)
    }

    /// The answer as JSON: an object for one input, an array of such objects for several. Labels come best first.
    ///
    /// # Errors
    ///
    /// An input without any label.
    pub fn answer(&self, inputs: &[Vec<Scored>]) -> Result<String, String> {
        let verdicts = inputs
            .iter()
            .map(|labels| self.verdict(labels))
            .collect::<Result<Vec<_>, _>>()?;
        match verdicts.as_slice() {
            [one] => serde_json::to_string(one),
            many => serde_json::to_string(many),
        }
        .map_err(|error| error.to_string())
    }

    fn verdict<'a>(&'a self, labels: &'a [Scored]) -> Result<Verdict<'a>, String> {
        let best = labels.first().ok_or("the model gave no label")?;
        let reached = labels
            .iter()
            .find(|label| label.score >= self.threshold(&label.name));
        let (label, score) = match (reached, &self.0.otherwise) {
            (Some(reached), _) => (self.shown(&reached.name), reached.score),
            (None, Some(otherwise)) => (otherwise.as_str(), best.score),
            (None, None) => (self.shown(&best.name), best.score),
        };
        let scores = self
            .0
            .scores
            .then(|| labels.iter().map(|l| (self.shown(&l.name), l.score)).collect());
        Ok(Verdict { label, score, scores })
    }

    fn threshold(&self, name: &str) -> f32 {
        self.0.thresholds.get(name).copied().unwrap_or(0.0)
    }

    fn shown<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.labels.get(name).map_or(name, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::{Rules, Scored};

    fn labels(spam: f32) -> Vec<Scored> {
        let mut labels = vec![
            Scored {
                name: "spam".into(),
                score: spam,
            },
            Scored {
                name: "ham".into(),
                score: 1.0 - spam,
            },
        ];
        labels.sort_by(|a, b| b.score.total_cmp(&a.score));
        labels
    }

    fn rules(config: &str) -> Rules {
        Rules::new(serde_json::from_str(config).expect("the test's configuration parses"))
    }

    #[test]
    fn shows_the_best_label_under_its_public_name() {
        let rules = rules(r#"{"labels":{"spam":"SPAM"}}"#);
        assert_eq!(
            rules.answer(&[labels(0.75)]).as_deref(),
            Ok(r#"{"label":"SPAM","score":0.75}"#)
        );
    }

    #[test]
    fn answers_a_list_for_several_inputs() {
        let answer = rules("{}").answer(&[labels(0.75), labels(0.25)]);
        assert_eq!(
            answer.as_deref(),
            Ok(r#"[{"label":"spam","score":0.75},{"label":"ham","score":0.75}]"#)
        );
    }

    #[test]
    fn passes_over_a_label_below_its_threshold() {
        let rules = rules(r#"{"thresholds":{"spam":0.9}}"#);
        assert_eq!(
            rules.answer(&[labels(0.75)]).as_deref(),
            Ok(r#"{"label":"ham","score":0.25}"#)
        );
    }

    #[test]
    fn says_otherwise_where_no_label_reaches_its_threshold() {
        let rules = rules(r#"{"thresholds":{"spam":0.9,"ham":0.9},"otherwise":"UNSURE"}"#);
        assert_eq!(
            rules.answer(&[labels(0.75)]).as_deref(),
            Ok(r#"{"label":"UNSURE","score":0.75}"#)
        );
    }

    #[test]
    fn adds_every_score_where_asked() {
        let answer = rules(r#"{"scores":true}"#).answer(&[labels(0.75)]);
        assert_eq!(
            answer.as_deref(),
            Ok(r#"{"label":"spam","score":0.75,"scores":{"ham":0.25,"spam":0.75}}"#)
        );
    }

    #[test]
    fn refuses_an_input_without_labels() {
        assert!(rules("{}").answer(&[vec![]]).is_err());
    }
}
