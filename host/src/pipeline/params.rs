//! What a request says of generation, by OpenAI's names and the common extensions of them. Pure.
//!
//! What would change the answer and is not supported is refused; what is not known is ignored, as OpenAI's servers do.

use std::hash::{BuildHasher, RandomState};

use selvedge_model::{Sampling, Structure};
use serde_json::{Map, Value};

use super::ClientFault;

/// Answers to one prompt at most.
pub const COUNT_MAX: usize = 8;

/// Stop strings at most, as OpenAI has it.
const STOPS_MAX: usize = 4;

/// Bytes of a stop string at most: it is looked for after each token.
const STOP_LEN_MAX: usize = 256;

/// Tokens with a bias at most, as OpenAI has it.
const BIASES_MAX: usize = 300;

/// Likeliest tokens that are reported with each, at most.
const TOP_LOGPROBS_MAX: usize = 20;

/// How text is to be generated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params {
    /// Tokens of an answer at most; none: what the context leaves.
    pub tokens_max: Option<usize>,
    /// Strings that end it.
    pub stop: Vec<String>,
    /// How tokens are chosen. Of several answers each has the next seed.
    pub sampling: Sampling,
    /// Answers to the one prompt. 1 to 8.
    pub count: usize,
    /// The structure that an answer must have.
    pub structure: Option<Structure>,
    /// What was said of sampling, as it was said: for another server, which has defaults of its own.
    pub given: Map<String, Value>,
    /// What was said of the structure, as it was said.
    pub format: Option<Value>,
    /// Whether the limit was said by its newer name, which is the only one that some servers know.
    pub limit: Limit,
}

/// The name that a limit of tokens was said by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Limit {
    /// `max_tokens`.
    #[default]
    Tokens,
    /// `max_completion_tokens`.
    CompletionTokens,
}

/// The fields that [`Params::given`] holds.
const GIVEN: [&str; 8] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
];

impl Params {
    /// Reads the fields of a request. `temperature` is 1 by default, `seed` another each time.
    ///
    /// # Errors
    ///
    /// Which field is wrong, and what it may be.
    pub fn read(fields: &Map<String, Value>) -> Result<Self, ClientFault> {
        let mut params = Self {
            sampling: Sampling {
                temperature: 1.0,
                seed: RandomState::new().hash_one(0),
                ..Sampling::default()
            },
            count: 1,
            ..Self::default()
        };
        params.amend(fields)?;
        Ok(params)
    }

    /// Takes over what other fields say, such as a templater's.
    ///
    /// # Errors
    ///
    /// Which field is wrong, and what it may be.
    pub fn amend(&mut self, fields: &Map<String, Value>) -> Result<(), ClientFault> {
        refuse_unsupported(fields)?;
        for (key, limit) in [
            ("max_tokens", Limit::Tokens),
            ("max_completion_tokens", Limit::CompletionTokens),
        ] {
            if let Some(count) = whole(fields, key, 1, u64::from(u32::MAX))? {
                (self.tokens_max, self.limit) = (usize::try_from(count).ok(), limit);
            }
        }
        if let Some(count) = whole(fields, "n", 1, COUNT_MAX as u64)? {
            self.count = usize::try_from(count).unwrap_or(1);
        }
        if let Some(stop) = stops(fields)? {
            self.stop = stop;
        }
        let sampling = &mut self.sampling;
        for (key, from, to, place) in [
            ("temperature", 0.0, 2.0, &mut sampling.temperature),
            ("top_p", 0.0, 1.0, &mut sampling.top_p),
            ("min_p", 0.0, 1.0, &mut sampling.min_p),
            ("presence_penalty", -2.0, 2.0, &mut sampling.presence_penalty),
            ("frequency_penalty", -2.0, 2.0, &mut sampling.frequency_penalty),
            ("repetition_penalty", 0.01, 10.0, &mut sampling.repetition_penalty),
        ] {
            if let Some(value) = number(fields, key, from, to)? {
                *place = value;
            }
        }
        if let Some(count) = whole(fields, "top_k", 0, u64::from(u32::MAX))? {
            sampling.top_k = usize::try_from(count).unwrap_or_default();
        }
        if let Some(seed) = given(fields, "seed") {
            let bits = seed.as_i64().map(i64::cast_unsigned).or_else(|| natural(seed));
            sampling.seed = bits.ok_or_else(|| bad("seed", "must be a whole number of 64 bits"))?;
        }
        if let Some(bias) = logit_bias(fields)? {
            sampling.logit_bias = bias;
        }
        if let Some(format) = given(fields, "response_format") {
            self.structure = structure(format)?;
            self.format = Some(format.clone());
        }
        if let Some(count) = logprobs(fields)? {
            sampling.logprobs = Some(count);
        }
        for key in GIVEN {
            if let Some(value) = given(fields, key) {
                self.given.insert(key.to_owned(), value.clone());
            }
        }
        Ok(())
    }
}

