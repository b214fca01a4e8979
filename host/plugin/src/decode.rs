//! Decode control, experimental: one instance for each sequence, asked before each token which ones may come.
//!
//! Limits of time and of bytes are of each call, memory is of the instance. It knows no model: what it is asked by, and who keeps
//! to its answers, is the host's affair. What an answer may be is checked here, so that whoever keeps to it need not.

use std::sync::Arc;

use wasmtime::component::ResourceAny;

use crate::attachment::Attachment;
use crate::call::{Live, classify};
use crate::error::{BadDecision, CallError};
use crate::inspect::Stage;
use crate::room::Slot;
use crate::span::Part;
use crate::value::Request;

/// What a plugin says of the next token.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// One is drawn.
    Draw {
        /// From these, a bit each, id 0 the lowest of the first word, at least one; none: from all.
        allowed: Option<Vec<u32>>,
        /// Added to the logits of these. -100 to 100.
        bias: Vec<(u32, f32)>,
    },
    /// These come, at least one.
    Force(Vec<u32>),
    /// The text ends.
    Stop,
}

/// Bits of a word of a mask.
pub(crate) const WORD: usize = u32::BITS as usize;

/// How much a logit may be changed by, as the client may itself.
const BIAS_MAX: f32 = 100.0;

/// The plugin's part in one sequence. Where it is dropped, the instance is gone with all it held.
pub struct Decoding {
    attachment: Attachment,
    live: Live,
    decoding: ResourceAny,
    part: Part,
    /// How many tokens there are.
    vocabulary: usize,
    _slot: Slot,
}

impl Attachment {
    /// Starts an instance for one of a request's answers.
    ///
    /// # Errors
    ///
    /// Where no instance comes free, or the plugin failed, trapped or went over a limit.
    pub async fn open_decoding(&self, request: &Arc<Request>, choice: u32) -> Result<Decoding, CallError> {
        let linked = &self.linked;
        let mut part = Part::new(&linked.identity, Stage::Decode, request);
        let open = self.opened(async {
            let mut live = Live::start(linked, request).await?;
            let opened = linked
                .stages
                .open_decoding(&mut live.store, &live.instance, choice)
                .await;
            let decoding = opened.map_err(|error| classify(&error, &linked.identity))??;
            Ok((live, decoding))
        });
        let opened = part.call(open).await;
        let (slot, (live, decoding)) = opened.map_err(|fault| self.error(fault))?;
        let vocabulary = linked.identity.vocabulary.as_ref();
        Ok(Decoding {
            attachment: self.clone(),
            live,
            decoding,
            part,
            vocabulary: vocabulary.map_or(0, |vocabulary| vocabulary.count()),
            _slot: slot,
        })
    }
}

impl Decoding {
    /// What may come behind the tokens so far, of which `taken` are new. After an error, or where the future is dropped, the
    /// instance must not be called again.
    ///
    /// # Errors
    ///
    /// Where the plugin failed, trapped or went over a limit, or answered with what is no decision.
    pub async fn next(&mut self, taken: &[u32]) -> Result<Decision, CallError> {
        let (attachment, asked) = (&self.attachment, (self.decoding, taken, self.vocabulary));
        let linked = &attachment.linked;
        let Live { store, instance } = self.live.renewed();
        let call = async {
            let outcome = linked.stages.next_decision(&mut *store, instance, asked).await;
            linked.answer(store, outcome)
        };
        let decision = self.part.call(attachment.in_time(call)).await;
        decision.map_err(|fault| attachment.error(fault))
    }
}

/// Checks a mask for a vocabulary of so many tokens.
pub(crate) fn mask(mask: Vec<u32>, vocabulary: usize) -> Result<Vec<u32>, BadDecision> {
    let expected = vocabulary.div_ceil(WORD);
    if mask.len() != expected {
        let len = mask.len();
        return Err(BadDecision::Mask { len, expected });
    }
    let beyond = mask.last().map_or(0, |last| match vocabulary % WORD {
        0 => 0,
        used => last >> used << used,
    });
    if beyond != 0 {
        let id = (expected - 1) * WORD + beyond.trailing_zeros() as usize;
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        return Err(BadDecision::Token { id, vocabulary });
    }
    if mask.iter().all(|word| *word == 0) {
        return Err(BadDecision::Nothing);
    }
    Ok(mask)
}

/// The mask of a list of tokens.
pub(crate) fn mask_of(ids: &[u32], vocabulary: usize) -> Result<Vec<u32>, BadDecision> {
    check(ids, vocabulary)?;
    let mut mask = vec![0; vocabulary.div_ceil(WORD)];
    for id in ids {
        mask[*id as usize / WORD] |= 1 << (*id as usize % WORD);
    }
    if ids.is_empty() {
        Err(BadDecision::Nothing)
    } else {
        Ok(mask)
    }
}

/// Checks that tokens are there.
pub(crate) fn check(ids: &[u32], vocabulary: usize) -> Result<(), BadDecision> {
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        Some(id) => Err(BadDecision::Token { id: *id, vocabulary }),
        None => Ok(()),
    }
}

/// Checks what is added to logits.
pub(crate) fn check_bias(bias: &[(u32, f32)], vocabulary: usize) -> Result<(), BadDecision> {
    for (id, value) in bias {
        check(&[*id], vocabulary)?;
        if !(-BIAS_MAX..=BIAS_MAX).contains(value) {
            return Err(BadDecision::Bias(*value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check_bias, mask, mask_of};
    use crate::error::BadDecision;

    #[test]
    fn a_mask_has_a_bit_for_each_token_and_none_beyond() {
        assert_eq!(mask(vec![0, 2], 34), Ok(vec![0, 2]));
        assert_eq!(mask(vec![0, 1 << 31], 64), Ok(vec![0, 1 << 31]));
        let wrong = |len| BadDecision::Mask { len, expected: 2 };
        assert_eq!(mask(vec![1], 34), Err(wrong(1)));
        assert_eq!(mask(vec![1; 3], 34), Err(wrong(3)));
        let beyond = BadDecision::Token {
            id: 34,
            vocabulary: 34,
        };
        assert_eq!(mask(vec![1, 4], 34), Err(beyond));
        assert_eq!(mask(vec![0, 0], 34), Err(BadDecision::Nothing));
    }

    #[test]
    fn a_list_becomes_a_mask() {
        assert_eq!(mask_of(&[33, 0, 33], 34), Ok(vec![1, 2]));
        assert_eq!(mask_of(&[], 34), Err(BadDecision::Nothing));
        let beyond = BadDecision::Token {
            id: 34,
            vocabulary: 34,
        };
        assert_eq!(mask_of(&[34], 34), Err(beyond));
    }

    #[test]
    fn a_bias_is_a_number_within_bounds() {
        assert!(check_bias(&[(0, 100.0), (1, -100.0)], 2).is_ok());
        for value in [f32::NAN, f32::INFINITY, 100.5] {
            assert!(
                matches!(check_bias(&[(0, value)], 2), Err(BadDecision::Bias(_))),
                "{value}"
            );
        }
        assert!(matches!(
            check_bias(&[(2, 0.0)], 2),
            Err(BadDecision::Token { .. })
        ));
    }
}
