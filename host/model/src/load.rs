//! How a model is loaded: card, file, tokenizer and sessions, checked against each other; then the threads start.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use ort::session::Session;
use sha2::{Digest, Sha256};

use crate::batch::BatchOptions;
use crate::batch::queue::Queue;
use crate::batch::worker::Worker;
use crate::card::{CacheKind, Card, InputKind, Task, onnx_path};
use crate::chat::ChatTemplate;
use crate::error::LoadError;
use crate::generate::GenerateOptions;
use crate::generate::decoder::{Decoder, Shape};
use crate::generate::engine::{Engine, Stepper};
use crate::generate::structure::Structures;
use crate::meters::Meters;
use crate::model::{Model, Shared, Work};
use crate::runtime::Runtime;
use crate::session::{self, Device, Threads, Wait};
use crate::signature::Signature;
use crate::tokenize::Tokenizer;

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
    /// How text is generated, where the model does that.
    pub generate: GenerateOptions,
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
        check_generate(&options.generate)?;
        let batched = !matches!(card.task, Task::Tensor | Task::TextGeneration);
        if batched && tokens_max < length_max {
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
        let running = Threads {
            count: threads,
            wait: if card.task == Task::TextGeneration {
                Wait::Spin
            } else {
                Wait::Sleep
            },
        };
        let asked = device_of(&card, options.device)?;
        let (first, mut device) = session::build(runtime, &file, asked, running)?;
        if asked != options.device {
            device.asked = options.device;
            device.why = Some("its cache is shared, which is for the processor".to_owned());
        }
        let signature = Arc::new(Signature::of(&first));
        let disagree = |why| LoadError::CardDisagrees {
            path: file.clone(),
            why,
        };
        signature.check_card(&card).map_err(disagree)?;
        let mut sessions = vec![first];
        for _ in 1..replicas {
            sessions.push(session::build(runtime, &file, device.got, running)?.0);
        }
        let work = work_of(dir, &file, &card, &signature, tokenizer.as_ref(), options)?;
        let shared = Shared {
            name: name.to_owned(),
            file,
            card,
            signature,
            tokenizer,
            work,
            device,
            replicas,
            threads,
            runs: Arc::default(),
        };
        // Made before the threads: should one fail to start, dropping it ends those that did.
        let model = Self {
            shared: Arc::new(shared),
        };
        model.start(sessions)?;
        Ok(model)
    }

    fn start(&self, sessions: Vec<Session>) -> Result<(), LoadError> {
        let shared = &self.shared;
        let meters = Meters::new(&shared.name, &shared.runs);
        match &shared.work {
            Work::Batches(queue) => {
                for session in sessions {
                    let worker = Worker {
                        session,
                        card: Arc::clone(&shared.card),
                        signature: Arc::clone(&shared.signature),
                        queue: Arc::clone(queue),
                        meters: meters.clone(),
                    };
                    spawn(format!("model-{}", shared.name), move || worker.serve())?;
                }
                let queue = Arc::clone(queue);
                spawn(format!("batch-{}", shared.name), move || queue.prefetch())
            }
            Work::Sequences { engine, .. } => {
                for session in sessions {
                    let stepper = self.stepper(session, engine)?;
                    spawn(format!("model-{}", shared.name), move || stepper.serve())?;
                }
                Ok(())
            }
        }
    }

    fn stepper(&self, session: Session, engine: &Arc<Engine>) -> Result<Stepper, LoadError> {
        let disagree = |why| LoadError::CardDisagrees {
            path: self.shared.file.clone(),
            why,
        };
        let shape = Shape::of(&self.shared.signature).map_err(disagree)?;
        let options = engine.options();
        let decoder = match self.shared.card.generate.cache {
            CacheKind::Shared => Decoder::shared(session, shape, options.slots, options.context_max)
                .map_err(|error| disagree(format!("there is no memory for its keys and values: {error}")))?,
            CacheKind::Copied => Decoder::copied(session, shape, options.slots),
        };
        let tokenizer = self
            .shared
            .tokenizer
            .as_ref()
            .ok_or_else(|| disagree("no tokenizer".to_owned()))?;
        let ends = ends_of(&self.shared.card, tokenizer).map_err(disagree)?;
        Ok(Stepper::new(
            Arc::clone(engine),
            decoder,
            Arc::clone(tokenizer.inner()),
            ends,
            Meters::new(&self.shared.name, &self.shared.runs),
        ))
    }
}

/// What is before the threads, by the model's task.
fn work_of(
    dir: &Path,
    file: &Path,
    card: &Card,
    signature: &Signature,
    tokenizer: Option<&Tokenizer>,
    options: &ModelOptions,
) -> Result<Work, LoadError> {
    if card.task != Task::TextGeneration {
        let queue = Queue::new(options.batch.clone(), card.input.padding);
        return Ok(Work::Batches(Arc::new(queue)));
    }
    let disagree = |why| LoadError::CardDisagrees {
        path: file.to_owned(),
        why,
    };
    let shape = Shape::of(signature).map_err(disagree)?;
    let tokenizer = tokenizer.ok_or_else(|| disagree("no tokenizer".to_owned()))?;
    let ends = ends_of(card, tokenizer).map_err(disagree)?;
    let generate = GenerateOptions {
        context_max: options.generate.context_max.min(card.length_max()),
        ..options.generate.clone()
    };
    let template = card.generate.chat_template.as_ref();
    let template = template.map(|name| ChatTemplate::read(&dir.join(name)).map(Box::new));
    Ok(Work::Sequences {
        prompt_bytes_max: generate.context_max.saturating_mul(tokenizer.token_len_max()),
        engine: Arc::new(Engine::new(generate, shape.vocabulary)),
        template: template.transpose()?,
        structures: Structures::new(Arc::clone(tokenizer.inner()), ends),
    })
}

/// The tokens that end a text.
fn ends_of(card: &Card, tokenizer: &Tokenizer) -> Result<Vec<u32>, String> {
    let end = |text: &String| {
        let unknown = || format!("`generate.ends` has `{text}`, which is no token of the tokenizer");
        tokenizer.token(text).ok_or_else(unknown)
    };
    card.generate.ends.iter().map(end).collect()
}

/// A shared cache is in the processor's memory, and bound there once: a GPU would read a copy of it that is never renewed.
fn device_of(card: &Card, asked: Device) -> Result<Device, LoadError> {
    if card.task != Task::TextGeneration || card.generate.cache == CacheKind::Copied {
        return Ok(asked);
    }
    match asked {
        Device::Cpu | Device::Auto => Ok(Device::Cpu),
        Device::Cuda | Device::Tensorrt => Err(LoadError::Device {
            device: asked.name(),
            why: "the card's `generate.cache = \"shared\"` is for the processor; `copied` runs anywhere"
                .to_owned(),
        }),
    }
}

fn check_generate(options: &GenerateOptions) -> Result<(), LoadError> {
    let positive = [
        ("slots", options.slots),
        ("prefill_chunk", options.prefill_chunk),
        ("queue_len_max", options.queue_len_max),
    ];
    let wrong = |key, why: &str| {
        Err(LoadError::Generate {
            key,
            why: why.to_owned(),
        })
    };
    if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
        return wrong(key, "must be at least 1");
    }
    if options.context_max < 2 {
        return wrong(
            "context_max",
            "must be at least 2: a token of a prompt and one of an answer",
        );
    }
    Ok(())
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
