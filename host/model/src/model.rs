//! A loaded model: texts, tokens or tensors in, vectors, labels or tensors out. Clones share it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use sha2::{Digest, Sha256};

use crate::batch::BatchOptions;
use crate::batch::queue::{Item, Queue};
use crate::batch::rows::{Row, scale_to_length_1};
use crate::batch::worker::Worker;
use crate::card::{Card, InputKind, Task, onnx_path};
use crate::error::{InferError, LoadError};
use crate::runtime::Runtime;
use crate::session::{self, Device, DeviceReport};
use crate::signature::Signature;
use crate::tensor::Tensor;
use crate::tokenize::Tokenizer;

/// Inputs of one request at most, as OpenAI has it: more would be a job, not a request.
pub const INPUTS_MAX: usize = 2048;

/// How a model is loaded.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// Where it runs. Default `auto`.
    pub device: Device,
    /// Sessions of it, each with its own memory. Default (and for 0) one: more threads in one session cost no memory.
    pub replicas: usize,
    /// Threads of one session; for 0, what affinity and cgroup allow, divided by the replicas.
    pub threads: usize,
    /// Another ONNX file of the folder than the card's.
    pub file: Option<String>,
    /// How inputs are batched.
    pub batch: BatchOptions,
}

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
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    file: PathBuf,
    card: Arc<Card>,
    signature: Arc<Signature>,
    tokenizer: Option<Tokenizer>,
    queue: Arc<Queue>,
    device: DeviceReport,
    replicas: usize,
    threads: usize,
}

impl Drop for Shared {
    /// The sessions' threads end, and with them the sessions.
    fn drop(&mut self) {
        self.queue.stop();
    }
}

impl Model {
    /// Loads a model's folder and starts a thread for each session. Blocks.
    ///
    /// # Errors
    ///
    /// Where the card, the ONNX file or the tokenizer is missing or wrong, they disagree, or the device cannot be had.
    pub fn load(
        runtime: &Runtime,
        name: &str,
        dir: &Path,
        options: &ModelOptions,
    ) -> Result<Self, LoadError> {
        let card = Arc::new(Card::read(dir)?);
        let (tokens_max, length_max) = (options.batch.tokens_max, card.length_max());
        if card.task != Task::Tensor && tokens_max < length_max {
            return Err(LoadError::BatchTooSmall {
                tokens_max,
                length_max,
            });
        }
        let file = onnx_path(dir, &card, options.file.as_deref());
        check_file(dir, &file, &card)?;
        let tokenizer = match card.input.kind {
            InputKind::Tokens => {
                let cut_at = card.input.truncate.then(|| card.length_max());
                Some(Tokenizer::read(&dir.join(&card.input.tokenizer), cut_at)?)
            }
            InputKind::Utf8Bytes | InputKind::Tensors => None,
        };
        let replicas = options.replicas.max(1);
        let threads = threads_of(options.threads, replicas);
        let (first, device) = session::build(runtime, &file, options.device, threads)?;
        let signature = Arc::new(Signature::of(&first));
        let disagree = |why| LoadError::CardDisagrees {
            path: file.clone(),
            why,
        };
        signature.check_card(&card).map_err(disagree)?;
        let mut sessions = vec![first];
        for _ in 1..replicas {
            sessions.push(session::build(runtime, &file, device.got, threads)?.0);
        }
        let queue = Arc::new(Queue::new(options.batch.clone(), card.input.padding));
        let shared = Shared {
            name: name.to_owned(),
            file,
            card: Arc::clone(&card),
            signature: Arc::clone(&signature),
            tokenizer,
            queue: Arc::clone(&queue),
            device,
            replicas,
            threads,
        };
        // Made before the threads: should one fail to start, dropping it ends those that did.
        let model = Self {
            shared: Arc::new(shared),
        };
        for session in sessions {
            let (card, signature, queue) = (Arc::clone(&card), Arc::clone(&signature), Arc::clone(&queue));
            let worker = Worker {
                session,
                card,
                signature,
                queue,
            };
            spawn(format!("model-{name}"), move || worker.serve())?;
        }
        spawn(format!("batch-{name}"), move || queue.prefetch())?;
        Ok(model)
    }

    /// Runs the model on what it is given. Inputs are batched with those of other requests; where the future is dropped,
    /// what still waits leaves the queue.
    ///
    /// # Errors
    ///
    /// Where the input is not what the model takes, the queue is full, or the model fails.
    pub async fn infer(&self, input: Input) -> Result<Inference, InferError> {
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
                self.shared.queue.check_room()?;
                self.text_items(texts).await?
            }
        };
        let tokens = items.iter().map(Item::len).sum();
        let rows = self.shared.queue.submit(items)?.rows().await?;
        Ok(Inference {
            output: self.output(rows),
            tokens,
        })
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
            Task::FeatureExtraction | Task::Tensor => Output::Embeddings(vectors),
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

    /// Inputs that wait.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.shared.queue.len()
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

fn threads_of(asked: usize, replicas: usize) -> usize {
    let available = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if asked > 0 {
        asked
    } else {
        (available / replicas).max(1)
    }
}

fn check_file(dir: &Path, file: &Path, card: &Card) -> Result<(), LoadError> {
    if !file.is_file() {
        return Err(LoadError::FileMissing {
            path: file.to_owned(),
            candidates: Card::candidates(dir),
        });
    }
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let Some(expected) = card.sha256.get(name) else {
        return Ok(());
    };
    let corrupt = |why: String| LoadError::FileCorrupt {
        path: file.to_owned(),
        why,
    };
    let mut hasher = Sha256::new();
    let mut reader = std::fs::File::open(file).map_err(|error| corrupt(error.to_string()))?;
    std::io::copy(&mut reader, &mut hasher).map_err(|error| corrupt(error.to_string()))?;
    let found: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == *expected {
        return Ok(());
    }
    Err(corrupt(format!(
        "its SHA-256 is {found}, and the card has {expected}: fetch or convert it again"
    )))
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), LoadError> {
    thread::Builder::new()
        .name(name)
        .spawn(work)
        .map(drop)
        .map_err(LoadError::Thread)
}
