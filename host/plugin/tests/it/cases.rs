//! The standard plugins' golden cases, in the sandbox that serves: `plugins/NAME/cases/CASE/`.
//!
//! A case has `config.json`, `request.json`, for a post-processor `labels.json`, and `expected.json`.
//! `UPDATE_GOLDEN=1` writes what is found as what is expected.

use std::path::Path;

use selvedge_plugin::value::{
    Action, Completion, Finish, Label, Output, Prompt, Rejection, Step, Usage, Verdict,
};
use selvedge_plugin::{Attachment, Stage};
use serde_json::{Value, json};

use crate::sandbox::{attach, options, request, root, sandbox};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_cases_of_the_standard_plugins() {
    let sandbox = sandbox();
    let mut run = 0;
    for plugin in ["json-schema", "prompt-template", "label"] {
        let cases = root().join("plugins").join(plugin).join("cases");
        for case in std::fs::read_dir(&cases).expect("the plugin has cases").flatten() {
            let dir = case.path();
            let config = read(&dir, "config.json").expect("a case has a configuration");
            let attachment = attach(&sandbox, plugin, options(config)).await.expect("attached");
            let found = answer(&attachment, &dir).await;
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(dir.join("expected.json"), format!("{found:#}\n")).expect("written");
            }
            assert_eq!(Some(found), read(&dir, "expected.json"), "{}", dir.display());
            run += 1;
        }
    }
    assert!(run >= 9, "only {run} cases were found");
}

fn read(dir: &Path, file: &str) -> Option<Value> {
    let text = std::fs::read_to_string(dir.join(file)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}/{file}: {error}", dir.display())))
}

async fn answer(attachment: &Attachment, dir: &Path) -> Value {
    let body = std::fs::read_to_string(dir.join("request.json")).expect("a case has a request");
    let request = request(body.trim_end());
    if attachment.has_stage(Stage::Validate) {
        return match attachment.validate(&request).await {
            Ok(Verdict::Reject(rejection)) => json!({ "reject": rejection_json(&rejection) }),
            Ok(verdict) => json!(format!("{verdict:?}")),
            Err(error) => json!({ "error": error.fault.to_string() }),
        };
    }
    if attachment.has_stage(Stage::Template) {
        return match attachment.render(&request, None).await {
            Ok(rendered) => match rendered.prompt {
                Prompt::Text(text) => json!({ "text": text }),
                Prompt::Messages(turns) => json!({ "messages": turns }),
                other => json!(format!("{other:?}")),
            },
            Err(error) => json!({ "error": error.fault.to_string() }),
        };
    }
    let inputs: Vec<Vec<(String, f32)>> = read(dir, "labels.json")
        .map(|labels| serde_json::from_value(labels).expect("labels"))
        .expect("labels");
    let label = |(name, score)| Label { name, score };
    let output = Output::Labels(
        inputs
            .into_iter()
            .map(|labels| labels.into_iter().map(label).collect())
            .collect(),
    );
    let done = Completion {
        output,
        finish: Finish::Stop,
        usage: Usage::default(),
    };
    match attachment.process(&request, done).await {
        Ok(Action::Replace(Output::Json(text))) => serde_json::from_str(&text).expect("JSON"),
        Ok(action) => json!(format!("{action:?}")),
        Err(error) => json!({ "error": error.fault.to_string() }),
    }
}

fn rejection_json(rejection: &Rejection) -> Value {
    let problems = rejection.problems.iter().map(|problem| {
        let loc = problem.loc.iter().map(|step| match step {
            Step::Key(key) => json!(key),
            Step::Index(index) => json!(index),
        });
        json!({ "type": problem.kind, "loc": loc.collect::<Vec<_>>(), "msg": problem.msg })
    });
    json!({ "status": rejection.status, "code": rejection.code, "problems": problems.collect::<Vec<_>>() })
}
