//! The passages, in chunks that are embedded and kept together, and those of them that are nearest to a question. Pure; knows
//! no WIT.
//!
//! A chunk is kept as one value, which grows until it has the vectors of all its passages: a request reads a few values. A batch
//! is what is embedded at once, within the time that a model is given: a request that ends before all is embedded has done
//! something for the next.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Passages of a chunk: of 4,096 dimensions each, what one value may be, 1 MiB.
const CHUNK_PASSAGES_MAX: usize = 64;

/// Passages of a batch, and bytes of their texts together: some 500 tokens, which a small model embeds on two cores in 100 to
/// 200 ms (measured with MiniLM).
const BATCH_PASSAGES_MAX: usize = 16;
const BATCH_LEN_MAX: usize = 2 << 10;

/// Bytes of a number in a vector.
const NUMBER_LEN: usize = size_of::<f32>();

/// A passage, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passage {
    /// What is embedded, and what the template is given.
    pub text: String,
    /// Where it is from.
    pub source: Option<String>,
}

/// A passage that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found<'a> {
    /// Its text.
    pub text: &'a str,
    /// Where it is from; null where that is not said.
    pub source: Option<&'a str>,
    /// The cosine of its vector and the question's.
    pub score: f32,
}

/// Passages whose vectors are kept together.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    digest: String,
    start: usize,
    count: usize,
}

/// The corpus, cut into chunks.
#[derive(Debug)]
pub struct Corpus {
    passages: Vec<Passage>,
    chunks: Vec<Chunk>,
}

impl Corpus {
    /// Cuts passages into chunks, in their order.
    #[must_use]
    pub fn new(model: &str, passages: Vec<Passage>) -> Self {
        let chunks = (0..).zip(passages.chunks(CHUNK_PASSAGES_MAX));
        let chunks = chunks.map(|(index, chunk)| Chunk {
            digest: digest(model, chunk),
            start: index * CHUNK_PASSAGES_MAX,
            count: chunk.len(),
        });
        Self {
            chunks: chunks.collect(),
            passages,
        }
    }

    /// The chunks, in the corpus's order.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The texts of a chunk that are to be embedded next, where the first `held` are; none where all are.
    #[must_use]
    pub fn batch(&self, chunk: &Chunk, held: usize) -> Vec<String> {
        let mut len = 0;
        let fits = |(place, passage): &(usize, &Passage)| {
            len += passage.text.len();
            *place == 0 || len <= BATCH_LEN_MAX
        };
        let left = &self.passages[chunk.start + held.min(chunk.count)..chunk.start + chunk.count];
        let batch = left.iter().enumerate().take(BATCH_PASSAGES_MAX).take_while(fits);
        batch.map(|(_, passage)| passage.text.clone()).collect()
    }

    /// The passages nearest to a question, best first, by the vectors of each chunk as [`pack`] made them.
    #[must_use]
    pub fn nearest(
        &self,
        question: &[f32],
        vectors: &[Vec<u8>],
        top: usize,
        score_min: f32,
    ) -> Vec<Found<'_>> {
        let question = unit(question);
        let vector_len = vector_len(question.len().max(1));
        let vectors = vectors.iter().flat_map(|chunk| chunk.chunks_exact(vector_len));
        let scored = vectors.zip(&self.passages).map(|(vector, passage)| Found {
            text: &passage.text,
            source: passage.source.as_deref(),
            score: dot(&question, vector),
        });
        let mut found: Vec<Found<'_>> = scored.filter(|found| found.score >= score_min).collect();
        // A stable sort: of passages that are equally near, the first in the corpus is the first here.
        found.sort_by(|one, other| other.score.total_cmp(&one.score));
        found.truncate(top);
        found
    }
}

impl Chunk {
    /// What the vectors of its passages are kept under: whatever changes has a key of its own.
    #[must_use]
    pub fn key(&self, dimensions: usize) -> String {
        format!("{}.{dimensions}", self.digest)
    }

    /// Its place in the corpus.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }
}

/// Bytes of a vector of so many dimensions.
#[must_use]
pub fn vector_len(dimensions: usize) -> usize {
    dimensions * NUMBER_LEN
}

/// Vectors as they are kept: scaled to length 1, one after the other, little-endian.
#[must_use]
pub fn pack(vectors: &[Vec<f32>]) -> Vec<u8> {
    let units = vectors.iter().map(|vector| unit(vector));
    units.flatten().flat_map(f32::to_le_bytes).collect()
}

