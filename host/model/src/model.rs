//! A loaded model: texts, tokens or tensors in, vectors, labels or tensors out. Clones share it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::batch::queue::{Item, Queue};
use crate::batch::rows::{Row, scale_to_length_1};
use crate::card::{Card, InputKind, Task};
use crate::chat::{ChatTemplate, Message};
use crate::error::InferError;
use crate::generate::decoder::Shape;
use crate::generate::engine::Engine;
use crate::generate::structure::Structures;
use crate::generate::{Constraint, GenerateOptions, GenerateRequest, Generation, Guide, Structure};
use crate::meters::Turn;
use crate::session::DeviceReport;
use crate::signature::Signature;
use crate::tensor::Tensor;
use crate::tokenize::Tokenizer;

/// Inputs of one request at most, as OpenAI has it: more would be a job, not a request.
pub const INPUTS_MAX: usize = 2048;

/// What a model is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// One result each.
    Texts(Vec<Text>),
    /// The inputs of the file, by name.
    Tensors(Vec<(String, Tensor)>),
}

/// A text, or what a tokenizer made of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// As it is.
    Text(String),
    /// Token ids, which the tokenizer does not see.
    Tokens(Vec<u32>),
}

/// What a model gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// The result.
    pub output: Output,
    /// Tokens (or bytes) of all inputs.
    pub tokens: usize,
    /// How long tokens were made of its texts, the wait for a thread included; none where nothing was.
    pub tokenized: Option<Duration>,
    /// The turn of the input that waited longest; none where that is not known.
    pub turn: Option<Turn>,
}

/// The result of an inference, by the model's task.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// One vector an input.
    Embeddings(Vec<Vec<f32>>),
    /// Labels of each input, best first.
    Labels(Vec<Vec<Label>>),
    /// The outputs of the file, by name.
    Tensors(Vec<(String, Tensor)>),
}

/// One label of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// The card's name of it.
    pub name: String,
    /// 0 to 1.
    pub score: f32,
}

/// A loaded model.
#[derive(Clone)]
pub struct Model {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) card: Arc<Card>,
    pub(crate) signature: Arc<Signature>,
    pub(crate) tokenizer: Option<Tokenizer>,
    pub(crate) work: Work,
    pub(crate) device: DeviceReport,
    pub(crate) replicas: usize,
    pub(crate) threads: usize,
    /// How often it ran.
    pub(crate) runs: Arc<AtomicU64>,
}

/// What is before the threads, by the model's task.
pub(crate) enum Work {
    /// Inputs that run once, together.
    Batches(Arc<Queue>),
    /// Sequences that run step by step.
    Sequences {
        engine: Arc<Engine>,
        template: Option<Box<ChatTemplate>>,
        structures: Structures,
        /// Bytes beyond which a prompt cannot fit, whatever its tokens.
        prompt_bytes_max: usize,
    },
}

impl Drop for Shared {
    /// The sessions' threads end, and with them the sessions.
    fn drop(&mut self) {
        match &self.work {
            Work::Batches(queue) => queue.stop(),
            Work::Sequences { engine, .. } => engine.stop(),
        }
    }
}

/// The bytes of tokens in the order of their ids, and the ids of those that end a text.
pub type Words = (Vec<Vec<u8>>, Vec<u32>);

impl Model {
    /// Runs the model on what it is given. Inputs are batched with those of other requests; where the future is dropped,
    /// what still waits leaves the queue.
    ///
    /// # Errors
    ///
    /// Where the input is not what the model takes, the queue is full, or the model fails.
    pub async fn infer(&self, input: Input) -> Result<Inference, InferError> {
        let Work::Batches(queue) = &self.shared.work else {
            return Err(InferError::WrongInput {
                expected: "a prompt or a conversation, by a path that generates text",
                given: "inputs",
            });
        };
        let mut tokenized = None;
        let items = match input {
            Input::Tensors(tensors) => vec![self.tensor_item(tensors)?],
            Input::Texts(texts) if texts.is_empty() => return Err(InferError::Empty),
            Input::Texts(texts) if texts.len() > INPUTS_MAX => {
                return Err(InferError::TooMany {
                    len: texts.len(),
                    max: INPUTS_MAX,
                });
            }
            Input::Texts(texts) => {
                // What would be refused must not cost the tokenizer anything.
                queue.check_room()?;
                let started = Instant::now();
                let items = self.text_items(texts).await?;
                tokenized = self.shared.tokenizer.as_ref().map(|_| started.elapsed());
                items
            }
        };
        let tokens = items.iter().map(Item::len).sum();
        let (rows, turn) = queue.submit(items)?.rows().await?;
        Ok(Inference {
            output: self.output(rows),
            tokens,
            tokenized,
            turn: Some(turn),
        })
    }

