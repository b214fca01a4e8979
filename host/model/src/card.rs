//! A model's card, `model.toml`: what the model is for, what it takes and gives, and whence it comes. Pure but for reading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::LoadError;

/// File name of a card in a model's folder.
pub const FILE: &str = "model.toml";

/// The card.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The model's own name, as its makers write it.
    pub name: String,
    /// One or two sentences.
    #[serde(default)]
    pub description: String,
    /// What it does.
    pub task: Task,
    /// The ONNX file, relative to the card. `[models.NAME] file` may choose another of the folder.
    pub file: String,
    /// SPDX identifier of the weights' licence.
    pub licence: String,
    /// Whence weights and data come.
    pub source: String,
    /// What it takes.
    pub input: InputCard,
    /// What it gives; a `tensor` model needs none.
    #[serde(default)]
    pub output: OutputCard,
    /// How a `text-generation` model generates.
    #[serde(default)]
    pub generate: GenerateCard,
    /// SHA-256 in hexadecimal by file name; a file that is named here must have it.
    #[serde(default)]
    pub sha256: BTreeMap<String, String>,
    /// Measured quality, for people: metric to value.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
}

/// What a model does, in the field's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Texts to labels with scores.
    TextClassification,
    /// Texts to vectors.
    FeatureExtraction,
    /// A prompt to text, token by token.
    TextGeneration,
    /// Named tensors to named tensors.
    Tensor,
}

impl Task {
    /// The name in cards and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TextClassification => "text-classification",
            Self::FeatureExtraction => "feature-extraction",
            Self::TextGeneration => "text-generation",
            Self::Tensor => "tensor",
        }
    }
}

/// What a model takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputCard {
    /// How a text becomes a tensor.
    pub kind: InputKind,
    /// `tokens`: the tokenizer's file, in Hugging Face's format, relative to the card. Default `tokenizer.json`.
    #[serde(default = "tokenizer_default")]
    pub tokenizer: String,
    /// `utf8-bytes`: name of the one input, `[batch, length] u8`, padded with zeros.
    pub name: Option<String>,
    /// Tokens or bytes of one input at most; `tensors` needs none.
    pub length_max: Option<usize>,
    /// What the file does with padding; it decides which inputs share a batch.
    #[serde(default)]
    pub padding: Padding,
    /// Whether a longer input is cut rather than refused. Default false: a cut text silently means something else.
    #[serde(default)]
    pub truncate: bool,
}

fn tokenizer_default() -> String {
    "tokenizer.json".to_owned()
}

/// How an input becomes a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputKind {
    /// A tokenizer makes ids: `input_ids`, and `attention_mask` and `token_type_ids` where the file has them, each
    /// `[batch, sequence] i64`, right-padded.
    Tokens,
    /// UTF-8 bytes as they are: `[batch, length] u8`, right-padded with zeros.
    Utf8Bytes,
    /// The client gives named tensors as the file has them.
    Tensors,
}

/// What a file does with the padding of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// It computes padding like anything else, so a batch is made of inputs of nearly one length. Default.
    #[default]
    Computed,
    /// It leaves padding out of nearly all its work, so a batch may mix lengths.
    Skipped,
}

impl Padding {
    /// Padding of a batch at most, in percent of its real tokens.
    pub(crate) fn percent_max(self) -> usize {
        match self {
            Self::Computed => 8,
            Self::Skipped => 100,
        }
    }
}

/// What a model gives.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputCard {
    /// Name of the output that counts: `[batch, n] f32`, or `[batch, sequence, n] f32` with a pooling.
    #[serde(default)]
    pub name: String,
    /// How the vectors of the tokens become one. Default `none`: the file does it itself.
    #[serde(default)]
    pub pooling: Pooling,
    /// Whether vectors are scaled to length 1 here. Default false.
    #[serde(default)]
    pub normalize: bool,
    /// What turns the output of a classifier into scores. Default `softmax`.
    #[serde(default)]
    pub activation: Activation,
    /// Names of a classifier's labels, by index.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Length of an embedding.
    pub dimensions: Option<usize>,
}

/// How a `text-generation` model generates.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateCard {
    /// Where keys and values are kept. Default `copied`, which any file can do.
    #[serde(default)]
    pub cache: CacheKind,
    /// Tokens that end a text, as the tokenizer writes them, as in `<|im_end|>`.
    #[serde(default)]
    pub ends: Vec<String>,
    /// The chat template's file, in Jinja2, relative to the card. Without it the model takes prompts and no conversations.
    pub chat_template: Option<String>,
}

/// Where a decoder's keys and values are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// In one buffer for all sequences, in place. The file's attention must be GroupQueryAttention, and its logits those of
    /// the last token.
    Shared,
    /// In what the last run gave; each sequence runs by itself.
    #[default]
    Copied,
}

/// How the vectors of the tokens become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The output is one vector an input already.
    #[default]
    None,
    /// The mean over the tokens that are no padding.
    Mean,
    /// The first token's.
    Cls,
}

/// What turns the output of a classifier into scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// One label of several.
    #[default]
    Softmax,
    /// Each label for itself.
    Sigmoid,
    /// The file gives scores already.
    None,
}

impl Card {
    /// Reads the card of a model's folder.
    ///
    /// # Errors
    ///
    /// Where the folder or the card is missing, or the card is not as it must be.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        let path = dir.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| LoadError::CardMissing {
            path: path.clone(),
            source,
        })?;
        let card: Self = toml::from_str(&text).map_err(|error| LoadError::CardMalformed {
            path: path.clone(),
            why: error.to_string(),
        })?;
        card.check(&path)?;
        Ok(card)
    }

    fn check(&self, path: &Path) -> Result<(), LoadError> {
        let wrong = |why: &str| {
            Err(LoadError::CardMalformed {
                path: path.to_owned(),
                why: why.to_owned(),
            })
        };
        let tensors = self.input.kind == InputKind::Tensors;
        if tensors != (self.task == Task::Tensor) {
            return wrong("`input.kind = \"tensors\"` and `task = \"tensor\"` go together");
        }
        if !tensors && self.input.length_max.is_none_or(|length| length == 0) {
            return wrong("`input.length_max` is missing: give the tokens or bytes of one input at most");
        }
        let generates = self.task == Task::TextGeneration;
        if generates && self.input.kind != InputKind::Tokens {
            return wrong("a `text-generation` model takes `input.kind = \"tokens\"`");
        }
        if generates && self.generate.ends.is_empty() {
            return wrong("`generate.ends` is missing: name the tokens that end a text");
        }
        if !tensors && !generates && self.output.name.is_empty() {
            return wrong("`output.name` is missing: name the output that counts");
        }
        if self.input.kind == InputKind::Utf8Bytes && self.input.name.is_none() {
            return wrong("`input.name` is missing: name the input that takes the bytes");
        }
        if self.task == Task::TextClassification && self.output.labels.is_empty() {
            return wrong("`output.labels` is missing: name the labels by index");
        }
        Ok(())
    }

    /// Tokens or bytes of one input at most; no bound for tensors.
    #[must_use]
    pub fn length_max(&self) -> usize {
        self.input.length_max.unwrap_or(usize::MAX)
    }

    /// The ONNX files of a folder, for an error that says what there is.
    pub(crate) fn candidates(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names
            .filter(|name| Path::new(name).extension() == Some("onnx".as_ref()))
            .collect();
        names.sort();
        names
    }
}

/// The path of a model's ONNX file: the one that is asked for, else the card's.
#[must_use]
pub fn onnx_path(dir: &Path, card: &Card, asked: Option<&str>) -> PathBuf {
    dir.join(asked.unwrap_or(&card.file))
}
