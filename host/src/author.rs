//! What plugin authors need: a project to begin with (`new`), a component of it (`build`), and its golden cases, run in the sandbox
//! that serves. `stubs` and `calls` stand in for what is granted, `report` tells what came of it, `bench` how long it takes.

pub mod bench;
pub mod build;
pub mod calls;
pub mod new;
pub mod report;
pub mod stubs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use selvedge_plugin::cases::{Case, CaseError, Found};
use selvedge_plugin::spent::Tally;
use selvedge_plugin::symbols::{self, Frame};
use selvedge_plugin::{
    AttachOptions, Attachment, KeptFunctions, Limits, LoadError, Plugin, Sandbox, SandboxOptions, Spent,
    Stage, Start,
};
use serde_json::{Value, json};

use self::stubs::Stubs;

/// How much longer a call may take while its instructions are counted, by which its code is slower.
const METERED_TIMES: u32 = 10;

/// Bytes of compiled functions that are kept of a plugin, for each of the two engines. CPython's are 30 and 38 million, QuickJS's 7
/// and 9.
const FUNCTIONS_SIZE_MAX: usize = 128 << 20;

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
    /// No case has such a name.
    #[error("no case in {dir} has `{part}` in its name; there are {names}")]
    NoSuchCase {
        /// The folder of cases.
        dir: PathBuf,
        /// What was asked for.
        part: String,
        /// The names of those that there are.
        names: String,
    },
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
    pub found: Found,
    /// What it should have come to; none where nobody has said.
    pub expected: Option<Value>,
    /// How long it took, all its calls together.
    pub took: Duration,
    /// What its calls took of the limits, with the lines of a trap where the component has them.
    pub tally: Tally,
    /// Instructions of all its calls, in wasmtime's units of fuel; none where a call was ended by its time.
    pub instructions: Option<u64>,
    /// CPU time that a call may take.
    pub time_max: Duration,
    /// Whether what it should come to was written anew.
    pub updated: bool,
    /// What is to be said besides, such as a call of another server that the case has no answer for.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Whether it came to what it should.
    #[must_use]
    pub fn passed(&self) -> bool {
        let expected = self.expected.as_ref();
        expected.is_some_and(|expected| self.found.meets(expected))
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
    let workbench = Workbench::open(&suite.component, &suite.cache)?;
    let outcomes = workbench.run_all(suite).await;
    workbench.keep_functions();
    outcomes
}

/// Runs one case, whether or not it says what must come of it. Must be called on the executor.
///
/// # Errors
///
/// As [`test()`].
pub async fn try_out(component: &Path, case: &Case, cache: &Path) -> Result<Outcome, TestError> {
    let workbench = Workbench::open(component, cache)?;
    let outcome = workbench.run(case.dir(), case).await;
    workbench.keep_functions();
    let mut outcome = outcome?;
    outcome.expected = case.expected()?;
    Ok(outcome)
}

/// The cases in a folder that have a part in their names.
fn cases(dir: &Path, part: &str) -> Result<Vec<Case>, TestError> {
    let all = Case::all(dir)?;
    if all.is_empty() {
        return Err(TestError::NoCases(dir.to_owned()));
    }
    let (some, others): (Vec<Case>, Vec<Case>) = all.into_iter().partition(|case| case.name().contains(part));
    if some.is_empty() {
        let names: Vec<String> = others.iter().map(Case::name).collect();
        return Err(TestError::NoSuchCase {
            dir: dir.to_owned(),
            part: part.to_owned(),
            names: names.join(", "),
        });
    }
    Ok(some)
}

/// A component and the sandboxes that it is tried in: the one that serves, and one that counts instructions.
struct Workbench {
    component: PathBuf,
    bytes: Bytes,
    sandbox: Sandbox,
    metered: Sandbox,
    journals: tempfile::TempDir,
}

/// A plugin that was attached for a case.
struct Attached {
    attachment: Attachment,
    spent: Arc<Spent>,
}

impl Workbench {
    fn open(component: &Path, cache: &Path) -> Result<Self, TestError> {
        let bytes = read(component)?;
        let journals = tempfile::tempdir().map_err(|error| TestError::Stubs(error.to_string()))?;
        let sandbox = |metered| {
            let sandbox = Sandbox::new(SandboxOptions {
                instances_max: 16,
                journals_dir: journals.path().to_owned(),
                metered,
                functions: Some(KeptFunctions {
                    plugin: name(component),
                    size_max: FUNCTIONS_SIZE_MAX,
                }),
                ..SandboxOptions::new(cache.to_owned())
            });
            sandbox.map_err(TestError::Sandbox)
        };
        Ok(Self {
            component: component.to_owned(),
            bytes,
            sandbox: sandbox(false)?,
            metered: sandbox(true)?,
            journals,
        })
    }

