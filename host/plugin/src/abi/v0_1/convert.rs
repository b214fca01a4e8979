//! WIT's types to this crate's and back. Nothing here decides anything but what is out of bounds.

use bytes::Bytes;
use wasmtime::component::Resource;

use super::bindings::exports::selvedge::plugin::{
    observer, postprocessor as post, stream_postprocessor as stream, templater as template, validator,
};
use super::bindings::selvedge::plugin::tensors::ElementType;
use super::bindings::selvedge::plugin::types as wit;
use super::json;
use crate::error::Fault;
use crate::limits::{MESSAGE_LEN_MAX, PROBLEMS_MAX};
use crate::state::State;
use crate::value::{
    Action, Chunk, Completion, Element, Event, Finish, Label, Output, Problem, Prompt, Rejection, Rendered,
    Request, Step, StreamAction, Tensor, Usage, Verdict, cut, safe,
};

type NamedHandle = (String, Resource<Tensor>);

pub(super) fn fault(failure: wit::Failure) -> Fault {
    Fault::Failed {
        code: safe(&failure.code, 64),
        message: safe(&failure.message, MESSAGE_LEN_MAX),
        retryable: failure.retryable,
    }
}

pub(super) fn verdict(verdict: validator::Verdict, request: &Request) -> Verdict {
    match verdict {
        validator::Verdict::Accept => Verdict::Accept,
        validator::Verdict::Amend(amendment) => {
            for (key, value) in &amendment.attributes {
                request.attributes.set(key, value);
            }
            Verdict::Amend(amendment.body.map(Bytes::from))
        }
        validator::Verdict::Reject(refused) => Verdict::Reject(rejection(refused)),
    }
}

/// The status is clamped to what a plugin may answer: 400 to 499, or 503.
pub(super) fn rejection(rejection: wit::Rejection) -> Rejection {
    let problems = rejection
        .problems
        .into_iter()
        .take(PROBLEMS_MAX)
        .map(|problem| Problem {
            kind: problem.kind,
            loc: problem.loc.into_iter().map(step).collect(),
            msg: cut(&problem.msg, MESSAGE_LEN_MAX).to_owned(),
        });
    Rejection {
        problems: problems.collect(),
        status: if rejection.status == 503 {
            503
        } else {
            rejection.status.clamp(400, 499)
        },
        code: cut(&rejection.code, 64).to_owned(),
        message: cut(&rejection.message, MESSAGE_LEN_MAX).to_owned(),
    }
}

fn step(item: wit::LocItem) -> Step {
    match item {
        wit::LocItem::Key(key) => Step::Key(key),
        wit::LocItem::Index(index) => Step::Index(index),
    }
}

/// What an earlier templater rendered, as the next one is given it. Tensors become handles of this store.
pub(super) fn rendered_in(rendered: Rendered, state: &mut State) -> wasmtime::Result<template::Rendered> {
    let prompt = match rendered.prompt {
        Prompt::Text(text) => template::Prompt::Text(text),
        Prompt::Texts(texts) => template::Prompt::Texts(texts),
        Prompt::Messages(turns) => {
            let message = |(role, content)| wit::Message { role, content };
            template::Prompt::Messages(turns.into_iter().map(message).collect())
        }
        Prompt::MessagesJson(json) => template::Prompt::MessagesJson(json),
        Prompt::TokenIds(ids) => template::Prompt::TokenIds(ids),
        Prompt::Tensors(tensors) => template::Prompt::Tensors(handles(tensors, state)?),
    };
    Ok(template::Rendered {
        prompt,
        params: rendered.params,
    })
}

pub(super) fn rendered(rendered: template::Rendered, state: &mut State) -> wasmtime::Result<Rendered> {
    rendered.params.as_deref().map(json::check).transpose()?;
    let prompt = match rendered.prompt {
        template::Prompt::Text(text) => Prompt::Text(text),
        template::Prompt::Texts(texts) => Prompt::Texts(texts),
        template::Prompt::Messages(turns) => {
            Prompt::Messages(turns.into_iter().map(|turn| (turn.role, turn.content)).collect())
        }
        template::Prompt::MessagesJson(json) => {
            json::check(&json)?;
            Prompt::MessagesJson(json)
        }
        template::Prompt::TokenIds(ids) => Prompt::TokenIds(ids),
        template::Prompt::Tensors(tensors) => Prompt::Tensors(owned(tensors, state)?),
    };
    Ok(Rendered {
        prompt,
        params: rendered.params,
    })
}

pub(super) fn completion_in(done: Completion, state: &mut State) -> wasmtime::Result<post::Completion> {
    Ok(post::Completion {
        output: output_in(done.output, state)?,
        finish: finish(done.finish),
        usage: usage_in(done.usage),
    })
}