    /// Generates text behind a prompt. Sequences are decoded together with those of other requests; where the
    /// [`Generation`] is dropped, the sequence ends after the step that runs.
    ///
    /// # Errors
    ///
    /// Where the model does something else, the prompt is empty or leaves no room, or too many sequences wait.
    pub fn generate(&self, request: GenerateRequest) -> Result<Generation, InferError> {
        self.sequences()?.0.submit(request, None)
    }

    /// The same where somebody else decides, beside the model, which tokens may come: see [`guide`](crate::generate::guide()). The
    /// request must not want a structure besides.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    pub fn generate_guided(&self, request: GenerateRequest, guide: Guide) -> Result<Generation, InferError> {
        self.sequences()?.0.submit(request, Some(guide))
    }

    /// The bytes of all its tokens, in the order of their ids, none where an id is a control token's or no token's; and those that
    /// end a text. Takes some ten milliseconds. None where it does not generate.
    ///
    /// # Errors
    ///
    /// Where the tokenizer is of a kind that does not say what bytes its tokens are.
    pub fn words(&self) -> Option<Result<Words, String>> {
        let Work::Sequences { structures, .. } = &self.shared.work else {
            return None;
        };
        let shape = Shape::of(&self.shared.signature);
        Some(shape.and_then(|shape| structures.words(shape.vocabulary)))
    }

    /// The prompt of a conversation, by the model's chat template.
    ///
    /// # Errors
    ///
    /// Where the model has no template, or the template refuses the conversation.
    pub async fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, InferError> {
        let (_, template, tokenizer) = self.sequences()?;
        let template = template.ok_or(InferError::WrongInput {
            expected: "a prompt, since its card names no chat template",
            given: "a conversation",
        })?;
        // Before the template and the tokenizer, to which a long one is work.
        self.check_bytes(messages.iter().map(|message| message.content.len()).sum())?;
        let parts = template.render(messages, |text| tokenizer.is_control(text))?;
        tokenizer.encode_parts(parts).await
    }

    /// The tokens of a prompt that is given as text, with the special tokens that the model wants around it.
    ///
    /// # Errors
    ///
    /// Where the model does something else, or the tokenizer fails on the text.
    pub async fn text_prompt(&self, text: String) -> Result<Vec<u32>, InferError> {
        let (_, _, tokenizer) = self.sequences()?;
        self.check_bytes(text.len())?;
        Ok(tokenizer.encode(vec![text]).await?.pop().unwrap_or_default())
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), InferError> {
        match &self.shared.work {
            Work::Sequences {
                engine,
                prompt_bytes_max,
                ..
            } if bytes > *prompt_bytes_max => Err(InferError::PromptTooLong {
                bytes,
                bytes_max: *prompt_bytes_max,
                context_max: engine.options().context_max,
            }),
            _ => Ok(()),
        }
    }

    /// A structure that generated text must have, compiled for this model's tokens.
    ///
    /// # Errors
    ///
    /// Where the schema is none, or wants what cannot be kept to, or the model does something else.
    pub async fn structure(&self, structure: Structure) -> Result<Constraint, InferError> {
        self.sequences()?;
        match &self.shared.work {
            Work::Sequences { structures, .. } => structures.compile(structure).await,
            Work::Batches(_) => Err(InferError::Stopped),
        }
    }

    fn sequences(&self) -> Result<(&Engine, Option<&ChatTemplate>, &Tokenizer), InferError> {
        match (&self.shared.work, &self.shared.tokenizer) {
            (Work::Sequences { engine, template, .. }, Some(tokenizer)) => {
                Ok((engine, template.as_deref(), tokenizer))
            }
            _ => Err(InferError::WrongInput {
                expected: self.shared.card.task.name(),
                given: "a prompt to generate from",
            }),
        }
    }

    fn tensor_item(&self, tensors: Vec<(String, Tensor)>) -> Result<Item, InferError> {
        if self.shared.card.task != Task::Tensor {
            return Err(InferError::WrongInput {
                expected: "texts",
                given: "tensors",
            });
        }
        self.shared.signature.check_tensors(&tensors)?;
        Ok(Item::Tensors(tensors))
    }

    async fn text_items(&self, texts: Vec<Text>) -> Result<Vec<Item>, InferError> {
        match self.shared.card.input.kind {
            InputKind::Tokens => self.token_items(texts).await,
            InputKind::Utf8Bytes => self.byte_items(texts),
            InputKind::Tensors => Err(InferError::WrongInput {
                expected: "named tensors",
                given: "texts",
            }),
        }
    }

    fn byte_items(&self, texts: Vec<Text>) -> Result<Vec<Item>, InferError> {
        let item = |(index, text)| match text {
            Text::Text(text) => Ok(Item::Bytes(self.within_length(
                index,
                text.into_bytes(),
                "bytes",
            )?)),
            Text::Tokens(_) => Err(InferError::WrongInput {
                expected: "texts",
                given: "tokens",
            }),
        };
        texts.into_iter().enumerate().map(item).collect()
    }

    async fn token_items(&self, texts: Vec<Text>) -> Result<Vec<Item>, InferError> {
        let tokenizer = self.shared.tokenizer.as_ref().ok_or(InferError::Stopped)?;
        let plain = texts.iter().filter_map(|text| match text {
            Text::Text(text) => Some(text.clone()),
            Text::Tokens(_) => None,
        });
        let mut encoded = tokenizer.encode(plain.collect()).await?.into_iter();
        let item = |(index, text)| {
            let ids = match text {
                Text::Text(_) => encoded.next().unwrap_or_default(),
                Text::Tokens(ids) => known_tokens(index, ids, tokenizer.vocabulary())?,
            };
            Ok(Item::Tokens(self.within_length(index, ids, "tokens")?))
        };
        texts.into_iter().enumerate().map(item).collect()
    }

    /// An input that the model can take: whole, or cut where the card says so.
    fn within_length<T>(
        &self,
        index: usize,
        mut values: Vec<T>,
        unit: &'static str,
    ) -> Result<Vec<T>, InferError> {
        let (len, max) = (values.len(), self.shared.card.length_max());
        if len > max && !self.shared.card.input.truncate {
            return Err(InferError::TooLong {
                index,
                len,
                max,
                unit,
            });
        }
        values.truncate(max);
        Ok(values)
    }

    fn output(&self, rows: Vec<Row>) -> Output {
        let mut vectors = Vec::with_capacity(rows.len());
        for row in rows {
            match row {
                Row::Tensors(tensors) => return Output::Tensors(tensors),
                Row::Vector(vector) => vectors.push(vector),
            }
        }
        match self.shared.card.task {
            Task::TextClassification => {
                Output::Labels(vectors.iter().map(|scores| self.labels(scores)).collect())
            }
            Task::FeatureExtraction | Task::Tensor | Task::TextGeneration => Output::Embeddings(vectors),
        }
    }

    fn labels(&self, scores: &[f32]) -> Vec<Label> {
        let names = self.shared.card.output.labels.iter();
        let mut labels: Vec<Label> = names
            .zip(scores)
            .map(|(name, score)| Label {
                name: name.clone(),
                score: *score,
            })
            .collect();
        labels.sort_by(|a, b| b.score.total_cmp(&a.score));
        labels
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its card.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.shared.card
    }

    /// Its ONNX file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.shared.file
    }

    /// What the file takes and gives.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.shared.signature
    }

    /// Tokens that there are; their ids go up to one less. None where it takes no tokens.
    #[must_use]
    pub fn vocabulary(&self) -> Option<usize> {
        self.shared.tokenizer.as_ref().map(Tokenizer::vocabulary)
    }

    /// What it runs on.
    #[must_use]
    pub fn device(&self) -> &DeviceReport {
        &self.shared.device
    }

    /// Sessions of it, and threads of each.
    #[must_use]
    pub fn sessions(&self) -> (usize, usize) {
        (self.shared.replicas, self.shared.threads)
    }

    /// Inputs (or sequences) that wait.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        match &self.shared.work {
            Work::Batches(queue) => queue.len(),
            Work::Sequences { engine, .. } => engine.load().0,
        }
    }

    /// How often it ran since it was loaded and did not fail: batches, or a decoder's chunks of prompts and its steps.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.shared.runs.load(Ordering::Relaxed)
    }

    /// Sequences that are being generated.
    #[must_use]
    pub fn running(&self) -> usize {
        match &self.shared.work {
            Work::Batches(_) => 0,
            Work::Sequences { engine, .. } => engine.load().1,
        }
    }

    /// How it generates, the context as the card bounds it, with the bytes of keys and values that a full cache takes; none
    /// where it does something else.
    #[must_use]
    pub fn generates(&self) -> Option<(&GenerateOptions, usize)> {
        let Work::Sequences { engine, .. } = &self.shared.work else {
            return None;
        };
        let (options, shape) = (engine.options(), Shape::of(&self.shared.signature).ok()?);
        let bytes = options.slots * options.context_max * shape.token_bytes() * self.shared.replicas;
        Some((options, bytes))
    }
}

/// The first `dimensions` of a vector, scaled to length 1 again, as models trained for it allow.
pub fn shorten(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    scale_to_length_1(vector);
}

fn known_tokens(index: usize, ids: Vec<u32>, vocabulary: usize) -> Result<Vec<u32>, InferError> {
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => Err(InferError::UnknownToken {
            index,
            id: *id,
            vocabulary,
        }),
        None => Ok(ids),
    }
}
