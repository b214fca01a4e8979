//! Text that must have a structure: JSON, or JSON by a schema, whatever the model would rather say.

use selvedge_model::{GenerateRequest, InferError, Model, Sampling, Structure};
use serde_json::{Value, json};

use crate::fixture::model;
use crate::generate::{chat, request, text, whole};

async fn asked(model: &Model, schema: Value, question: &str) -> GenerateRequest {
    let prompt = model.chat_prompt(&chat(question)).await.expect("a prompt");
    let constraint = model
        .structure(Structure::Schema(schema))
        .await
        .expect("a schema");
    GenerateRequest {
        constraint: Some(constraint),
        ..request(&prompt, 200)
    }
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 20 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "kind": { "enum": ["cat", "dog"] },
        },
        "required": ["name", "age", "kind"],
        "additionalProperties": false,
    })
}

fn check(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(3), "{text}");
    assert!(
        value["name"]
            .as_str()
            .is_some_and(|name| name.chars().count() <= 20),
        "{text}"
    );
    assert!(value["age"].as_u64().is_some_and(|age| age <= 150), "{text}");
    assert!(value["kind"] == "cat" || value["kind"] == "dog", "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_by_a_schema_is_what_the_schema_accepts_greedy_and_drawn_and_among_others() {
    let model = model("smollm2");
    let mut running = Vec::new();
    for seed in 0..8 {
        let mut request = asked(&model, person(), "Tell me a long story about a cat, please.").await;
        if seed > 0 {
            request.sampling = Sampling {
                temperature: 1.5,
                seed,
                ..Sampling::default()
            };
        }
        running.push(model.generate(request).expect("it is taken"));
    }
    let free = model
        .chat_prompt(&chat("List three fruits."))
        .await
        .expect("a prompt");
    let unbound = text(&model, request(&free, 24)).await;
    let mut texts = Vec::new();
    for generation in running {
        texts.push(whole(generation).await.expect("it generates").0.text);
    }
    texts.iter().for_each(|text| check(text));
    assert!(texts.iter().any(|text| *text != texts[0]), "{texts:?}");
    assert!(serde_json::from_str::<Value>(&unbound).is_err(), "{unbound}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_one_also_where_it_holds_characters_of_several_tokens() {
    let model = model("smollm2");
    let schema = json!({ "type": "object", "properties": { "greeting": { "const": "héllo, 世界 😀" } }, "required": ["greeting"] });
    let said = text(&model, asked(&model, schema, "Hi").await).await;
    let value: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(value["greeting"], "héllo, 世界 😀");
    let constraint = model.structure(Structure::Object).await.expect("it is one");
    let prompt = model
        .chat_prompt(&chat("Write {\"a\": 1} as JSON."))
        .await
        .expect("a prompt");
    let request = GenerateRequest {
        constraint: Some(constraint),
        ..request(&prompt, 300)
    };
    let said = text(&model, request).await;
    assert!(said.trim_start().starts_with('{'), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_what_is_wrong_with_a_schema_before_anything_is_generated() {
    let model = model("smollm2");
    for (schema, said) in [
        (json!({ "type": "nothing" }), "nothing"),
        (json!({ "type": "object", "properties": 7 }), "properties"),
        (json!([1]), "is an object"),
        (
            json!({ "$ref": "https://example.com/schema.json" }),
            "example.com",
        ),
        (json!({ "type": "string", "pattern": "(" }), ""),
        (json!({ "description": "x".repeat(70_000) }), "may have 65536"),
        (json!({ "type": "string", "minLength": 5, "maxLength": 2 }), ""),
    ] {
        let refused = model.structure(Structure::Schema(schema.clone())).await;
        let Err(InferError::Structure(why)) = refused else {
            panic!("{schema} was taken");
        };
        assert!(why.contains(said), "{schema}: {why}");
    }
    let hostile = json!({ "type": "string", "pattern": "(a?){2000}(b?){2000}[^c]{3000}x|(.*y){50}" });
    if let Ok(constraint) = model.structure(Structure::Schema(hostile)).await {
        // It may be affordable after all; then what comes of it is an answer or an error, in bounded time.
        let prompt = model.chat_prompt(&chat("Hi")).await.expect("a prompt");
        let request = GenerateRequest {
            constraint: Some(constraint),
            ..request(&prompt, 32)
        };
        let generation = model.generate(request).expect("it is taken");
        whole(generation).await.ok();
    }
    assert!(matches!(
        crate::fixture::model("minilm").structure(Structure::Object).await,
        Err(InferError::WrongInput { .. })
    ));
}
