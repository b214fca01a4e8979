//! The tokens of an endpoint's model, as its plugins read them. Experimental, like decode control, which it is for.

use sha2::{Digest, Sha256};

/// All tokens of a model, with their bytes. Made once for each model.
#[derive(Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Of all tokens, one behind the other.
    bytes: Vec<u8>,
    /// Where each one's bytes end.
    stops: Vec<usize>,
    /// The tokens that end a text.
    ends: Vec<u32>,
    digest: [u8; 32],
}

impl Vocabulary {
    /// The vocabulary of these tokens, in the order of their ids; a control token has no bytes. `ends` are those that end a text.
    #[must_use]
    pub fn new(words: &[Vec<u8>], ends: Vec<u32>) -> Self {
        let mut digest = Sha256::new();
        let (mut bytes, mut stops) = (Vec::new(), Vec::with_capacity(words.len()));
        for word in words {
            bytes.extend_from_slice(word);
            stops.push(bytes.len());
            digest.update((word.len() as u64).to_le_bytes());
            digest.update(word);
        }
        for end in &ends {
            digest.update(end.to_le_bytes());
        }
        Self {
            bytes,
            stops,
            digest: digest.finalize().into(),
            ends,
        }
    }

    /// How many ids there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.stops.len()
    }

    /// The tokens that end a text.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// SHA-256 of all of it: what a snapshot that holds something of it is kept under.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The bytes of tokens in a row, with how many each has; fewer at the end.
    pub(crate) fn read(&self, first: u32, count: u32) -> (&[u8], Vec<u32>) {
        let first = (first as usize).min(self.count());
        let stop = first.saturating_add(count as usize).min(self.count());
        let start = |place: usize| place.checked_sub(1).map_or(0, |before| self.stops[before]);
        let lens =
            (first..stop).map(|place| u32::try_from(self.stops[place] - start(place)).unwrap_or(u32::MAX));
        (&self.bytes[start(first)..start(stop)], lens.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Vocabulary;

    #[test]
    fn reads_a_range_and_less_at_the_end() {
        let words = [b"a".to_vec(), Vec::new(), b"bcd".to_vec(), b"e".to_vec()];
        let vocabulary = Vocabulary::new(&words, vec![1]);
        assert_eq!(vocabulary.read(0, 4), (&b"abcde"[..], vec![1, 0, 3, 1]));
        assert_eq!(vocabulary.read(1, 2), (&b"bcd"[..], vec![0, 3]));
        assert_eq!(vocabulary.read(3, u32::MAX), (&b"e"[..], vec![1]));
        assert_eq!(vocabulary.read(4, 1), (&b""[..], vec![]));
        assert_eq!(vocabulary.read(u32::MAX, u32::MAX), (&b""[..], vec![]));
    }

    #[test]
    fn another_cut_of_the_same_bytes_is_another_vocabulary() {
        let of = |words: &[&[u8]], end| {
            let words: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
            *Vocabulary::new(&words, vec![end]).digest()
        };
        assert_ne!(of(&[b"ab", b"c"], 0), of(&[b"a", b"bc"], 0));
        assert_ne!(of(&[b"ab", b"c"], 0), of(&[b"ab", b"c"], 1));
    }
}
