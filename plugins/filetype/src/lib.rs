//! Tells what kind of file was uploaded, by its bytes: three stages round a model of magika's kind.
//!
//! The validator takes a form with one file, the templater gives the model the file's beginning and end, and the postprocessor
//! makes a verdict of the scores. The core knows nothing of WIT: `config` is what is configured, `upload` has the rules of a
//! form, `features` makes the tensor, `verdict` the answer.

mod config;
mod features;
mod upload;
mod verdict;

selvedge_sdk::world!(
    "selvedge:filetype/filetype",
    "
        package selvedge:filetype;
        world filetype {
            include selvedge:plugin/validator-plugin@0.1.0;
            include selvedge:plugin/templater-plugin@0.1.0;
            include selvedge:plugin/postprocessor-plugin@0.1.0;
        }
    "
);

use exports::selvedge::plugin::lifecycle;
use exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use exports::selvedge::plugin::templater::{self, Prompt, Rendered};
use exports::selvedge::plugin::validator::{self, Verdict};
use selvedge_sdk::tensors::{ElementType, Tensor, TensorError};
use selvedge_sdk::uploads::{self, UploadError};
use selvedge_sdk::{Configured, Failure, LocItem, Rejection, Request, bad_config, failure, failure_for_now};

pub use config::{Config, Mode, Type, Window};
pub use features::Scant;
pub use upload::{Part, Problem, Rules};
pub use verdict::Verdicts;

/// Name of the model's input: i32 [1, begin + end].
const INPUT: &str = "bytes";

/// Name of the model's output: f32 [1, labels].
const OUTPUT: &str = "target_label";

/// The attribute by which the templater tells the postprocessor of a file that the model cannot judge.
const SCANT: &str = "filetype";

struct Plugin;

struct Detector {
    rules: Rules,
    window: Window,
    verdicts: Verdicts,
}

static DETECTOR: Configured<Detector> = Configured::new();

impl lifecycle::Guest for Plugin {
    fn configure(config: String) -> Result<(), Failure> {
        let config: Config = selvedge_sdk::parse_config(&config)?;
        DETECTOR.set(Detector {
            rules: Rules::new(&config).map_err(bad_config)?,
            window: config.window.checked().map_err(bad_config)?,
            verdicts: Verdicts::new(&config).map_err(bad_config)?,
        })
    }
}

impl validator::Guest for Plugin {
    fn validate(request: &Request) -> Result<Verdict, Failure> {
        let problems = DETECTOR.get()?.rules.check(&parts(request));
        Ok(if problems.is_empty() {
            Verdict::Accept
        } else {
            Verdict::Reject(rejection(problems))
        })
    }
}

impl templater::Guest for Plugin {
    /// A file that the model cannot judge is given to it all the same, since a model there must be; nobody looks at what it says.
    fn render(request: &Request, _so_far: Option<Rendered>) -> Result<Rendered, Failure> {
        let Detector { rules, window, .. } = DETECTOR.get()?;
        let parts = parts(request);
        let place = rules.find(&parts);
        let place = place.map_err(|problem| failure("no-file", problem.msg))?;
        let part = u32::try_from(place).unwrap_or(u32::MAX);
        let read = |offset| uploads::read_part(request, part, offset, window.block_size).map_err(unread);
        let first = read(0)?;
        let last = window.end_offset(parts[place].size).map(read).transpose()?;
        if let Some(scant) = window.scant(&first) {
            request.set_attribute(SCANT, scant.label());
        }
        let data = window.tensor(&first, last.as_ref().unwrap_or(&first));
        let tensor = Tensor::from_bytes(ElementType::Int32, &window.shape(), &data).map_err(unusable)?;
        Ok(Rendered {
            prompt: Prompt::Tensors(vec![(INPUT.to_owned(), tensor)]),
            params: None,
        })
    }
}

impl postprocessor::Guest for Plugin {
    fn process(request: &Request, done: Completion) -> Result<Action, Failure> {
        let verdicts = &DETECTOR.get()?.verdicts;
        let scant = request.attribute(SCANT);
        let answer = match scant.as_deref().and_then(Scant::of_label) {
            Some(scant) => verdicts.of_scant(scant),
            None => {
                let (label, score) = best(done.output, verdicts.labels_count())?;
                verdicts.of_model(label, score)
            }
        };
        let json = answer.map_err(|error| failure("no-verdict", error))?;
        Ok(Action::Replace(Output::Json(json)))
    }
}

/// The label that scored best, and its score.
fn best(output: Output, labels_count: usize) -> Result<(usize, f32), Failure> {
    let wrong = |found: String| {
        let message =
            format!("filetype needs a model with the output `{OUTPUT}` f32 [1, {labels_count}]; {found}");
        failure("wrong-output", message)
    };
    let Output::Tensors(outputs) = output else {
        return Err(wrong("this one gives no tensors".to_owned()));
    };
    let Some((_, scores)) = outputs.iter().find(|(name, _)| name == OUTPUT) else {
        let names: Vec<_> = outputs.iter().map(|(name, _)| name.as_str()).collect();
        return Err(wrong(format!("this one has {}", names.join(", "))));
    };
    let (shape, element) = (scores.shape(), scores.ty());
    let is_right = matches!(shape[..], [1, len] if len as usize == labels_count);
    if !is_right || element != ElementType::Float32 {
        return Err(wrong(format!("this one's is {element:?} {shape:?}")));
    }
    let ranked = scores.top_k(1).map_err(unusable)?;
    let best = ranked.first().and_then(|row| row.first());
    let &(label, score) = best.ok_or_else(|| wrong("this one's is empty".to_owned()))?;
    Ok((label as usize, score))
}

fn parts(request: &Request) -> Vec<Part> {
    let part = |part: uploads::Part| Part {
        name: part.name,
        file_name: part.file_name,
        media_type: part.media_type,
        size: part.size,
    };
    uploads::parts(request).into_iter().map(part).collect()
}

fn rejection(problems: Vec<Problem>) -> Rejection {
    let problem = |problem: Problem| selvedge_sdk::Problem {
        kind: problem.kind.to_owned(),
        loc: problem.loc.into_iter().map(LocItem::Key).collect(),
        msg: problem.msg,
    };
    Rejection {
        status: 422,
        code: "invalid-upload".to_owned(),
        message: "the form has no file as the endpoint takes it".to_owned(),
        problems: problems.into_iter().map(problem).collect(),
    }
}

fn unread(error: UploadError) -> Failure {
    match error {
        UploadError::NoSuchPart => failure("upload-unread", "the form has lost its file"),
        UploadError::Unavailable(why) => failure_for_now("upload-unread", why),
    }
}

fn unusable(error: TensorError) -> Failure {
    failure("bad-tensor", format!("{error:?}"))
}

export!(Plugin);
