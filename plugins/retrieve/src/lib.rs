//! Turns a question into a prompt with the passages that are nearest to it: retrieval, on two models of one node.
//!
//! The passages are in the configuration. `configure` can run no model, so they are embedded when the node calls the plugin to warm
//! up, and the vectors left in a store, where requests find them; what is still missing then, the first requests embed. The core knows nothing of WIT: `corpus` has the passages and their vectors,
//! `question` what the body asks; the templates are prompt-template's.

mod corpus;
// Its file and not its crate: a plugin cannot be linked into another, since both would export the same stage.
#[path = "../../prompt-template/src/prompt.rs"]
mod prompt;
mod question;

selvedge_sdk::world!(
    "selvedge:retrieve/retrieve",
    "
        package selvedge:retrieve;
        world retrieve {
            include selvedge:plugin/templater-plugin@0.1.0;
            import selvedge:plugin/inference@0.1.0;
            import selvedge:plugin/kv@0.1.0;
        }
    "
);

use std::time::{Duration, Instant};

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::templater::{self, Prompt, Rendered};
use selvedge::plugin::inference::{self, InferenceError};
use selvedge::plugin::kv::{KvError, Store};
use selvedge_sdk::{Configured, Failure, Message, Request, bad_config, failure, failure_for_now};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use corpus::{Chunk, Corpus, Found, Passage, pack, vector_len};
pub use prompt::{MessageTemplate, Output, Template, Undefined};
pub use question::{Place, fields};

/// The attachment's configuration; of `template`, `messages`, `undefined` and `params` as prompt-template has them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model that embeds.
    pub model: String,
    /// The store that keeps vectors. Default `retrieve`.
    #[serde(default = "store_default")]
    pub store: String,
    /// The passages.
    pub corpus: Vec<Passage>,
    /// Where the question stands: a field's name, or a JSON Pointer. Default `question`.
    #[serde(default = "question_default")]
    pub question: String,
    /// Passages that the template is given at most. Default 3.
    #[serde(default = "top_default")]
    pub top: usize,
    /// The cosine that a passage must have to the question. Default: any.
    #[serde(default = "score_min_default")]
    pub min_score: f32,
    /// How long a request may embed passages that nobody has embedded yet, in milliseconds; a batch that is begun is ended. Default
    /// 400, which with the longest batch is within the default `limits.wall_time`.
    #[serde(default = "embed_time_default")]
    pub embed_time_ms: u64,
    /// One text.
    pub template: Option<String>,
    /// Or a conversation.
    pub messages: Option<Vec<MessageTemplate>>,
    /// What a name that there is not does.
    #[serde(default)]
    pub undefined: Undefined,
    /// How the model is to generate.
    pub params: Option<Map<String, Value>>,
}

fn store_default() -> String {
    "retrieve".to_owned()
}

fn question_default() -> String {
    "question".to_owned()
}

fn top_default() -> usize {
    3
}

fn score_min_default() -> f32 {
    f32::NEG_INFINITY
}

fn embed_time_default() -> u64 {
    400
}

struct Plugin;

struct Retriever {
    model: String,
    store: String,
    corpus: Corpus,
    place: Place,
    top: usize,
    score_min: f32,
    embed_time: Duration,
    template: Template,
    /// As JSON.
    params: Option<String>,
}

static RETRIEVER: Configured<Retriever> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        let template = Template::compile(prompt::Config {
            template: config.template,
            messages: config.messages,
            undefined: config.undefined,
            params: None,
        });
        RETRIEVER.set(Retriever {
            corpus: Corpus::new(&config.model, config.corpus),
            model: config.model,
            store: config.store,
            place: Place::new(&config.question),
            top: config.top,
            score_min: config.min_score,
            embed_time: Duration::from_millis(config.embed_time_ms),
            template: template.map_err(bad_config)?,
            params: config.params.map(|params| Value::Object(params).to_string()),
        })
    }
}

impl templater::Guest for Plugin {
    fn render(request: &Request, _so_far: Option<Rendered>) -> Result<Rendered, Failure> {
        let retriever = RETRIEVER.get()?;
        if request.dialect() == "warm-up" {
            retriever.prepare()?;
            return Ok(Rendered {
                prompt: Prompt::Text(String::new()),
                params: None,
            });
        }
        let body: Value = serde_json::from_slice(&selvedge_sdk::read_body(request))
            .map_err(|error| failure("no-question", format!("the body is not JSON: {error}")))?;
        let question = retriever
            .place
            .find(&body)
            .map_err(|why| failure("no-question", why))?;
        let asked = retriever.embed(vec![question.to_owned()], "the question")?;
        let asked = asked.first().filter(|vector| !vector.is_empty());
        let asked = asked.ok_or_else(|| failure("not-embedded", "the question has no vector"))?;
        let vectors = retriever.vectors(asked.len())?;
        let passages = retriever
            .corpus
            .nearest(asked, &vectors, retriever.top, retriever.score_min);
        let fields = fields(&body, question, &passages).to_string();
        let rendered = retriever.template.render(fields.as_bytes());
        let prompt = match rendered.map_err(|error| failure("template-failed", error))? {
            Output::Text(text) => Prompt::Text(text),
            Output::Messages(turns) => Prompt::Messages(turns.into_iter().map(message).collect()),
        };
        Ok(Rendered {
            prompt,
            params: retriever.params.clone(),
        })
    }
}

