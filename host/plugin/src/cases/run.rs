//! What a plugin comes to on a case, as JSON that people read.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::given::{Push, choices};
use super::{Case, CaseError};
use crate::attachment::Attachment;
use crate::error::{CallError, Fault};
use crate::inspect::Stage;
use crate::spent::Spent;
use crate::value::{
    Action, Chunk, Element, Finish, Output, Prompt, Rejection, Request, Step, StreamAction, Tensor, Usage,
    Verdict,
};

/// What a plugin came to on a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its answer, or `{"error": ".."}`.
    pub value: Value,
    /// Where the call failed: the error's code, and that of the plugin's own failure.
    pub codes: Vec<String>,
}

impl Found {
    /// Whether it is what a case expects.
    #[must_use]
    pub fn meets(&self, expected: &Value) -> bool {
        match expected
            .as_object()
            .filter(|fields| fields.len() == 1 && !self.codes.is_empty())
        {
            Some(fields) if fields.contains_key("failure") => {
                self.codes.iter().any(|code| fields["failure"] == code.as_str())
            }
            _ => self.value == *expected,
        }
    }
}

impl From<Result<Value, CallError>> for Found {
    fn from(answer: Result<Value, CallError>) -> Self {
        let fault = match answer {
            Ok(value) => {
                let codes = Vec::new();
                return Self { value, codes };
            }
            Err(error) => error.fault,
        };
        let mut codes = vec![fault.code().to_owned()];
        if let Fault::Failed { code, .. } = &fault {
            codes.push(code.clone());
        }
        Self {
            value: json!({ "error": fault.to_string() }),
            codes,
        }
    }
}

impl Case {
    /// Calls a plugin that is attached with this case's configuration. Where the call fails, that is the answer. An observer's is
    /// what it wrote into journals, which are in `journals` and removed before.
    ///
    /// # Errors
    ///
    /// Where a file of the case is not as it must be.
    pub async fn run(&self, attachment: &Attachment, journals: &Path) -> Result<Found, CaseError> {
        let own = self.stages(attachment.plugin())?;
        let is_one = own.len() == 1;
        let is_for = |stage, file| own.contains(&stage) && (is_one || self.has(file));
        let answer = if is_for(Stage::Observe, "events.json") {
            observe(attachment, self, journals).await?
        } else if is_for(Stage::Stream, "chunks.json") {
            let (request, pushes) = (self.request().await?, self.pushes()?);
            stream(attachment, &request, pushes).await
        } else {
            let request = self.request().await?;
            let done = match own.contains(&Stage::Postprocess) && (is_one || self.has_completion()) {
                true => Some(self.completion()?),
                false => None,
            };
            stages(attachment, &own, &request, done).await
        };
        Ok(answer.into())
    }
}

/// Each of the plugin's own stages in order, until a validator refuses.
async fn stages(
    attachment: &Attachment,
    own: &[Stage],
    request: &Arc<Request>,
    mut done: Option<crate::value::Completion>,
) -> Result<Value, CallError> {
    let stages = [Stage::Validate, Stage::Template, Stage::Postprocess];
    let own: Vec<Stage> = stages.into_iter().filter(|stage| own.contains(stage)).collect();
    let mut found = Map::new();
    for stage in &own {
        let answer = match (stage, done.take()) {
            (Stage::Validate, given) => {
                done = given;
                validate(attachment, request).await?
            }
            (Stage::Postprocess, Some(given)) => process(attachment, request, given).await?,
            // What the case has nothing for is not called.
            (Stage::Postprocess, None) => continue,
            (_, given) => {
                done = given;
                render(attachment, request).await?
            }
        };
        let is_over = answer.get("reject").is_some();
        found.insert(stage.name().to_owned(), answer);
        if is_over {
            break;
        }
    }
    // Most plugins have one stage, and a case says no more than that one's answer.
    Ok(match (own.len(), found.len()) {
        (1, 1) => found
            .into_iter()
            .next()
            .map(|(_, answer)| answer)
            .unwrap_or_default(),
        _ => found.into(),
    })
}

async fn validate(attachment: &Attachment, request: &Arc<Request>) -> Result<Value, CallError> {
    Ok(match attachment.validate(request).await? {
        Verdict::Accept => json!("Accept"),
        Verdict::Amend(None) => json!("Amend(None)"),
        Verdict::Amend(Some(body)) => json!({ "amend": body_json(&body) }),
        Verdict::Reject(rejection) => json!({ "reject": rejection_json(&rejection) }),
    })
}

/// A body as JSON, or as text where it is none.
fn body_json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}

async fn render(attachment: &Attachment, request: &Arc<Request>) -> Result<Value, CallError> {
    let rendered = attachment.render(request, None).await?;
    let mut found = match rendered.prompt {
        Prompt::Text(text) => json!({ "text": text }),
        Prompt::Texts(texts) => json!({ "texts": texts }),
        Prompt::Messages(turns) => json!({ "messages": turns }),
        Prompt::MessagesJson(text) => json!({ "messages": body_json(text.as_bytes()) }),
        Prompt::TokenIds(ids) => json!({ "token_ids": ids }),
        Prompt::Tensors(tensors) => json!({ "tensors": tensors_json(&tensors) }),
    };
    if let Some(params) = rendered.params {
        found["params"] = body_json(params.as_bytes());
    }
    Ok(found)
}

