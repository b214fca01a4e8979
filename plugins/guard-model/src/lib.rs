//! Refuses what an endpoint should not answer, as `guard` does, and what a classifier of the node says it should not.
//!
//! It is a plugin of its own since it imports `inference`, which an operator must grant: who asks no model uses `guard`. The
//! rules are the crate `guard-rules`; `classifier` makes inputs of texts and findings of labels.

mod classifier;

selvedge_sdk::world!(
    "selvedge:guard/guard-model",
    "
        package selvedge:guard;
        world guard-model {
            include selvedge:plugin/validator-plugin@0.1.0;
            import selvedge:plugin/inference@0.1.0;
        }
    "
);

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::validator::{self, Verdict};
use guard_rules::{Fields, Finding, Rules, Text, note, rejection};
use selvedge::plugin::inference::{self, InferenceError};
use selvedge_sdk::{Configured, Failure, Label, Rejection, Request, bad_config, failure};
use serde::Deserialize;

pub use classifier::{Classifier, OnBusy, Pieces};

/// The rules of `guard`, which may be none, and the model.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// What is refused without asking.
    #[serde(flatten)]
    pub rules: guard_rules::Config,
    /// What is asked of the rest.
    pub classifier: Classifier,
}

struct Plugin;

struct Guard {
    rules: Option<Rules>,
    fields: Fields,
    classifier: Classifier,
}

/// What the model came to, where it gave no labels that can be used.
enum Unjudged {
    /// It cannot answer now.
    Busy,
    /// It does not take such texts.
    Refused(String),
    /// It never will do.
    Failed(Failure),
}

static GUARD: Configured<Guard> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        GUARD.set(Guard {
            rules: Rules::new(&config.rules).map_err(bad_config)?,
            fields: Fields::new(&config.rules.fields).map_err(bad_config)?,
            classifier: config.classifier,
        })
    }
}

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        let guard = GUARD.get()?;
        let texts = guard.fields.texts(&selvedge_sdk::read_body(request));
        let ruled = guard.rules.as_ref().map(|rules| rules.check(&texts)).transpose();
        let ruled = ruled
            .map_err(|error| failure("gave-up", error))?
            .unwrap_or_default();
        if !ruled.is_empty() {
            return Ok(Verdict::Reject(rejection(request, ruled)));
        }
        match guard.classifier.judge(&texts) {
            Ok(findings) if findings.is_empty() => Ok(Verdict::Accept),
            Ok(findings) => Ok(Verdict::Reject(rejection(request, findings))),
            Err(Unjudged::Failed(failure)) => Err(failure),
            Err(Unjudged::Refused(why)) => {
                note(request, &format!("classifier: {why}"));
                Ok(Verdict::Reject(too_much()))
            }
            Err(Unjudged::Busy) => Ok(match guard.classifier.on_busy {
                OnBusy::Allow => {
                    request.set_attribute("guard.unjudged", "busy");
                    Verdict::Accept
                }
                OnBusy::Refuse => {
                    note(request, "classifier: busy");
                    Verdict::Reject(busy())
                }
            }),
        }
    }
}

impl Classifier {
    /// Asks the model, all texts at once.
    fn judge(&self, texts: &[Text]) -> Result<Vec<Finding>, Unjudged> {
        let pieces = self.pieces(texts);
        let pieces = pieces.ok_or_else(|| Unjudged::Refused("too many texts".to_owned()))?;
        if pieces.inputs.is_empty() {
            return Ok(Vec::new());
        }
        let answer = inference::classify(&self.model, &pieces.inputs);
        let labels = answer.map_err(|error| self.unjudged(error))?;
        let pair = |label: Label| (label.name, label.score);
        let labels: Vec<Vec<(String, f32)>> = labels
            .into_iter()
            .map(|labels| labels.into_iter().map(pair).collect())
            .collect();
        self.findings(texts, &pieces, &labels)
            .map_err(|error| Unjudged::Failed(failure("wrong-model", error)))
    }

    fn unjudged(&self, error: InferenceError) -> Unjudged {
        let model = &self.model;
        match error {
            InferenceError::Denied => Unjudged::Failed(failure(
                "model-denied",
                format!("the model `{model}` is not granted: `allow = {{ models = [\"{model}\"] }}`"),
            )),
            InferenceError::NotFound => {
                Unjudged::Failed(failure("no-model", format!("the node has no model `{model}`")))
            }
            InferenceError::InvalidInput(why) => Unjudged::Refused(why),
            InferenceError::Busy | InferenceError::Deadline => Unjudged::Busy,
            InferenceError::Backend(why) => {
                let fields = [("model".to_owned(), model.clone()), ("error".to_owned(), why)];
                let level = selvedge_sdk::logging::Level::Warn;
                selvedge_sdk::logging::log(level, "the guard's model failed", &fields);
                Unjudged::Busy
            }
        }
    }
}

fn busy() -> Rejection {
    Rejection {
        status: 503,
        code: "guard-busy".to_owned(),
        message: "texts cannot be checked now; ask again later".to_owned(),
        problems: Vec::new(),
    }
}

fn too_much() -> Rejection {
    Rejection {
        status: 422,
        code: "guard-unjudged".to_owned(),
        message: "the texts are longer or more than can be checked".to_owned(),
        problems: Vec::new(),
    }
}

export!(Plugin);
