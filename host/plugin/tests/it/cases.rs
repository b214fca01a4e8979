//! The standard plugins' golden cases, in the sandbox that serves: `plugins/NAME/cases/CASE/`.
//!
//! A case has `config.json` and `expected.json`, and what the plugin is given: `request.json`, which is `{}` where there is
//! none; for a post-processor `labels.json`, or `text.json` with the answers' texts and `finish.json`, which is `"stop"`
//! where there is none; for a stream `chunks.json`, a list of pushes, each a list of `[choice, text]`.
//! `UPDATE_GOLDEN=1` writes what is found as what is expected.

use std::path::Path;
use std::sync::Arc;

use selvedge_plugin::value::{
    Action, Chunk, Completion, Finish, Label, Output, Prompt, Rejection, Request, Step, StreamAction, Usage,
    Verdict,
};
use selvedge_plugin::{Attachment, CallError, Stage};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sandbox::{attach, options, request, root, sandbox};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_cases_of_the_standard_plugins() {
    let sandbox = sandbox();
    for (plugin, cases_min) in [
        ("json-schema", 6),
        ("prompt-template", 3),
        ("label", 10),
        ("json-extract", 14),
        ("redact", 5),
    ] {
        let cases = root().join("plugins").join(plugin).join("cases");
        let mut run = 0;
        for case in std::fs::read_dir(&cases).expect("the plugin has cases").flatten() {
            let dir = case.path();
            let config = read(&dir, "config.json").expect("a case has a configuration");
            let attachment = attach(&sandbox, plugin, options(config)).await.expect("attached");
            let answer = answer(&attachment, &dir).await;
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

fn read<T: DeserializeOwned>(dir: &Path, file: &str) -> Option<T> {
    let text = std::fs::read_to_string(dir.join(file)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}/{file}: {error}", dir.display())))
}

async fn answer(attachment: &Attachment, dir: &Path) -> Result<Value, CallError> {
    // A body need not be JSON: that is one of the cases.
    let body = std::fs::read_to_string(dir.join("request.json")).unwrap_or_else(|_| "{}".to_owned());
    let request = request(body.trim_end());
    if attachment.has_stage(Stage::Validate) {
        return Ok(match attachment.validate(&request).await? {
            Verdict::Reject(rejection) => json!({ "reject": rejection_json(&rejection) }),
            verdict => json!(format!("{verdict:?}")),
        });
    }
    if attachment.has_stage(Stage::Template) {
        let rendered = attachment.render(&request, None).await?;
        let mut found = match rendered.prompt {
            Prompt::Text(text) => json!({ "text": text }),
            Prompt::Messages(turns) => json!({ "messages": turns }),
            other => json!(format!("{other:?}")),
        };
        if let Some(params) = rendered.params {
            found["params"] = serde_json::from_str(&params).expect("JSON");
        }
        return Ok(found);
    }
    if attachment.has_stage(Stage::Stream) {
        let pushes: Vec<Vec<(u32, String)>> = read(dir, "chunks.json").expect("chunks");
        return stream(attachment, &request, pushes).await;
    }
    Ok(match attachment.process(&request, completion(dir)).await? {
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
    let inputs: Vec<Vec<(String, f32)>> = read(dir, "labels.json").expect("texts or labels");
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
