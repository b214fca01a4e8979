//! Text that must have a structure: before each token, those that cannot go on with it are ruled out.
//!
//! The grammars are llguidance's. What a client's schema may cost is bounded here: it is compiled off the threads that run
//! models, and the masks, which those threads compute, have a budget each.

use std::fmt;
use std::sync::{Arc, OnceLock};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, token_bytes_from_tokenizer_json};
use serde_json::{Value, json};
use tokenizers::Tokenizer as HfTokenizer;
use tokio::sync::Semaphore;

use crate::error::InferError;

/// Bytes of a schema at most, written out: what people write by hand or derive from their types is a tenth of it.
const SCHEMA_LEN_MAX: usize = 64 << 10;

/// White space between two tokens of JSON: a blank, or a new line with its indentation. A small model left to itself can go
/// on with it for ever.
const WHITE_SPACE: &str = r"\x20|\x0A[\x20\x09]{0,16}";

/// The structure that a text must have.
#[derive(Debug, Clone, PartialEq)]
pub enum Structure {
    /// A JSON object.
    Object,
    /// JSON that a JSON Schema accepts.
    Schema(Value),
}

/// A structure, compiled, and how much of it a text has. A clone goes on by itself.
#[derive(Clone)]
pub struct Constraint(Matcher);

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constraint")
    }
}

/// Whether a structure goes on behind a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    More,
    Nothing,
}

impl Constraint {
    /// The tokens that may come next, a bit each.
    pub(super) fn allowed(&mut self) -> Result<SimpleVob, InferError> {
        self.0.compute_mask_or_eos().map_err(|error| failed(&error))
    }

    /// Goes on by a token that was allowed.
    pub(super) fn take(&mut self, token: u32) -> Result<Rest, InferError> {
        self.0.consume_token(token).map_err(|error| failed(&error))?;
        Ok(if self.0.is_stopped() {
            Rest::Nothing
        } else {
            Rest::More
        })
    }
}

fn failed(error: &impl fmt::Display) -> InferError {
    InferError::Failed(format!("the text's structure could not be followed: {error}"))
}

/// Compiles structures for one vocabulary; clones share what they know of it.
#[derive(Clone)]
pub(crate) struct Structures {
    tokenizer: Arc<HfTokenizer>,
    ends: Arc<Vec<u32>>,
    /// Made when somebody first asks for a structure: most never do.
    factory: Arc<OnceLock<Result<ParserFactory, String>>>,
    /// Schemas that are compiled at once.
    places: Arc<Semaphore>,
}

impl Structures {
    pub(crate) fn new(tokenizer: Arc<HfTokenizer>, ends: Vec<u32>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            tokenizer,
            ends: Arc::new(ends),
            factory: Arc::default(),
            places: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Compiles a structure, on a thread for blocking work.
    pub(crate) async fn compile(&self, structure: Structure) -> Result<Constraint, InferError> {
        let schema = match structure {
            Structure::Object => json!({ "type": "object" }),
            Structure::Schema(schema) => schema,
        };
        let len = schema.to_string().len();
        if len > SCHEMA_LEN_MAX {
            let why = format!("it has {len} bytes, and may have {SCHEMA_LEN_MAX}");
            return Err(InferError::Structure(why));
        }
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(InferError::Stopped);
        };
        let structures = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            structures.compile_blocking(&schema)
        });
        let panicked = |_| Err(InferError::Structure("it cannot be compiled".to_owned()));
        work.await.unwrap_or_else(panicked)
    }

    /// The bytes of `count` tokens, none for those that are no text, and those that end a text.
    pub(crate) fn words(&self, count: usize) -> Result<(Vec<Vec<u8>>, Vec<u32>), String> {
        let mut words = words(&self.tokenizer)?;
        words.resize(count, Vec::new());
        for word in &mut words {
            if word.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) {
                word.clear();
            }
        }
        Ok((words, self.ends.to_vec()))
    }

    fn compile_blocking(&self, schema: &Value) -> Result<Constraint, InferError> {
        let factory = self
            .factory
            .get_or_init(|| factory(&self.tokenizer, &self.ends))
            .as_ref()
            .map_err(|why| InferError::Structure(why.clone()))?;
        let schema = with_options(schema)?;
        let parser = factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        match parser {
            Ok(parser) => Ok(Constraint(Matcher::new(Ok(parser)))),
            Err(error) => Err(InferError::Structure(error.to_string())),
        }
    }
}

/// A schema with our limit of white space; what it says to the compiler itself is for operators, not for clients.
fn with_options(schema: &Value) -> Result<Value, InferError> {
    let options = json!({ "whitespace_pattern": WHITE_SPACE });
    match schema {
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.insert("x-guidance".to_owned(), options);
            Ok(Value::Object(fields))
        }
        Value::Bool(true) => Ok(json!({ "x-guidance": options })),
        _ => Err(InferError::Structure("a JSON Schema is an object".to_owned())),
    }
}

/// The bytes of all tokens, as the library has them: a control token's begin with a byte that no text has.
fn words(tokenizer: &HfTokenizer) -> Result<Vec<Vec<u8>>, String> {
    let written = tokenizer.to_string(false).map_err(|error| error.to_string())?;
    let written = serde_json::from_str(&written).map_err(|error| error.to_string())?;
    token_bytes_from_tokenizer_json(&written).map_err(|error| error.to_string())
}

fn factory(tokenizer: &HfTokenizer, ends: &[u32]) -> Result<ParserFactory, String> {
    let words = words(tokenizer)?;
    let count = u32::try_from(words.len()).unwrap_or(u32::MAX);
    let known: Vec<u32> = ends.iter().copied().filter(|end| *end < count).collect();
    let Some(first) = known.first() else {
        return Err("the model's card names no token that ends a text (`generate.ends`)".to_owned());
    };
    let trie = TokTrie::from(&TokRxInfo::new(count, *first), &words).with_eos_tokens(&known);
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::json_slices();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
        .map_err(|error| error.to_string())?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

/// What one schema may cost: 20 ms to compile and 4 ms for a token's mask by the library's own measure, 20 MB of memory.
fn limits() -> ParserLimits {
    ParserLimits {
        step_lexer_fuel: 50_000,
        step_max_items: 20_000,
        max_lexer_states: 10_000,
        max_grammar_size: 100_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}