/// A field that is there and not null.
fn given<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    fields.get(key).filter(|value| !value.is_null())
}

fn bad(param: &str, why: &str) -> ClientFault {
    ClientFault::BadBody {
        kind: "invalid_value",
        param: param.to_owned(),
        message: format!("`{param}` {why}"),
    }
}

fn whole(fields: &Map<String, Value>, key: &str, from: u64, to: u64) -> Result<Option<u64>, ClientFault> {
    let Some(value) = given(fields, key) else {
        return Ok(None);
    };
    match natural(value).filter(|value| (from..=to).contains(value)) {
        Some(value) => Ok(Some(value)),
        None => Err(bad(
            key,
            &format!(
                "must be a whole number from {from} to {to}, and is {}",
                shown(value)
            ),
        )),
    }
}

/// A whole number of at least 0, also where it is written as `1.0`: JSON has one kind of number.
#[must_use]
pub fn natural(value: &Value) -> Option<u64> {
    /// Beyond this, a float no longer tells neighbours apart.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let written = value
        .as_f64()
        .filter(|float| float.fract() == 0.0 && (0.0..=EXACT_MAX).contains(float));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within range"
    )]
    let whole = written.map(|float| float as u64);
    value.as_u64().or(whole)
}

fn number(fields: &Map<String, Value>, key: &str, from: f32, to: f32) -> Result<Option<f32>, ClientFault> {
    let Some(value) = given(fields, key) else {
        return Ok(None);
    };
    // Before it is rounded: what is beyond by next to nothing is beyond.
    let within = |value: &f64| (f64::from(from)..=f64::from(to)).contains(value);
    match value.as_f64().filter(within) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a sampling parameter needs no more"
        )]
        Some(value) => Ok(Some(value as f32)),
        None => Err(bad(
            key,
            &format!("must be a number from {from} to {to}, and is {}", shown(value)),
        )),
    }
}

/// A value for a message, cut where it is long.
fn shown(value: &Value) -> String {
    let text: String = value.to_string().chars().take(40).collect();
    text
}

fn stops(fields: &Map<String, Value>) -> Result<Option<Vec<String>>, ClientFault> {
    let wrong = || {
        bad(
            "stop",
            &format!(
                "must be a string or an array of at most {STOPS_MAX} strings, each of at most {STOP_LEN_MAX} bytes"
            ),
        )
    };
    let text = |stop: &Value| {
        let stop = stop.as_str().filter(|stop| stop.len() <= STOP_LEN_MAX);
        stop.map(str::to_owned).ok_or_else(wrong)
    };
    match given(fields, "stop") {
        None => Ok(None),
        Some(Value::Array(stops)) if stops.len() <= STOPS_MAX => {
            stops.iter().map(text).collect::<Result<_, _>>().map(Some)
        }
        Some(stop) => Ok(Some(vec![text(stop)?])),
    }
}

fn logit_bias(fields: &Map<String, Value>) -> Result<Option<Vec<(u32, f32)>>, ClientFault> {
    let wrong = || {
        bad(
            "logit_bias",
            "must be an object from at most 300 token ids to numbers from -100 to 100",
        )
    };
    let Some(value) = given(fields, "logit_bias") else {
        return Ok(None);
    };
    let entry = |(token, bias): (&String, &Value)| {
        #[expect(clippy::cast_possible_truncation, reason = "a bias needs no more")]
        let bias = bias
            .as_f64()
            .filter(|bias| bias.abs() <= 100.0)
            .map(|bias| bias as f32);
        token.parse().ok().zip(bias).ok_or_else(wrong)
    };
    let biases = value.as_object().filter(|biases| biases.len() <= BIASES_MAX);
    biases
        .ok_or_else(wrong)?
        .iter()
        .map(entry)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// `logprobs` is a switch with `top_logprobs` in chat, and a count in completions.
fn logprobs(fields: &Map<String, Value>) -> Result<Option<usize>, ClientFault> {
    let top = whole(fields, "top_logprobs", 0, TOP_LOGPROBS_MAX as u64)?;
    let asked = match given(fields, "logprobs") {
        None | Some(Value::Bool(false)) if top.is_some() => {
            return Err(bad("top_logprobs", "needs `logprobs` to be true"));
        }
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(top.unwrap_or_default()),
        Some(_) => whole(fields, "logprobs", 0, 5)?,
    };
    Ok(asked.and_then(|count| usize::try_from(count).ok()))
}

/// `{"type": "json_schema", "json_schema": {"name": "..", "schema": {..}}}`, or one of the types that need no more.
fn structure(format: &Value) -> Result<Option<Structure>, ClientFault> {
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Structure::Object)),
        Some("json_schema") => match &format["json_schema"]["schema"] {
            Value::Null => Err(bad(
                "response_format.json_schema.schema",
                "is missing: it is the JSON Schema that the answer is to have",
            )),
            schema => Ok(Some(Structure::Schema(schema.clone()))),
        },
        _ => Err(bad(
            "response_format",
            "must be an object whose `type` is `text`, `json_object` or `json_schema`",
        )),
    }
}

