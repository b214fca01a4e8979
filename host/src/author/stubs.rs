//! What stands in for the node in a case: `allow.json`, in the case's folder or in the folder of all cases.
//!
//! ```text
//! {
//!   "headers": ["x-tenant"], "bodies": true, "journals": ["training"], "http": ["https://api.example"],
//!   "secrets": { "TOKEN": "a value" },
//!   "models": { "spam": { "labels": [[["spam", 0.9], ["ham", 0.1]]] }, "minilm": { "embeddings": [[0.1, 0.2]] }, "slow": { "error": "busy" } },
//!   "kv": ["sessions"]
//! }
//! ```
//!
//! A model gives the same whatever it is asked, one entry an input, the last one for all beyond. Stores are empty at the
//! start of each case. A call by `wasi:http` is refused as one to a server that does not listen.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use selvedge_plugin::kv::{Deed, Done};
use selvedge_plugin::value::{Label, Output};
use selvedge_plugin::{
    Grants, ModelAnswer, ModelFailure, ModelInput, Models, Origin, StoreAnswer, StoreFailure, Stores,
};
use serde::Deserialize;

/// What a plugin is granted in a case.
#[derive(Debug, Default)]
pub struct Stubs {
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
    http: Vec<String>,
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
    pub fn read(cases: &Path, case: &Path) -> Result<Self, String> {
        let places = [case, cases].map(|dir| dir.join("allow.json"));
        let Some(file) = places.iter().find(|file| file.is_file()) else {
            return Ok(Self::default());
        };
        let broken = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| broken(&error))?;
        let allow: Allow = serde_json::from_str(&text).map_err(|error| broken(&error))?;
        let http = allow
            .http
            .iter()
            .map(|url| Origin::parse(url).map_err(|why| broken(&why)));
        Ok(Self {
            headers: allow.headers,
            grants: Grants {
                http: http.collect::<Result<_, _>>()?,
                caller: None,
                models: allow.models.keys().cloned().collect(),
                runner: Some(Arc::new(Said(allow.models))),
                kv: allow.kv,
                stores: Some(Arc::new(Memory::default())),
                secrets: allow.secrets,
                journals: allow.journals,
                bodies: allow.bodies,
            },
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
