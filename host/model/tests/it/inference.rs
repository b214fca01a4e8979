//! What models make of what they are given, alone and in company.

use selvedge_model::{BatchOptions, Device, Element, InferError, Input, ModelOptions, Output, Tensor, Text};

use crate::fixture::{copy, cosine, edit_card, embed, folder, load, model, spoil, texts, vectors};

const SPAM: &str = "WINNER!! Claim your free prize now, call 09061701461";
const HAM: &str = "Hey, are we still on for lunch tomorrow?";

#[tokio::test]
async fn tells_spam_from_ham() {
    let inference = model("spam").infer(texts(&[SPAM, HAM])).await.expect("it infers");
    let Output::Labels(labels) = inference.output else {
        panic!("no labels")
    };
    assert_eq!(labels[0][0].name, "spam");
    assert!(labels[0][0].score > 0.9, "{labels:?}");
    assert_eq!(labels[1][0].name, "ham");
    assert!((labels[0][0].score + labels[0][1].score - 1.0).abs() < 1e-6);
}

#[tokio::test]
async fn classifies_texts_of_every_length_from_one_byte() {
    let model = model("spam");
    for len in (1..8).chain([1023, 1024, 1025]) {
        let text = "x".repeat(len);
        assert!(model.infer(texts(&[&text])).await.is_ok(), "{len} bytes");
    }
}

