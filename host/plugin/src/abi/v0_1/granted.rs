//! What plugins call where the operator grants it: secrets, journals, models, stores of keys and values.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTableError};

use super::bindings::selvedge::plugin::{inference, journals, kv, secrets, types};
use crate::error::Fault;
use crate::inference::{ModelFailure, ModelInput, infer};
use crate::journal::{self, JournalError, Rotation};
use crate::kv::{self as store, Deed, Done, Store, StoreFailure};
use crate::state::{Phase, State};
use crate::value::{Output, Tensor};

type Result<T> = wasmtime::Result<T>;

/// Defines all of it in a linker.
///
/// # Errors
///
/// Where a definition is there already.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    secrets::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    journals::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    inference::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    kv::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl secrets::Host for State {
    /// In `configure` there are none: a snapshot would keep them on disk.
    fn get(&mut self, name: String) -> Result<std::result::Result<Vec<u8>, secrets::SecretError>> {
        if self.phase == Phase::Configure {
            return Ok(Err(secrets::SecretError::Unavailable));
        }
        let value = self.identity.grants.secrets.get(&name).cloned();
        if value.is_none() {
            self.log.deny("secrets", &name);
        }
        self.usage.hand(value.as_ref().map_or(0, String::len));
        Ok(value.map(String::into_bytes).ok_or(secrets::SecretError::Denied))
    }
}

impl journals::Host for State {
    async fn append(
        &mut self,
        name: String,
        lines: Vec<String>,
        rotation: journals::Rotation,
    ) -> Result<std::result::Result<(), journals::JournalError>> {
        self.usage.bring(lines.iter().map(String::len).sum());
        if self.phase == Phase::Configure {
            let why = "there are no journals in `configure`".to_owned();
            return Ok(Err(journals::JournalError::Unavailable(why)));
        }
        if !self.identity.grants.journals.contains(&name) {
            self.log.deny("journals", &name);
            return Ok(Err(journals::JournalError::Denied));
        }
        let (dir, bytes_max) = (
            Arc::clone(&self.identity.journals_dir),
            self.identity.limits.journal,
        );
        let rotation = Rotation {
            file_bytes_max: rotation.file_bytes_max,
            files_max: rotation.files_max,
        };
        let work = move || journal::append(&dir, &name, &lines, rotation, bytes_max);
        let appended = tokio::task::spawn_blocking(work).await?;
        Ok(appended.map_err(|error| match error {
            JournalError::Invalid(why) => journals::JournalError::Invalid(why),
            JournalError::TooLarge(max) => journals::JournalError::TooLarge(max),
            JournalError::File(error) => journals::JournalError::Unavailable(error.to_string()),
        }))
    }
}

impl State {
    /// Runs a model. The future holds nothing of the store, which no other thread may look at meanwhile.
    fn infer(
        &self,
        model: String,
        input: ModelInput,
    ) -> impl Future<Output = std::result::Result<Output, inference::InferenceError>> + use<> {
        let (identity, log, phase) = (Arc::clone(&self.identity), Arc::clone(&self.log), self.phase);
        async move {
            let outcome = infer(&identity, &log, phase, &model, input).await;
            outcome.map_err(|failure| match failure {
                ModelFailure::Denied => inference::InferenceError::Denied,
                ModelFailure::NotFound => inference::InferenceError::NotFound,
                ModelFailure::Busy => inference::InferenceError::Busy,
                ModelFailure::Deadline(_) => inference::InferenceError::Deadline,
                ModelFailure::InvalidInput(why) => inference::InferenceError::InvalidInput(why),
                ModelFailure::Failed(why) => inference::InferenceError::Backend(why),
            })
        }
    }
}

/// What a model that does something else than was asked for says.
fn another(wanted: &str) -> inference::InferenceError {
    inference::InferenceError::InvalidInput(format!("the model gives no {wanted}"))
}

impl inference::Host for State {
    async fn embed(
        &mut self,
        model: String,
        texts: Vec<String>,
    ) -> Result<std::result::Result<Vec<Vec<f32>>, inference::InferenceError>> {
        self.usage.bring(texts.iter().map(String::len).sum());
        Ok(match self.infer(model, ModelInput::Texts(texts)).await {
            Ok(Output::Embeddings(vectors)) => {
                let lens = vectors.iter().map(|vector| size_of_val(vector.as_slice()));
                self.usage.hand(lens.sum());
                Ok(vectors)
            }
            Ok(_) => Err(another("vectors")),
            Err(error) => Err(error),
        })
    }

    async fn classify(
        &mut self,
        model: String,
        texts: Vec<String>,
    ) -> Result<std::result::Result<Vec<Vec<types::Label>>, inference::InferenceError>> {
        let label = |label: crate::value::Label| types::Label {
            name: label.name,
            score: label.score,
        };
        self.usage.bring(texts.iter().map(String::len).sum());
        Ok(match self.infer(model, ModelInput::Texts(texts)).await {
            Ok(Output::Labels(inputs)) => {
                let lens = inputs.iter().flatten().map(|label| label.name.len() + 4);
                self.usage.hand(lens.sum());
                Ok(inputs
                    .into_iter()
                    .map(|labels| labels.into_iter().map(label).collect())
                    .collect())
            }
            Ok(_) => Err(another("labels")),
            Err(error) => Err(error),
        })
    }

