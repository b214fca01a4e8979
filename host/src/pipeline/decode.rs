//! Decode control: a plugin that decides which tokens may come, and the sequence that it decides for, which know nothing of each
//! other.
//!
//! A task carries questions and answers between the two. It is the sequence's own and not its request's future: that is looked at
//! only as the client takes text, and a client that does not must not keep a row waiting.

use std::sync::Arc;

use selvedge_model::generate::Seat;
use selvedge_plugin::value::Request;
use selvedge_plugin::{Attachment, CallError, Stage};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::convert;
use crate::generation::Attached;

/// The task of one sequence. Where it is dropped, the task ends, and the plugin's instance with it.
pub(super) struct Driver(JoinSet<Result<(), CallError>>);

impl Driver {
    /// Has a plugin decide for one of a request's answers.
    pub(super) fn start(attachment: &Attachment, request: &Arc<Request>, choice: usize, seat: Seat) -> Self {
        let choice = u32::try_from(choice).unwrap_or(u32::MAX);
        let mut task = JoinSet::new();
        let drive = drive(attachment.clone(), Arc::clone(request), choice, seat);
        task.spawn(drive.in_current_span());
        Self(task)
    }

    /// Waits for the end, which comes with that of the sequence; why the plugin failed, where it did.
    pub(super) async fn end(&mut self) -> Option<CallError> {
        self.0.join_next().await?.ok()?.err()
    }
}

/// Answers questions until there are no more. The instance starts with the first one: a sequence that waits for its slot holds none.
async fn drive(
    attachment: Attachment,
    request: Arc<Request>,
    choice: u32,
    mut seat: Seat,
) -> Result<(), CallError> {
    let Some(mut taken) = seat.question().await else {
        return Ok(());
    };
    let mut decoding = attachment.open_decoding(&request, choice).await?;
    loop {
        seat.answer(convert::decision(decoding.next(&taken).await?));
        match seat.question().await {
            Some(next) => taken = next,
            None => return Ok(()),
        }
    }
}

/// Of plugins that decide which tokens may come an endpoint has one: what two of them allow may have no text in common.
pub(crate) fn check_alone(endpoint: &str, attached: &[Attached], reasons: &mut Vec<String>) {
    let mut deciders = attached
        .iter()
        .map(|attached| &attached.attachment)
        .filter(|attachment| attachment.has_stage(Stage::Decode))
        .map(|attachment| &attachment.plugin().name);
    if let (Some(first), Some(second)) = (deciders.next(), deciders.next()) {
        reasons.push(format!(
            "endpoints.{endpoint}.plugins (`{second}`): `{first}` decides already which tokens may come, and one plugin does"
        ));
    }
}
