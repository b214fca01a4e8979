//! What plugin authors need: a project to begin with (`new`), a component of it (`build`), and its golden cases, run in the sandbox
//! that serves. `stubs` stands in for what is granted, `report` tells what came of it.

pub mod build;
pub mod new;
pub mod report;
pub mod stubs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_plugin::cases::{Case, CaseError};
use selvedge_plugin::spent::Tally;
use selvedge_plugin::{AttachOptions, Limits, LoadError, Plugin, Sandbox, SandboxOptions, Spent, Start};
use serde_json::Value;

use self::stubs::Stubs;

/// Why a plugin cannot be tested at all.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The component is no plugin, or not one that may run.
    #[error("{file}: {why}")]
    Plugin {
        /// The component.
        file: PathBuf,
        /// What is wrong with it.
        why: LoadError,
    },
    /// The component cannot be read.
    #[error("{file} cannot be read: {why}; build the plugin first")]
    Missing {
        /// The component.
        file: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// There are no cases, or one is not as it must be.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// The folder of cases is empty.
    #[error("{0} has no cases: make a folder in it with `config.json` and `request.json`")]
    NoCases(PathBuf),
    /// The sandbox cannot be started.
    #[error("the sandbox cannot be started: {0}")]
    Sandbox(LoadError),
    /// What stands in for grants is not as it must be.
    #[error("{0}")]
    Stubs(String),
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What the plugin came to.
    pub found: Value,
    /// What it should have come to; none where nobody has said.
    pub expected: Option<Value>,
    /// How long it took, all its calls together.
    pub took: Duration,
    /// What its calls took of the limits.
    pub tally: Tally,
}

impl Outcome {
    /// Whether it came to what it should.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.expected.as_ref() == Some(&self.found)
    }
}

/// Which cases of which plugin.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The component.
    pub component: PathBuf,
    /// The folder of cases.
    pub cases: PathBuf,
    /// Whether what is found becomes what is expected.
    pub update: bool,
    /// Part of the names of those that are run; empty for all.
    pub only: String,
    /// Where compiled code is kept.
    pub cache: PathBuf,
}

/// Runs cases, one after the other. Must be called on the executor.
///
/// # Errors
///
/// Where the plugin cannot be read, or a case's files are not as they must be. That a case fails is an outcome.
pub async fn test(suite: &Suite) -> Result<Vec<Outcome>, TestError> {
    let bytes = std::fs::read(&suite.component).map_err(|why| TestError::Missing {
        file: suite.component.clone(),
        why,
    })?;
    let journals = tempfile::tempdir().map_err(|error| TestError::Stubs(error.to_string()))?;
    let sandbox = Sandbox::new(SandboxOptions {
        instances_max: 16,
        journals_dir: journals.path().to_owned(),
        ..SandboxOptions::new(suite.cache.clone())
    });
    let sandbox = sandbox.map_err(TestError::Sandbox)?;
    let cases = Case::all(&suite.cases)?.into_iter();
    let cases: Vec<Case> = cases.filter(|case| case.name().contains(&suite.only)).collect();
    if cases.is_empty() {
        return Err(TestError::NoCases(suite.cases.clone()));
    }
    let mut outcomes = Vec::with_capacity(cases.len());
    for case in cases {
        let stubs = Stubs::read(&suite.cases, case.dir()).map_err(TestError::Stubs)?;
        let name = suite.component.file_stem().unwrap_or_default().to_string_lossy();
        let plugin = sandbox.read(&name, bytes.clone().into(), &stubs.grants);
        let plugin = plugin.map_err(|why| TestError::Plugin {
            file: suite.component.clone(),
            why,
        })?;
        outcomes.push(run(&sandbox, Arc::new(plugin), &case, stubs, journals.path()).await?);
        if suite.update
            && let Some(outcome) = outcomes.last_mut()
        {
            case.expect(&outcome.found)?;
            outcome.expected = Some(outcome.found.clone());
        }
    }
    Ok(outcomes)
}

async fn run(
    sandbox: &Sandbox,
    plugin: Arc<Plugin>,
    case: &Case,
    stubs: Stubs,
    journals: &Path,
) -> Result<Outcome, TestError> {
    let spent = Arc::new(Spent::default());
    let options = AttachOptions {
        endpoint: "test".into(),
        config: case.config()?,
        limits: Limits::default(),
        headers: stubs.headers,
        grants: stubs.grants,
        start: Start::Snapshot,
        spent: Some(Arc::clone(&spent)),
    };
    let (found, took) = match sandbox.attach(&plugin, options).await {
        Ok(attachment) => {
            // The comparison with a fresh instance has called it as well.
            spent.take();
            let started = Instant::now();
            (case.run(&attachment, journals).await?, started.elapsed())
        }
        Err(error) => (
            serde_json::json!({ "refused": error.to_string() }),
            Duration::ZERO,
        ),
    };
    Ok(Outcome {
        name: case.name(),
        found,
        expected: case.expected()?,
        took,
        tally: spent.take(),
    })
}
