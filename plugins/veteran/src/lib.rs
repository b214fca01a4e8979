//! Exports every stage but that on streams, which `veteran-stream` has, and calls every function that a plugin of WIT 0.1.0 can
//! import. It is no example: its component was
//! compiled once, when 0.1.0 was frozen, and is kept, so that the host's tests see old plugins work for ever. Do not change it;
//! a later version gets a veteran of its own.
//!
//! The validator leaves what its imports told it in attributes, the postprocessor answers with all of them. `told` asks the
//! imports, this file has the stages.

mod told;

selvedge_sdk::world!(
    "selvedge:veteran/veteran",
    "
        package selvedge:veteran;
        world veteran {
            include selvedge:plugin/validator-plugin@0.1.0;
            include selvedge:plugin/templater-plugin@0.1.0;
            include selvedge:plugin/postprocessor-plugin@0.1.0;
            include selvedge:plugin/observer-plugin@0.1.0;
            include selvedge:plugin/grants@0.1.0;
        }
    "
);

use exports::selvedge::plugin::observer::{self, Event};
use exports::selvedge::plugin::postprocessor::{self, Completion, Output};
use exports::selvedge::plugin::templater::{self, Prompt, Rendered};
use exports::selvedge::plugin::validator::{self, Amendment, Verdict};
use exports::selvedge::plugin::{lifecycle, postprocessor::Action};
use selvedge::plugin::journals::{self, Rotation};
use selvedge_sdk::logging::{self, Level};
use selvedge_sdk::{Configured, Failure, Rejection, Request, failure, finish_name, metrics};
use serde_json::{Value, json};

struct Plugin;

static CONFIG: Configured<Value> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        logging::log(
            Level::Info,
            "configured",
            &[("by".to_owned(), "veteran".to_owned())],
        );
        CONFIG.set(selvedge_sdk::parse_config(&config)?)
    }
}

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        if request.body_text().is_some_and(|text| text.contains("refuse me")) {
            return Ok(Verdict::Reject(Rejection {
                status: 403,
                code: "refused".to_owned(),
                message: "as asked".to_owned(),
                problems: Vec::new(),
            }));
        }
        let config = CONFIG.get()?;
        request.set_attribute("request", &told::request(request).to_string());
        request.set_attribute("uploads", &told::uploads(request).to_string());
        let attributes = vec![
            ("tensors".to_owned(), told::tensors().to_string()),
            ("kv".to_owned(), told::kv().to_string()),
            ("models".to_owned(), told::models(config).to_string()),
            ("secrets".to_owned(), told::secrets().to_string()),
        ];
        metrics::counter_add("calls", 1);
        metrics::histogram_record("seconds", 0.5);
        Ok(Verdict::Amend(Amendment {
            body: Some(selvedge_sdk::read_body(request)),
            attributes,
        }))
    }
}

impl templater::Guest for Plugin {
    fn render(request: &Request, so_far: Option<Rendered>) -> Result<Rendered, Failure> {
        let body: Value = serde_json::from_slice(&selvedge_sdk::read_body(request))
            .map_err(|error| failure("no-json", error.to_string()))?;
        let text = body["text"].as_str().unwrap_or_default();
        Ok(so_far.unwrap_or(Rendered {
            prompt: Prompt::Text(text.to_owned()),
            params: Some(json!({ "max_tokens": 8 }).to_string()),
        }))
    }
}

impl postprocessor::Guest for Plugin {
    fn process(request: &Request, done: Completion) -> Result<Action, Failure> {
        let kind = match done.output {
            Output::Text(_) => "text",
            Output::Labels(_) => "labels",
            Output::Embeddings(_) => "embeddings",
            Output::Tensors(_) => "tensors",
            Output::Json(_) => "json",
        };
        let mut answer = json!({ "output": kind, "finish": finish_name(done.finish) });
        for key in ["request", "uploads", "tensors", "kv", "models", "secrets"] {
            let told = request.attribute(key).unwrap_or_default();
            answer[key] = serde_json::from_str(&told).unwrap_or(Value::Null);
        }
        Ok(Action::Replace(Output::Json(answer.to_string())))
    }
}

impl observer::Guest for Plugin {
    fn observe(events: Vec<Event>) -> Result<(), Failure> {
        let line = |event: Event| {
            json!({
                "endpoint": event.endpoint,
                "model": event.model,
                "dialect": event.dialect,
                "status": event.status,
                "finish": event.finish.map(finish_name),
                "stages": event.timings.into_iter().map(|timing| timing.stage).collect::<Vec<_>>(),
                "attributes": event.attributes.len(),
                "request_bytes": event.request_body.map(|body| body.len()),
                "response_bytes": event.response_body.map(|body| body.len()),
            })
            .to_string()
        };
        let lines: Vec<String> = events.into_iter().map(line).collect();
        let rotation = Rotation {
            file_bytes_max: 1 << 20,
            files_max: 2,
        };
        journals::append("veteran", &lines, rotation)
            .map_err(|error| failure("unwritten", format!("{error:?}")))
    }
}

export!(Plugin);
