//! Which token comes next: logits in, token out. Pure: no session, no thread, no clock.
//!
//! The order is that of the field: bias, penalties, temperature, then the cuts `top_k`, `top_p` and `min_p`, then one draw
//! from a generator that belongs to the sequence, so that the same seed gives the same text whatever else runs.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// How tokens are chosen. The default is greedy: the likeliest one.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 is greedy. 0 to 2.
    pub temperature: f32,
    /// Only so many of the likeliest tokens; 0: all.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability. 0 to 1; 1: all.
    pub top_p: f32,
    /// Only tokens with at least this share of the likeliest one's probability. 0 to 1; 0: all.
    pub min_p: f32,
    /// Seed of the draws.
    pub seed: u64,
    /// A token that was there already has its logit divided by it where positive, multiplied where negative. 1: none.
    pub repetition_penalty: f32,
    /// Taken off the logit of each token that was generated already. -2 to 2.
    pub presence_penalty: f32,
    /// The same, times how often it was generated. -2 to 2.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens. -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// How many likeliest tokens are reported with each, for `logprobs`; none: nothing is.
    pub logprobs: Option<usize>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            logprobs: None,
        }
    }
}

/// A token and the natural logarithm of its probability under the model, before temperature and cuts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The token.
    pub token: u32,
    /// At most 0.
    pub logprob: f32,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its probability and the likeliest tokens with theirs, best first; where [`Sampling::logprobs`] asks for it.
    pub scored: Option<(Scored, Vec<Scored>)>,
}

/// The sampler of one sequence: what it has seen, and its generator.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    /// How often each token is there: all, and those that were generated.
    seen: HashMap<u32, Seen>,
}

/// The model's own probabilities, before anything is done to them.
struct Scores {
    logits: Vec<f32>,
    total: f32,
    likeliest: Vec<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    generated: u32,
}

/// Candidates whose probability is below e^-40 of the likeliest one's cannot be drawn in practice: they are left out.
const LOGIT_RANGE: f32 = 40.0;

