//! The standard plugins' golden cases, in the sandbox that serves: `plugins/NAME/cases/CASE/`.
//!
//! A case has `config.json` and `expected.json`, and what the plugin is given: `request.json`, which is `{}` where there is
//! none; for a post-processor `labels.json`, or `text.json` with the answers' texts and `finish.json`, which is `"stop"`
//! where there is none; `parts.json` has the parts of a form, whose JSON is then `request.json`. A plugin of several stages is
//! called at each, and the scores that its model gives are in `scores.json`. For a stream `chunks.json`, a list of pushes, each a list of `[choice, text]`; for an observer
//! `events.json`, which is granted the journal `journal`, bodies, a secret and `https://granted.example`, with nobody to make a call.
//! `UPDATE_GOLDEN=1` writes what is found as what is expected.

use std::path::Path;
use std::sync::Arc;

use selvedge_plugin::value::{
    Action, Chunk, Completion, Element, Event, Finish, Label, Output, Part, Prompt, Rejection, Request, Step,
    StreamAction, Tensor, Usage, Verdict,
};
use selvedge_plugin::{Attachment, CallError, Grants, Origin, Spool, Stage};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sandbox::{attach, journals, options, request, root, sandbox};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_cases_of_the_standard_plugins() {
    let (sandbox, journals) = (sandbox(), journals());
    for (plugin, cases_min) in [
        ("json-schema", 6),
        ("prompt-template", 3),
        ("label", 10),
        ("json-extract", 14),
        ("redact", 5),
        ("capture", 4),
        ("webhook", 2),
        ("filetype", 5),
    ] {
        let cases = root().join("plugins").join(plugin).join("cases");
        let mut run = 0;
        for case in std::fs::read_dir(&cases).expect("the plugin has cases").flatten() {
            let dir = case.path();
            let config = read(&dir, "config.json").expect("a case has a configuration");
            let mut options = options(config);
            options.grants = grants();
            let attachment = attach(&sandbox, plugin, options).await.expect("attached");
            let answer = match attachment.has_stage(Stage::Observe) {
                true => observe(&attachment, &dir, &journals).await,
                false => answer(&attachment, &dir).await,
            };
            let found = answer.unwrap_or_else(|error| json!({ "error": error.fault.to_string() }));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(dir.join("expected.json"), format!("{found:#}\n")).expect("written");
            }
            assert_eq!(Some(found), read(&dir, "expected.json"), "{}", dir.display());
            run += 1;
        }
        assert!(run >= cases_min, "only {run} cases of {plugin} were found");
    }
}

/// What observers are granted in their cases.
fn grants() -> Grants {
    Grants {
        http: vec![Origin::parse("https://granted.example").expect("an origin")],
        secrets: [(
            "WEBHOOK_SECRET".to_owned(),
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        )]
        .into(),
        journals: vec!["journal".to_owned()],
        bodies: true,
        caller: None,
    }
}

/// What an observer wrote of the events.
async fn observe(attachment: &Attachment, dir: &Path, journals: &Path) -> Result<Value, CallError> {
    let events: Vec<Value> = read(dir, "events.json").expect("events");
    let events: Vec<Event> = events.into_iter().map(event).collect();
    let folder = journals.join("journal");
    std::fs::remove_dir_all(&folder).ok();
    attachment.observe(&events).await?;
    let Ok(files) = std::fs::read_dir(&folder) else {
        return Ok(json!({ "lines": [] }));
    };
    let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
    files.retain(|file| file.extension() == Some("jsonl".as_ref()));
    files.sort();
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).expect("text"));
    let texts = texts.collect::<String>();
    let lines = texts
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"));
    Ok(json!({ "lines": lines.collect::<Vec<Value>>() }))
}

/// An event of a case: the bodies are texts, and what is not said has a value all the same.
fn event(mut said: Value) -> Event {
    let body = |value: Value| value.as_str().map(|text| text.to_owned().into());
    let (asked, answered) = (
        body(said["request_body"].take()),
        body(said["response_body"].take()),
    );
    let mut event = json!({
        "id": "evt_1", "request_id": "req-1", "endpoint": "e", "model": "m", "dialect": "endpoint", "principal": null,
        "time_ms": 1_700_000_000_000_u64, "status": 200, "finish": null, "usage": null, "timings": [], "attributes": [],
    });
    for (key, value) in said.as_object().expect("an object") {
        event[key] = value.clone();
    }
    let mut event: Event = serde_json::from_value(event).expect("an event");
    (event.request_body, event.response_body) = (asked, answered);
    event
}

