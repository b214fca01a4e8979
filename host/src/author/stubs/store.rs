//! The stores of a case: in memory, with what the case says is in them, over their time by the case's own clock.
//!
//! ```text
//! "kv": ["sessions"]
//! "kv": { "sessions": { "a": "text", "n": 5, "soon-over": { "value": "text", "ttl_ms": 1500 }, "bytes": { "base64": "/w==" } } }
//! ```
//!
//! In the second form what is in them afterwards is told with what the plugin came to, and written alike.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_plugin::kv::{Deed, Done, KEY_LEN_MAX, VALUE_LEN_MAX};
use selvedge_plugin::{Clock, StoreAnswer, StoreFailure, Stores};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Bytes that a key costs besides itself and its value, as on a node.
const ENTRY_LEN: usize = 64;

/// Keys and values of each store, by its name.
type Contents = BTreeMap<String, BTreeMap<String, Entry>>;

/// The stores that a case grants. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    clock: Clock,
    /// What they have at the start; none where the case names them alone.
    seeds: Option<Arc<Contents>>,
    now: Arc<Mutex<Contents>>,
}

/// A value that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    value: Vec<u8>,
    /// When it is over, on the case's clock on the wall.
    expires: Option<Duration>,
}

/// A value as the file has it, where it has more than a text or a number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    value: Option<Value>,
    base64: Option<String>,
    ttl_ms: Option<u64>,
}

impl Memory {
    /// Reads what a case says of its stores: their names, and what is in them.
    ///
    /// # Errors
    ///
    /// What is wrong with it, at which key.
    pub(super) fn read(said: Value, clock: &Clock) -> Result<(Vec<String>, Self), String> {
        let mut memory = Self {
            clock: clock.clone(),
            ..Self::default()
        };
        let stores = match said {
            Value::Null => return Ok((Vec::new(), memory)),
            Value::Object(stores) => stores,
            names => {
                let names = serde_json::from_value(names);
                let names = names.map_err(|error| {
                    format!("`kv`: {error}; it is a list of stores, or an object of what is in each")
                })?;
                return Ok((names, memory));
            }
        };
        let mut seeds = Contents::new();
        for (name, entries) in stores {
            let Value::Object(entries) = entries else {
                return Err(format!("`kv.{name}`: a store is an object, with a value a key"));
            };
            let store = seeds.entry(name.clone()).or_default();
            for (key, said) in entries {
                let entry = Entry::read(&key, said, memory.clock.wall());
                let entry = entry.map_err(|why| format!("`kv.{name}.{key}`: {why}"))?;
                store.insert(key, entry);
            }
        }
        let names = seeds.keys().cloned().collect();
        memory.seeds = Some(Arc::new(seeds));
        memory.begin();
        Ok((names, memory))
    }

    /// Puts them back to where the case begins, whatever was done in them before.
    pub fn begin(&self) {
        let seeds = self.seeds.as_deref().cloned();
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = seeds.unwrap_or_default();
    }

    /// What is in them, where the case says what was.
    #[must_use]
    pub fn told(&self) -> Option<Value> {
        self.seeds.as_ref()?;
        let (now, stores) = (
            self.clock.wall(),
            self.now.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let told = stores.iter().map(|(name, entries)| {
            let entries = entries.iter().filter(|(_, entry)| entry.is_there(now));
            let entries = entries.map(|(key, entry)| (key.clone(), entry.told(now)));
            (name.clone(), Value::Object(entries.collect()))
        });
        Some(Value::Object(told.collect::<Map<_, _>>()))
    }

    fn done(&self, store: &str, key: String, deed: Deed, bytes_max: u64) -> Result<Done, StoreFailure> {
        let now = self.clock.wall();
        let mut stores = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = stores.entry(store.to_owned()).or_default();
        entries.retain(|_, entry| entry.is_there(now));
        let (value, ttl, done) = match deed {
            Deed::Get => {
                let value = entries.get(&key).map(|entry| entry.value.clone().into());
                return Ok(Done::Value(value));
            }
            Deed::Delete => {
                entries.remove(&key);
                return Ok(Done::Nothing);
            }
            Deed::Set(value, ttl) => (value.to_vec(), ttl, Done::Nothing),
            Deed::Increment(delta, ttl) => {
                let before = entries.get(&key).map_or(Ok(0), Entry::number)?;
                let number = before.saturating_add(delta);
                (number.to_string().into_bytes(), ttl, Done::Number(number))
            }
        };
        let others = entries.iter().filter(|(known, _)| **known != key);
        let taken: usize = others
            .map(|(key, entry)| key.len() + entry.value.len() + ENTRY_LEN)
            .sum();
        if (taken + key.len() + value.len() + ENTRY_LEN) as u64 > bytes_max {
            return Err(StoreFailure::Quota);
        }
        let expires = ttl.map(|ttl| now.saturating_add(Duration::from_millis(ttl)));
        entries.insert(key, Entry { value, expires });
        Ok(done)
    }
}

impl Stores for Memory {
    fn act(&self, store: &str, key: String, deed: Deed, bytes_max: u64) -> StoreAnswer {
        let done = self.done(store, key, deed, bytes_max);
        Box::pin(async move { done })
    }
}

impl Entry {
    fn read(key: &str, said: Value, now: Duration) -> Result<Self, String> {
        if key.is_empty() || key.len() > KEY_LEN_MAX {
            return Err(format!("a key has 1 to {KEY_LEN_MAX} bytes"));
        }
        let seed = match said {
            Value::Object(_) => serde_json::from_value(said).map_err(|error| error.to_string())?,
            plain => Seed {
                value: Some(plain),
                base64: None,
                ttl_ms: None,
            },
        };
        let value = match (seed.value, seed.base64) {
            (Some(Value::String(text)), None) => text.into_bytes(),
            (Some(Value::Number(number)), None) => number.to_string().into_bytes(),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map_err(|error| format!("`base64`: {error}"))?,
            _ => {
                return Err(
                    "a value is a text or a number, or an object with it as `value`, or with `base64`, and perhaps `ttl_ms`"
                        .to_owned(),
                );
            }
        };
        if value.len() > VALUE_LEN_MAX {
            return Err(format!("a value has at most {VALUE_LEN_MAX} bytes"));
        }
        let expires = seed
            .ttl_ms
            .map(|ttl| now.saturating_add(Duration::from_millis(ttl)));
        Ok(Self { value, expires })
    }

