//! What a case gives a plugin: its files as the types that the host calls plugins with.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Case, CaseError};
use crate::spool::{Spool, SpoolBounds};
use crate::value::{Chunk, Completion, Element, Event, Finish, Label, Output, Part, Request, Tensor, Usage};

/// Bytes of a case's form at most.
const FORM_LEN_MAX: u64 = 64 << 20;

/// Answers of a case's stream at most: more than any request may ask for.
const CHOICES_MAX: u32 = 128;

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What happens on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Push {
    /// Text comes.
    Chunks(Vec<Chunk>),
    /// Nothing comes for a while.
    Pause(Duration),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    pause_ms: u64,
}

impl Push {
    fn read(said: Value) -> Result<Self, String> {
        if said.is_object() {
            let Pause { pause_ms } = serde_json::from_value(said).map_err(|error| error.to_string())?;
            let pause = Duration::from_millis(pause_ms);
            return match pause <= PAUSE_MAX {
                true => Ok(Self::Pause(pause)),
                false => Err(format!("a pause is at most {} ms", PAUSE_MAX.as_millis())),
            };
        }
        let chunks: Vec<(u32, String)> = serde_json::from_value(said).map_err(|error| {
            format!("{error}; a push is a list of [choice, text], or {{\"pause_ms\": 250}}")
        })?;
        match chunks.iter().find(|(choice, _)| *choice >= CHOICES_MAX) {
            Some((choice, _)) => Err(format!(
                "choice {choice}: a stream has at most {CHOICES_MAX}, from 0 on"
            )),
            None => Ok(Self::Chunks(
                chunks
                    .into_iter()
                    .map(|(choice, text)| Chunk { choice, text })
                    .collect(),
            )),
        }
    }
}

/// A part of a form; its content is the text, so many times.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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

