//! The life of a request: validate, template, model, postprocess.
//!
//! Knows neither HTTP nor ONNX Runtime nor wasmtime. Every wait here is cancel-safe: where the client leaves, the future is
//! dropped, the plugin's instance with it, and what waits in the model's queue leaves it.

use std::sync::Arc;
use std::time::Instant;

use selvedge_model::Input;
use selvedge_plugin::value::{Action, Completion, Output, Rejection, Rendered, Request, Usage, Verdict};
use selvedge_plugin::{CallError, Fault, Stage};

use super::{ClientFault, Fault as Whose, Rejected, RequestError};
use super::{convert, inputs, source};
use crate::aside::aside;
use crate::config::OnError;
use crate::generation::{Attached, Ready};
use crate::telemetry::Step;

/// What a request came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The result, after the post-processors.
    pub output: Output,
    /// Token counts.
    pub usage: Usage,
}

/// Runs a request through an endpoint. `decode` makes the model's input of the body that the validators left, where no
/// templater does. `used` is told what the model used as soon as it is known, however the request ends.
///
/// # Errors
///
/// Where a plugin refuses the request or fails, or the model does.
pub async fn run(
    endpoint: &Ready,
    request: Arc<Request>,
    decode: impl FnOnce(&Request) -> Result<Input, RequestError>,
    used: impl FnOnce(Usage),
) -> Result<Answer, RequestError> {
    let meters = &endpoint.meters;
    let request = meters.during(Step::Validate, validate(endpoint, request)).await?;
    let made = meters
        .during(Step::Template, template(endpoint, &request))
        .await?;
    let by = made.as_ref().map(|made| made.by);
    let input = match made {
        Some(made) => {
            convert::input(made.rendered.prompt).map_err(|why| bad_prompt(endpoint, made.by, why))?
        }
        None => aside(request.body.len(), || decode(&request)).await?,
    };
    let started = Instant::now();
    let inferred = meters.during(Step::Model, source::infer(endpoint, input)).await;
    let inference = inferred.map_err(|error| blamed(endpoint, by, error))?;
    request.timings.add(Step::Model.name(), "", started.elapsed());
    let completion = convert::completion(inference);
    used(completion.usage);
    meters
        .during(Step::Postprocess, postprocess(endpoint, &request, completion))
        .await
}

/// The validators, in order; the first rejection ends it. None is ever skipped.
pub(super) async fn validate(
    endpoint: &Ready,
    mut request: Arc<Request>,
) -> Result<Arc<Request>, RequestError> {
    for attached in endpoint.stage(Stage::Validate) {
        match attached.attachment.validate(&request).await? {
            Verdict::Accept | Verdict::Amend(None) => {}
            Verdict::Amend(Some(body)) => request = Arc::new(request.with_body(body)),
            Verdict::Reject(rejection) => return Err(rejected(attached, rejection, &request).await),
        }
    }
    Ok(request)
}

/// What templaters made of a request.
pub(super) struct Made<'a> {
    pub(super) rendered: Rendered,
    /// The last of them, which answers for it.
    pub(super) by: &'a Attached,
}

/// The templaters, in order, each given what the one before rendered; none: the dialect's own input is used.
pub(super) async fn template<'a>(
    endpoint: &'a Ready,
    request: &Arc<Request>,
) -> Result<Option<Made<'a>>, RequestError> {
    let mut made: Option<Made<'a>> = None;
    for attached in endpoint.stage(Stage::Template) {
        let so_far = made.as_ref().map(|made| made.rendered.clone());
        if let Some(rendered) = skip(attached, attached.attachment.render(request, so_far).await)? {
            made = Some(Made {
                rendered,
                by: attached,
            });
        }
    }
    Ok(made)
}

/// The fault of a templater that rendered what the endpoint's model does not take.
pub(super) fn bad_prompt(endpoint: &Ready, by: &Attached, why: impl Into<String>) -> RequestError {
    CallError {
        plugin: Arc::clone(&by.attachment.plugin().name),
        endpoint: Arc::clone(&endpoint.name),
        fault: Fault::Prompt(why.into()),
    }
    .into()
}

/// Where a model refuses the kind of what a templater made, that is the templater's fault and not the client's. How long it is, is the
/// client's.
pub(super) fn blamed(endpoint: &Ready, by: Option<&Attached>, error: RequestError) -> RequestError {
    match (by, &error.fault) {
        (Some(by), Whose::Model(refused)) if refused.refuses_kind() => {
            bad_prompt(endpoint, by, refused.to_string())
        }
        _ => error,
    }
}

/// The post-processors, in order, each given what the one before left.
pub(super) async fn postprocess(
    endpoint: &Ready,
    request: &Arc<Request>,
    mut done: Completion,
) -> Result<Answer, RequestError> {
    for attached in endpoint.stage(Stage::Postprocess) {
        match skip(attached, attached.attachment.process(request, done.clone()).await)? {
            None | Some(Action::Pass) => {}
            Some(Action::Replace(output)) => done.output = output,
            Some(Action::Refuse(rejection)) => return Err(rejected(attached, rejection, request).await),
        }
    }
    Ok(Answer {
        output: done.output,
        usage: done.usage,
    })
}

/// Where the operator says so, a request goes on without a plugin that failed; that is logged.
fn skip<T>(attached: &Attached, outcome: Result<T, CallError>) -> Result<Option<T>, RequestError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if attached.on_error == OnError::Skip => {
            crate::telemetry::meters::count_failure(&error);
            tracing::warn!(code = error.fault.code(), %error, "going on without a plugin that failed");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn rejected(attached: &Attached, rejection: Rejection, request: &Request) -> RequestError {
    let plugin = attached.attachment.plugin().name.as_ref().to_owned();
    let inputs = if rejection.problems.is_empty() {
        Vec::new()
    } else {
        let find = || inputs::of_problems(&rejection.problems, &request.body);
        aside(request.body.len(), find).await
    };
    ClientFault::Rejected(Box::new(Rejected {
        plugin,
        rejection,
        inputs,
    }))
    .into()
}