    async fn run(
        &mut self,
        model: String,
        inputs: Vec<(String, Resource<Tensor>)>,
    ) -> Result<std::result::Result<Vec<(String, Resource<Tensor>)>, inference::InferenceError>> {
        let mut given = Vec::with_capacity(inputs.len());
        for (name, handle) in inputs {
            let tensor = self.table.delete(handle)?;
            self.release(tensor.data.len());
            given.push((name, tensor));
        }
        let outputs = match self.infer(model, ModelInput::Tensors(given)).await {
            Ok(Output::Tensors(outputs)) => outputs,
            Ok(_) => return Ok(Err(another("tensors"))),
            Err(error) => return Ok(Err(error)),
        };
        let mut handles = Vec::with_capacity(outputs.len());
        for (name, tensor) in outputs {
            match self.keep(tensor)? {
                Ok(handle) => handles.push((name, handle)),
                Err(error) => return Ok(Err(inference::InferenceError::Backend(format!("{error:?}")))),
            }
        }
        Ok(Ok(handles))
    }
}

impl kv::Host for State {}

impl State {
    async fn act(
        &mut self,
        handle: &Resource<Store>,
        key: String,
        deed: Deed,
    ) -> Result<std::result::Result<Done, kv::KvError>> {
        let value_len = if let Deed::Set(value, _) = &deed {
            value.len()
        } else {
            0
        };
        self.usage.bring(key.len() + value_len);
        let store = self.table.get(handle)?;
        let done = match store::check(&key, &deed) {
            Ok(()) => store.stores.act(&store.name, key, deed, store.bytes_max).await,
            Err(failure) => Err(failure),
        };
        if let Ok(Done::Value(Some(value))) = &done {
            self.usage.hand(value.len());
        }
        Ok(done.map_err(|failure| match failure {
            StoreFailure::TooLarge(max) => kv::KvError::TooLarge(max),
            StoreFailure::Quota => kv::KvError::Quota,
            StoreFailure::Unavailable(why) => kv::KvError::Unavailable(why),
        }))
    }
}

impl kv::HostStore for State {
    /// In `configure` there are none: a handle would not survive the snapshot.
    async fn open(&mut self, name: String) -> Result<std::result::Result<Resource<Store>, kv::KvError>> {
        if self.phase == Phase::Configure {
            let why = "there are no stores in `configure`".to_owned();
            return Ok(Err(kv::KvError::Unavailable(why)));
        }
        let grants = &self.identity.grants;
        let Some(stores) = grants.stores.as_ref().filter(|_| grants.kv.contains(&name)) else {
            self.log.deny("kv", &name);
            return Ok(Err(kv::KvError::Denied));
        };
        let store = Store {
            name: name.into(),
            stores: Arc::clone(stores),
            bytes_max: self.identity.limits.kv,
        };
        match self.table.push(store) {
            Ok(handle) => Ok(Ok(handle)),
            Err(ResourceTableError::Full) => {
                Err(wasmtime::Error::new(Fault::Handles(self.identity.limits.handles)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn get(
        &mut self,
        store: Resource<Store>,
        key: String,
    ) -> Result<std::result::Result<Option<Vec<u8>>, kv::KvError>> {
        let done = self.act(&store, key, Deed::Get).await?;
        Ok(done.map(|done| match done {
            Done::Value(value) => value.map(|value| value.to_vec()),
            Done::Nothing | Done::Number(_) => None,
        }))
    }

    async fn set(
        &mut self,
        store: Resource<Store>,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<std::result::Result<(), kv::KvError>> {
        let deed = Deed::Set(Bytes::from(value), ttl_ms);
        Ok(self.act(&store, key, deed).await?.map(drop))
    }

    async fn delete(
        &mut self,
        store: Resource<Store>,
        key: String,
    ) -> Result<std::result::Result<(), kv::KvError>> {
        Ok(self.act(&store, key, Deed::Delete).await?.map(drop))
    }

    async fn increment(
        &mut self,
        store: Resource<Store>,
        key: String,
        delta: i64,
        ttl_ms: Option<u64>,
    ) -> Result<std::result::Result<i64, kv::KvError>> {
        let done = self.act(&store, key, Deed::Increment(delta, ttl_ms)).await?;
        Ok(done.and_then(|done| match done {
            Done::Number(number) => Ok(number),
            Done::Nothing | Done::Value(_) => Err(kv::KvError::Unavailable("it is no number".to_owned())),
        }))
    }

    async fn drop(&mut self, store: Resource<Store>) -> Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}