fn output_in(output: Output, state: &mut State) -> wasmtime::Result<post::Output> {
    Ok(match output {
        Output::Text(choices) => post::Output::Text(choices),
        Output::Labels(inputs) => {
            let label = |label: Label| wit::Label {
                name: label.name,
                score: label.score,
            };
            post::Output::Labels(
                inputs
                    .into_iter()
                    .map(|labels| labels.into_iter().map(label).collect())
                    .collect(),
            )
        }
        Output::Embeddings(vectors) => post::Output::Embeddings(vectors),
        Output::Tensors(tensors) => post::Output::Tensors(handles(tensors, state)?),
        Output::Json(json) => post::Output::Json(json),
    })
}

fn output(output: post::Output, state: &mut State) -> wasmtime::Result<Output> {
    Ok(match output {
        post::Output::Text(choices) => Output::Text(choices),
        post::Output::Labels(inputs) => {
            let label = |label: wit::Label| Label {
                name: label.name,
                score: label.score,
            };
            Output::Labels(
                inputs
                    .into_iter()
                    .map(|labels| labels.into_iter().map(label).collect())
                    .collect(),
            )
        }
        post::Output::Embeddings(vectors) => Output::Embeddings(vectors),
        post::Output::Tensors(tensors) => Output::Tensors(owned(tensors, state)?),
        post::Output::Json(json) => {
            json::check(&json)?;
            Output::Json(json)
        }
    })
}

pub(super) fn action(action: post::Action, state: &mut State) -> wasmtime::Result<Action> {
    Ok(match action {
        post::Action::Pass => Action::Pass,
        post::Action::Replace(replacement) => Action::Replace(output(replacement, state)?),
        post::Action::Refuse(refused) => Action::Refuse(rejection(refused)),
    })
}

pub(super) fn chunk_in(chunk: &Chunk) -> stream::Chunk {
    stream::Chunk {
        choice: chunk.choice,
        text: chunk.text.clone(),
    }
}

pub(super) fn chunks(chunks: Vec<stream::Chunk>) -> Vec<Chunk> {
    let chunk = |chunk: stream::Chunk| Chunk {
        choice: chunk.choice,
        text: chunk.text,
    };
    chunks.into_iter().map(chunk).collect()
}

pub(super) fn stream_action(action: stream::Action) -> StreamAction {
    match action {
        stream::Action::Pass => StreamAction::Pass,
        stream::Action::Emit(emitted) => StreamAction::Emit(chunks(emitted)),
        stream::Action::Stop((last, reason)) => StreamAction::Stop(
            chunks(last),
            match reason {
                wit::FinishReason::Stop => Finish::Stop,
                wit::FinishReason::Length => Finish::Length,
                wit::FinishReason::ContentFilter => Finish::ContentFilter,
                wit::FinishReason::ToolCalls => Finish::ToolCalls,
                wit::FinishReason::Cancelled => Finish::Cancelled,
                wit::FinishReason::Error => Finish::Error,
            },
        ),
    }
}

pub(super) fn event_in(event: &Event) -> observer::Event {
    let timing = |timing: &crate::value::Timing| observer::Timing {
        stage: timing.stage.clone(),
        plugin: timing.plugin.clone(),
        micros: timing.micros,
    };
    observer::Event {
        id: event.id.clone(),
        request_id: event.request_id.clone(),
        endpoint: event.endpoint.clone(),
        model: event.model.clone(),
        dialect: event.dialect.clone(),
        principal: event.principal.clone(),
        time_ms: event.time_ms,
        status: event.status,
        finish: event.finish.map(finish),
        usage: event.usage.map(usage_in),
        timings: event.timings.iter().map(timing).collect(),
        attributes: event.attributes.clone(),
        request_body: event.request_body.as_ref().map(|body| body.to_vec()),
        response_body: event.response_body.as_ref().map(|body| body.to_vec()),
    }
}

pub(super) fn usage_in(usage: Usage) -> wit::Usage {
    wit::Usage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
    }
}

pub(super) fn finish(finish: Finish) -> wit::FinishReason {
    match finish {
        Finish::Stop => wit::FinishReason::Stop,
        Finish::Length => wit::FinishReason::Length,
        Finish::ContentFilter => wit::FinishReason::ContentFilter,
        Finish::ToolCalls => wit::FinishReason::ToolCalls,
        Finish::Cancelled => wit::FinishReason::Cancelled,
        Finish::Error => wit::FinishReason::Error,
    }
}

/// Tensors that the plugin is given; like its own they count as its memory until it drops them.
fn handles(tensors: Vec<(String, Tensor)>, state: &mut State) -> wasmtime::Result<Vec<NamedHandle>> {
    let mut push = |(name, tensor): (String, Tensor)| {
        state.hold(tensor.data.len()).map_err(wasmtime::Error::new)?;
        Ok((name, state.table.push(tensor)?))
    };
    tensors.into_iter().map(&mut push).collect()
}

/// Tensors that the plugin answers with, which are the host's again.
fn owned(tensors: Vec<NamedHandle>, state: &mut State) -> wasmtime::Result<Vec<(String, Tensor)>> {
    let mut take = |(name, handle): NamedHandle| {
        let tensor: Tensor = state.table.delete(handle)?;
        state.release(tensor.data.len());
        Ok((name, tensor))
    };
    tensors.into_iter().map(&mut take).collect()
}

