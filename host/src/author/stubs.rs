//! What stands in for the node in a case: `allow.json`, in the case's folder or in the folder of all cases.
//!
//! ```text
//! {
//!   "headers": ["x-tenant"], "bodies": true, "journals": ["training"],
//!   "http": [{ "method": "GET", "url": "https://api.example/v1", "status": 200, "body": { "ok": true } }],
//!   "secrets": { "TOKEN": "a value" },
//!   "models": { "spam": { "labels": [[["spam", 0.9], ["ham", 0.1]]] }, "minilm": { "embeddings": [[0.1, 0.2]] }, "slow": { "error": "busy" } },
//!   "kv": ["sessions"]
//! }
//! ```
//!
//! A model gives the same whatever it is asked, one entry an input, the last one for all beyond. Stores are empty at the
//! start of each case. Of other servers, `calls` has the answers; an address alone, without a path, is granted and never answers.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_plugin::cases::Case;
use selvedge_plugin::kv::{Deed, Done};
use selvedge_plugin::value::{Label, Output};
use selvedge_plugin::{
    Caller, Grants, ModelAnswer, ModelFailure, ModelInput, Models, Origin, StoreAnswer, StoreFailure, Stores,
};
use serde::Deserialize;
use serde_json::Value;

use super::calls::{Calls, Stub};

/// What a plugin is granted in a case.
#[derive(Debug, Default)]
pub struct Stubs {
    /// The calls that it makes, where the case has answers.
    pub calls: Option<Calls>,
    /// The grants, with what stands in for the node.
    pub grants: Grants,
    /// Headers that it may read.
    pub headers: Vec<String>,
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
    kv: Vec<String>,
}

/// What a model gives.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Labels(Vec<Vec<(String, f32)>>),
    Embeddings(Vec<Vec<f32>>),
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
        Ok(Self {
            headers: allow.headers,
            grants: Grants {
                http: origins,
                caller: calls.clone().map(|calls| Arc::new(calls) as Arc<dyn Caller>),
                models: allow.models.keys().cloned().collect(),
                runner: Some(Arc::new(Said(allow.models))),
                kv: allow.kv,
                stores: Some(Arc::new(Memory::default())),
                secrets: allow.secrets,
                journals: allow.journals,
                bodies: allow.bodies,
            },
            calls,
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
                ModelInput::Tensors(_) => {
                    return Err(ModelFailure::InvalidInput(
                        "no case has tensors for a model".to_owned(),
                    ));
                }
            };
            let label = |(name, score)| Label { name, score };
            Ok(match answer? {
                Answer::Labels(inputs) => Output::Labels(
                    repeated(inputs, count)
                        .map(|labels| labels.into_iter().map(label).collect())
                        .collect(),
                ),
                Answer::Embeddings(vectors) => Output::Embeddings(repeated(vectors, count).collect()),
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

/// Stores in memory. Nothing is over its time before the case is.
#[derive(Default)]
struct Memory(Mutex<HashMap<(String, String), Vec<u8>>>);

impl Stores for Memory {
    fn act(&self, store: &str, key: String, deed: Deed, bytes_max: u64) -> StoreAnswer {
        let done = self.done(store, key, deed, bytes_max);
        Box::pin(async move { done })
    }
}

impl Memory {
    fn done(&self, store: &str, key: String, deed: Deed, bytes_max: u64) -> Result<Done, StoreFailure> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (store.to_owned(), key);
        let (value, done) = match deed {
            Deed::Get => return Ok(Done::Value(kept.get(&place).map(|value| value.clone().into()))),
            Deed::Delete => {
                kept.remove(&place);
                return Ok(Done::Nothing);
            }
            Deed::Set(value, _) => (value.to_vec(), Done::Nothing),
            Deed::Increment(delta, _) => {
                let before = kept
                    .get(&place)
                    .map_or("0".into(), |value| String::from_utf8_lossy(value));
                let before: i64 = before
                    .parse()
                    .map_err(|_| StoreFailure::Unavailable("the value is no number".to_owned()))?;
                let number = before.saturating_add(delta);
                (number.to_string().into_bytes(), Done::Number(number))
            }
        };
        let others = kept
            .iter()
            .filter(|(known, _)| known.0 == store && **known != place);
        let taken: usize = others.map(|((_, key), value)| key.len() + value.len() + 64).sum();
        if (taken + place.1.len() + value.len() + 64) as u64 > bytes_max {
            return Err(StoreFailure::Quota);
        }
        kept.insert(place, value);
        Ok(done)
    }
}