impl Sampler {
    /// A sampler for a sequence that begins with a prompt.
    #[must_use]
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let penalised = (sampling.repetition_penalty - 1.0).abs() > f32::EPSILON;
        let prompt = if penalised { prompt } else { &[] };
        Self {
            random: ChaCha8Rng::seed_from_u64(sampling.seed),
            seen: prompt.iter().map(|token| (*token, Seen::default())).collect(),
            sampling,
        }
    }

    /// Chooses the next token from the logits of all, which it may change. `logits` must not be empty. Where only some tokens
    /// are allowed, they are bits in words, the lowest first; `bias` is added like the request's own.
    pub fn choose(&mut self, logits: &mut [f32], allowed: Option<&[u32]>, bias: &[(u32, f32)]) -> Choice {
        let scores = self.scores(logits);
        self.adjust(logits, bias);
        if let Some(allowed) = allowed {
            rule_out(logits, allowed);
        }
        let token = if self.sampling.temperature <= 0.0 {
            argmax(logits)
        } else {
            self.draw(logits)
        };
        self.chosen(token, scores)
    }

    /// Takes a token, one of the model's, whatever the logits are; nothing is drawn.
    pub fn force(&mut self, logits: &[f32], token: u32) -> Choice {
        let scores = self.scores(logits);
        self.chosen(token, scores)
    }

    /// What a choice is reported with, where that is asked for.
    fn scores(&self, logits: &[f32]) -> Option<Scores> {
        let count = self.sampling.logprobs?;
        Some(Scores {
            total: log_sum_exp(logits),
            likeliest: likeliest(logits, count),
            logits: logits.to_vec(),
        })
    }

    fn chosen(&mut self, token: u32, scores: Option<Scores>) -> Choice {
        self.seen.entry(token).or_default().generated += 1;
        let scored = scores.map(|scores| {
            let scored = |token: u32| Scored {
                token,
                logprob: scores.logits[token as usize] - scores.total,
            };
            let likeliest = scores.likeliest.iter().copied().map(scored).collect();
            (scored(token), likeliest)
        });
        Choice { token, scored }
    }

    fn adjust(&self, logits: &mut [f32], bias: &[(u32, f32)]) {
        for (token, bias) in self.sampling.logit_bias.iter().chain(bias) {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        let Sampling {
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            ..
        } = self.sampling;
        for (token, seen) in &self.seen {
            let Some(logit) = logits.get_mut(*token as usize) else {
                continue;
            };
            *logit = if *logit > 0.0 {
                *logit / repetition_penalty
            } else {
                *logit * repetition_penalty
            };
            if seen.generated > 0 {
                #[expect(clippy::cast_precision_loss, reason = "a count of tokens in a context")]
                let count = seen.generated as f32;
                *logit -= presence_penalty + frequency_penalty * count;
            }
        }
    }

    /// One draw from what the cuts leave.
    fn draw(&mut self, logits: &[f32]) -> u32 {
        let mut candidates = candidates(logits, &self.sampling);
        let total: f64 = candidates.iter().map(|(_, weight)| *weight).sum();
        // 53 random bits make a number in 0..1 of full precision.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let mut left = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        let last = candidates.pop();
        for (token, weight) in candidates {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        last.map_or_else(|| argmax(logits), |(token, _)| token)
    }
}

/// Leaves no chance to tokens whose bit is not set.
fn rule_out(logits: &mut [f32], allowed: &[u32]) {
    let words = allowed.iter().copied().chain(std::iter::repeat(0));
    for (logits, word) in logits.chunks_mut(32).zip(words) {
        match word {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            word => {
                for (bit, logit) in logits.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// Tokens that may be drawn with their weights, likeliest first. Never empty.
fn candidates(logits: &[f32], sampling: &Sampling) -> Vec<(u32, f64)> {
    let top = logits[argmax(logits) as usize];
    let range = LOGIT_RANGE * sampling.temperature;
    let in_range = (0_u32..).zip(logits).filter(|(_, logit)| **logit >= top - range);
    let mut found: Vec<(u32, f32)> = in_range.map(|(token, logit)| (token, *logit)).collect();
    // Equal logits stand in the order of their tokens, so that the outcome does not depend on the sort.
    let likelier = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if sampling.top_k > 0 && sampling.top_k < found.len() {
        found.select_nth_unstable_by(sampling.top_k, likelier);
        found.truncate(sampling.top_k);
    }
    found.sort_unstable_by(likelier);
    let weight = |logit: f32| f64::from((logit - top) / sampling.temperature).exp();
    let mut weighted: Vec<(u32, f64)> = found
        .into_iter()
        .map(|(token, logit)| (token, weight(logit)))
        .collect();
    if sampling.top_p < 1.0 {
        let total: f64 = weighted.iter().map(|(_, weight)| *weight).sum();
        let (mut sum, wanted) = (0.0, f64::from(sampling.top_p) * total);
        let enough = weighted.iter().position(|(_, weight)| {
            sum += weight;
            sum >= wanted
        });
        weighted.truncate(enough.map_or(weighted.len(), |place| place + 1));
    }
    if sampling.min_p > 0.0 {
        // The likeliest one weighs 1.
        let least = f64::from(sampling.min_p);
        weighted.retain(|(_, weight)| *weight >= least);
    }
    weighted
}

/// The first of the largest. A comparison with NaN is false, so a NaN is never chosen.
fn argmax(logits: &[f32]) -> u32 {
    // Blocks, so that the compiler finds each one's largest with vector instructions.
    const BLOCK: usize = 256;
    let mut best = (f32::NEG_INFINITY, 0);
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let largest = block
            .iter()
            .fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
        if largest > best.0 {
            best = (largest, index);
        }
    }
    let start = best.1 * BLOCK;
    let place = logits[start..].iter().position(|logit| *logit == best.0);
    u32::try_from(start + place.unwrap_or_default()).unwrap_or_default()
}

fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(logits.len()).unwrap_or(u32::MAX)).collect();
    let likelier = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, likelier);
        order.truncate(count);
    }
    order.sort_unstable_by(likelier);
    order
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a logarithm of at most the vocabulary's size"
    )]
    let log = sum.ln() as f32;
    top + log
}