pub(super) fn element(ty: ElementType) -> Element {
    match ty {
        ElementType::Boolean => Element::Boolean,
        ElementType::Uint8 => Element::Uint8,
        ElementType::Uint16 => Element::Uint16,
        ElementType::Uint32 => Element::Uint32,
        ElementType::Uint64 => Element::Uint64,
        ElementType::Int8 => Element::Int8,
        ElementType::Int16 => Element::Int16,
        ElementType::Int32 => Element::Int32,
        ElementType::Int64 => Element::Int64,
        ElementType::Float16 => Element::Float16,
        ElementType::Bfloat16 => Element::Bfloat16,
        ElementType::Float32 => Element::Float32,
        ElementType::Float64 => Element::Float64,
        ElementType::Text => Element::Text,
    }
}

pub(super) fn element_type(element: Element) -> ElementType {
    match element {
        Element::Boolean => ElementType::Boolean,
        Element::Uint8 => ElementType::Uint8,
        Element::Uint16 => ElementType::Uint16,
        Element::Uint32 => ElementType::Uint32,
        Element::Uint64 => ElementType::Uint64,
        Element::Int8 => ElementType::Int8,
        Element::Int16 => ElementType::Int16,
        Element::Int32 => ElementType::Int32,
        Element::Int64 => ElementType::Int64,
        Element::Float16 => ElementType::Float16,
        Element::Bfloat16 => ElementType::Bfloat16,
        Element::Float32 => ElementType::Float32,
        Element::Float64 => ElementType::Float64,
        Element::Text => ElementType::Text,
    }
}

/// Whether shape and data of a tensor agree.
///
/// # Errors
///
/// What they are, where they do not.
pub(super) fn check_shape(tensor: &Tensor) -> Result<(), String> {
    let count = tensor
        .shape
        .iter()
        .try_fold(1_usize, |count, dim| count.checked_mul(*dim as usize));
    let Some(count) = count else {
        return Err(format!("the product of the shape {:?} overflows", tensor.shape));
    };
    let found = match tensor.element.size() {
        Some(size) => count
            .checked_mul(size)
            .is_some_and(|len| len == tensor.data.len()),
        None => text_count(&tensor.data) == Some(count),
    };
    if found {
        return Ok(());
    }
    Err(format!(
        "{} bytes are not {count} elements of {:?}, shape {:?}",
        tensor.data.len(),
        tensor.element,
        tensor.shape
    ))
}

/// How many texts a text tensor's bytes hold; none where a length or a text is not whole.
fn text_count(mut bytes: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        std::str::from_utf8(text).ok()?;
        bytes = rest;
        count += 1;
    }
    Some(count)
}

/// The values of a float32 tensor; none of another.
pub(super) fn f32_values(tensor: &Tensor) -> Option<impl Iterator<Item = f32> + '_> {
    (tensor.element == Element::Float32).then(|| {
        tensor
            .data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
    })
}

/// The `k` greatest values of each row of the last axis, with their index, best first.
pub(super) fn top_k(tensor: &Tensor, k: u32) -> Option<Vec<Vec<(u32, f32)>>> {
    let values: Vec<f32> = f32_values(tensor)?.collect();
    let row_len = (*tensor.shape.last()? as usize).max(1);
    let rows = values.chunks_exact(row_len).map(|row| {
        let mut ranked: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(k as usize);
        ranked
    });
    Some(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::{check_shape, text_count, top_k};
    use crate::value::{Element, Tensor};

    fn tensor(element: Element, shape: &[u32], data: Vec<u8>) -> Tensor {
        Tensor {
            element,
            shape: shape.to_vec(),
            data: data.into(),
        }
    }

    #[test]
    fn shape_and_data_must_agree() {
        assert!(check_shape(&tensor(Element::Float32, &[2, 3], vec![0; 24])).is_ok());
        assert!(check_shape(&tensor(Element::Float32, &[2, 3], vec![0; 23])).is_err());
        let overflow = check_shape(&tensor(Element::Int64, &[u32::MAX, u32::MAX, u32::MAX], vec![]));
        assert!(overflow.expect_err("refused").contains("overflows"));
    }

    #[test]
    fn text_elements_must_be_whole() {
        assert_eq!(text_count(b"\x02\0\0\0hi\0\0\0\0"), Some(2));
        assert_eq!(text_count(b"\x03\0\0\0hi"), None);
        assert_eq!(text_count(b"\xff\xff\xff\xff"), None);
    }

    #[test]
    fn ranks_each_row_best_first() {
        let data = [1.0_f32, 3.0, 2.0, 9.0, 7.0, 8.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let ranked = top_k(&tensor(Element::Float32, &[2, 3], data), 2);
        assert_eq!(
            ranked,
            Some(vec![vec![(1, 3.0), (2, 2.0)], vec![(0, 9.0), (2, 8.0)]])
        );
    }
}
