//! The node's models, as plugins run them: by their names, and without plugins round them.

use std::collections::HashMap;
use std::sync::Arc;

use selvedge_model::{InferError, Input, Text};
use selvedge_plugin::{ModelAnswer, ModelFailure, ModelInput, Models, Vocabulary};
use tokio::sync::SetOnce;

use crate::backend::Backend;
use crate::pipeline::{Fault, RequestError, convert};
use crate::upstream::UpstreamFault;

/// The backends of one generation. Plugins are attached before all of them are loaded, so they are told afterwards.
#[derive(Clone, Default)]
pub struct Reachable(Arc<SetOnce<HashMap<String, Backend>>>);

impl Reachable {
    /// Tells of the backends that are loaded. Once.
    pub fn tell(&self, backends: impl Iterator<Item = (String, Backend)>) {
        self.0.set(backends.collect()).ok();
    }

    /// The tokens of a model, once it is loaded; none where it generates no text, or another server does.
    ///
    /// # Errors
    ///
    /// Where it cannot be loaded, or its tokenizer does not say what bytes its tokens are.
    pub async fn vocabulary(&self, model: &str) -> Result<Option<Arc<Vocabulary>>, String> {
        let backend = self.0.wait().await.get(model);
        let backend =
            backend.ok_or_else(|| format!("the model `{model}`, whose tokens it works on, is not loaded"))?;
        let Some(model) = backend.model().cloned() else {
            return Ok(None);
        };
        let work = move || {
            let words = model.words()?;
            Some(words.map(|(words, ends)| Arc::new(Vocabulary::new(&words, ends))))
        };
        let words = tokio::task::spawn_blocking(work).await;
        let words = words.unwrap_or_else(|_| Some(Err("its tokenizer cannot be read".to_owned())));
        words.transpose()
    }
}

impl Models for Reachable {
    fn infer(&self, model: &str, input: ModelInput) -> ModelAnswer {
        let backend = self.0.get().and_then(|backends| backends.get(model)).cloned();
        Box::pin(async move {
            let backend = backend.ok_or(ModelFailure::NotFound)?;
            let input = match input {
                ModelInput::Texts(texts) => Input::Texts(texts.into_iter().map(Text::Text).collect()),
                ModelInput::Tensors(tensors) => convert::tensors_in(tensors),
            };
            let inference = backend.infer(input).await.map_err(|error| failure(&error))?;
            Ok(convert::completion(inference).output)
        })
    }
}

/// What a plugin is told: whether it asked for the wrong thing, may ask again, or can do nothing about it.
fn failure(error: &RequestError) -> ModelFailure {
    let said = error.to_string();
    match &error.fault {
        Fault::Model(InferError::Busy { .. } | InferError::SlotsBusy { .. }) => ModelFailure::Busy,
        Fault::Model(error) if !error.may_pass() => ModelFailure::InvalidInput(said),
        Fault::Upstream(error) => match &error.kind {
            UpstreamFault::Busy { .. } | UpstreamFault::Full { .. } => ModelFailure::Busy,
            UpstreamFault::Refused { .. } => ModelFailure::InvalidInput(said),
            _ => ModelFailure::Failed(said),
        },
        _ => ModelFailure::Failed(said),
    }
}