fn read<T: DeserializeOwned>(dir: &Path, file: &str) -> Option<T> {
    let text = std::fs::read_to_string(dir.join(file)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}/{file}: {error}", dir.display())))
}

async fn answer(attachment: &Attachment, dir: &Path) -> Result<Value, CallError> {
    // A body need not be JSON: that is one of the cases.
    let body = std::fs::read_to_string(dir.join("request.json")).unwrap_or_else(|_| "{}".to_owned());
    let request = match read(dir, "parts.json") {
        Some(parts) => form(body.trim_end(), parts).await,
        None => request(body.trim_end()),
    };
    if attachment.has_stage(Stage::Stream) {
        let pushes: Vec<Vec<(u32, String)>> = read(dir, "chunks.json").expect("chunks");
        return stream(attachment, &request, pushes).await;
    }
    let stages = [Stage::Validate, Stage::Template, Stage::Postprocess];
    let mut found = serde_json::Map::new();
    for stage in stages.into_iter().filter(|stage| attachment.has_stage(*stage)) {
        let answer = match stage {
            Stage::Validate => validate(attachment, &request).await?,
            Stage::Template => render(attachment, &request).await?,
            _ => process(attachment, &request, dir).await?,
        };
        let is_over = answer.get("reject").is_some();
        found.insert(stage.name().to_owned(), answer);
        if is_over {
            break;
        }
    }
    // Most plugins have one stage, and a case says no more than that one's answer.
    let stages = stages
        .iter()
        .filter(|stage| attachment.has_stage(**stage))
        .count();
    Ok(match found.len() {
        1 if stages == 1 => found
            .into_iter()
            .next()
            .map(|(_, answer)| answer)
            .unwrap_or_default(),
        _ => found.into(),
    })
}

/// A part of a form; its content is the text, so many times.
#[derive(serde::Deserialize)]
struct FormPart {
    name: String,
    file_name: Option<String>,
    media_type: Option<String>,
    text: String,
    #[serde(default = "once")]
    times: usize,
}

fn once() -> usize {
    1
}

/// A request that is a form, with the body that stands in its place.
async fn form(body: &str, parts: Vec<FormPart>) -> Arc<Request> {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(dir.path(), 1 << 20).expect("a spool");
    let mut spooled = Vec::new();
    for part in parts {
        let mut writer = spool.writer();
        let text = part.text.repeat(part.times);
        writer.write(text.as_bytes()).await.expect("room");
        spooled.push(Part {
            name: part.name,
            file_name: part.file_name,
            media_type: part.media_type,
            content: writer.finish().await.expect("whole"),
        });
    }
    Arc::new(Request {
        id: "r1".to_owned(),
        dialect: "endpoint",
        body: body.to_owned().into(),
        parts: spooled.into(),
        ..Request::default()
    })
}

async fn validate(attachment: &Attachment, request: &Arc<Request>) -> Result<Value, CallError> {
    Ok(match attachment.validate(request).await? {
        Verdict::Reject(rejection) => json!({ "reject": rejection_json(&rejection) }),
        verdict => json!(format!("{verdict:?}")),
    })
}

async fn render(attachment: &Attachment, request: &Arc<Request>) -> Result<Value, CallError> {
    let rendered = attachment.render(request, None).await?;
    let mut found = match rendered.prompt {
        Prompt::Text(text) => json!({ "text": text }),
        Prompt::Messages(turns) => json!({ "messages": turns }),
        Prompt::Tensors(tensors) => tensors
            .iter()
            .map(|(name, tensor)| tensor_json(name, tensor))
            .collect(),
        other => json!(format!("{other:?}")),
    };
    if let Some(params) = rendered.params {
        found["params"] = serde_json::from_str(&params).expect("JSON");
    }
    Ok(found)
}

