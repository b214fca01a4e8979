//! Lets a model write digits and nothing else.

selvedge_sdk::world!("decode-plugin", features: ["decode"]);

use exports::selvedge::plugin::decoder::{self, Allowed, Draw, GuestDecoding, Step};
use exports::selvedge::plugin::lifecycle;
use selvedge::plugin::vocabulary;
use selvedge_sdk::{Configured, Failure, Request};

struct Plugin;

/// A bit for each token, set where it is of digits alone or ends the text.
static DIGITS: Configured<Vec<u32>> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(_config: String) -> Result<(), Failure> {
        let count = vocabulary::count();
        let mut mask = vec![0_u32; count.div_ceil(32) as usize];
        let mut allow = |token: u32| mask[token as usize / 32] |= 1 << (token % 32);
        for first in (0..count).step_by(8192) {
            let read = vocabulary::read(first, 8192);
            let mut bytes = read.bytes.as_slice();
            for (token, len) in (first..).zip(&read.lens) {
                let (word, rest) = bytes.split_at(*len as usize);
                bytes = rest;
                if !word.is_empty() && word.iter().all(u8::is_ascii_digit) {
                    allow(token);
                }
            }
        }
        vocabulary::ends().into_iter().for_each(allow);
        DIGITS.set(mask)
    }
}

struct Decoding;

impl decoder::Guest for Plugin {
    type Decoding = Decoding;
}

impl GuestDecoding for Decoding {
    fn open(_request: &Request, _choice: u32) -> Result<decoder::Decoding, Failure> {
        Ok(decoder::Decoding::new(Decoding))
    }

    fn next(&self, _taken: Vec<u32>) -> Result<Step, Failure> {
        Ok(Step::Draw(Draw {
            allowed: Allowed::Mask(DIGITS.get()?.clone()),
            bias: Vec::new(),
        }))
    }
}

export!(Plugin);
