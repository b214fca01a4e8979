//! Texts to token ids, off the threads that run models.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokenizers::{Tokenizer as HfTokenizer, TruncationParams};
use tokio::sync::Semaphore;

use crate::chat::Part;
use crate::error::{InferError, LoadError};

/// Bytes up to which texts are tokenised where they are: some tens of microseconds, less than handing them over costs.
const INLINE_LEN_MAX: usize = 2 << 10;

/// A tokenizer; clones share it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<HfTokenizer>,
    vocabulary: usize,
    /// The same, to which control tokens are text like any other. Made when somebody first writes one.
    plain: Arc<OnceLock<HfTokenizer>>,
    /// The texts of control tokens.
    controls: Arc<Vec<String>>,
    /// Long texts that are tokenised at once: more than there are cores would only slow down the requests of others.
    places: Arc<Semaphore>,
}

/// Says, when it is dropped, that nobody waits for the ids any more.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. What it says of padding and cutting is ignored: a text is cut at `cut_at` tokens, the special
    /// ones round it kept, or not at all.
    ///
    /// # Errors
    ///
    /// Where the file is missing or is none.
    pub fn read(path: &Path, cut_at: Option<usize>) -> Result<Self, LoadError> {
        let error = |why: String| LoadError::Tokenizer {
            path: path.to_owned(),
            why,
        };
        if !path.is_file() {
            return Err(error("there is no such file".to_owned()));
        }
        let mut inner = HfTokenizer::from_file(path).map_err(|source| error(source.to_string()))?;
        inner.with_padding(None);
        let truncation = cut_at.map(|max_length| TruncationParams {
            max_length,
            ..TruncationParams::default()
        });
        inner
            .with_truncation(truncation)
            .map_err(|source| error(source.to_string()))?;
        let vocabulary = inner.get_vocab_size(true);
        let added = inner.get_added_tokens_decoder().into_values();
        let controls = added
            .filter(|token| token.special)
            .map(|token| token.content)
            .collect();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            inner: Arc::new(inner),
            vocabulary,
            plain: Arc::default(),
            controls: Arc::new(controls),
            places: Arc::new(Semaphore::new(cores)),
        })
    }

    /// Token ids below this are the model's.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Bytes of the longest token, or a little more.
    #[must_use]
    pub fn token_len_max(&self) -> usize {
        let vocabulary = self.inner.get_vocab(true);
        vocabulary.keys().map(String::len).max().unwrap_or(1)
    }

    /// The ids of each text, with the special tokens that the model wants around it.
    ///
    /// Long texts are handed to a thread for blocking work. Where the future is dropped that work ends with the text that it
    /// is at.
    ///
    /// # Errors
    ///
    /// Where the tokenizer fails on a text.
    pub async fn encode(&self, texts: Vec<String>) -> Result<Vec<Vec<u32>>, InferError> {
        let len: usize = texts.iter().map(String::len).sum();
        let wanted = Arc::new(AtomicBool::new(true));
        if len <= INLINE_LEN_MAX {
            return self.encode_blocking(texts, &wanted);
        }
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(InferError::Stopped);
        };
        let tokenizer = self.clone();
        let _gone = Gone(Arc::clone(&wanted));
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            tokenizer.encode_blocking(texts, &wanted)
        });
        work.await.unwrap_or_else(|_| {
            Err(InferError::Failed(
                "the tokenizer panicked on the input".to_owned(),
            ))
        })
    }

    /// The library's own.
    pub(crate) fn inner(&self) -> &Arc<HfTokenizer> {
        &self.inner
    }

    /// The id of a token, as the tokenizer writes it.
    #[must_use]
    pub fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// Whether a text holds a control token.
    #[must_use]
    pub fn is_control(&self, text: &str) -> bool {
        self.controls.iter().any(|control| text.contains(control))
    }

    /// The ids of a prompt in parts, with nothing around it.
    ///
    /// Long prompts are handed to a thread for blocking work, which runs to its end in any case.
    ///
    /// # Errors
    ///
    /// Where the tokenizer fails on a part.
    pub(crate) async fn encode_parts(&self, parts: Vec<Part>) -> Result<Vec<u32>, InferError> {
        let len: usize = parts.iter().map(Part::len).sum();
        if len <= INLINE_LEN_MAX {
            return self.encode_parts_blocking(&parts);
        }
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(InferError::Stopped);
        };
        let tokenizer = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            tokenizer.encode_parts_blocking(&parts)
        });
        let panicked = |_| {
            Err(InferError::Failed(
                "the tokenizer panicked on the input".to_owned(),
            ))
        };
        work.await.unwrap_or_else(panicked)
    }

    fn encode_parts_blocking(&self, parts: &[Part]) -> Result<Vec<u32>, InferError> {
        let mut ids = Vec::new();
        for part in parts {
            let encoding = match part {
                Part::Template(text) => self.inner.encode_fast(text.as_str(), false),
                Part::Content(text) => self.plain().encode_fast(text.as_str(), false),
            };
            let encoding = encoding.map_err(|error| InferError::Failed(error.to_string()))?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(ids)
    }

    fn plain(&self) -> &HfTokenizer {
        self.plain.get_or_init(|| {
            let mut plain = (*self.inner).clone();
            plain.set_encode_special_tokens(true);
            plain
        })
    }

    fn encode_blocking(&self, texts: Vec<String>, wanted: &AtomicBool) -> Result<Vec<Vec<u32>>, InferError> {
        let encode = |text: String| {
            if !wanted.load(Ordering::Relaxed) {
                return Err(InferError::Stopped);
            }
            let encoding = self.inner.encode_fast(text, true);
            encoding
                .map(|encoding| encoding.get_ids().to_vec())
                .map_err(|error| InferError::Failed(error.to_string()))
        };
        texts.into_iter().map(encode).collect()
    }
}