    fn is_there(&self, now: Duration) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }

    fn number(&self) -> Result<i64, StoreFailure> {
        let text = str::from_utf8(&self.value).ok();
        let number = text.and_then(|text| text.parse().ok());
        number.ok_or_else(|| StoreFailure::Unavailable("the value is no number".to_owned()))
    }

    /// As a case would write it, with the time that it has left.
    fn told(&self, now: Duration) -> Value {
        let mut told = match str::from_utf8(&self.value) {
            Ok(text) if self.expires.is_none() => return text.into(),
            Ok(text) => json!({ "value": text }),
            Err(_) => json!({ "base64": STANDARD.encode(&self.value) }),
        };
        if let Some(expires) = self.expires {
            let left = expires.saturating_sub(now).as_millis();
            told["ttl_ms"] = u64::try_from(left).unwrap_or(u64::MAX).into();
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use selvedge_plugin::kv::{Deed, Done};
    use selvedge_plugin::{Clock, StoreFailure};
    use serde_json::{Value, json};

    use super::Memory;

    fn act(memory: &Memory, key: &str, deed: Deed) -> Result<Done, StoreFailure> {
        memory.done("s", key.to_owned(), deed, 1000)
    }

    fn value(text: &'static str) -> Result<Done, StoreFailure> {
        Ok(Done::Value(Some(text.into())))
    }

    #[test]
    fn what_a_case_says_is_there_and_what_is_done_is_told_in_the_same_form() {
        let seeds = json!({ "s": { "a": "text", "n": 5, "bytes": { "base64": "/w==" }, "gone": { "value": "x", "ttl_ms": 0 } }, "t": {} });
        let (names, memory) = Memory::read(seeds, &Clock::default()).expect("stores");
        assert_eq!(names, ["s", "t"]);
        assert_eq!(act(&memory, "a", Deed::Get), value("text"));
        assert_eq!(act(&memory, "gone", Deed::Get), Ok(Done::Value(None)));
        assert_eq!(
            act(&memory, "n", Deed::Increment(2, Some(900))),
            Ok(Done::Number(7))
        );
        let refused = act(&memory, "a", Deed::Increment(1, None));
        assert!(
            matches!(refused, Err(StoreFailure::Unavailable(_))),
            "{refused:?}"
        );
        let full = act(&memory, "b", Deed::Set(vec![b'x'; 900].into(), None));
        assert_eq!(full, Err(StoreFailure::Quota));
        act(&memory, "a", Deed::Delete).expect("deleted");
        let told =
            json!({ "s": { "bytes": { "base64": "/w==" }, "n": { "value": "7", "ttl_ms": 900 } }, "t": {} });
        assert_eq!(memory.told(), Some(told.clone()));
        let (_, again) = Memory::read(told.clone(), &Clock::default()).expect("stores");
        assert_eq!(again.told(), Some(told));
        memory.begin();
        assert_eq!(act(&memory, "a", Deed::Get), value("text"));
    }

    #[test]
    fn time_goes_by_on_the_clock_of_the_case() {
        let clock = Clock::default();
        let (_, memory) =
            Memory::read(json!({ "s": { "a": { "value": "1", "ttl_ms": 1000 } } }), &clock).expect("stores");
        act(&memory, "b", Deed::Set("2".into(), Some(500))).expect("kept");
        clock.pass(Duration::from_millis(500));
        assert_eq!(act(&memory, "a", Deed::Get), value("1"));
        assert_eq!(act(&memory, "b", Deed::Get), Ok(Done::Value(None)));
        let told = json!({ "s": { "a": { "value": "1", "ttl_ms": 500 } } });
        assert_eq!(memory.told(), Some(told));
        clock.pass(Duration::from_millis(500));
        assert_eq!(memory.told(), Some(json!({ "s": {} })));
    }

    #[test]
    fn stores_that_are_named_alone_are_empty_and_not_told() {
        let (names, memory) = Memory::read(json!(["s"]), &Clock::default()).expect("stores");
        assert_eq!(
            (names, memory.told(), act(&memory, "a", Deed::Get)),
            (vec!["s".to_owned()], None, Ok(Done::Value(None)))
        );
        let (names, _) = Memory::read(Value::Null, &Clock::default()).expect("none");
        assert!(names.is_empty());
    }

    #[test]
    fn what_no_store_could_hold_is_told_with_its_key() {
        for (said, part) in [
            (json!("s"), "a list of stores"),
            (json!({ "s": 7 }), "`kv.s`"),
            (json!({ "s": { "": "x" } }), "1 to 512"),
            (
                json!({ "s": { "a": [1] } }),
                "`kv.s.a`: a value is a text or a number",
            ),
            (json!({ "s": { "a": { "valeu": "x" } } }), "valeu"),
            (
                json!({ "s": { "a": { "value": "x", "base64": "eA==" } } }),
                "`kv.s.a`",
            ),
            (json!({ "s": { "a": { "base64": "?" } } }), "`base64`"),
        ] {
            let why = Memory::read(said, &Clock::default()).expect_err("refused");
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
