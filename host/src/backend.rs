//! What does an endpoint's work: a model of this node, or another server's. Nothing beyond asks which.

use std::path::Path;

use selvedge_model::{
    BatchOptions, GenerateOptions, InferError, Inference, Input, Model, ModelOptions, Output, Runtime, Task,
    Text,
};

use crate::config::{self, Config, Source};
use crate::generation::Generation;
use crate::pipeline::RequestError;
use crate::reload::ModelSource;
use crate::upstream::Upstream;

/// What does the work.
#[derive(Clone)]
pub enum Backend {
    /// A model of this node.
    Model(Model),
    /// Another server.
    Upstream(Upstream),
}

impl Backend {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Model(model) => model.name(),
            Self::Upstream(upstream) => upstream.name(),
        }
    }

    /// What it does.
    #[must_use]
    pub fn task(&self) -> Task {
        match self {
            Self::Model(model) => model.card().task,
            Self::Upstream(upstream) => upstream.task(),
        }
    }

    /// What it runs on, in a word: a device of this node, or `upstream`.
    #[must_use]
    pub fn device(&self) -> &'static str {
        match self {
            Self::Model(model) => model.device().got.name(),
            Self::Upstream(_) => "upstream",
        }
    }

    /// The model, where it is one of this node.
    #[must_use]
    pub fn model(&self) -> Option<&Model> {
        match self {
            Self::Model(model) => Some(model),
            Self::Upstream(_) => None,
        }
    }

    /// Tokens of prompt and answer together, where it generates and that is known.
    #[must_use]
    pub fn context_max(&self) -> Option<usize> {
        let (options, _) = self.model()?.generates()?;
        Some(options.context_max)
    }

    /// Has it do something small, where it is a model of this node that takes text.
    ///
    /// # Errors
    ///
    /// Why it fails.
    pub async fn warm(&self) -> Result<(), String> {
        match self {
            Self::Model(model)
                if matches!(self.task(), Task::TextClassification | Task::FeatureExtraction) =>
            {
                let input = Input::Texts(vec![Text::Text("warm".to_owned())]);
                model.infer(input).await.map_err(|error| error.to_string())?;
            }
            Self::Model(_) | Self::Upstream(_) => {}
        }
        Ok(())
    }

    /// Runs it on what it is given.
    ///
    /// # Errors
    ///
    /// Where the input is not what it takes, it has too much to do, or it fails.
    pub async fn infer(&self, input: Input) -> Result<Inference, RequestError> {
        match (self, input) {
            (Self::Model(model), input) => Ok(model.infer(input).await?),
            (Self::Upstream(upstream), Input::Texts(texts)) => {
                let (vectors, tokens) = upstream.embed(&texts).await?;
                Ok(Inference {
                    output: Output::Embeddings(vectors),
                    tokens,
                    tokenized: None,
                    turn: None,
                })
            }
            (Self::Upstream(_), Input::Tensors(_)) => Err(InferError::WrongInput {
                expected: "texts",
                given: "tensors",
            }
            .into()),
        }
    }
}

/// Loads each model on a thread for blocking work, one after the other: sessions on one GPU must not be made at once.
/// `tell` is told of each. What a generation before has loaded from the same source is taken over.
pub async fn load(
    config: &Config,
    runtime: Option<Runtime>,
    before: Option<&Generation>,
    tell: &impl Fn(&str),
) -> (Vec<(String, Result<Backend, String>)>, Vec<ModelSource>) {
    let sources: Vec<_> = config
        .models
        .iter()
        .map(|(name, model)| ModelSource::of(name, model))
        .collect();
    let mut backends = Vec::with_capacity(config.models.len());
    for ((name, model), source) in config.models.iter().zip(&sources) {
        if let Some(backend) = before.and_then(|before| before.taken_over(source)) {
            backends.push((name.clone(), Ok(backend)));
            continue;
        }
        let backend = match model.source() {
            Source::Upstream(upstream) => {
                let made = Upstream::new(name, upstream).map(Backend::Upstream);
                made.map_err(|why| format!("upstream: {why}"))
            }
            Source::Folder(folder) => {
                tell(&format!("loading model {name}"));
                let options = options(model, config.runtime.threads);
                load_model(runtime.clone(), name, folder, options)
                    .await
                    .map(Backend::Model)
            }
        };
        backends.push((name.clone(), backend));
    }
    (backends, sources)
}

async fn load_model(
    runtime: Option<Runtime>,
    name: &str,
    folder: &Path,
    options: ModelOptions,
) -> Result<Model, String> {
    let runtime = runtime.ok_or("ONNX Runtime is not loaded")?;
    let (owned, folder) = (name.to_owned(), folder.to_owned());
    let work = move || Model::load(&runtime, &owned, &folder, &options).map_err(|error| error.to_string());
    let loaded = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err("loading it panicked".to_owned()));
    if let Some((options, bytes)) = loaded.as_ref().ok().and_then(Model::generates) {
        let (slots, context_max, cache_mb) = (options.slots, options.context_max, bytes / 1_000_000);
        tracing::info!(model = %name, slots, context_max, cache_mb, "keys and values take so much when all slots are full");
    }
    loaded
}

fn options(model: &config::Model, threads: usize) -> ModelOptions {
    ModelOptions {
        device: model.device,
        replicas: model.replicas,
        threads: model.threads.unwrap_or(threads),
        file: model.file.clone(),
        batch: BatchOptions {
            items_max: model.batch.items_max,
            tokens_max: model.batch.tokens_max,
            delay_max: model.batch.delay_max.0,
            queue_items_max: model.batch.queue_items_max,
            queue_tokens_max: model.batch.queue_tokens_max,
        },
        generate: GenerateOptions {
            slots: model.generate.slots,
            context_max: model.generate.context_max,
            prefill_chunk: model.generate.prefill_chunk,
            queue_len_max: model.generate.queue_len_max,
            prefix_tokens_max: model.generate.prefix_tokens_max,
        },
    }
}