/// Each text with its length before it, so that no two lists of texts are the same bytes.
fn digest(model: &str, passages: &[Passage]) -> String {
    let mut digest = Sha256::new();
    for text in std::iter::once(model).chain(passages.iter().map(|passage| passage.text.as_str())) {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    let digest = digest.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let len = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    let scale = if len > 0.0 { len.recip() } else { 0.0 };
    vector.iter().map(|number| number * scale).collect()
}

fn dot(question: &[f32], vector: &[u8]) -> f32 {
    let (numbers, _) = vector.as_chunks::<NUMBER_LEN>();
    let products = question.iter().zip(numbers);
    products
        .map(|(one, other)| one * f32::from_le_bytes(*other))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::{BATCH_LEN_MAX, Chunk, Corpus, Passage, pack, vector_len};

    fn passages(texts: &[&str]) -> Vec<Passage> {
        let passage = |text: &&str| Passage {
            text: (*text).to_owned(),
            source: Some(format!("{text}.md")),
        };
        texts.iter().map(passage).collect()
    }

    #[test]
    fn cuts_into_chunks_and_these_into_batches_by_number_and_by_length() {
        let corpus = Corpus::new("m", passages(&["a"; 70]));
        let starts: Vec<usize> = corpus.chunks().iter().map(Chunk::start).collect();
        assert_eq!(starts, [0, 64]);
        let batch = |chunk: usize, held| corpus.batch(&corpus.chunks()[chunk], held).len();
        assert_eq!(
            [batch(0, 0), batch(0, 60), batch(0, 64), batch(0, 99)],
            [16, 4, 0, 0]
        );
        assert_eq!([batch(1, 0), batch(1, 6)], [6, 0]);
        let long = "x".repeat(BATCH_LEN_MAX / 2);
        let longer = "x".repeat(BATCH_LEN_MAX + 1);
        let corpus = Corpus::new("m", passages(&[&long, &long, "a", &longer, "a"]));
        let batch = |held| corpus.batch(&corpus.chunks()[0], held).len();
        assert_eq!([batch(0), batch(2), batch(3), batch(4)], [2, 1, 1, 1]);
    }

    #[test]
    fn what_changes_has_a_key_of_its_own() {
        let key = |model: &str, texts: &[&str]| Corpus::new(model, passages(texts)).chunks()[0].key(384);
        assert_eq!(key("m", &["a", "b"]), key("m", &["a", "b"]));
        for (model, texts) in [("n", ["a", "b"]), ("m", ["ab", ""]), ("m", ["b", "a"])] {
            assert_ne!(key("m", &["a", "b"]), key(model, &texts), "{model} {texts:?}");
        }
        let corpus = Corpus::new("m", passages(&["a"]));
        assert_ne!(corpus.chunks()[0].key(384), corpus.chunks()[0].key(768));
    }

    #[test]
    fn finds_the_nearest_first_and_of_equals_the_one_that_stands_first() {
        let corpus = Corpus::new("m", passages(&["north", "east", "also east", "west"]));
        let vectors = [vec![0.0, 3.0], vec![2.0, 0.0], vec![5.0, 0.0], vec![-1.0, 0.0]];
        let packed = vec![pack(&vectors)];
        assert_eq!(packed[0].len(), 4 * vector_len(2));
        let names = |top, score_min| {
            let found = corpus.nearest(&[4.0, 3.0], &packed, top, score_min);
            found
                .iter()
                .map(|found| format!("{} {:.1}", found.text, found.score))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(3, -1.0), ["east 0.8", "also east 0.8", "north 0.6"]);
        assert_eq!(names(1, -1.0), ["east 0.8"]);
        assert_eq!(names(9, 0.7), ["east 0.8", "also east 0.8"]);
        let first = &corpus.nearest(&[0.0, 1.0], &packed, 1, 0.0)[0];
        assert_eq!((first.text, first.source), ("north", Some("north.md")));
    }

    #[test]
    fn a_vector_without_length_is_near_to_nothing() {
        let corpus = Corpus::new("m", passages(&["a"]));
        let packed = [pack(&[vec![0.0, 0.0]])];
        assert!(corpus.nearest(&[1.0, 0.0], &packed, 1, 0.1).is_empty());
        assert!(corpus.nearest(&[], &packed, 1, 0.1).is_empty());
    }
}
