//! all-MiniLM-L6-v2 against what sentence-transformers makes of the same weights: `models/minilm/reference/`.

use selvedge_model::{Model, ModelOptions};
use serde_json::Value;

use crate::fixture::{cosine, embed, folder, load, model};

/// Length of a vector.
const WIDTH: usize = 384;

struct Reference {
    names: Vec<String>,
    queries: Vec<String>,
    passages: Vec<String>,
    /// Queries, then passages.
    vectors: Vec<Vec<f32>>,
}

fn reference() -> Reference {
    let dir = folder("minilm/reference");
    let text = std::fs::read_to_string(dir.join("queries.json")).expect("the queries");
    let entries: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let field = |key: &str| {
        entries
            .iter()
            .map(|entry| entry[key].as_str().expect("a text").to_owned())
            .collect()
    };
    let bytes = std::fs::read(dir.join("vectors.f32")).expect("the recording");
    let values: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let vectors = values.chunks(WIDTH).map(<[f32]>::to_vec).collect();
    Reference {
        names: field("name"),
        queries: field("query"),
        passages: field("passage"),
        vectors,
    }
}

async fn all(model: &Model, reference: &Reference) -> Vec<Vec<f32>> {
    let texts: Vec<&str> = reference
        .queries
        .iter()
        .chain(&reference.passages)
        .map(String::as_str)
        .collect();
    embed(model, &texts).await
}

/// The passages in the order of their likeness to a query.
fn ranking(vectors: &[Vec<f32>], query: usize, count: usize) -> Vec<usize> {
    let mut passages: Vec<usize> = (0..count).collect();
    let likeness = |passage: usize| cosine(&vectors[query], &vectors[count + passage]);
    passages.sort_by(|a, b| likeness(*b).total_cmp(&likeness(*a)));
    passages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fp32_agrees_to_a_ten_thousandth_and_finds_the_same_neighbours() {
    let reference = reference();
    let ours = all(&model("minilm"), &reference).await;
    let count = reference.queries.len();
    assert_eq!((count, ours.len()), (50, 100));
    for (ours, theirs) in ours.iter().zip(&reference.vectors) {
        assert!(cosine(ours, theirs) > 1.0 - 1e-4, "{}", cosine(ours, theirs));
    }
    for (query, name) in reference.names.iter().enumerate() {
        let (ours, theirs) = (
            ranking(&ours, query, count),
            ranking(&reference.vectors, query, count),
        );
        assert_eq!(ours[..3], theirs[..3], "the three nearest passages of `{name}`");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q8_agrees_to_three_thousandths_and_finds_the_same_nearest() {
    let reference = reference();
    let options = ModelOptions {
        file: Some("model_q8.onnx".to_owned()),
        ..ModelOptions::default()
    };
    let ours = all(&load(&folder("minilm"), &options).expect("it loads"), &reference).await;
    for (ours, theirs) in ours.iter().zip(&reference.vectors) {
        assert!(cosine(ours, theirs) > 1.0 - 3e-3, "{}", cosine(ours, theirs));
    }
    for (query, name) in reference.names.iter().enumerate() {
        let (ours, theirs) = (
            ranking(&ours, query, 50)[0],
            ranking(&reference.vectors, query, 50)[0],
        );
        assert_eq!(ours, theirs, "the nearest passage of `{name}`");
    }
}
