//! Does its worst where it decides which tokens may come, one deed a configuration: `{"next": "loop"}`. It is no example.

selvedge_sdk::world!("decode-plugin", features: ["decode"]);

use std::cell::Cell;
use std::hint::black_box;

use exports::selvedge::plugin::decoder::{self, Allowed, Draw, GuestDecoding, Step};
use exports::selvedge::plugin::lifecycle;
use selvedge::plugin::vocabulary;
use selvedge_sdk::{Configured, Failure, Request, failure};
use serde::Deserialize;

/// What it does, from the third call on where it is not said otherwise.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    /// Lets everything through, by each way of saying so in turn.
    Pass,
    /// Never returns.
    Loop,
    /// Never returns from `open`.
    LoopInOpen,
    /// Takes 15 ms of CPU time for each answer, from the first on.
    Slow,
    Trap,
    /// Takes memory until there is none.
    MemoryBomb,
    /// Answers that it failed.
    Fail,
    EmptyMask,
    EmptyList,
    ForceNothing,
    ShortMask,
    LongMask,
    /// A mask of 20 MiB.
    HugeMask,
    /// A bit behind the last token.
    MaskBeyond,
    BadToken,
    BadForced,
    BadBias,
    BadBiasToken,
    /// Forces more tokens than a context has.
    ForceForever,
    /// Forces the token that ends the text.
    ForceEnd,
    /// Ends the text.
    Stop,
    /// Ends the text before it begins, at the first call.
    StopFirst,
    /// Forces what it says in `tokens`, at the first call, then ends the text.
    Force,
    /// Makes the first of `tokens` as likely as may be, from the first call on.
    Bias,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    next: Deed,
    #[serde(default)]
    tokens: Vec<u32>,
}

struct Plugin;

static CONFIG: Configured<Config> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        CONFIG.set(selvedge_sdk::parse_config(&config)?)
    }
}

struct Decoding {
    calls: Cell<u32>,
}

impl decoder::Guest for Plugin {
    type Decoding = Decoding;
}

impl GuestDecoding for Decoding {
    fn open(_request: &Request, _choice: u32) -> Result<decoder::Decoding, Failure> {
        if let Deed::LoopInOpen = CONFIG.get()?.next {
            forever();
        }
        let calls = Cell::new(0);
        Ok(decoder::Decoding::new(Self { calls }))
    }

    fn next(&self, _taken: Vec<u32>) -> Result<Step, Failure> {
        self.calls.set(self.calls.get() + 1);
        let (calls, config) = (self.calls.get(), CONFIG.get()?);
        match config.next {
            Deed::Slow => burn(),
            Deed::StopFirst => return Ok(Step::Stop),
            Deed::Force if calls == 1 => return Ok(Step::Force(config.tokens.clone())),
            Deed::Force => return Ok(Step::Stop),
            Deed::Bias => {
                let bias = config.tokens.first().map(|token| (*token, 100.0));
                return Ok(draw(Allowed::All, bias.into_iter().collect()));
            }
            deed if calls >= 3 => return act(deed, calls),
            _ => {}
        }
        Ok(draw(Allowed::All, Vec::new()))
    }
}

fn draw(allowed: Allowed, bias: Vec<(u32, f32)>) -> Step {
    Step::Draw(Draw { allowed, bias })
}

fn only(ids: Vec<u32>) -> Step {
    draw(Allowed::Only(ids), Vec::new())
}

fn mask(mask: Vec<u32>) -> Step {
    draw(Allowed::Mask(mask), Vec::new())
}

/// A mask with a bit for each token.
fn all() -> Vec<u32> {
    let count = vocabulary::count();
    let mut mask = vec![u32::MAX; count.div_ceil(32) as usize];
    if let Some(last) = mask.last_mut().filter(|_| !count.is_multiple_of(32)) {
        *last = (1 << (count % 32)) - 1;
    }
    mask
}

fn act(deed: Deed, calls: u32) -> Result<Step, Failure> {
    let (count, words) = (vocabulary::count(), all().len());
    Ok(match deed {
        Deed::Pass if calls.is_multiple_of(3) => mask(all()),
        Deed::Pass if calls % 3 == 1 => only((0..count).collect()),
        Deed::Loop => forever(),
        Deed::Trap => core::arch::wasm32::unreachable(),
        Deed::MemoryBomb => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(black_box(vec![1; 1 << 20]));
            }
        }
        Deed::Fail => return Err(failure("gave-up", "it never wanted to")),
        Deed::EmptyMask => mask(vec![0; words]),
        Deed::EmptyList => only(Vec::new()),
        Deed::ForceNothing => Step::Force(Vec::new()),
        Deed::ShortMask => mask(vec![u32::MAX; words - 1]),
        Deed::LongMask => mask(vec![u32::MAX; words + 1]),
        Deed::HugeMask => mask(vec![u32::MAX; 5 << 20]),
        // The smallest one that has it: the tests' vocabularies do not fill their last word, or it is a word too long.
        Deed::MaskBeyond => mask(vec![u32::MAX; (count / 32 + 1) as usize]),
        Deed::BadToken => only(vec![0, count]),
        Deed::BadForced => Step::Force(vec![u32::MAX]),
        Deed::BadBias => draw(Allowed::All, vec![(0, f32::NAN)]),
        Deed::BadBiasToken => draw(Allowed::All, vec![(count, 1.0)]),
        Deed::ForceForever => Step::Force(vec![count / 2; 100_000]),
        Deed::ForceEnd => Step::Force(vocabulary::ends()),
        Deed::Stop => Step::Stop,
        _ => draw(Allowed::All, Vec::new()),
    })
}

fn forever() -> ! {
    loop {
        black_box(());
    }
}

/// Some 15 ms of work, on a machine like those that the tests run on.
fn burn() {
    let mut sum = 0_u64;
    for number in 0..15_000_000_u64 {
        sum = black_box(sum.wrapping_add(number));
    }
    black_box(sum);
}

export!(Plugin);
