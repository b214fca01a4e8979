//! What stands in for the node in a case: `allow.json`, in the case's folder or in the folder of all cases.
//!
//! ```text
//! {
//!   "headers": ["x-tenant"], "bodies": true, "journals": ["training"],
//!   "http": [{ "method": "GET", "url": "https://api.example/v1", "status": 200, "body": { "ok": true } }],
//!   "secrets": { "TOKEN": "a value" },
//!   "models": {
//!     "spam": { "labels": [[["spam", 0.9], ["ham", 0.1]]] }, "minilm": { "embeddings": [[0.1, 0.2]] }, "slow": { "error": "busy" },
//!     "scorer": { "tensors": [{ "name": "logits", "element": "Float32", "shape": [1, 2], "values": [0.1, 0.9] }] }
//!   },
//!   "kv": { "sessions": { "a": "a value" } }
//! }
//! ```
//!
//! A model gives the same whatever it is asked, one entry an input, the last one for all beyond; tensors are those of `tensor`, all
//! of them each time. Of stores, `store` says what is in them at the start of each case. Of other servers, `calls` has the answers; an
//! address alone, without a path, is granted and never answers.

mod store;
mod tensor;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use selvedge_plugin::cases::Case;
use selvedge_plugin::value::{Label, Output};
use selvedge_plugin::{Caller, Clock, Grants, ModelAnswer, ModelFailure, ModelInput, Models, Origin};
use serde::Deserialize;
use serde_json::Value;

use self::tensor::Named;
use super::calls::{Calls, Stub};

pub use store::Memory;

/// What a plugin is granted in a case.
#[derive(Debug, Default)]
pub struct Stubs {
    /// The calls that it makes, where the case has answers.
    pub calls: Option<Calls>,
    /// The grants, with what stands in for the node.
    pub grants: Grants,
    /// Headers that it may read.
    pub headers: Vec<String>,
    /// The stores that it may open.
    pub stores: Memory,
    /// The case's clocks, by which what is kept is over.
    pub clock: Clock,
}

/// `allow.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Allow {
    headers: Vec<String>,
    bodies: bool,
    journals: Vec<String>,
    http: Vec<Value>,
    secrets: BTreeMap<String, String>,
    models: BTreeMap<String, Answer>,
    kv: Value,
}

/// What a model gives.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Labels(Vec<Vec<(String, f32)>>),
    Embeddings(Vec<Vec<f32>>),
    Tensors(Vec<Named>),
    Error(Failure),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Failure {
    Busy,
    Deadline,
    NotFound,
    Backend,
}

impl Stubs {
    /// Those of a case; where it has none, those of all.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub fn read(cases: &Path, case: &Case) -> Result<Self, String> {
        let own = case.file("allow.json");
        let is_named = own.parent() != Some(case.dir());
        let file = match own.is_file() || is_named {
            true => own,
            false => cases.join("allow.json"),
        };
        if !file.exists() && !is_named {
            return Ok(Self::default());
        }
        let broken = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(&file).map_err(|error| broken(&error))?;
        let allow: Allow = serde_json::from_str(&text).map_err(|error| broken(&error))?;
        let (mut origins, mut answers) = (Vec::new(), Vec::new());
        for (place, said) in allow.http.into_iter().enumerate() {
            let at = |why: &str| broken(&format!("`http[{place}]`: {why}"));
            if let Value::String(url) = &said {
                origins.push(Origin::parse(url).map_err(at)?);
            } else {
                let (stub, origin) = Stub::read(said).map_err(|why| at(&why))?;
                origins.push(origin);
                answers.push(stub);
            }
        }
        let calls = (!answers.is_empty()).then(|| Calls::new(answers));
        let clock = Clock::default();
        let (kv, stores) = Memory::read(allow.kv, &clock).map_err(|why| broken(&why))?;
        Ok(Self {
            headers: allow.headers,
            grants: Grants {
                http: origins,
                caller: calls.clone().map(|calls| Arc::new(calls) as Arc<dyn Caller>),
                models: allow.models.keys().cloned().collect(),
                runner: Some(Arc::new(Said(allow.models))),
                kv,
                stores: Some(Arc::new(stores.clone())),
                secrets: allow.secrets,
                journals: allow.journals,
                bodies: allow.bodies,
            },
            calls,
            stores,
            clock,
        })
    }
}

/// Models that give what a file says.
struct Said(BTreeMap<String, Answer>);

impl Models for Said {
    fn infer(&self, model: &str, input: ModelInput) -> ModelAnswer {
        let answer = self.0.get(model).cloned().ok_or(ModelFailure::NotFound);
        Box::pin(async move {
            let count = match &input {
                ModelInput::Texts(texts) => texts.len(),
                ModelInput::Tensors(_) => 1,
            };
            let label = |(name, score)| Label { name, score };
            Ok(match answer? {
                Answer::Labels(inputs) => Output::Labels(
                    repeated(inputs, count)
                        .map(|labels| labels.into_iter().map(label).collect())
                        .collect(),
                ),
                Answer::Embeddings(vectors) => Output::Embeddings(repeated(vectors, count).collect()),
                Answer::Tensors(named) => {
                    let tensors = named.into_iter().map(|named| (named.name, named.tensor));
                    Output::Tensors(tensors.collect())
                }
                Answer::Error(failure) => return Err(failed(failure)),
            })
        })
    }
}

/// So many of them, the last one again and again.
fn repeated<T: Clone>(items: Vec<T>, count: usize) -> impl Iterator<Item = T> {
    let last = items.last().cloned();
    let more = std::iter::repeat_with(move || last.clone()).map_while(|item| item);
    items.into_iter().chain(more).take(count)
}

fn failed(failure: Failure) -> ModelFailure {
    match failure {
        Failure::Busy => ModelFailure::Busy,
        Failure::Deadline => ModelFailure::Deadline(std::time::Duration::from_millis(500)),
        Failure::NotFound => ModelFailure::NotFound,
        Failure::Backend => ModelFailure::Failed("the case says so".to_owned()),
    }
}
