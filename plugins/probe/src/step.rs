//! What the probe is told to do, as configured. Pure; knows no WIT.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The attachment's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What `configure` does.
    #[serde(default)]
    pub configure: Vec<Step>,
    /// What each request does.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The store of those steps that name none. Default `store`.
    #[serde(default = "store_default")]
    pub store: String,
}

fn store_default() -> String {
    "store".to_owned()
}

/// One thing to do. The names of stores, models and secrets are whatever the test says, granted or not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Store, key, value, and perhaps milliseconds that it is kept.
    KvSet(String, String, String, #[serde(default)] Option<u64>),
    /// Store, key.
    KvGet(String, String),
    /// Store, key.
    KvDelete(String, String),
    /// Store, key, what is added, and perhaps milliseconds that it is kept.
    KvIncrement(String, String, i64, #[serde(default)] Option<u64>),
    /// Model, texts.
    Classify(String, Vec<String>),
    /// Model, texts.
    Embed(String, Vec<String>),
    /// Model, inputs by name.
    Run(String, BTreeMap<String, Input>),
    /// A secret's name.
    Secret(String),
    /// Adds 1 to a number, so many times.
    Flood(u64),
    /// Opens a store so many times, and keeps the handles.
    Hold(u64),
    /// Asks a model whose name has so many bytes, so many times.
    FloodNames(usize, u64),
    /// Keeps a value of so many bytes.
    BigValue(usize),
    /// Keeps a value under a key of so many bytes.
    BigKey(usize),
    /// Which parts of a form there are.
    Parts,
    /// A part, where to begin, and how many bytes to ask for.
    ReadPart(u32, u64, u32),
    /// Reads a part from its beginning again and again, so many bytes at a time, until it is stopped.
    ReadOn(u32, u32),
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Input {
    /// Its shape.
    pub shape: Vec<u32>,
    /// Its elements.
    #[serde(flatten)]
    pub data: Data,
}

/// The elements of a tensor, by their type.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Data {
    /// float32.
    F32(Vec<f32>),
    /// int64.
    I64(Vec<i64>),
}

#[cfg(test)]
mod tests {
    use super::{Config, Data, Step};

    fn steps(json: &str) -> Result<Vec<Step>, String> {
        let config: Result<Config, _> = serde_json::from_str(&format!(r#"{{"steps":{json}}}"#));
        config
            .map(|config| config.steps)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn reads_steps_with_and_without_what_may_be_left_out() {
        let text = str::to_owned;
        assert_eq!(
            steps(
                r#"[{"kv-set":["s","k","v",5]},{"kv-set":["s","k","v"]},{"kv-increment":["s","k",-1]},{"secret":"S"},{"flood":9},{"flood-names":[8,9]}]"#
            ),
            Ok(vec![
                Step::KvSet(text("s"), text("k"), text("v"), Some(5)),
                Step::KvSet(text("s"), text("k"), text("v"), None),
                Step::KvIncrement(text("s"), text("k"), -1, None),
                Step::Secret(text("S")),
                Step::Flood(9),
                Step::FloodNames(8, 9),
            ])
        );
    }

    #[test]
    fn reads_what_is_to_be_read_of_a_form() {
        let read = steps(r#"["parts",{"read-part":[0,18446744073709551615,4]},{"read-on":[0,1]}]"#);
        let wanted = [Step::Parts, Step::ReadPart(0, u64::MAX, 4), Step::ReadOn(0, 1)];
        assert_eq!(read.as_deref(), Ok(&wanted[..]));
    }

    #[test]
    fn reads_tensors_by_their_type() {
        let read =
            steps(r#"[{"run":["m",{"x":{"shape":[1,2],"f32":[1,2.5]},"n":{"shape":[1],"i64":[7]}}]}]"#);
        let Ok([Step::Run(model, inputs)]) = read.as_deref() else {
            panic!("{read:?}");
        };
        assert_eq!((model.as_str(), &inputs["x"].shape), ("m", &vec![1, 2]));
        assert_eq!(inputs["x"].data, Data::F32(vec![1.0, 2.5]));
        assert_eq!(inputs["n"].data, Data::I64(vec![7]));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for json in [
            r#"[{"explode":1}]"#,
            r#"[{"kv-get":["s"]}]"#,
            r#"[{"run":["m",{"x":{"shape":[1]}}]}]"#,
        ] {
            assert!(steps(json).is_err(), "{json}");
        }
    }
}
