//! Comparisons with the large variants of SmolLM2, 1.1 GB that only these tests need: `cargo xtask test --deep references`.
//! `host/docs/testing.md` says which of them are also checked at each change, in a quick form.

use std::path::{Path, PathBuf};

use selvedge_model::{Finish, GenerateOptions, GenerateRequest, Generation, ModelOptions};
use serde_json::json;

use crate::fixture::{folder, load, model};
use crate::generate::{divergence, first_token, recorded, request, warm_prompt, whole};
use crate::guide::late_guides_change_nothing;

/// A variant that set-up makes for these tests.
fn variant(mode: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    target.join(format!("models/smollm2-{mode}"))
}

#[tokio::test]
#[ignore = "deep: references"]
async fn greedy_text_of_fp32_is_the_reference_s_on_every_prompt_eight_at_a_time() {
    let model =
        load(&variant("fp32"), &ModelOptions::default()).expect("run `cargo xtask test --deep references`");
    let recorded = recorded("greedy.json");
    let running: Vec<Generation> = recorded
        .iter()
        .map(|entry| model.generate(request(&entry.tokens, 64)).expect("admitted"))
        .collect();
    assert_eq!(recorded.len(), 12);
    for (generation, entry) in running.into_iter().zip(recorded) {
        assert_eq!(
            whole(generation).await.expect("generated").0.text,
            entry.text,
            "{}",
            entry.prompt
        );
    }
}

#[tokio::test]
#[ignore = "deep: references"]
async fn an_export_with_plain_attention_writes_the_same() {
    let model =
        load(&variant("plain"), &ModelOptions::default()).expect("run `cargo xtask test --deep references`");
    let recorded = recorded("greedy.json");
    let running: Vec<Generation> = recorded
        .iter()
        .map(|entry| model.generate(request(&entry.tokens, 24)).expect("admitted"))
        .collect();
    for (generation, entry) in running.into_iter().zip(recorded) {
        let text = whole(generation).await.expect("generated").0.text;
        assert!(
            entry.text.starts_with(&text) && text.len() > 10,
            "{}: {text}",
            entry.prompt
        );
    }
}

/// `UPDATE_GOLDEN=1` records the likeliest first tokens of fp32, which are what the quick form compares with.
#[tokio::test]
#[ignore = "deep: references"]
async fn the_4_bit_weights_stay_near_fp32() {
    let (exact, small) = (
        load(&variant("fp32"), &ModelOptions::default()).expect("loads"),
        model("smollm2"),
    );
    let (mut found, mut likeliest) = (Vec::new(), Vec::new());
    for entry in recorded("greedy.json") {
        let (p, q) = (
            first_token(&exact, &entry.tokens).await,
            first_token(&small, &entry.tokens).await,
        );
        found.push(divergence(&p, &q));
        // A piece of a character is no text of its own.
        let told = p.into_iter().filter(|(text, _)| !text.contains('\u{fffd}'));
        let told: Vec<(String, f32)> = told.take(40).collect();
        likeliest.push(json!({ "prompt": entry.prompt, "likeliest": told }));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&json!({ "recorded": likeliest })).expect("JSON");
        std::fs::write(folder("smollm2/reference/first.json"), text + "\n").expect("written");
    }
    let mean = found.iter().sum::<f64>() / 12.0;
    assert!(
        mean < 0.03,
        "Kullback-Leibler divergence of the first token, by prompt: {found:?}"
    );
}

#[tokio::test]
#[ignore = "deep: references"]
async fn ends_at_stop_strings_across_tokens_and_at_the_model_s_own_end() {
    let model = load(&variant("fp32"), &ModelOptions::default()).expect("loads");
    let capital = &recorded("greedy.json")[0];
    let (piece, done) = whole(model.generate(request(&capital.tokens, 64)).expect("admitted"))
        .await
        .expect("generated");
    assert_eq!(
        (piece.text.as_str(), done.finish),
        ("The capital of France is Paris.", Finish::Stop)
    );
    assert_eq!(
        (done.prompt_tokens, done.completion_tokens),
        (capital.tokens.len(), 8)
    );
    let stopped = GenerateRequest {
        stop: vec!["ance is".to_owned()],
        ..request(&capital.tokens, 64)
    };
    let (piece, done) = whole(model.generate(stopped).expect("admitted"))
        .await
        .expect("generated");
    assert_eq!(
        (piece.text.as_str(), done.finish),
        ("The capital of Fr", Finish::Stop)
    );
}

#[tokio::test]
#[ignore = "deep: references"]
async fn late_guides_change_no_text_where_rows_are_copied() {
    let options = ModelOptions {
        generate: GenerateOptions {
            slots: 3,
            ..GenerateOptions::default()
        },
        ..ModelOptions::default()
    };
    let model = load(&variant("plain"), &options).expect("run `cargo xtask test --deep references`");
    late_guides_change_nothing(&model, warm_prompt).await;
}
