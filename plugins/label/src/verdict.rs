//! The rules by which scores, or a text that names a label, become a verdict. Pure; knows no WIT.
//!
//! A text has no scores, and none is made up: its verdict is `{"label": ..}` alone, and thresholds do not apply to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mention::{Mention, Names};

/// The attachment's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model's name of a label to the name that the client sees; a label that is not here keeps its own. In a text
    /// only the model's names that are here are found.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The score that a label must reach to be the verdict, by the model's name; 0 where it is not here.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f32>,
    /// The verdict where no label reaches its threshold, or a text names none or several; without it, the best label all
    /// the same, and a refusal of such a text.
    pub otherwise: Option<String>,
    /// Whether the answer holds every label's score besides, where there are scores.
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
pub struct Rules {
    config: Config,
    names: Names,
}

/// What the client is told of one input.
#[derive(Serialize)]
struct Verdict<'a> {
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<BTreeMap<&'a str, f32>>,
}

impl Rules {
    /// The rules of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let names = Names::new(&config.labels);
        Self { config, names }
    }

    /// Whether there are labels that a text can name.
    #[must_use]
    pub fn have_labels(&self) -> bool {
        !self.config.labels.is_empty()
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
        json(&verdicts)
    }

    /// The same of texts that a model wrote, each of which is to name one label: `SPAM`, `**Ham**`, `The answer is: spam.`
    ///
    /// # Errors
    ///
    /// A text that names none or several labels, where there is no `otherwise`.
    pub fn answer_texts(&self, texts: &[String]) -> Result<String, String> {
        let verdicts = texts
            .iter()
            .map(|text| self.verdict_of_text(text))
            .collect::<Result<Vec<_>, _>>()?;
        json(&verdicts)
    }

    fn verdict_of_text(&self, text: &str) -> Result<Verdict<'_>, String> {
        let (label, problem) = match self.names.find(text) {
            Mention::One(verdict) => (Some(verdict), ""),
            Mention::None => (self.config.otherwise.as_deref(), "none"),
            Mention::Several => (self.config.otherwise.as_deref(), "several"),
        };
        let verdict = label.map(|label| Verdict {
            label,
            score: None,
            scores: None,
        });
        verdict.ok_or_else(|| {
            let known: Vec<&str> = self.config.labels.keys().map(String::as_str).collect();
            let (known, shown) = (known.join(", "), excerpt(text));
            format!("the model's answer names {problem} of the labels {known}: {shown:?}")
        })
    }

    fn verdict<'a>(&'a self, labels: &'a [Scored]) -> Result<Verdict<'a>, String> {
        let best = labels.first().ok_or("the model gave no label")?;
        let reached = labels
            .iter()
            .find(|label| label.score >= self.threshold(&label.name));
        let (label, score) = match (reached, &self.config.otherwise) {
            (Some(reached), _) => (self.shown(&reached.name), reached.score),
            (None, Some(otherwise)) => (otherwise.as_str(), best.score),
            (None, None) => (self.shown(&best.name), best.score),
        };
        let scores = self
            .config
            .scores
            .then(|| labels.iter().map(|l| (self.shown(&l.name), l.score)).collect());
        Ok(Verdict {
            label,
            score: Some(score),
            scores,
        })
    }

    fn threshold(&self, name: &str) -> f32 {
        self.config.thresholds.get(name).copied().unwrap_or(0.0)
    }

    fn shown<'a>(&'a self, name: &'a str) -> &'a str {
        self.config.labels.get(name).map_or(name, String::as_str)
    }
}

fn json(verdicts: &[Verdict<'_>]) -> Result<String, String> {
    match verdicts {
        [one] => serde_json::to_string(one),
        many => serde_json::to_string(many),
    }
    .map_err(|error| error.to_string())
}

/// As much of a text as a message shows.
fn excerpt(text: &str) -> String {
    const LEN_MAX: usize = 80;
    let text = text.trim();
    let shown = &text[..text.floor_char_boundary(LEN_MAX)];
    let ellipsis = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown}{ellipsis}")
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

    fn answer_text(config: &str, text: &str) -> Result<String, String> {
        rules(config).answer_texts(&[text.to_owned()])
    }

    #[test]
    fn a_text_that_names_a_label_has_no_score() {
        let config = r#"{"labels":{"spam":"SPAM","ham":"OK"},"thresholds":{"ham":0.9},"scores":true}"#;
        let answer = answer_text(config, "The answer is: **Ham**.");
        assert_eq!(answer.as_deref(), Ok(r#"{"label":"OK"}"#));
        let answer = rules(config).answer_texts(&["spam".to_owned(), "HAM".to_owned()]);
        assert_eq!(answer.as_deref(), Ok(r#"[{"label":"SPAM"},{"label":"OK"}]"#));
    }

    #[test]
    fn says_otherwise_where_a_text_names_none_or_several() {
        let config = r#"{"labels":{"spam":"SPAM","ham":"OK"},"otherwise":"UNSURE"}"#;
        for text in ["I cannot say.", "spam or ham?", ""] {
            assert_eq!(answer_text(config, text).as_deref(), Ok(r#"{"label":"UNSURE"}"#));
        }
    }

    #[test]
    fn refuses_such_a_text_without_otherwise_and_shows_it() {
        let config = r#"{"labels":{"spam":"SPAM","ham":"OK"}}"#;
        assert_eq!(
            answer_text(config, " spam\nor ham? "),
            Err(r#"the model's answer names several of the labels ham, spam: "spam\nor ham?""#.to_owned())
        );
        let problem = answer_text(config, &"é".repeat(100)).expect_err("refused");
        assert!(problem.contains("names none of"), "{problem}");
        assert!(
            problem.ends_with("é…\"") && problem.chars().count() < 120,
            "{problem}"
        );
    }
}
