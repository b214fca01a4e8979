//! Decode control, experimental: the vocabulary that plugins read, and the calls that ask them for a decision.

use wasmtime::Store;
use wasmtime::component::{Instance, ResourceAny};

use super::bindings::exports::selvedge::plugin::decoder;
use super::bindings::selvedge::plugin::vocabulary;
use super::convert;
use super::len::Len;
use super::stages::{Outcome, Stages, exported, handle};
use crate::decode::{Decision, check, check_bias, mask, mask_of};
use crate::error::{BadDecision, Fault};
use crate::state::State;
use crate::vocabulary::Vocabulary;

impl State {
    /// The endpoint's tokens; whoever imports them is attached only where there are any.
    fn vocabulary(&self) -> wasmtime::Result<&Vocabulary> {
        let missing = || wasmtime::Error::msg("the endpoint's model has no vocabulary");
        self.identity.vocabulary.as_deref().ok_or_else(missing)
    }
}

impl vocabulary::Host for State {
    fn count(&mut self) -> wasmtime::Result<u32> {
        Ok(u32::try_from(self.vocabulary()?.count()).unwrap_or(u32::MAX))
    }

    fn ends(&mut self) -> wasmtime::Result<Vec<u32>> {
        Ok(self.vocabulary()?.ends().to_vec())
    }

    fn read(&mut self, first: u32, count: u32) -> wasmtime::Result<vocabulary::Words> {
        let (bytes, lens) = self.vocabulary()?.read(first, count);
        Ok(vocabulary::Words {
            bytes: bytes.to_vec(),
            lens,
        })
    }
}

impl Stages {
    /// The state of one sequence, which the instance holds from now on.
    pub(crate) async fn open_decoding(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        choice: u32,
    ) -> Outcome<ResourceAny> {
        let guest = exported(self.decoder.as_ref())?.load(&mut *store, instance)?;
        let decoding = guest.decoding().call_open(&mut *store, handle(), choice).await?;
        Ok(decoding.map_err(convert::fault))
    }

    /// Asks for the next decision: of which sequence, which tokens are new, and how many there are at all.
    pub(crate) async fn next_decision(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        (decoding, taken, vocabulary): (ResourceAny, &[u32], usize),
    ) -> Outcome<Decision> {
        let guest = exported(self.decoder.as_ref())?.load(&mut *store, instance)?;
        let step = guest.decoding().call_next(&mut *store, decoding, taken).await?;
        Ok(step
            .map_err(convert::fault)
            .and_then(|step| decision(step, vocabulary).map_err(Fault::from)))
    }
}

fn decision(step: decoder::Step, vocabulary: usize) -> Result<Decision, BadDecision> {
    Ok(match step {
        decoder::Step::Draw(draw) => {
            check_bias(&draw.bias, vocabulary)?;
            let allowed = match draw.allowed {
                decoder::Allowed::All => None,
                decoder::Allowed::Only(ids) => Some(mask_of(&ids, vocabulary)?),
                decoder::Allowed::Mask(words) => Some(mask(words, vocabulary)?),
            };
            let bias = draw.bias;
            Decision::Draw { allowed, bias }
        }
        decoder::Step::Force(ids) if ids.is_empty() => return Err(BadDecision::Nothing),
        decoder::Step::Force(ids) => {
            check(&ids, vocabulary)?;
            Decision::Force(ids)
        }
        decoder::Step::Stop => Decision::Stop,
    })
}

impl Len for Decision {
    fn len(&self) -> usize {
        match self {
            Self::Draw { allowed, bias } => 4 * allowed.as_ref().map_or(0, Vec::len) + 8 * bias.len(),
            Self::Force(ids) => 4 * ids.len(),
            Self::Stop => 0,
        }
    }
}