impl Case {
    /// The request: its body, its headers, and the parts of its form.
    ///
    /// # Errors
    ///
    /// Where a file is not as it must be.
    pub(super) async fn request(&self) -> Result<Arc<Request>, CaseError> {
        // A body need not be JSON, nor text: that is one of the cases.
        let file = self.file("request.json");
        let body = match std::fs::read(&file) {
            Ok(body) => body.trim_ascii_end().to_vec(),
            Err(_) if !self.has("request.json") && !self.instead.contains_key("request.json") => {
                b"{}".to_vec()
            }
            Err(error) => {
                let why = error.to_string();
                return Err(CaseError::File { file, why });
            }
        };
        let headers: std::collections::BTreeMap<String, String> =
            self.read("headers.json")?.unwrap_or_default();
        let headers = headers.into_iter();
        Ok(Arc::new(Request {
            id: "r1".to_owned(),
            endpoint: "test".into(),
            dialect: "endpoint",
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.into()))
                .collect(),
            body: body.into(),
            parts: self.parts().await?.into(),
            ..Request::default()
        }))
    }

    async fn parts(&self) -> Result<Vec<Part>, CaseError> {
        let Some(given) = self.read::<Vec<FormPart>>("parts.json")? else {
            return Ok(Vec::new());
        };
        let broken = |why: String| CaseError::File {
            file: self.file("parts.json"),
            why,
        };
        let dir = tempfile::tempdir().map_err(|error| broken(error.to_string()))?;
        let bounds = SpoolBounds {
            bytes_max: FORM_LEN_MAX,
            caller_bytes_max: FORM_LEN_MAX,
            memory_bytes_max: FORM_LEN_MAX,
        };
        let spool = Spool::open(dir.path(), bounds).map_err(|error| broken(error.to_string()))?;
        let caller = Arc::from("test");
        let mut parts = Vec::with_capacity(given.len());
        for part in given {
            let mut writer = spool.writer(&caller);
            let text = part.text.repeat(part.times);
            let written = writer.write(text.as_bytes()).await;
            written.map_err(|error| broken(error.to_string()))?;
            parts.push(Part {
                name: part.name,
                file_name: part.file_name,
                media_type: part.media_type,
                content: writer.finish().await.map_err(|error| broken(error.to_string()))?,
            });
        }
        Ok(parts)
    }

    /// What a post-processor is given.
    ///
    /// # Errors
    ///
    /// Where a file is not as it must be, or there is none.
    pub(super) fn completion(&self) -> Result<Completion, CaseError> {
        let finish: Option<Finish> = self.read("finish.json")?;
        Ok(Completion {
            output: self.output()?,
            finish: finish.unwrap_or(Finish::Stop),
            usage: Usage::default(),
        })
    }

    fn output(&self) -> Result<Output, CaseError> {
        if let Some(texts) = self.read("text.json")? {
            return Ok(Output::Text(texts));
        }
        if let Some(scores) = self.read::<Vec<f32>>("scores.json")? {
            let name: Option<String> = self.read("output.json")?;
            let tensor = Tensor {
                element: Element::Float32,
                shape: vec![1, u32::try_from(scores.len()).unwrap_or(u32::MAX)],
                data: scores.iter().flat_map(|score| score.to_le_bytes()).collect(),
            };
            return Ok(Output::Tensors(vec![(
                name.unwrap_or_else(|| "output".to_owned()),
                tensor,
            )]));
        }
        let Some(inputs) = self.read::<Vec<Vec<(String, f32)>>>("labels.json")? else {
            return Err(CaseError::File {
                file: self.file("labels.json"),
                why: "a post-processor needs `labels.json`, `text.json` or `scores.json`".to_owned(),
            });
        };
        let label = |(name, score)| Label { name, score };
        let labels = inputs
            .into_iter()
            .map(|labels| labels.into_iter().map(label).collect());
        Ok(Output::Labels(labels.collect()))
    }

    /// The pushes of a stream.
    ///
    /// # Errors
    ///
    /// Where the file is not as it must be, or there is none.
    pub(super) fn pushes(&self) -> Result<Vec<Push>, CaseError> {
        let said: Option<Vec<Value>> = self.read("chunks.json")?;
        let said = said.ok_or_else(|| self.missing("chunks.json", "a plugin on a stream"))?;
        let read = said.into_iter().zip(1..).map(|(push, place)| {
            Push::read(push).map_err(|why| CaseError::File {
                file: self.file("chunks.json"),
                why: format!("push {place}: {why}"),
            })
        });
        read.collect()
    }

    /// Whether there is something for a post-processor.
    pub(super) fn has_completion(&self) -> bool {
        ["text.json", "scores.json", "labels.json"]
            .into_iter()
            .any(|name| self.has(name))
    }

    /// The events of an observer: what is not said of one is as of any other.
    ///
    /// # Errors
    ///
    /// Where the file is not as it must be, or there is none.
    pub(super) fn events(&self) -> Result<Vec<Event>, CaseError> {
        let events: Option<Vec<Value>> = self.read("events.json")?;
        let events = events.ok_or_else(|| self.missing("events.json", "an observer"))?;
        let read = events.into_iter().map(event).collect::<Result<_, _>>();
        read.map_err(|error| CaseError::File {
            file: self.file("events.json"),
            why: error.to_string(),
        })
    }

    fn missing(&self, name: &str, who: &str) -> CaseError {
        CaseError::File {
            file: self.file(name),
            why: format!("is not there, and {who} needs it"),
        }
    }
}

/// How many answers a stream has whose pushes these are.
pub(super) fn choices(pushes: &[Push]) -> u32 {
    let chunks = pushes.iter().filter_map(|push| match push {
        Push::Chunks(chunks) => Some(chunks),
        Push::Pause(_) => None,
    });
    let choices = chunks.flatten().map(|chunk| chunk.choice + 1);
    choices.max().unwrap_or(1)
}

fn event(mut said: Value) -> serde_json::Result<Event> {
    if !said.is_object() {
        return Err(serde::de::Error::custom(
            "an event is an object of what is not as usual",
        ));
    }
    let body = |value: Value| value.as_str().map(|text| text.to_owned().into());
    let (asked, answered) = (
        body(said["request_body"].take()),
        body(said["response_body"].take()),
    );
    let mut event = json!({
        "id": "evt_1", "request_id": "req-1", "endpoint": "e", "model": "m", "dialect": "endpoint", "principal": null,
        "time_ms": 1_700_000_000_000_u64, "status": 200, "finish": null, "usage": null, "timings": [], "attributes": [],
    });
    for (key, value) in said.as_object().into_iter().flatten() {
        event[key] = value.clone();
    }
    let mut event: Event = serde_json::from_value(event)?;
    (event.request_body, event.response_body) = (asked, answered);
    Ok(event)
}
