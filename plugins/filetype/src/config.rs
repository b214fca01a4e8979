//! The attachment's configuration, as it is written: what the operator wants, and the facts of the model, which
//! `models/magika/filetype.json` has. Pure; what is made of it is in `upload`, `features` and `verdict`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the form's field that holds the file.
    #[serde(default = "field_default")]
    pub field: String,
    /// Bytes of the file at most.
    pub size_max: Option<u64>,
    /// What the client may say of its file: `application/pdf`, or `image/*` for all of a family.
    pub media_types: Option<Vec<String>>,
    /// How the file's name may end: `pdf`, `tar.gz`, in upper and lower case alike.
    pub extensions: Option<Vec<String>>,
    /// How sure the model must be.
    #[serde(default)]
    pub mode: Mode,
    /// The score that a label must reach that has none in `thresholds`.
    pub threshold: f64,
    /// The score that a label must reach, where it is another one.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f64>,
    /// A label of the model to the one that is answered in its place.
    #[serde(default)]
    pub overwrite: BTreeMap<String, String>,
    /// The model's labels, in the order of its output.
    pub labels: Vec<String>,
    /// What is answered of each label: of the model's, and of `empty`, `txt` and `unknown`.
    pub types: BTreeMap<String, Type>,
    /// What of a file the model sees.
    pub window: Window,
}

fn field_default() -> String {
    "file".to_owned()
}

/// How sure the model must be. Where it is not, the verdict is `txt` or `unknown`, as its label is of text or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As sure as its label demands.
    #[default]
    HighConfidence,
    /// As `threshold` says, whatever the label.
    MediumConfidence,
    /// Its label is the verdict, whatever the score.
    BestGuess,
}

/// What is answered of a label besides its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Type {
    /// `image/png`.
    pub mime_type: String,
    /// `image`, `code`, `archive` and the like.
    pub group: String,
    /// Whether such files are text.
    pub is_text: bool,
    /// How such files' names end, without the dot.
    pub extensions: Vec<String>,
}

/// What of a file the model sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Bytes of the beginning, after white space.
    pub begin_size: usize,
    /// Bytes of the end, before white space.
    pub end_size: usize,
    /// Bytes that are read of the beginning and of the end, white space included.
    pub block_size: u32,
    /// Stands where the file has no more bytes.
    pub padding_token: i32,
    /// Bytes, after white space, below which the model is not asked.
    pub size_min: usize,
}

#[cfg(test)]
impl Config {
    /// A small model's, with some keys changed.
    pub(crate) fn of_test(keys: &str) -> Self {
        let kind = |mime_type: &str, group: &str, is_text: bool, extensions: &[&str]| {
            serde_json::json!({
                "mime_type": mime_type, "group": group, "is_text": is_text, "extensions": extensions,
            })
        };
        let mut config = serde_json::json!({
            "threshold": 0.5,
            "thresholds": { "markdown": 0.75 },
            "overwrite": { "randombytes": "unknown" },
            "labels": ["markdown", "png", "randombytes", "txt"],
            "types": {
                "empty": kind("inode/x-empty", "inode", false, &[]),
                "markdown": kind("text/markdown", "text", true, &["md", "markdown"]),
                "png": kind("image/png", "image", false, &["png"]),
                "randombytes": kind("application/octet-stream", "unknown", false, &[]),
                "txt": kind("text/plain", "text", true, &["txt"]),
                "unknown": kind("application/octet-stream", "unknown", false, &[]),
            },
            "window": {
                "begin_size": 4, "end_size": 3, "block_size": 8, "padding_token": 256, "size_min": 2,
            },
        });
        let keys: serde_json::Map<_, _> = serde_json::from_str(keys).expect("the test's keys parse");
        let fields = config.as_object_mut().expect("it is an object");
        fields.extend(keys);
        serde_json::from_value(config).expect("the test's configuration parses")
    }
}
