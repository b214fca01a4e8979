//! What is answered of a file: the model's label where its score is high enough for it, and otherwise that it is text or that
//! it is unknown. Pure; knows no WIT.
//!
//! What each label comes to, both ways, is worked out once; a request looks it up by the label's index.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{Config, Mode, Type};
use crate::features::Scant;

/// All that can be answered, ready to use.
pub struct Verdicts {
    types: Vec<(String, Type)>,
    /// By the index of the model's label.
    outcomes: Vec<Outcome>,
    scant: [(Scant, usize); 3],
}

/// What one label of the model comes to.
struct Outcome {
    /// Place of the model's own label in `types`.
    model: usize,
    /// The score from which on the model is believed.
    threshold: f64,
    believed: Verdict,
    doubted: Verdict,
}

/// What is answered.
#[derive(Clone, Copy)]
struct Verdict {
    /// Place in `types`.
    label: usize,
    overwritten: Option<Overwritten>,
}

/// Why the verdict is not the model's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Overwritten {
    /// The score was too low.
    LowConfidence,
    /// The label stands for another.
    OverwriteMap,
}

/// What the client is told.
#[derive(Serialize)]
struct Answer<'a> {
    label: &'a str,
    score: f32,
    mime_type: &'a str,
    group: &'a str,
    is_text: bool,
    extensions: &'a [String],
    /// Null where the model was not asked.
    model: Option<Scored<'a>>,
    overwritten: Option<Overwritten>,
}

/// What the model said.
#[derive(Serialize)]
struct Scored<'a> {
    label: &'a str,
    score: f32,
}

impl Verdicts {
    /// The verdicts of a configuration.
    ///
    /// # Errors
    ///
    /// A label that `types` does not have, or a threshold or another label for what is no label of the model.
    pub fn new(config: &Config) -> Result<Self, String> {
        let names = config.thresholds.keys().chain(config.overwrite.keys());
        if let Some(stray) = names.into_iter().find(|name| !config.labels.contains(name)) {
            return Err(format!("`{stray}` is no label of the model: see `labels`"));
        }
        let places: BTreeMap<&str, usize> = config.types.keys().map(String::as_str).zip(0..).collect();
        let place = |label: &str| {
            let place = places.get(label).copied();
            place.ok_or_else(|| format!("types: `{label}` is missing"))
        };
        let scant = |scant: Scant| Ok::<_, String>((scant, place(scant.label())?));
        let scant = [scant(Scant::Empty)?, scant(Scant::Text)?, scant(Scant::Binary)?];
        let outcome = |label: &String| {
            let verdict = config.overwrite.get(label).unwrap_or(label);
            let is_text = config.types.get(verdict).is_some_and(|kind| kind.is_text);
            let generic = if is_text { Scant::Text } else { Scant::Binary };
            let (model, verdict) = (place(label)?, place(verdict)?);
            Ok(Outcome {
                model,
                threshold: threshold(config, label),
                believed: Verdict::instead_of(model, verdict, Overwritten::OverwriteMap),
                doubted: Verdict::instead_of(model, place(generic.label())?, Overwritten::LowConfidence),
            })
        };
        Ok(Self {
            outcomes: config.labels.iter().map(outcome).collect::<Result<_, String>>()?,
            types: config.types.clone().into_iter().collect(),
            scant,
        })
    }

    /// How many labels the model has.
    #[must_use]
    pub fn labels_count(&self) -> usize {
        self.outcomes.len()
    }

    /// The answer as JSON, by the label that scored best, and its score.
    ///
    /// # Errors
    ///
    /// A label that there is not, or a score that is no number.
    pub fn of_model(&self, label: usize, score: f32) -> Result<String, String> {
        let outcome = self.outcomes.get(label);
        let outcome = outcome.ok_or_else(|| format!("the model has no label {label}"))?;
        if !score.is_finite() {
            return Err(format!("the model's best score is {score}"));
        }
        let verdict = if f64::from(score) >= outcome.threshold {
            outcome.believed
        } else {
            outcome.doubted
        };
        let label = self.types[outcome.model].0.as_str();
        self.json(verdict, score, Some(Scored { label, score }))
    }

    /// The same of a file that the model cannot judge.
    ///
    /// # Errors
    ///
    /// None that is known: an answer can be written as JSON.
    pub fn of_scant(&self, scant: Scant) -> Result<String, String> {
        let place = self.scant.iter().find(|(known, _)| *known == scant);
        let verdict = Verdict {
            label: place.map_or(0, |(_, place)| *place),
            overwritten: None,
        };
        self.json(verdict, 1.0, None)
    }

    fn json(&self, verdict: Verdict, score: f32, model: Option<Scored<'_>>) -> Result<String, String> {
        let (label, kind) = &self.types[verdict.label];
        let answer = Answer {
            label,
            score,
            mime_type: &kind.mime_type,
            group: &kind.group,
            is_text: kind.is_text,
            extensions: &kind.extensions,
            model,
            overwritten: verdict.overwritten,
        };
        serde_json::to_string(&answer).map_err(|error| error.to_string())
    }
}

impl Verdict {
    /// A verdict that is the model's label after all is not overwritten.
    fn instead_of(model: usize, label: usize, why: Overwritten) -> Self {
        Self {
            label,
            overwritten: (label != model).then_some(why),
        }
    }
}

