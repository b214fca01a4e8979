//! A vocabulary as a tree of bytes: which tokens go on with a pattern is found without looking at those that begin like one that
//! does not.

use crate::pattern::{DEAD, Pattern};

/// No token ends here.
const NONE: u32 = u32::MAX;

/// The tokens of a model. Nodes lie in the order in which a walk from the root meets them.
#[derive(Debug, Default)]
pub struct Words {
    /// Of all tokens, one behind the other.
    bytes: Vec<u8>,
    /// Where each one's bytes end.
    stops: Vec<u32>,
    /// The tokens that end a text.
    ends: Vec<u32>,
    nodes: Vec<Node>,
    /// Tokens that have the same bytes as the first of each pair.
    twins: Vec<(u32, u32)>,
    depth_max: usize,
}

#[derive(Debug)]
struct Node {
    token: u32,
    /// The first node that does not begin like this one.
    skip: u32,
    /// From 1.
    depth: u16,
    byte: u8,
}

impl Words {
    /// Adds the next tokens: the bytes of all of them, and how many each has.
    pub fn extend(&mut self, bytes: &[u8], lens: &[u32]) {
        let mut stop = u32::try_from(self.bytes.len()).unwrap_or(NONE);
        self.bytes.extend_from_slice(bytes);
        for len in lens {
            stop = stop.saturating_add(*len);
            self.stops.push(stop);
        }
    }

    /// Makes the tree, once all tokens are there.
    pub fn finish(&mut self, ends: Vec<u32>) {
        let mut order: Vec<u32> = (0..u32::try_from(self.stops.len()).unwrap_or(NONE)).collect();
        order.retain(|token| !self.bytes(*token).is_empty() && !ends.contains(token));
        order.sort_by(|a, b| self.bytes(*a).cmp(self.bytes(*b)).then(a.cmp(b)));
        let mut nodes: Vec<Node> = Vec::new();
        // The nodes from the root to the last one.
        let mut path: Vec<usize> = Vec::new();
        let mut last: Option<u32> = None;
        for token in order {
            let word = self.bytes(token);
            if let Some(twin) = last.filter(|last| self.bytes(*last) == word) {
                self.twins.push((twin, token));
                continue;
            }
            let same = path
                .iter()
                .zip(word)
                .take_while(|(node, byte)| nodes[**node].byte == **byte)
                .count();
            let here = u32::try_from(nodes.len()).unwrap_or(NONE);
            for node in path.drain(same..) {
                nodes[node].skip = here;
            }
            for byte in &word[same..] {
                path.push(nodes.len());
                nodes.push(Node {
                    token: NONE,
                    skip: NONE,
                    depth: u16::try_from(path.len()).unwrap_or(u16::MAX),
                    byte: *byte,
                });
            }
            self.depth_max = self.depth_max.max(path.len());
            if let Some(node) = path.last() {
                nodes[*node].token = token;
            }
            last = Some(token);
        }
        self.nodes = nodes;
        self.ends = ends;
    }

    /// The bytes of a token; none of one that there is not.
    #[must_use]
    pub fn bytes(&self, token: u32) -> &[u8] {
        let place = token as usize;
        let Some(stop) = self.stops.get(place) else {
            return &[];
        };
        let start = place.checked_sub(1).map_or(0, |before| self.stops[before]);
        &self.bytes[start as usize..*stop as usize]
    }

    /// A bit for each token that may follow in a state of a pattern; where the text matches, also for those that end it.
    #[must_use]
    pub fn mask(&self, pattern: &Pattern, state: u32) -> Vec<u32> {
        let mut mask = vec![0; self.stops.len().div_ceil(32)];
        let mut states = vec![state; self.depth_max + 1];
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            let depth = usize::from(node.depth);
            let next = pattern.step(states[depth - 1], node.byte);
            if next == DEAD {
                at = node.skip as usize;
                continue;
            }
            states[depth] = next;
            if node.token != NONE {
                set(&mut mask, node.token);
            }
            at += 1;
        }
        for (token, twin) in &self.twins {
            if is_set(&mask, *token) {
                set(&mut mask, *twin);
            }
        }
        if pattern.accepts(state) {
            for end in &self.ends {
                set(&mut mask, *end);
            }
        }
        mask
    }
}

fn set(mask: &mut [u32], token: u32) {
    if let Some(word) = mask.get_mut((token / 32) as usize) {
        *word |= 1 << (token % 32);
    }
}

fn is_set(mask: &[u32], token: u32) -> bool {
    let word = mask.get((token / 32) as usize);
    word.is_some_and(|word| word >> (token % 32) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::{Words, is_set};
    use crate::pattern::{DEAD, Pattern};

    const TEXTS: [&str; 14] = [
        "", "a", "ab", "abc", "b", "bc", "c", "ab", "x", "é", "1", "12", "-", "end",
    ];

    fn words() -> Words {
        let mut words = Words::default();
        for texts in TEXTS.chunks(5) {
            let lens: Vec<u32> = texts.iter().map(|text| text.len() as u32).collect();
            words.extend(texts.concat().as_bytes(), &lens);
        }
        words.finish(vec![13]);
        words
    }

    #[test]
    fn allows_the_tokens_that_a_walk_of_each_would() {
        let words = words();
        for pattern in ["abc", "a?bc", "[a-c]*", "(ab|12)-.", "é+", "end", "a*"] {
            let pattern = Pattern::new(pattern).expect("it compiles");
            for state in 0..pattern.states() {
                let mask = words.mask(&pattern, state);
                for (token, text) in (0..13).zip(TEXTS) {
                    let expected = !text.is_empty() && pattern.walk(state, text.as_bytes()) != DEAD;
                    assert_eq!(is_set(&mask, token), expected, "{pattern:?} {state} {text}");
                }
                assert_eq!(is_set(&mask, 13), pattern.accepts(state));
            }
        }
    }

    #[test]
    fn knows_the_bytes_of_each() {
        let words = words();
        for (token, text) in (0..).zip(TEXTS) {
            assert_eq!(words.bytes(token), text.as_bytes());
        }
        assert_eq!(words.bytes(14), b"");
    }
}