fn refuse_unsupported(fields: &Map<String, Value>) -> Result<(), ClientFault> {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    if given(fields, "tools").is_some_and(|tools| !is_empty(tools)) {
        return Err(bad("tools", "are not supported by this model"));
    }
    if given(fields, "tool_choice").is_some_and(|choice| choice != "none" && choice != "auto") {
        return Err(bad(
            "tool_choice",
            "needs tools, which are not supported by this model",
        ));
    }
    for key in ["functions", "function_call"] {
        if given(fields, key).is_some_and(|value| !is_empty(value) && value != "none") {
            return Err(bad(key, "is for tools, which are not supported by this model"));
        }
    }
    for key in ["echo", "suffix", "best_of"] {
        let idle = |value: &Value| value == false || value == 1 || value == "";
        if given(fields, key).is_some_and(|value| !idle(value)) {
            return Err(bad(key, "is not supported"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Params;
    use serde_json::{Value, json};

    fn read(fields: Value) -> Result<Params, String> {
        Params::read(fields.as_object().expect("an object")).map_err(|fault| fault.to_string())
    }

    #[test]
    fn reads_openai_s_names() {
        let params = read(json!({
            "max_tokens": 7, "temperature": 0, "top_p": 0.5, "stop": ["a", "b"], "seed": -1, "n": 2,
            "logit_bias": {"5": -100}, "logprobs": true, "top_logprobs": 3, "unknown": {}, "presence_penalty": null,
        }))
        .expect("read");
        assert_eq!(
            (params.tokens_max, params.count, params.stop.len()),
            (Some(7), 2, 2)
        );
        assert_eq!((params.sampling.temperature, params.sampling.top_p), (0.0, 0.5));
        assert_eq!(
            (params.sampling.seed, params.sampling.logprobs),
            (u64::MAX, Some(3))
        );
        assert_eq!(params.sampling.logit_bias, [(5, -100.0)]);
        let params = read(json!({ "max_tokens": 7.0, "seed": 3.0 })).expect("whole all the same");
        assert_eq!((params.tokens_max, params.sampling.seed), (Some(7), 3));
    }

    #[test]
    fn the_newer_name_of_a_limit_wins() {
        let params = read(json!({ "max_tokens": 7, "max_completion_tokens": 9 })).expect("read");
        assert_eq!(params.tokens_max, Some(9));
    }

    #[test]
    fn says_which_field_is_wrong_and_what_it_may_be() {
        for (fields, said) in [
            (
                json!({ "max_tokens": 0 }),
                "`max_tokens` must be a whole number from 1",
            ),
            (json!({ "max_tokens": -1 }), "and is -1"),
            (json!({ "max_tokens": 1e30 }), "`max_tokens`"),
            (json!({ "max_tokens": 1.5 }), "and is 1.5"),
            (
                json!({ "temperature": 3 }),
                "`temperature` must be a number from 0 to 2, and is 3",
            ),
            (json!({ "temperature": "hot" }), "and is \"hot\""),
            (json!({ "stop": ["1", "2", "3", "4", "5"] }), "at most 4 strings"),
            (json!({ "stop": [1] }), "`stop` must be"),
            (json!({ "stop": "x".repeat(257) }), "at most 256 bytes"),
            (json!({ "functions": [{}] }), "`functions` is for tools"),
            (json!({ "logit_bias": {"x": 1} }), "`logit_bias` must be"),
            (json!({ "logit_bias": {"1": 101} }), "`logit_bias` must be"),
            (json!({ "logit_bias": [1] }), "`logit_bias` must be"),
            (json!({ "n": 99 }), "from 1 to 8"),
            (json!({ "top_logprobs": 2 }), "needs `logprobs`"),
            (json!({ "tools": [{}] }), "`tools` are not supported"),
            (
                json!({ "response_format": {"type": "json_schema", "json_schema": {"name": "x"}} }),
                "`response_format.json_schema.schema` is missing",
            ),
            (json!({ "response_format": {"type": "xml"} }), "whose `type` is"),
            (json!({ "response_format": "json" }), "whose `type` is"),
            (json!({ "echo": true }), "`echo` is not supported"),
        ] {
            let error = read(fields.clone()).expect_err("refused");
            assert!(error.contains(said), "{fields}: {error}");
        }
    }
}
