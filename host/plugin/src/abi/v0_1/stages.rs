//! The exports of one component, found once when it is linked, and their calls on a live instance.

use std::sync::atomic::Ordering;

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, Resource, ResourceAny};

use super::RequestHandle;
use super::bindings::exports::selvedge::plugin::{
    decoder, lifecycle, observer, postprocessor, stream_postprocessor, templater, validator,
};
use super::convert;
use super::len::Len;
use crate::error::Fault;
use crate::inspect::Stage;
use crate::state::State;
use crate::value::{
    Action, Chunk, Completion, Event, Finish, Rendered, Request, StreamAction, Usage, Verdict,
};

/// Where in a component each stage's functions are; none for a stage that it does not export.
pub(crate) struct Stages {
    lifecycle: lifecycle::GuestIndices,
    validator: Option<validator::GuestIndices>,
    templater: Option<templater::GuestIndices>,
    postprocessor: Option<postprocessor::GuestIndices>,
    pub(super) decoder: Option<decoder::GuestIndices>,
    stream: Option<stream_postprocessor::GuestIndices>,
    observer: Option<observer::GuestIndices>,
}

/// What a call came to: a value, the plugin's own failure, or an error of wasmtime's that the caller classifies.
pub(crate) type Outcome<T> = wasmtime::Result<Result<T, Fault>>;

impl Stages {
    /// Looks up the exports of the stages that a plugin has.
    ///
    /// # Errors
    ///
    /// Where one of them, or `lifecycle`, is not as selvedge:plugin@0.1 has it.
    pub(crate) fn find(pre: &InstancePre<State>, stages: &[Stage]) -> wasmtime::Result<Self> {
        let has = |stage| stages.contains(&stage);
        Ok(Self {
            lifecycle: lifecycle::GuestIndices::new(pre)?,
            validator: has(Stage::Validate)
                .then(|| validator::GuestIndices::new(pre))
                .transpose()?,
            templater: has(Stage::Template)
                .then(|| templater::GuestIndices::new(pre))
                .transpose()?,
            postprocessor: has(Stage::Postprocess)
                .then(|| postprocessor::GuestIndices::new(pre))
                .transpose()?,
            decoder: has(Stage::Decode)
                .then(|| decoder::GuestIndices::new(pre))
                .transpose()?,
            stream: has(Stage::Stream)
                .then(|| stream_postprocessor::GuestIndices::new(pre))
                .transpose()?,
            observer: has(Stage::Observe)
                .then(|| observer::GuestIndices::new(pre))
                .transpose()?,
        })
    }

    pub(crate) async fn configure(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        config: &str,
    ) -> Outcome<()> {
        store
            .data()
            .identity
            .configurations
            .fetch_add(1, Ordering::Relaxed);
        let guest = self.lifecycle.load(&mut *store, instance)?;
        Ok(guest.call_configure(store, config).await?.map_err(convert::fault))
    }

    pub(crate) async fn validate(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        request: &Request,
    ) -> Outcome<Verdict> {
        let guest = exported(self.validator.as_ref())?.load(&mut *store, instance)?;
        let verdict = guest.call_validate(&mut *store, handle()).await?;
        Ok(verdict
            .map_err(convert::fault)
            .map(|verdict| convert::verdict(verdict, request)))
    }

    pub(crate) async fn render(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        so_far: Option<Rendered>,
    ) -> Outcome<Rendered> {
        let guest = exported(self.templater.as_ref())?.load(&mut *store, instance)?;
        let state = store.data_mut();
        state.usage.hand(so_far.as_ref().map_or(0, Len::len));
        let so_far = so_far
            .map(|rendered| convert::rendered_in(rendered, state))
            .transpose()?;
        match guest.call_render(&mut *store, handle(), so_far.as_ref()).await? {
            Ok(rendered) => Ok(Ok(convert::rendered(rendered, store.data_mut())?)),
            Err(failure) => Ok(Err(convert::fault(failure))),
        }
    }

    pub(crate) async fn process(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        done: Completion,
    ) -> Outcome<Action> {
        let guest = exported(self.postprocessor.as_ref())?.load(&mut *store, instance)?;
        let state = store.data_mut();
        state.usage.hand(done.output.len());
        let done = convert::completion_in(done, state)?;
        match guest.call_process(&mut *store, handle(), &done).await? {
            Ok(action) => Ok(Ok(convert::action(action, store.data_mut())?)),
            Err(failure) => Ok(Err(convert::fault(failure))),
        }
    }
}

impl Stages {
    pub(crate) async fn observe(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        events: &[Event],
    ) -> Outcome<()> {
        let guest = exported(self.observer.as_ref())?.load(&mut *store, instance)?;
        store.data_mut().usage.hand(events.iter().map(Len::len).sum());
        let events: Vec<_> = events.iter().map(convert::event_in).collect();
        Ok(guest
            .call_observe(&mut *store, &events)
            .await?
            .map_err(convert::fault))
    }

    /// The state of one stream, which the instance holds from now on.
    pub(crate) async fn open(&self, store: &mut Store<State>, instance: &Instance) -> Outcome<ResourceAny> {
        let guest = exported(self.stream.as_ref())?.load(&mut *store, instance)?;
        let processor = guest.processor().call_open(&mut *store, handle()).await?;
        Ok(processor.map_err(convert::fault))
    }

    pub(crate) async fn push(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        processor: ResourceAny,
        chunks: &[Chunk],
    ) -> Outcome<StreamAction> {
        let guest = exported(self.stream.as_ref())?.load(&mut *store, instance)?;
        store
            .data_mut()
            .usage
            .hand(chunks.iter().map(|chunk| chunk.text.len()).sum());
        let chunks: Vec<_> = chunks.iter().map(convert::chunk_in).collect();
        let action = guest
            .processor()
            .call_push(&mut *store, processor, &chunks)
            .await?;
        Ok(action.map_err(convert::fault).map(convert::stream_action))
    }

    pub(crate) async fn finish(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        processor: ResourceAny,
        (reason, usage): (Finish, Usage),
    ) -> Outcome<Vec<Chunk>> {
        let guest = exported(self.stream.as_ref())?.load(&mut *store, instance)?;
        let (reason, usage) = (convert::finish(reason), convert::usage_in(usage));
        let last = guest
            .processor()
            .call_finish(&mut *store, processor, reason, usage)
            .await?;
        Ok(last.map_err(convert::fault).map(convert::chunks))
    }
}

/// The plugin's handle on the store's one request, lent for the call.
pub(super) fn handle() -> Resource<RequestHandle> {
    Resource::new_borrow(0)
}

pub(super) fn exported<T>(indices: Option<&T>) -> wasmtime::Result<&T> {
    indices.ok_or_else(|| {
        wasmtime::Error::msg("the component does not export this stage as selvedge:plugin@0.1 has it")
    })
}
