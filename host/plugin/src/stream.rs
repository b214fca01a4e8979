//! Stage 3 on a stream: one instance for as long as the stream lasts, called with each batch of its text.
//!
//! Limits of time and of bytes are of each call, memory is of the instance. Not being called is its back-pressure.

use std::sync::Arc;

use wasmtime::component::ResourceAny;

use crate::abi::v0_1::Len;
use crate::attachment::Attachment;
use crate::call::{Live, classify};
use crate::error::{CallError, Fault};
use crate::inspect::Stage;
use crate::room::Slot;
use crate::span::Part;
use crate::value::{Chunk, Finish, Request, StreamAction, Usage};

/// The plugin's part in one stream. Where it is dropped, the instance is gone with all it held.
pub struct StreamInstance {
    attachment: Attachment,
    live: Live,
    processor: ResourceAny,
    choices: u32,
    part: Part,
    /// Bytes of what it answered.
    answered: usize,
    _slot: Slot,
}

impl Attachment {
    /// Starts an instance for a stream of so many answers.
    ///
    /// # Errors
    ///
    /// Where no instance comes free, or the plugin failed, trapped or went over a limit.
    pub async fn open_stream(
        &self,
        request: &Arc<Request>,
        choices: u32,
    ) -> Result<StreamInstance, CallError> {
        let linked = &self.linked;
        let mut part = Part::new(&linked.identity, Stage::Stream, request);
        let open = self.opened(async {
            let mut live = Live::start(linked, request).await?;
            let opened = linked.stages.open(&mut live.store, &live.instance).await;
            let processor = opened.map_err(|error| classify(&error, &linked.identity))??;
            Ok((live, processor))
        });
        let opened = part.call(open).await;
        let (slot, (live, processor)) = opened.map_err(|fault| self.error(fault))?;
        Ok(StreamInstance {
            attachment: self.clone(),
            live,
            processor,
            choices,
            part,
            answered: 0,
            _slot: slot,
        })
    }
}

impl StreamInstance {
    /// Gives the plugin a batch of text. After an error, or where the future is dropped, the instance must not be called
    /// again.
    ///
    /// # Errors
    ///
    /// Where the plugin failed, trapped or went over a limit, or answered with a choice that there is not.
    pub async fn push(&mut self, chunks: &[Chunk]) -> Result<StreamAction, CallError> {
        let (attachment, choices) = (&self.attachment, self.choices);
        let linked = &attachment.linked;
        let (processor, answered) = (self.processor, &mut self.answered);
        let Live { store, instance } = self.live.renewed();
        let call = async {
            let outcome = linked.stages.push(&mut *store, instance, processor, chunks).await;
            let action = linked.answer(store, outcome)?;
            if let StreamAction::Emit(chunks) | StreamAction::Stop(chunks, _) = &action {
                check(chunks, choices)?;
                *answered = answered.saturating_add(Len::len(chunks));
            }
            match linked.identity.limits.stream_output {
                max if *answered > max => Err(Fault::StreamOutput(max)),
                _ => Ok(action),
            }
        };
        let action = self.part.call(attachment.in_time(call)).await;
        action.map_err(|fault| attachment.error(fault))
    }

    /// Tells the plugin that the text is over; what it gives back is sent last.
    ///
    /// # Errors
    ///
    /// Where the plugin failed, trapped or went over a limit, or answered with a choice that there is not.
    pub async fn finish(mut self, reason: Finish, usage: Usage) -> Result<Vec<Chunk>, CallError> {
        let (attachment, choices, processor) = (&self.attachment, self.choices, self.processor);
        let linked = &attachment.linked;
        let Live { store, instance } = self.live.renewed();
        let call = async {
            let outcome = linked
                .stages
                .finish(&mut *store, instance, processor, (reason, usage))
                .await;
            let chunks: Vec<Chunk> = linked.answer(store, outcome)?;
            check(&chunks, choices)?;
            Ok(chunks)
        };
        let last = self.part.call(attachment.in_time(call)).await;
        last.map_err(|fault| attachment.error(fault))
    }
}

fn check(chunks: &[Chunk], choices: u32) -> Result<(), Fault> {
    match chunks.iter().find(|chunk| chunk.choice >= choices) {
        Some(chunk) => Err(Fault::Choice {
            found: chunk.choice,
            count: choices,
        }),
        None => Ok(()),
    }
}