#[tokio::test]
async fn cuts_where_the_card_says_so_and_refuses_where_it_does_not() {
    let long = "x".repeat(2000);
    assert!(
        model("spam").infer(texts(&[&long])).await.is_ok(),
        "the card of spam says `truncate`"
    );
    let long = "word ".repeat(300);
    let error = model("minilm")
        .infer(texts(&["short", &long]))
        .await
        .expect_err("too long");
    assert_eq!(
        error,
        InferError::TooLong {
            index: 1,
            len: 302,
            max: 256,
            unit: "tokens"
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_means_the_same_in_any_company() {
    let model = model("minilm");
    let alone = embed(&model, &["a short text"]).await.remove(0);
    let long = "a rather longer text that goes on for a while ".repeat(3);
    let company = embed(&model, &["a short text", &long, HAM, "b"]).await.remove(0);
    assert!(
        cosine(&alone, &company) > 1.0 - 1e-6,
        "{}",
        cosine(&alone, &company)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_get_each_its_own_answer() {
    let model = model("minilm");
    let all: Vec<String> = (0..60)
        .map(|n| format!("text number {n} {}", "and more ".repeat(n % 7)))
        .collect();
    let mut requests = tokio::task::JoinSet::new();
    for (index, text) in all.iter().cloned().enumerate() {
        let model = model.clone();
        let request = async move { model.infer(Input::Texts(vec![Text::Text(text)])).await };
        requests.spawn(async move { (index, vectors(request.await).remove(0)) });
    }
    let mut together = requests.join_all().await;
    together.sort_by_key(|(index, _)| *index);
    let batch: Vec<&str> = all.iter().map(String::as_str).collect();
    for ((_, alone), batched) in together.iter().zip(embed(&model, &batch).await) {
        assert!(cosine(alone, &batched) > 1.0 - 1e-6);
    }
}

#[tokio::test]
async fn takes_token_ids_as_they_are() {
    let model = model("minilm");
    // [CLS] hello world [SEP], as the tokenizer has it.
    let tokens = Input::Texts(vec![Text::Tokens(vec![101, 7592, 2088, 102])]);
    let by_tokens = vectors(model.infer(tokens).await).remove(0);
    let by_text = embed(&model, &["hello world"]).await.remove(0);
    assert!(cosine(&by_tokens, &by_text) > 1.0 - 1e-6);
    let beyond = model
        .infer(Input::Texts(vec![Text::Tokens(vec![101, 30_522])]))
        .await
        .expect_err("no such token");
    assert!(
        matches!(
            beyond,
            InferError::UnknownToken {
                index: 0,
                id: 30_522,
                ..
            }
        ),
        "{beyond}"
    );
}

#[tokio::test]
async fn refuses_what_the_model_does_not_take() {
    assert_eq!(
        model("spam").infer(Input::Texts(vec![])).await,
        Err(InferError::Empty)
    );
    let tokens = Input::Texts(vec![Text::Tokens(vec![1])]);
    assert!(matches!(
        model("spam").infer(tokens).await,
        Err(InferError::WrongInput { .. })
    ));
    assert!(matches!(
        model("spam").infer(Input::Tensors(vec![])).await,
        Err(InferError::WrongInput { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_here_as_the_file_does() {
    let copy = copy("minilm");
    edit_card(
        copy.path(),
        "name = \"sentence_embedding\"",
        "name = \"last_hidden_state\"",
    );
    edit_card(
        copy.path(),
        "pooling = \"none\"",
        "pooling = \"mean\"\nnormalize = true",
    );
    let here = load(copy.path(), &ModelOptions::default()).expect("it loads");
    let text = [SPAM, "short", "a text of some more words than that"];
    for (ours, files) in embed(&here, &text)
        .await
        .iter()
        .zip(embed(&model("minilm"), &text).await)
    {
        assert!(cosine(ours, &files) > 1.0 - 1e-6);
        let norm = ours.iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
    edit_card(copy.path(), "pooling = \"mean\"", "pooling = \"cls\"");
    let cls = load(copy.path(), &ModelOptions::default()).expect("it loads");
    assert!(
        cosine(
            &embed(&cls, &["short"]).await[0],
            &embed(&here, &["short"]).await[0]
        ) < 0.99,
        "another vector"
    );
}

/// The spam classifier as a model of tensors.
fn tensor_card() -> &'static [u8] {
    b"name = \"t\"\ntask = \"tensor\"\nfile = \"model.onnx\"\nlicence = \"x\"\nsource = \"x\"\n[input]\nkind = \"tensors\"\n"
}

#[tokio::test]
async fn runs_named_tensors_and_says_what_is_wrong_with_them() {
    let copy = copy("spam");
    spoil(copy.path(), "model.toml", tensor_card());
    let model = load(copy.path(), &ModelOptions::default()).expect("it loads");
    let bytes = |shape: &[usize]| Tensor {
        element: Element::Uint8,
        shape: shape.to_vec(),
        data: SPAM.into(),
    };
    let input = |name: &str, tensor| Input::Tensors(vec![(name.to_owned(), tensor)]);
    let inference = model
        .infer(input("text", bytes(&[1, SPAM.len()])))
        .await
        .expect("it infers");
    let Output::Tensors(outputs) = inference.output else {
        panic!("no tensors")
    };
    assert_eq!(
        (outputs[0].0.as_str(), outputs[0].1.shape.as_slice()),
        ("probabilities", &[1, 2][..])
    );
    assert_eq!(
        (outputs[1].1.element, outputs[1].1.data[0]),
        (Element::Int64, 1),
        "spam is label 1"
    );

    let refusals = [
        (
            input("txet", bytes(&[1, SPAM.len()])),
            "`text` is missing: expected UINT8 [-1, -1]",
        ),
        (
            input("text", bytes(&[SPAM.len()])),
            "expected UINT8 [-1, -1], got UINT8 [52]",
        ),
        (
            input("text", bytes(&[2, SPAM.len()])),
            "52 bytes of data are not of shape [2, 52]",
        ),
        (input("text", bytes(&[usize::MAX, 2])), "are not of shape"),
        (
            input(
                "text",
                Tensor {
                    element: Element::Float32,
                    shape: vec![1, 13],
                    data: SPAM.into(),
                },
            ),
            "got FP32 [1, 13]",
        ),
    ];
    for (input, expected) in refusals {
        let error = model.infer(input).await.expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn serves_from_several_sessions() {
    let options = ModelOptions {
        replicas: 2,
        device: Device::Cpu,
        ..ModelOptions::default()
    };
    let model = load(&folder("spam"), &options).expect("it loads");
    assert_eq!(model.sessions(), (2, 1));
    for _ in 0..20 {
        assert!(model.infer(texts(&[HAM])).await.is_ok());
    }
}

#[tokio::test]
async fn waits_for_company_where_told_to() {
    let batch = BatchOptions {
        delay_max: std::time::Duration::from_millis(30),
        ..BatchOptions::default()
    };
    let model = load(
        &folder("spam"),
        &ModelOptions {
            batch,
            ..ModelOptions::default()
        },
    )
    .expect("it loads");
    let started = std::time::Instant::now();
    assert!(model.infer(texts(&[HAM])).await.is_ok());
    assert!(
        started.elapsed() >= std::time::Duration::from_millis(30),
        "it went at once"
    );
}
