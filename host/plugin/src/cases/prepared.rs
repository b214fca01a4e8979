//! What a case gives a plugin, read once, for who calls it many times and wants to know how long that takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::given::{Push, choices};
use super::{Case, CaseError};
use crate::attachment::Attachment;
use crate::error::CallError;
use crate::inspect::{Plugin, Stage};
use crate::value::{Chunk, Completion, Event, Finish, Request, StreamAction, Usage};

/// A case in memory. Pauses of its stream are left out.
pub struct Prepared {
    stages: Vec<Stage>,
    /// The request.
    pub request: Arc<Request>,
    done: Option<Completion>,
    pushes: Vec<Vec<Chunk>>,
    choices: u32,
    events: Vec<Event>,
}

impl Case {
    /// Reads all that it has for a plugin.
    ///
    /// # Errors
    ///
    /// Where a file is not as it must be.
    pub async fn prepare(&self, plugin: &Plugin) -> Result<Prepared, CaseError> {
        let stages = self.stages(plugin)?;
        let wants = |stage, file| stages.contains(&stage) && self.has(file);
        let done = match stages.contains(&Stage::Postprocess) && self.has_completion() {
            true => Some(self.completion()?),
            false => None,
        };
        let pushes = match wants(Stage::Stream, "chunks.json") {
            true => self.pushes()?,
            false => Vec::new(),
        };
        let events = match wants(Stage::Observe, "events.json") {
            true => self.events()?,
            false => Vec::new(),
        };
        let choices = choices(&pushes);
        let chunks = pushes.into_iter().filter_map(|push| match push {
            Push::Chunks(chunks) => Some(chunks),
            Push::Pause(_) => None,
        });
        Ok(Prepared {
            stages,
            request: self.request().await?,
            done,
            pushes: chunks.collect(),
            choices,
            events,
        })
    }
}

impl Prepared {
    /// Whether there is what a stage needs.
    #[must_use]
    pub fn is_for(&self, stage: Stage) -> bool {
        match stage {
            Stage::Validate | Stage::Template => self.stages.contains(&stage),
            Stage::Postprocess => self.done.is_some(),
            Stage::Stream => !self.pushes.is_empty(),
            Stage::Observe => !self.events.is_empty(),
            // There are no cases of it yet.
            Stage::Decode => false,
        }
    }

    /// Calls a stage once, in an instance of its own: how long that took. Of a stream, from its opening to its end.
    ///
    /// # Errors
    ///
    /// Where the call fails.
    pub async fn call(&self, attachment: &Attachment, stage: Stage) -> Result<Duration, CallError> {
        let done = self.done.clone().filter(|_| stage == Stage::Postprocess);
        let begun = Instant::now();
        match (stage, done) {
            (Stage::Validate, _) => attachment.validate(&self.request).await.map(drop)?,
            (Stage::Template, _) => attachment.render(&self.request, None).await.map(drop)?,
            (Stage::Postprocess, Some(done)) => attachment.process(&self.request, done).await.map(drop)?,
            // The case has nothing for it.
            (Stage::Postprocess, None) | (Stage::Decode, _) => {}
            (Stage::Observe, _) => attachment.observe(&self.events).await?,
            (Stage::Stream, _) => self.stream(attachment, |_| {}).await?,
        }
        Ok(begun.elapsed())
    }

    /// Pushes the case's text through a stream, and tells how long each push took.
    ///
    /// # Errors
    ///
    /// Where a call fails.
    pub async fn stream(
        &self,
        attachment: &Attachment,
        mut pushed: impl FnMut(Duration),
    ) -> Result<(), CallError> {
        let mut stream = attachment.open_stream(&self.request, self.choices).await?;
        let mut reason = Finish::Stop;
        for chunks in &self.pushes {
            let begun = Instant::now();
            let action = stream.push(chunks).await?;
            pushed(begun.elapsed());
            if let StreamAction::Stop(_, finish) = action {
                reason = finish;
                break;
            }
        }
        stream.finish(reason, Usage::default()).await.map(drop)
    }
}
