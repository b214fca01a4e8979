//! What a classifier is asked of a body's texts, and what its labels come to. Pure; knows no WIT.
//!
//! A model may look at the beginning of a text alone, behind which anything could hide, so a long text is cut into pieces that
//! are judged one by one. A request of more pieces than there may be is refused: what nobody looked at does not pass.

use guard_rules::{Finding, Text};
use serde::Deserialize;

/// Pieces that one request may have: at 2 ms each, what fits into the time that a model is given by default.
const PIECES_MAX: usize = 256;

/// The model that is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classifier {
    /// Its name on the node, one of those that the operator grants.
    pub model: String,
    /// The label that is refused.
    pub label: String,
    /// The score from which on it is. Default 0.9.
    #[serde(default = "threshold_default")]
    pub threshold: f32,
    /// What becomes of a request that the model cannot judge now. Default: it is refused.
    #[serde(default)]
    pub on_busy: OnBusy,
    /// Bytes of a piece, which should be no more than the model looks at. Default 1000.
    #[serde(default = "piece_len_max_default")]
    pub piece_len_max: usize,
}

/// What becomes of a request that the model cannot judge now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBusy {
    /// It passes.
    Allow,
    /// It is refused with 503.
    #[default]
    Refuse,
}

fn threshold_default() -> f32 {
    0.9
}

fn piece_len_max_default() -> usize {
    1000
}

/// What the model is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// One input each.
    pub inputs: Vec<String>,
    /// The place of each one's text.
    places: Vec<usize>,
}

impl Classifier {
    /// The pieces of the texts; none where there are too many. Texts of nothing but white space are left out.
    #[must_use]
    pub fn pieces(&self, texts: &[Text]) -> Option<Pieces> {
        let mut pieces = Pieces::default();
        for (place, text) in texts.iter().enumerate() {
            for piece in cut(text.text.trim(), self.piece_len_max) {
                if pieces.inputs.len() == PIECES_MAX {
                    return None;
                }
                pieces.inputs.push(piece.to_owned());
                pieces.places.push(place);
            }
        }
        Some(pieces)
    }

    /// The texts with a piece that the model knows by the label, from the labels and scores of each piece.
    ///
    /// # Errors
    ///
    /// Where the model has no such label, did not judge each piece, or gave a score that is no number.
    pub fn findings(
        &self,
        texts: &[Text],
        pieces: &Pieces,
        labels: &[Vec<(String, f32)>],
    ) -> Result<Vec<Finding>, String> {
        if labels.len() != pieces.inputs.len() {
            let (given, judged) = (pieces.inputs.len(), labels.len());
            return Err(format!(
                "the model `{}` judged {judged} of {given} texts",
                self.model
            ));
        }
        let mut denied: Vec<usize> = Vec::new();
        for (place, labels) in pieces.places.iter().zip(labels) {
            if self.score(labels)? >= self.threshold && denied.last() != Some(place) {
                denied.push(*place);
            }
        }
        let finding = |place: usize| Finding {
            loc: texts[place].loc.clone(),
            reason: format!("classifier.{}", self.label),
        };
        Ok(denied.into_iter().map(finding).collect())
    }

    fn score(&self, labels: &[(String, f32)]) -> Result<f32, String> {
        let found = labels.iter().find(|(name, _)| *name == self.label);
        match found {
            Some((_, score)) if score.is_finite() => Ok(*score),
            Some((_, score)) => Err(format!("the model `{}` gave the score {score}", self.model)),
            None => {
                let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
                let (model, label, names) = (&self.model, &self.label, names.join(", "));
                Err(format!(
                    "the model `{model}` has no label `{label}`; it has {names}"
                ))
            }
        }
    }
}

/// Pieces of a text of at most so many bytes, cut at white space where there is some in the second half.
fn cut(mut text: &str, len_max: usize) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let mut end = text.len().min(len_max.max(4));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if end < text.len() {
            let blank = text[..end].rfind(char::is_whitespace);
            end = blank.filter(|blank| *blank > end / 2).unwrap_or(end);
        }
        let (piece, rest) = text.split_at(end);
        text = rest.trim_start();
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use guard_rules::{Fields, Text};

    use super::{Classifier, OnBusy, PIECES_MAX, cut};

    fn classifier() -> Classifier {
        let config = r#"{"model":"spam","label":"spam","threshold":0.5,"piece_len_max":8}"#;
        serde_json::from_str(config).expect("a classifier")
    }

    fn texts(body: &str) -> Vec<Text> {
        Fields::default().texts(body.as_bytes())
    }

    fn labels(spam: f32) -> Vec<(String, f32)> {
        vec![("ham".to_owned(), 1.0 - spam), ("spam".to_owned(), spam)]
    }

    #[test]
    fn refuses_where_it_is_not_said() {
        let said: Classifier = serde_json::from_str(r#"{"model":"m","label":"l"}"#).expect("a classifier");
        assert_eq!((said.on_busy, said.piece_len_max), (OnBusy::Refuse, 1000));
        assert!(classifier().threshold < said.threshold);
    }

    #[test]
    fn cuts_at_white_space_and_never_in_a_character() {
        let pieces = |text| cut(text, 8).collect::<Vec<_>>();
        assert_eq!(pieces("one two three four"), ["one two", "three", "four"]);
        assert_eq!(pieces("abcdefghij"), ["abcdefgh", "ij"]);
        assert_eq!(pieces("ääääää"), ["ääää", "ää"]);
        assert!(pieces("").is_empty());
    }

    #[test]
    fn tells_the_texts_with_a_piece_that_is_denied_once() {
        let texts = texts(r#"["fine","long and then bad","  ","bad too"]"#);
        let pieces = classifier().pieces(&texts).expect("few");
        assert_eq!(pieces.inputs, ["fine", "long and", "then bad", "bad too"]);
        let labels = [labels(0.1), labels(0.6), labels(0.9), labels(0.5)];
        let findings = classifier().findings(&texts, &pieces, &labels).expect("judged");
        let places: Vec<_> = findings.iter().map(|finding| finding.loc.clone()).collect();
        assert_eq!(places, [texts[1].loc.clone(), texts[3].loc.clone()]);
        assert_eq!(findings[0].reason, "classifier.spam");
    }

    #[test]
    fn lets_nothing_pass_that_was_not_judged() {
        let long = texts(&format!("\"{}\"", "a".repeat(8 * PIECES_MAX + 1)));
        assert_eq!(classifier().pieces(&long), None);
        let few = texts(r#"["one"]"#);
        let pieces = classifier().pieces(&few).expect("few");
        assert!(classifier().findings(&few, &pieces, &[]).is_err());
        assert!(classifier().findings(&few, &pieces, &[labels(f32::NAN)]).is_err());
    }

    #[test]
    fn names_the_labels_where_the_model_has_others() {
        let texts = texts(r#"["one"]"#);
        let pieces = classifier().pieces(&texts).expect("few");
        let other = [vec![("ham".to_owned(), 1.0), ("SPAM".to_owned(), 0.0)]];
        let error = classifier()
            .findings(&texts, &pieces, &other)
            .expect_err("no label");
        assert!(error.contains("has no label `spam`; it has ham, SPAM"), "{error}");
    }
}
