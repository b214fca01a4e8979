//! What cannot be loaded is refused with what is wrong, where, and what would be right.

use std::path::Path;

use selvedge_model::{BatchOptions, Device, LoadError, ModelOptions, Runtime};

use crate::fixture::{copy, edit_card, folder, load, spoil};

fn refusal(dir: &Path) -> String {
    load(dir, &ModelOptions::default())
        .err()
        .expect("refused")
        .to_string()
}

#[test]
fn a_missing_library_is_named_with_the_way_to_get_it() {
    let error = Runtime::load(Some(Path::new("/nowhere/libonnxruntime.so")))
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("/nowhere/libonnxruntime.so") && error.contains("ORT_DYLIB_PATH"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("libonnxruntime.so");
    std::fs::write(&path, "not a library").expect("written");
    let error = Runtime::load(Some(&path)).err().expect("refused");
    assert!(matches!(error, LoadError::LibraryUnusable { .. }), "{error}");
}

#[test]
fn a_missing_folder_or_card_is_named() {
    let error = refusal(Path::new("/nowhere/model"));
    assert!(error.contains("/nowhere/model/model.toml"), "{error}");
}

#[test]
fn a_missing_file_is_named_with_what_is_there() {
    let options = ModelOptions {
        file: Some("model_int4.onnx".to_owned()),
        ..ModelOptions::default()
    };
    let error = load(&folder("minilm"), &options)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("model_int4.onnx") && error.contains("model.onnx, model_q8.onnx"),
        "{error}"
    );
}

#[test]
fn a_missing_or_broken_tokenizer_is_named() {
    let copy = copy("minilm");
    spoil(copy.path(), "tokenizer.json", b"{");
    assert!(refusal(copy.path()).contains("tokenizer.json"));
    std::fs::remove_file(copy.path().join("tokenizer.json")).expect("removed");
    let error = refusal(copy.path());
    assert!(
        error.contains("tokenizer.json") && error.contains("no such file"),
        "{error}"
    );
}

#[test]
fn a_corrupt_file_is_told_by_its_digest_and_by_onnx_runtime() {
    let copy = copy("spam");
    spoil(copy.path(), "model.onnx", b"not an ONNX file");
    let error = refusal(copy.path());
    assert!(error.contains("SHA-256"), "{error}");
    edit_card(
        copy.path(),
        "[sha256]\n\"model.onnx\"",
        "[sha256]\n\"another.onnx\"",
    );
    let error = load(copy.path(), &ModelOptions::default())
        .err()
        .expect("refused");
    assert!(matches!(error, LoadError::FileCorrupt { .. }), "{error}");
}

#[test]
fn a_card_that_disagrees_with_the_file_says_both() {
    let disagreements = [
        (
            "name = \"probabilities\"",
            "name = \"logits\"",
            "`logits` is not in `probabilities`, `label`",
        ),
        (
            "labels = [\"ham\", \"spam\"]",
            "labels = [\"a\", \"b\", \"c\"]",
            "are 3, and the output `probabilities` has 2",
        ),
        (
            "name = \"text\"",
            "name = \"bytes\"",
            "needs the input `bytes`, and the file has `text`",
        ),
        (
            "activation = \"none\"",
            "pooling = \"mean\"",
            "must have 3 dimensions",
        ),
    ];
    for (from, to, expected) in disagreements {
        let copy = copy("spam");
        edit_card(copy.path(), from, to);
        let error = refusal(copy.path());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_card_with_a_wrong_key_or_value_says_which() {
    let mistakes = [
        ("length_max = 1024", "lenght_max = 1024", "lenght_max"),
        (
            "task = \"text-classification\"",
            "task = \"classify\"",
            "text-classification",
        ),
        (
            "length_max = 1024",
            "# no length",
            "`input.length_max` is missing",
        ),
        ("kind = \"utf8-bytes\"", "kind = \"tensors\"", "go together"),
    ];
    for (from, to, expected) in mistakes {
        let copy = copy("spam");
        edit_card(copy.path(), from, to);
        let error = refusal(copy.path());
        assert!(
            error.contains(expected) && error.contains("model.toml"),
            "{error}"
        );
    }
}

#[test]
fn a_batch_that_cannot_hold_the_longest_input_is_refused() {
    let batch = BatchOptions {
        tokens_max: 100,
        ..BatchOptions::default()
    };
    let error = load(
        &folder("minilm"),
        &ModelOptions {
            batch,
            ..ModelOptions::default()
        },
    )
    .err()
    .expect("refused");
    assert!(error.to_string().contains("batch.tokens_max"), "{error}");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_and_auto_says_that_it_fell_back() {
    let options = |device| ModelOptions {
        device,
        ..ModelOptions::default()
    };
    let report = load(&folder("spam"), &options(Device::Auto))
        .expect("it loads")
        .device()
        .clone();
    if report.got == Device::Cuda {
        // On a machine with a GPU there is nothing to fall back from.
        assert_eq!(report.why, None);
        return;
    }
    assert_eq!(report.got, Device::Cpu);
    assert!(
        report.why.as_deref().is_some_and(|why| why.contains("CUDA")),
        "{report:?}"
    );
    for device in [Device::Cuda, Device::Tensorrt] {
        let error = load(&folder("spam"), &options(device))
            .err()
            .expect("no GPU")
            .to_string();
        assert!(error.contains(device.name()) && error.contains("auto"), "{error}");
    }
}