    /// Runs the cases of a suite, one after the other.
    async fn run_all(&self, suite: &Suite) -> Result<Vec<Outcome>, TestError> {
        let cases = cases(&suite.cases, &suite.only)?;
        let _shared = [&self.sandbox, &self.metered].map(Sandbox::attach_several);
        let mut outcomes = Vec::with_capacity(cases.len());
        for case in cases {
            let mut outcome = self.run(&suite.cases, &case).await?;
            outcome.expected = match case.expected() {
                // What cannot be read is replaced like what is untrue.
                Err(_) if suite.update => None,
                expected => expected?,
            };
            if suite.update && !outcome.passed() {
                case.expect(&outcome.found.value)?;
                outcome.expected = Some(outcome.found.value.clone());
                outcome.updated = true;
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Keeps what was compiled, for the author's next change.
    fn keep_functions(&self) {
        for sandbox in [&self.sandbox, &self.metered] {
            if let Err(error) = sandbox.keep_functions() {
                tracing::warn!(%error, "compiled functions cannot be kept; the next test compiles them again");
            }
        }
    }

    /// Runs a case twice: within the limits, and counting instructions. What it should come to is not read.
    async fn run(&self, cases: &Path, case: &Case) -> Result<Outcome, TestError> {
        let mut outcome = self.once(&self.sandbox, cases, case, Limits::default()).await?;
        let is_timed_out = |code: &String| code.contains("time-limit");
        if !outcome.found.codes.iter().any(is_timed_out) {
            let limits = Limits::default();
            let limits = Limits {
                time: limits.time * METERED_TIMES,
                wall_time: limits.wall_time * METERED_TIMES,
                observe_time: limits.observe_time * METERED_TIMES,
                configure_time: limits.configure_time * METERED_TIMES,
                ..limits
            };
            let counted = self.once(&self.metered, cases, case, limits).await?;
            outcome.instructions = (counted.tally.fuel > 0).then_some(counted.tally.fuel);
        }
        Ok(outcome)
    }

    async fn once(
        &self,
        sandbox: &Sandbox,
        cases: &Path,
        case: &Case,
        limits: Limits,
    ) -> Result<Outcome, TestError> {
        let stubs = Stubs::read(cases, case).map_err(TestError::Stubs)?;
        let (calls, stores) = (stubs.calls.clone(), stubs.stores.clone());
        let plugin = self.plugin(sandbox, &stubs)?;
        let time_max = match case.stages(&plugin)?.as_slice() {
            [Stage::Observe] => limits.observe_time,
            _ => limits.time,
        };
        let (found, took, mut tally) = match attach(sandbox, &plugin, case.config()?, stubs, limits).await {
            Ok(Attached { attachment, spent }) => {
                // The manifest's self-test may have left something in them.
                stores.begin();
                let begun = Instant::now();
                let found = case.run(&attachment, self.journals.path()).await?;
                let took = begun.elapsed();
                (found, took, spent.take())
            }
            Err(error) => {
                let refused = Found {
                    value: json!({ "refused": error.to_string() }),
                    codes: vec!["refused".to_owned()],
                };
                (refused, Duration::ZERO, Tally::default())
            }
        };
        tally.trap = match found.codes.is_empty() {
            true => Vec::new(),
            false => symbols::locate(&self.bytes, std::mem::take(&mut tally.trap)),
        };
        let (mut found, notes) = match &calls {
            Some(calls) => (calls.told(found), calls.unanswered()),
            None => (found, Vec::new()),
        };
        if let Some(kv) = stores.told() {
            if calls.is_none() {
                found.value = json!({ "answer": found.value });
            }
            found.value["kv"] = kv;
        }
        Ok(Outcome {
            name: case.name(),
            found,
            expected: None,
            took,
            tally,
            instructions: None,
            time_max,
            updated: false,
            notes,
        })
    }

    fn plugin(&self, sandbox: &Sandbox, stubs: &Stubs) -> Result<Arc<Plugin>, TestError> {
        let plugin = sandbox.read(&name(&self.component), self.bytes.clone(), &stubs.grants);
        plugin.map(Arc::new).map_err(|why| TestError::Plugin {
            file: self.component.clone(),
            why,
        })
    }
}

/// The bytes of a component.
fn read(component: &Path) -> Result<Bytes, TestError> {
    let bytes = std::fs::read(component).map_err(|why| TestError::Missing {
        file: component.to_owned(),
        why,
    });
    bytes.map(Bytes::from)
}

/// What a component's plugin is called.
fn name(component: &Path) -> String {
    let name = component.file_stem().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Attaches a plugin for a case, on clocks of its own.
async fn attach(
    sandbox: &Sandbox,
    plugin: &Arc<Plugin>,
    config: Value,
    stubs: Stubs,
    limits: Limits,
) -> Result<Attached, LoadError> {
    let spent = Arc::new(Spent::default());
    let options = AttachOptions {
        endpoint: "test".into(),
        config,
        limits,
        headers: stubs.headers,
        grants: stubs.grants,
        vocabulary: None,
        start: Start::Snapshot,
        reuse: 1,
        spent: Some(Arc::clone(&spent)),
        clock: Some(stubs.clock),
    };
    let attachment = sandbox.attach(plugin, options).await?;
    // The comparison with a fresh instance has called it as well.
    spent.take();
    Ok(Attached { attachment, spent })
}

/// A frame of a backtrace, in a line.
fn shown(frame: &Frame) -> String {
    let function = frame.function.as_deref().unwrap_or("a function without a name");
    match &frame.at {
        Some(at) => format!("{function} at {at}"),
        None => function.to_owned(),
    }
}