async fn process(
    attachment: &Attachment,
    request: &Arc<Request>,
    done: crate::value::Completion,
) -> Result<Value, CallError> {
    Ok(match attachment.process(request, done).await? {
        Action::Pass => json!("Pass"),
        Action::Refuse(rejection) => json!({ "refuse": rejection_json(&rejection) }),
        Action::Replace(Output::Json(text)) => body_json(text.as_bytes()),
        Action::Replace(Output::Text(texts)) => json!({ "texts": texts }),
        Action::Replace(Output::Embeddings(vectors)) => json!({ "embeddings": vectors }),
        Action::Replace(Output::Tensors(tensors)) => json!({ "tensors": tensors_json(&tensors) }),
        Action::Replace(Output::Labels(inputs)) => {
            let pairs = |labels: Vec<crate::value::Label>| -> Value {
                labels
                    .into_iter()
                    .map(|label| json!([label.name, label.score]))
                    .collect()
            };
            json!({ "labels": inputs.into_iter().map(pairs).collect::<Value>() })
        }
    })
}

/// Tensors with their values, where these are numbers that JSON has; else with how many bytes they are.
fn tensors_json(tensors: &[(String, Tensor)]) -> Value {
    let tensor = |(name, tensor): &(String, Tensor)| {
        let mut told =
            json!({ "name": name, "element": format!("{:?}", tensor.element), "shape": tensor.shape });
        let (words, _) = tensor.data.as_chunks::<4>();
        match tensor.element {
            Element::Int32 => {
                told["values"] = words
                    .iter()
                    .map(|word| json!(i32::from_le_bytes(*word)))
                    .collect();
            }
            Element::Float32 => {
                told["values"] = words
                    .iter()
                    .map(|word| json!(f32::from_le_bytes(*word)))
                    .collect();
            }
            _ => told["bytes"] = json!(tensor.data.len()),
        }
        told
    };
    tensors.iter().map(tensor).collect()
}

/// What of a stream is let go: as each choice's text, at each push, and when the text is over.
async fn stream(
    attachment: &Attachment,
    request: &Arc<Request>,
    pushes: Vec<Push>,
) -> Result<Value, CallError> {
    let choices = choices(&pushes);
    let mut stream = attachment.open_stream(request, choices).await?;
    let mut let_go: Vec<Vec<Chunk>> = Vec::new();
    let mut stopped = None;
    for push in pushes {
        let chunks = match push {
            Push::Chunks(chunks) => chunks,
            Push::Pause(time) => {
                match &attachment.linked.identity.clock {
                    Some(clock) => clock.pass(time),
                    // On the machine's own clocks there is no other way.
                    None => tokio::time::sleep(time).await,
                }
                continue;
            }
        };
        match stream.push(&chunks).await? {
            StreamAction::Pass => let_go.push(chunks),
            StreamAction::Emit(emitted) => let_go.push(emitted),
            StreamAction::Stop(last, finish) => {
                let_go.push(last);
                stopped = Some(finish);
                break;
            }
        }
    }
    let last = stream
        .finish(stopped.unwrap_or(Finish::Stop), Usage::default())
        .await?;
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
    let mut found = json!({ "texts": texts, "let_go": let_go, "last": pairs(&last) });
    if let Some(finish) = stopped {
        found["stopped"] = json!(finish);
    }
    Ok(found)
}

/// What an observer made of the events: the lines of all its journals, and what it logged, where it did.
async fn observe(
    attachment: &Attachment,
    case: &Case,
    journals: &Path,
) -> Result<Result<Value, CallError>, CaseError> {
    let events = case.events()?;
    let unread = |why: std::io::Error| CaseError::File {
        file: journals.to_owned(),
        why: why.to_string(),
    };
    if journals.exists() {
        std::fs::remove_dir_all(journals).map_err(unread)?;
    }
    let said_before = attachment.spent().map_or(0, Spent::lines_len);
    if let Err(error) = attachment.observe(&events).await {
        return Ok(Err(error));
    }
    let said = attachment
        .spent()
        .map_or_else(Vec::new, |spent| spent.lines_after(said_before));
    let mut files = Vec::new();
    for folder in std::fs::read_dir(journals).into_iter().flatten().flatten() {
        let names = std::fs::read_dir(folder.path()).map_err(unread)?.flatten();
        files.extend(names.map(|file| file.path()));
    }
    files.retain(|file| file.extension() == Some("jsonl".as_ref()));
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(unread)?;
        lines.extend(text.lines().map(|line| body_json(line.as_bytes())));
    }
    let mut found = json!({ "lines": lines });
    if !said.is_empty() {
        found["log"] = json!(said);
    }
    Ok(Ok(found))
}

fn rejection_json(rejection: &Rejection) -> Value {
    let problems = rejection.problems.iter().map(|problem| {
        let loc = problem.loc.iter().map(|step| match step {
            Step::Key(key) => json!(key),
            Step::Index(index) => json!(index),
        });
        json!({ "type": problem.kind, "loc": loc.collect::<Value>(), "msg": problem.msg })
    });
    json!({
        "status": rejection.status,
        "code": rejection.code,
        "message": rejection.message,
        "problems": problems.collect::<Value>(),
    })
}