/// A tensor of int32 with its values.
fn tensor_json(name: &str, tensor: &Tensor) -> Value {
    assert_eq!(tensor.element, Element::Int32);
    let (values, _) = tensor.data.as_chunks::<4>();
    let values: Vec<i32> = values.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
    json!({ "name": name, "shape": tensor.shape, "values": values })
}

async fn process(attachment: &Attachment, request: &Arc<Request>, dir: &Path) -> Result<Value, CallError> {
    Ok(match attachment.process(request, completion(dir)).await? {
        Action::Pass => json!("Pass"),
        Action::Replace(Output::Json(text)) => serde_json::from_str(&text).expect("JSON"),
        Action::Replace(Output::Text(texts)) => json!({ "texts": texts }),
        Action::Replace(other) => json!(format!("{other:?}")),
        Action::Refuse(rejection) => json!({ "refuse": rejection_json(&rejection) }),
    })
}

fn completion(dir: &Path) -> Completion {
    let finish: Option<String> = read(dir, "finish.json");
    Completion {
        output: output(dir),
        finish: match finish.as_deref() {
            None | Some("stop") => Finish::Stop,
            Some("length") => Finish::Length,
            Some(other) => panic!("{}: `{other}` ends no case", dir.display()),
        },
        usage: Usage::default(),
    }
}

fn output(dir: &Path) -> Output {
    if let Some(texts) = read(dir, "text.json") {
        return Output::Text(texts);
    }
    if let Some(scores) = read::<Vec<f32>>(dir, "scores.json") {
        let tensor = Tensor {
            element: Element::Float32,
            shape: vec![1, u32::try_from(scores.len()).expect("few")],
            data: scores.iter().flat_map(|score| score.to_le_bytes()).collect(),
        };
        return Output::Tensors(vec![("target_label".to_owned(), tensor)]);
    }
    let inputs: Vec<Vec<(String, f32)>> = read(dir, "labels.json").expect("texts, scores or labels");
    let label = |(name, score)| Label { name, score };
    let labels = inputs
        .into_iter()
        .map(|labels| labels.into_iter().map(label).collect());
    Output::Labels(labels.collect())
}

/// What of a stream is let go: as each choice's text, at each push, and when the text is over.
async fn stream(
    attachment: &Attachment,
    request: &Arc<Request>,
    pushes: Vec<Vec<(u32, String)>>,
) -> Result<Value, CallError> {
    let choices = pushes.iter().flatten().map(|(choice, _)| choice + 1).max();
    let choices = choices.expect("a case pushes something");
    let mut stream = attachment.open_stream(request, choices).await?;
    let mut let_go: Vec<Vec<Chunk>> = Vec::new();
    for push in pushes {
        let chunk = |(choice, text)| Chunk { choice, text };
        let chunks: Vec<Chunk> = push.into_iter().map(chunk).collect();
        let_go.push(match stream.push(&chunks).await? {
            StreamAction::Pass => chunks,
            StreamAction::Emit(emitted) => emitted,
            StreamAction::Stop(..) => panic!("none of these plugins ends a stream"),
        });
    }
    let last = stream.finish(Finish::Stop, Usage::default()).await?;
    let mut texts = vec![String::new(); choices as usize];
    for chunk in let_go.iter().flatten().chain(&last) {
        texts[chunk.choice as usize] += &chunk.text;
    }
    let pairs = |chunks: &[Chunk]| -> Value {
        chunks
            .iter()
            .map(|chunk| json!([chunk.choice, chunk.text]))
            .collect()
    };
    let let_go: Vec<Value> = let_go.iter().map(|chunks| pairs(chunks)).collect();
    Ok(json!({ "texts": texts, "let_go": let_go, "last": pairs(&last) }))
}

fn rejection_json(rejection: &Rejection) -> Value {
    let problems = rejection.problems.iter().map(|problem| {
        let loc = problem.loc.iter().map(|step| match step {
            Step::Key(key) => json!(key),
            Step::Index(index) => json!(index),
        });
        json!({ "type": problem.kind, "loc": loc.collect::<Vec<_>>(), "msg": problem.msg })
    });
    json!({
        "status": rejection.status,
        "code": rejection.code,
        "message": rejection.message,
        "problems": problems.collect::<Vec<_>>(),
    })
}