/// The score from which on a label of the model is believed.
fn threshold(config: &Config, label: &str) -> f64 {
    match config.mode {
        Mode::HighConfidence => config.thresholds.get(label).copied().unwrap_or(config.threshold),
        Mode::MediumConfidence => config.threshold,
        Mode::BestGuess => f64::NEG_INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::Verdicts;
    use crate::config::Config;
    use crate::features::Scant;

    const MARKDOWN: usize = 0;
    const PNG: usize = 1;
    const RANDOM: usize = 2;
    const TEXT: usize = 3;

    fn verdicts(keys: &str) -> Result<Verdicts, String> {
        Verdicts::new(&Config::of_test(keys))
    }

    /// The label of an answer, and why it is not the model's.
    fn told(keys: &str, label: usize, score: f32) -> (String, String) {
        let verdicts = verdicts(keys).expect("the test's configuration is right");
        let answer = verdicts.of_model(label, score).expect("it is answered");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("it is JSON");
        let text = |key: &str| answer[key].as_str().unwrap_or("-").to_owned();
        (text("label"), text("overwritten"))
    }

    fn expected(label: &str, overwritten: &str) -> (String, String) {
        (label.to_owned(), overwritten.to_owned())
    }

    #[test]
    fn tells_the_models_label_and_what_is_known_of_it() {
        let answer = verdicts("{}").and_then(|verdicts| verdicts.of_model(PNG, 0.99));
        assert_eq!(
            answer.as_deref(),
            Ok(concat!(
                r#"{"label":"png","score":0.99,"mime_type":"image/png","group":"image","is_text":false,"#,
                r#""extensions":["png"],"model":{"label":"png","score":0.99},"overwritten":null}"#
            ))
        );
    }

    #[test]
    fn believes_a_label_from_its_threshold_on() {
        assert_eq!(told("{}", PNG, 0.5), expected("png", "-"));
        assert_eq!(told("{}", PNG, 0.49), expected("unknown", "low-confidence"));
        assert_eq!(told("{}", MARKDOWN, 0.75), expected("markdown", "-"));
        assert_eq!(told("{}", MARKDOWN, 0.74), expected("txt", "low-confidence"));
    }

    #[test]
    fn a_threshold_is_not_rounded_to_the_scores_precision() {
        let keys = r#"{"thresholds":{"markdown":0.95}}"#;
        assert_eq!(
            told(keys, MARKDOWN, 0.95).0,
            "txt",
            "the f32 next to 0.95 is below it"
        );
    }

    #[test]
    fn the_mode_says_which_threshold_counts() {
        let medium = r#"{"mode":"medium-confidence"}"#;
        assert_eq!(told(medium, MARKDOWN, 0.5), expected("markdown", "-"));
        assert_eq!(told(medium, MARKDOWN, 0.4), expected("txt", "low-confidence"));
        let guess = r#"{"mode":"best-guess"}"#;
        assert_eq!(told(guess, MARKDOWN, 0.01), expected("markdown", "-"));
        assert_eq!(told(guess, RANDOM, 0.01), expected("unknown", "overwrite-map"));
    }

    #[test]
    fn a_label_may_stand_for_another() {
        assert_eq!(told("{}", RANDOM, 0.9), expected("unknown", "overwrite-map"));
        assert_eq!(told("{}", RANDOM, 0.1), expected("unknown", "low-confidence"));
    }

    #[test]
    fn what_comes_to_the_models_own_label_is_not_overwritten() {
        assert_eq!(told("{}", TEXT, 0.1), expected("txt", "-"));
    }

    #[test]
    fn a_file_of_few_bytes_has_no_word_of_the_model() {
        let verdicts = verdicts("{}").expect("the test's configuration is right");
        assert_eq!(
            verdicts.of_scant(Scant::Empty).as_deref(),
            Ok(concat!(
                r#"{"label":"empty","score":1.0,"mime_type":"inode/x-empty","group":"inode","is_text":false,"#,
                r#""extensions":[],"model":null,"overwritten":null}"#
            ))
        );
        for (scant, label) in [(Scant::Text, "txt"), (Scant::Binary, "unknown")] {
            let answer = verdicts.of_scant(scant).expect("it is answered");
            assert!(
                answer.starts_with(&format!(r#"{{"label":"{label}","#)),
                "{answer}"
            );
        }
    }

    #[test]
    fn refuses_what_no_model_with_these_labels_gives() {
        let verdicts = verdicts("{}").expect("the test's configuration is right");
        assert!(verdicts.of_model(4, 0.9).is_err());
        assert!(verdicts.of_model(PNG, f32::NAN).is_err());
    }

    #[test]
    fn refuses_labels_of_which_nothing_is_known() {
        let wrong = |keys: &str| verdicts(keys).err().expect("refused");
        assert_eq!(
            wrong(r#"{"labels":["markdown","randombytes","gif"]}"#),
            "types: `gif` is missing"
        );
        assert_eq!(wrong(r#"{"overwrite":{"png":"gif"}}"#), "types: `gif` is missing");
        assert_eq!(wrong(r#"{"types":{}}"#), "types: `empty` is missing");
        assert_eq!(
            wrong(r#"{"thresholds":{"gif":0.5}}"#),
            "`gif` is no label of the model: see `labels`"
        );
    }
}