fn message((role, content): (String, String)) -> Message {
    Message { role, content }
}

impl Retriever {
    /// Embeds passages before anybody asks, as many as one call may; any text tells how long the model's vectors are.
    fn prepare(&self) -> Result<(), Failure> {
        let any = self.embed(vec!["a text".to_owned()], "a text")?;
        let dimensions = any.first().map_or(0, Vec::len);
        if dimensions == 0 {
            return Err(failure("not-embedded", "a text has no vector"));
        }
        self.vectors(dimensions).map(drop)
    }

    /// The vectors of each chunk: from the store, and those that are not there yet embedded, for as long as a request may.
    fn vectors(&self, dimensions: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let store = Store::open(&self.store).map_err(|error| self.unkept(error))?;
        let begun = Instant::now();
        let chunk_vectors = |chunk: &Chunk| {
            let key = chunk.key(dimensions);
            let kept = store.get(&key).map_err(|error| self.unkept(error))?;
            let mut vectors = kept.unwrap_or_default();
            while self.embed_next(chunk, &mut vectors, dimensions, begun)? {
                let set = store.set(&key, &vectors, None);
                set.map_err(|error| self.unkept(error))?;
            }
            Ok(vectors)
        };
        self.corpus.chunks().iter().map(chunk_vectors).collect()
    }

    /// Adds the vectors of a chunk's next batch to those that it has; false where it has all.
    fn embed_next(
        &self,
        chunk: &Chunk,
        vectors: &mut Vec<u8>,
        dimensions: usize,
        begun: Instant,
    ) -> Result<bool, Failure> {
        let held = vectors.len() / vector_len(dimensions);
        let batch = self.corpus.batch(chunk, held);
        if batch.is_empty() {
            return Ok(false);
        }
        let done = chunk.start() + held;
        if begun.elapsed() > self.embed_time {
            let why = format!("{done} passages are embedded, and more with the next request");
            return Err(failure_for_now("not-embedded-yet", why));
        }
        let (what, count) = (format!("the passages from {done} on"), batch.len());
        let packed = pack(&self.embed(batch, &what)?);
        if packed.len() != count * vector_len(dimensions) {
            let why = format!("`{}` gave no vectors for {what} like the question's", self.model);
            return Err(failure("not-embedded", why));
        }
        vectors.extend(packed);
        Ok(true)
    }

    /// The vectors of texts.
    fn embed(&self, texts: Vec<String>, what: &str) -> Result<Vec<Vec<f32>>, Failure> {
        let model = &self.model;
        inference::embed(model, &texts).map_err(|error| match error {
            InferenceError::Denied => failure(
                "model-denied",
                format!("the model `{model}` is not granted: `allow = {{ models = [\"{model}\"] }}`"),
            ),
            InferenceError::NotFound => failure("no-model", format!("the node has no model `{model}`")),
            InferenceError::Busy => {
                failure_for_now("model-busy", format!("`{model}` has too much to do for {what}"))
            }
            InferenceError::Deadline => failure_for_now(
                "model-slow",
                format!("`{model}` takes longer than `limits.inference_time` for {what}"),
            ),
            InferenceError::InvalidInput(why) => {
                failure("not-embedded", format!("`{model}` on {what}: {why}"))
            }
            InferenceError::Backend(why) => {
                failure_for_now("model-failed", format!("`{model}` on {what}: {why}"))
            }
        })
    }

    fn unkept(&self, error: KvError) -> Failure {
        let store = &self.store;
        match error {
            KvError::Denied => failure(
                "store-denied",
                format!("the store `{store}` is not granted: `allow = {{ kv = [\"{store}\"] }}`"),
            ),
            KvError::TooLarge(max) => {
                failure("store-too-small", format!("a value is longer than {max} bytes"))
            }
            KvError::Quota => failure("store-full", format!("the store `{store}` is full (`limits.kv`)")),
            KvError::Unavailable(why) => failure_for_now("store-unavailable", why),
        }
    }
}

export!(Plugin);
