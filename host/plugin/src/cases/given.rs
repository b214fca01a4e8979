//! What a case gives a plugin: its files as the types that the host calls plugins with.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Case, CaseError};
use crate::spool::{Spool, SpoolBounds};
use crate::value::{Completion, Element, Event, Finish, Label, Output, Part, Request, Tensor, Usage};

/// Bytes of a case's form at most.
const FORM_LEN_MAX: u64 = 64 << 20;

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
        // A body need not be JSON: that is one of the cases.
        let body = std::fs::read_to_string(self.dir.join("request.json"));
        let body = body.unwrap_or_else(|_| "{}".to_owned());
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
            body: body.trim_end().to_owned().into(),
            parts: self.parts().await?.into(),
            ..Request::default()
        }))
    }

    async fn parts(&self) -> Result<Vec<Part>, CaseError> {
        let Some(given) = self.read::<Vec<FormPart>>("parts.json")? else {
            return Ok(Vec::new());
        };
        let broken = |why: String| CaseError::File {
            file: self.dir.join("parts.json"),
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
                file: self.dir.join("labels.json"),
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
    pub(super) fn pushes(&self) -> Result<Vec<Vec<(u32, String)>>, CaseError> {
        self.read("chunks.json")?
            .ok_or_else(|| self.missing("chunks.json", "a plugin on a stream"))
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
            file: self.dir.join("events.json"),
            why: error.to_string(),
        })
    }

    fn missing(&self, name: &str, who: &str) -> CaseError {
        CaseError::File {
            file: self.dir.join(name),
            why: format!("is not there, and {who} needs it"),
        }
    }
}

fn event(mut said: Value) -> serde_json::Result<Event> {
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
