//! Models that plugins run by `selvedge:plugin/inference`: those that the operator granted, within a time, and no other.
//!
//! Decides whether a model may be run; [`Models`] runs it, since this crate knows no model. A model that is reached so has no
//! plugins, so a plugin that asks one waits for no other plugin.

use std::pin::Pin;
use std::time::Duration;

use crate::log::Log;
use crate::state::{Identity, Phase};
use crate::value::{Output, Tensor};

/// What a model is given.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelInput {
    /// Texts, each with a result of its own.
    Texts(Vec<String>),
    /// Named tensors.
    Tensors(Vec<(String, Tensor)>),
}

/// What running a model came to.
pub type ModelAnswer = Pin<Box<dyn Future<Output = Result<Output, ModelFailure>> + Send>>;

/// Runs the node's models.
pub trait Models: Send + Sync {
    /// Runs the model of a name. Where the future is dropped, what waits for the model leaves its queue.
    fn infer(&self, model: &str, input: ModelInput) -> ModelAnswer;
}

/// Why a model gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelFailure {
    /// It is not among what the operator grants.
    #[error("the model is not granted")]
    Denied,
    /// There is no such model, or it is not loaded.
    #[error("there is no such model")]
    NotFound,
    /// Its queue is full.
    #[error("the model has too much to do")]
    Busy,
    /// It took longer than `limits.inference_time`.
    #[error("no answer within {0:?} (`limits.inference_time`)")]
    Deadline(Duration),
    /// The input is not what it takes.
    #[error("{0}")]
    InvalidInput(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
}

/// Runs a model for a plugin, where that is granted.
pub(crate) async fn infer(
    identity: &Identity,
    log: &Log,
    phase: Phase,
    model: &str,
    input: ModelInput,
) -> Result<Output, ModelFailure> {
    let granted = identity.grants.models.iter().any(|name| name == model);
    let Some(models) = identity.grants.runner.as_ref().filter(|_| granted) else {
        log.deny("models", model);
        return Err(ModelFailure::Denied);
    };
    if phase == Phase::Configure {
        return Err(ModelFailure::NotFound);
    }
    let time_max = identity.limits.inference_time;
    let answer = tokio::time::timeout(time_max, models.infer(model, input)).await;
    answer.unwrap_or(Err(ModelFailure::Deadline(time_max)))
}