#[cfg(test)]
mod tests {
    use super::{Sampler, Sampling, argmax, candidates};
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    fn draws(sampling: Sampling, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, &[]);
        (0..count)
            .map(|_| sampler.choose(&mut logits.to_vec(), None, &[]).token)
            .collect()
    }

    fn warm() -> Sampling {
        Sampling {
            temperature: 1.0,
            seed: 7,
            ..Sampling::default()
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(
            draws(Sampling::default(), &[1.0, 3.0, 3.0, f32::NAN], 3),
            [1, 1, 1]
        );
    }

    #[test]
    fn draws_with_the_model_s_probabilities() {
        let drawn = draws(warm(), &[0.0, 1.0, 2.0], 20_000);
        for (token, expected) in [(0, 0.0900), (1, 0.2447), (2, 0.6652)] {
            let share = drawn.iter().filter(|drawn| **drawn == token).count() as f64 / 20_000.0;
            assert!(
                (share - expected).abs() < 0.012,
                "{token}: {share}, expected {expected}"
            );
        }
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let logits: Vec<f32> = (0..50).map(|token| (token as f32 * 0.7).sin()).collect();
        assert_eq!(draws(warm(), &logits, 100), draws(warm(), &logits, 100));
        assert_ne!(
            draws(warm(), &logits, 100),
            draws(Sampling { seed: 8, ..warm() }, &logits, 100)
        );
    }

    #[test]
    fn cuts_leave_the_likeliest() {
        let logits = [0.0, 3.0, 1.0, 2.0];
        let left = |sampling: Sampling| -> Vec<u32> {
            candidates(&logits, &sampling)
                .into_iter()
                .map(|(token, _)| token)
                .collect()
        };
        assert_eq!(left(warm()), [1, 3, 2, 0]);
        assert_eq!(left(Sampling { top_k: 2, ..warm() }), [1, 3]);
        assert_eq!(left(Sampling { top_p: 0.6, ..warm() }), [1]);
        assert_eq!(left(Sampling { top_p: 0.7, ..warm() }), [1, 3]);
        assert_eq!(left(Sampling { top_p: 0.0, ..warm() }), [1]);
        assert_eq!(left(Sampling { min_p: 0.2, ..warm() }), [1, 3]);
    }

    #[test]
    fn penalties_fall_on_what_was_there() {
        let logits = [2.0, 1.9, -1.0];
        let once = Sampling {
            presence_penalty: 0.5,
            ..Sampling::default()
        };
        assert_eq!(draws(once, &logits, 4), [0, 1, 0, 0]);
        let each = Sampling {
            frequency_penalty: 0.5,
            ..Sampling::default()
        };
        assert_eq!(draws(each, &logits, 4), [0, 1, 0, 1]);
        let repeated = Sampling {
            repetition_penalty: 2.0,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(repeated, &[0]);
        assert_eq!(
            sampler.choose(&mut logits.to_vec(), None, &[]).token,
            1,
            "the prompt counts"
        );
    }

    #[test]
    fn bias_forbids_and_forces() {
        let forbid = Sampling {
            logit_bias: vec![(1, -100.0), (9, 5.0)],
            ..Sampling::default()
        };
        assert_eq!(draws(forbid, &[1.0, 3.0, 2.0], 1), [2]);
    }

    #[test]
    fn reports_the_model_s_own_probabilities() {
        let sampling = Sampling {
            logprobs: Some(2),
            logit_bias: vec![(0, 100.0)],
            ..Sampling::default()
        };
        let choice = Sampler::new(sampling, &[]).choose(&mut [0.0, 1.0, 2.0], None, &[]);
        let (chosen, best) = choice.scored.expect("asked for");
        assert_eq!(choice.token, 0);
        assert!((chosen.logprob.exp() - 0.0900).abs() < 1e-3, "{chosen:?}");
        assert_eq!(best.iter().map(|scored| scored.token).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn chooses_none_but_the_allowed() {
        let logits: Vec<f32> = (0..70_u8).map(f32::from).collect();
        for (allowed, expected) in [
            (vec![1 << 5, 0, 0], 5),
            (vec![0, 1], 32),
            (vec![u32::MAX, u32::MAX, 0], 63),
            (vec![0, 0, 1 << 2], 66),
        ] {
            for sampling in [Sampling::default(), warm()] {
                let choice = Sampler::new(sampling, &[]).choose(&mut logits.clone(), Some(&allowed), &[]);
                assert_eq!(choice.token, expected, "{allowed:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn argmax_is_the_first_of_the_largest(logits in prop::collection::vec(-9_i8..9, 1..900)) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(Some(argmax(&logits) as usize), logits.iter().position(|logit| *logit == largest));
        }

        #[test]
        fn always_draws_one_that_the_cuts_leave(
            logits in prop::collection::vec(-50.0_f32..50.0, 1..300),
            temperature in 0.01_f32..2.0, top_k in 0_usize..20, top_p in 0.0_f32..1.0, min_p in 0.0_f32..1.0, seed in 0_u64..99,
        ) {
            let sampling = Sampling { temperature, top_k, top_p, min_p, seed, ..Sampling::default() };
            let left = candidates(&logits, &sampling);
            let token = Sampler::new(sampling, &[]).choose(&mut logits.clone(), None, &[]).token;
            prop_assert!(left.iter().any(|(candidate, _)| *candidate == token));
        }
    }
}
