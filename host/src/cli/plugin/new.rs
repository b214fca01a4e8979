//! `selvedge plugin new`: a project that builds and passes its tests as it stands.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use selvedge_plugin::Stage;

use crate::author::new::{self, NewError};
use crate::cli::{CliError, out};

/// Arguments of `plugin new`.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArguments {
    /// Its name, and that of its folder.
    name: String,
    /// The language.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// Where a request meets it: a stage, or several with commas between them.
    #[arg(
        long = "stage",
        value_name = "STAGE,..",
        value_enum,
        value_delimiter = ',',
        default_values_t = [StageName::Validate]
    )]
    stages: Vec<StageName>,
    /// The folder to make its folder in.
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
}

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// Rust, for `wasm32-wasip2`.
    Rust,
    /// JavaScript, on QuickJS.
    Js,
    /// Python, on CPython.
    Python,
}

impl From<Language> for new::Language {
    fn from(language: Language) -> Self {
        match language {
            Language::Rust => Self::Rust,
            Language::Js => Self::JavaScript,
            Language::Python => Self::Python,
        }
    }
}

/// A stage's name on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageName {
    /// Look at a body, and refuse it or let it pass.
    Validate,
    /// Make of a body what the model is given.
    Template,
    /// Look at a whole result, and change it.
    Postprocess,
    /// Change generated text as it comes.
    Stream,
    /// Be told of requests that are over.
    Observe,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Validate => Self::Validate,
            StageName::Template => Self::Template,
            StageName::Postprocess => Self::Postprocess,
            StageName::Stream => Self::Stream,
            StageName::Observe => Self::Observe,
        }
    }
}

pub(super) fn run(arguments: NewArguments) -> Result<(), CliError> {
    let NewArguments {
        name,
        lang,
        stages,
        into,
    } = arguments;
    let stages: Vec<Stage> = stages.into_iter().map(Stage::from).collect();
    let dir = new::project(&into, &name, &stages, lang.into());
    let dir = dir.map_err(|error| match error {
        NewError::Name(_) | NewError::NoTemplate(_) | NewError::Twice(_) => {
            CliError::Usage(error.to_string())
        }
        NewError::There(_) | NewError::Unwritten { .. } => CliError::Failed(error.into()),
    })?;
    let shown = shown(&dir);
    out::line(format_args!(
        "{shown} is a plugin. Next:\n\n  cd {shown}\n  selvedge plugin build\n  selvedge plugin test"
    ))
}

fn shown(dir: &Path) -> String {
    let plain = dir.strip_prefix(".").unwrap_or(dir);
    plain.display().to_string()
}
