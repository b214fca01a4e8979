//! Answers with what no model and no client can be given, one deed a configuration: `{"render": "token-ids"}`,
//! `{"process": "not-a-number"}`. It is no example: the host's tests show each contained.

selvedge_sdk::world!(
    "selvedge:hostile/answer",
    "
        package selvedge:hostile;
        world answer {
            include selvedge:plugin/templater-plugin@0.1.0;
            export selvedge:plugin/postprocessor@0.1.0;
        }
    "
);

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use exports::selvedge::plugin::templater::{self, Prompt, Rendered};
use selvedge_sdk::tensors::{ElementType, Tensor, TensorError};
use selvedge_sdk::{Configured, Failure, Label, Rejection, Request, failure};
use serde::Deserialize;

/// What the model is given.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Render {
    /// A text.
    #[default]
    Text,
    /// 300,000 empty texts.
    ManyTexts,
    /// Tokens that no vocabulary has.
    TokenIds,
    /// More tokens than a model takes.
    ManyTokenIds,
    /// Parameters in JSON, 100,000 arrays deep.
    DeepParams,
    /// Messages in JSON, 100,000 arrays deep.
    DeepMessages,
    /// Tensors of the names that MiniLM's file has, whose elements are not numbers, and of another type besides.
    NotANumber,
    /// The same without elements, each of four billion columns.
    NoElements,
    /// The same of one dimension in place of two.
    Flat,
    /// Tensors of which one has a name that no file has.
    Misnamed,
    /// A tensor twice.
    Twice,
    /// Tensors whose shape and data disagree, or whose dimensions overflow; then a text.
    BadShapes,
}

/// What the client is given.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Process {
    /// The model's answer.
    #[default]
    Pass,
    /// JSON, 100,000 arrays deep.
    DeepJson,
    /// Text in place of JSON.
    NoJson,
    /// Scores and vectors that are not numbers.
    NotANumber,
    /// A refusal with a status that is none.
    BadStatus,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    render: Render,
    #[serde(default)]
    process: Process,
}

struct Plugin;

static CONFIG: Configured<Config> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        CONFIG.set(selvedge_sdk::parse_config(&config)?)
    }
}

impl templater::Guest for Plugin {
    fn render(_request: &Request, _so_far: Option<Rendered>) -> Result<Rendered, Failure> {
        let render = CONFIG.get()?.render;
        let params = matches!(render, Render::DeepParams).then(|| format!("{{\"stop\":{}}}", deep()));
        let prompt = match render {
            Render::Text | Render::DeepParams => Prompt::Text("hello".to_owned()),
            Render::ManyTexts => Prompt::Texts(vec![String::new(); 300_000]),
            Render::TokenIds => Prompt::TokenIds(vec![u32::MAX, 7_000_000]),
            Render::ManyTokenIds => Prompt::TokenIds(vec![101; 100_000]),
            Render::DeepMessages => Prompt::MessagesJson(deep()),
            Render::NotANumber => tensors(INPUTS, || Tensor::from_f32(&[1, 2], &[f32::NAN, f32::INFINITY]))?,
            Render::NoElements => tensors(INPUTS, || Tensor::from_i64(&[0, 4_000_000_000], &[]))?,
            Render::Flat => tensors(INPUTS, || Tensor::from_i64(&[2], &[101, 102]))?,
            Render::Misnamed => tensors(["input_ids", "attention_mask", "evil"], || {
                Tensor::from_i64(&[1, 2], &[101, 102])
            })?,
            Render::Twice => tensors(["input_ids", "attention_mask", "input_ids"], || {
                Tensor::from_i64(&[1, 2], &[101, 102])
            })?,
            Render::BadShapes => bad_shapes()?,
        };
        Ok(Rendered { prompt, params })
    }
}

impl postprocessor::Guest for Plugin {
    fn process(_request: &Request, _done: Completion) -> Result<Action, Failure> {
        let nan = Label {
            name: "nan".to_owned(),
            score: f32::NAN,
        };
        Ok(match CONFIG.get()?.process {
            Process::Pass => Action::Pass,
            Process::DeepJson => Action::Replace(Output::Json(deep())),
            Process::NoJson => Action::Replace(Output::Json("{\"a\":1}} trailing".to_owned())),
            Process::NotANumber => Action::Replace(Output::Labels(vec![vec![nan]])),
            Process::BadStatus => Action::Refuse(Rejection {
                status: 999,
                code: "x\r\nset-cookie: a=b".to_owned(),
                message: "x\r\ncontent-length: 0".to_owned(),
                problems: Vec::new(),
            }),
        })
    }
}

/// JSON of 100,000 arrays in each other.
fn deep() -> String {
    "[".repeat(100_000) + &"]".repeat(100_000)
}

/// The inputs of MiniLM's file.
const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// The same tensor under each of the names.
fn tensors(names: [&str; 3], make: fn() -> Result<Tensor, TensorError>) -> Result<Prompt, Failure> {
    let mut named = Vec::new();
    for name in names {
        let tensor = make().map_err(|error| failure("no-tensor", format!("{error:?}")))?;
        named.push((name.to_owned(), tensor));
    }
    Ok(Prompt::Tensors(named))
}

/// The host must take none of them for a tensor.
fn bad_shapes() -> Result<Prompt, Failure> {
    let shapes: [&[u32]; 4] = [&[u32::MAX, u32::MAX, u32::MAX], &[3], &[], &[u32::MAX, 0, 2]];
    for (number, shape) in shapes.into_iter().enumerate() {
        let made = Tensor::from_bytes(ElementType::Int64, shape, &[0; 16]);
        if !matches!(made, Err(TensorError::BadShape(_))) {
            return Err(failure("made-one", format!("shape {number} was taken")));
        }
    }
    Ok(Prompt::Text("hello".to_owned()))
}

export!(Plugin);
