//! Small decoders of random weights, made by `models/smollm2/convert.py` as the large ones are: the same weights with fused
//! attention and a shared cache, and with attention in standard operators and rows that are copied.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use selvedge_model::{Finish, GenerateOptions, GenerateRequest, Generation, Model, ModelOptions};

use crate::fixture::{edit_card, load};
use crate::generate::{request, whole};
use crate::guide::late_guides_change_nothing;

/// Tokens that there are; the first three are for control.
const TOKENS: u32 = 99;

/// The folder of one of the two, `fp32` or `plain`.
fn tiny(mode: &str) -> PathBuf {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = tempfile::tempdir().expect("a folder");
        let python = std::env::var_os("SELVEDGE_TEST_PYTHON")
            .map_or_else(|| here.join("../../target/venv/bin/python"), Into::into);
        let made = Command::new(&python)
            .arg("-B")
            .arg(here.join("tests/python/tiny_decoder.py"))
            .arg(dir.path())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", python.display()));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        dir
    };
    MADE.get_or_init(make).path().join(mode)
}

fn loaded(mode: &str, slots: usize) -> Model {
    let generate = GenerateOptions {
        slots,
        prefill_chunk: 16,
        ..GenerateOptions::default()
    };
    let options = ModelOptions {
        generate,
        ..ModelOptions::default()
    };
    load(&tiny(mode), &options).expect("it loads")
}

/// A prompt of its own for each number, some longer than what is read at once.
fn prompt(index: usize) -> Vec<u32> {
    let len = u32::try_from(3 + 5 * index).expect("small");
    let number = u32::try_from(index).expect("small");
    (0..len)
        .map(|place| 3 + (7 * number + 11 * place) % (TOKENS - 3))
        .collect()
}

/// All texts of some prompts, that are written at once.
async fn texts(model: &Model, prompts: usize, tokens_max: usize) -> Vec<String> {
    let running: Vec<Generation> = (0..prompts)
        .map(|index| {
            let request = request(&prompt(index), tokens_max);
            model.generate(request).expect("admitted")
        })
        .collect();
    let mut texts = Vec::new();
    for generation in running {
        texts.push(whole(generation).await.expect("generated").0.text);
    }
    texts
}

#[tokio::test]
async fn plain_attention_writes_what_fused_attention_does_eight_at_a_time_and_alone() {
    let (fused, plain) = (loaded("fp32", 8), loaded("plain", 8));
    let written = texts(&fused, 12, 24).await;
    assert_eq!(texts(&plain, 12, 24).await, written);
    let unlike: std::collections::BTreeSet<&String> = written.iter().collect();
    assert!(unlike.len() > 6, "{written:?}");
    for index in [0, 5, 11] {
        let alone = whole(plain.generate(request(&prompt(index), 24)).expect("admitted"));
        assert_eq!(alone.await.expect("generated").0.text, written[index]);
    }
}

#[tokio::test]
async fn late_guides_change_no_text_where_rows_are_copied() {
    late_guides_change_nothing(&loaded("plain", 3), prompt).await;
}

#[tokio::test]
async fn ends_at_stop_strings_across_tokens_and_at_the_model_s_own_end() {
    let model = loaded("fp32", 1);
    let written = texts(&model, 1, 24).await.remove(0);
    // A token is a character here.
    let stop: String = written.chars().skip(6).take(3).collect();
    let before = &written[..written.find(&stop).expect("there")];
    let stopped = GenerateRequest {
        stop: vec![stop],
        ..request(&prompt(0), 24)
    };
    let (piece, done) = whole(model.generate(stopped).expect("admitted"))
        .await
        .expect("generated");
    assert_eq!((piece.text.as_str(), done.finish), (before, Finish::Stop));

    // The same model, to which one of its words is the end.
    let end = written.chars().nth(5).expect("long enough");
    let before = &written[..written.find(end).expect("there")];
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(tiny("fp32")).expect("made").flatten() {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    let token = match end {
        ' ' => "Ġ".to_owned(),
        '\n' => "Ċ".to_owned(),
        '"' | '\\' => format!("\\{end}"),
        other => other.to_string(),
    };
    edit_card(copy.path(), "<|im_end|>", &token);
    let model = load(copy.path(), &ModelOptions::default()).expect("it loads");
    let (piece, done) = whole(model.generate(request(&prompt(0), 24)).expect("admitted"))
        .await
        .expect("generated");
    assert_eq!((piece.text.as_str(), done.finish), (before, Finish::Stop));
    assert_eq!(
        (done.prompt_tokens, done.completion_tokens),
        (prompt(0).len(), before.chars().count() + 1)
    );
}
