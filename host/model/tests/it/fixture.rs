//! A small language for the tests: the runtime, a model's folder, a changed copy of one.

use std::path::{Path, PathBuf};

use selvedge_model::{InferError, Inference, Input, LoadError, Model, ModelOptions, Output, Runtime, Text};

/// A model's folder in the project.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models")
        .join(name)
}

/// ONNX Runtime, as a process finds it.
pub(crate) fn runtime() -> Runtime {
    Runtime::load(None).expect("run `cargo xtask setup`")
}

/// A model of the project on one thread.
pub(crate) fn model(name: &str) -> Model {
    load(&folder(name), &ModelOptions::default()).expect("the model loads")
}

pub(crate) fn load(dir: &Path, options: &ModelOptions) -> Result<Model, LoadError> {
    Model::load(
        &runtime(),
        "test",
        dir,
        &ModelOptions {
            threads: 1,
            ..options.clone()
        },
    )
}

/// A copy of a model's folder that a test may spoil: small files are copied, large ones linked.
pub(crate) fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(folder(name))
        .expect("the model is there")
        .flatten()
    {
        if entry.path().is_file() {
            let target = copy.path().join(entry.file_name());
            std::os::unix::fs::symlink(entry.path().canonicalize().expect("a file"), target).expect("linked");
        }
    }
    copy
}

/// Writes a file of such a copy anew.
pub(crate) fn spoil(dir: &Path, file: &str, content: &[u8]) {
    let path = dir.join(file);
    std::fs::remove_file(&path).ok();
    std::fs::write(path, content).expect("written");
}

/// Changes a model's card.
pub(crate) fn edit_card(dir: &Path, from: &str, to: &str) {
    let card = std::fs::read_to_string(dir.join("model.toml")).expect("a card");
    assert!(card.contains(from), "`{from}` is not in the card");
    spoil(dir, "model.toml", card.replace(from, to).as_bytes());
}

pub(crate) fn texts(texts: &[&str]) -> Input {
    Input::Texts(texts.iter().map(|text| Text::Text((*text).to_owned())).collect())
}

pub(crate) async fn embed(model: &Model, texts: &[&str]) -> Vec<Vec<f32>> {
    vectors(model.infer(self::texts(texts)).await)
}

pub(crate) fn vectors(inference: Result<Inference, InferError>) -> Vec<Vec<f32>> {
    match inference.expect("it infers").output {
        Output::Embeddings(vectors) => vectors,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
