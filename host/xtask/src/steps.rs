//! The steps of a command: a line of progress for each, which may run side by side, and a table of their times at the end. What a
//! step does is not known here.

use std::cell::RefCell;
use std::fmt::Write;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::run::Tool;

/// Interval of the looks for the end of a program that runs beside a step.
const POLL: Duration = Duration::from_millis(20);

/// Shortest step that the table shows.
const SHOWN_MIN: Duration = Duration::from_millis(100);

thread_local! {
    /// The step that this thread works on, so that what is said below it names it.
    static CURRENT: RefCell<Option<Step>> = const { RefCell::new(None) };
}

/// Says what is being done: a line of progress where a step runs.
pub(crate) fn say(what: &str) {
    let line = CURRENT.with_borrow(|step| match step {
        Some(step) => step.steps.progress(&step.name, what),
        None => format!("xtask: {what}"),
    });
    eprintln!("{line}");
}

/// The steps of one command. A handle; its clones are the same.
#[derive(Clone)]
pub(crate) struct Steps(Arc<Progress>);

struct Progress {
    started: Instant,
    state: Mutex<State>,
}

/// A step is in one of the three lists.
#[derive(Default)]
struct State {
    left: Vec<String>,
    running: Vec<String>,
    done: Vec<Record>,
    /// True if anything was said, which means that there was something to do.
    spoke: bool,
    /// The step that failed first: no other begins then.
    failed: Option<String>,
}

struct Record {
    name: String,
    from: Duration,
    took: Duration,
    failed: bool,
}

struct Step {
    steps: Steps,
    name: String,
}

impl Steps {
    /// No step yet; the time begins.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Progress {
            started: Instant::now(),
            state: Mutex::default(),
        }))
    }

    /// Steps that will come, so that it can be said what is left.
    pub(crate) fn plan<S: Into<String>>(&self, names: impl IntoIterator<Item = S>) {
        self.state().left.extend(names.into_iter().map(Into::into));
    }

    /// Runs one.
    pub(crate) fn run<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let from = self.begin(name)?;
        let step = Step {
            steps: self.clone(),
            name: name.to_owned(),
        };
        let outer = CURRENT.replace(Some(step));
        let result = work();
        CURRENT.set(outer);
        self.end(name, from, result.is_err());
        result.map_err(|error| error.context(name.to_owned()))
    }

    /// Runs a program as the step `name`, and `work`, which has steps of its own, beside it. Where `work` fails, the program is ended.
    pub(crate) fn run_beside(
        &self,
        name: &str,
        program: impl FnOnce() -> Result<Tool>,
        work: impl FnOnce() -> Result<()> + Send,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            let ran = self.run(name, || {
                let program = program()?;
                let line = program.line();
                let mut child = program.spawn()?;
                let status = loop {
                    if let Some(status) = child.try_wait()? {
                        break status;
                    }
                    if self.failed().is_some() {
                        child.kill().ok();
                        break child.wait()?;
                    }
                    std::thread::sleep(POLL);
                };
                self.checked(status, &line)
            });
            match work.join() {
                // What failed first is what is worth saying; the other ended for it.
                Ok(worked) if self.failed().as_deref() == Some(name) => ran.and(worked),
                Ok(worked) => worked.and(ran),
                Err(_) => bail!("a step beside {name} panicked"),
            }
        })
    }

    /// The table of times, where anything was done; then `result`.
    pub(crate) fn finish<T>(&self, result: Result<T>) -> Result<T> {
        let state = self.state();
        if state.spoke {
            eprint!("{}", table(&state.done, self.0.started.elapsed()));
        }
        result
    }

    fn checked(&self, status: ExitStatus, line: &str) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        if self.failed().is_some() {
            bail!("ended, since another step failed");
        }
        bail!("{line} failed ({status})")
    }

    fn begin(&self, name: &str) -> Result<Duration> {
        let mut state = self.state();
        if state.failed.is_some() {
            bail!("{name} was not begun, since another step failed");
        }
        state.left.retain(|left| left != name);
        state.running.push(name.to_owned());
        Ok(self.0.started.elapsed())
    }

    fn end(&self, name: &str, from: Duration, failed: bool) {
        let mut state = self.state();
        state.running.retain(|running| running != name);
        if failed {
            state.failed.get_or_insert_with(|| name.to_owned());
        }
        state.done.push(Record {
            name: name.to_owned(),
            from,
            took: self.0.started.elapsed().saturating_sub(from),
            failed,
        });
    }

    fn progress(&self, name: &str, what: &str) -> String {
        let mut state = self.state();
        state.spoke = true;
        let (left, running) = (state.left.len(), state.running.len());
        let begun = state.done.len() + running;
        let mut beside = Vec::new();
        if running > 1 {
            beside.push(format!("{running} side by side"));
        }
        if left > 0 {
            beside.push(format!("left: {}", state.left.join(", ")));
        }
        let beside = match beside.as_slice() {
            [] => String::new(),
            beside => format!(" ({})", beside.join("; ")),
        };
        let now = clock(self.0.started.elapsed());
        format!("xtask: [{begun}/{} {now}] {name}: {what}{beside}", begun + left)
    }

    fn failed(&self) -> Option<String> {
        self.state().failed.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A step that panicked leaves the lists as they are: each change is one statement.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn table(done: &[Record], all: Duration) -> String {
    let shown = || {
        done.iter()
            .filter(|record| record.failed || record.took >= SHOWN_MIN)
    };
    let width = shown().map(|record| record.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!("xtask: {:width$}  {:>6}  {:>8}\n", "step", "from", "seconds");
    for record in shown() {
        let failed = if record.failed { "  failed" } else { "" };
        let (from, took) = (clock(record.from), record.took.as_secs_f64());
        // Writing to a string cannot fail.
        writeln!(
            text,
            "xtask: {:width$}  {from:>6}  {took:>8.1}{failed}",
            record.name
        )
        .ok();
    }
    writeln!(
        text,
        "xtask: {:width$}  {:>6}  {:>8.1}",
        "all",
        "",
        all.as_secs_f64()
    )
    .ok();
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::bail;

    use super::{Record, Steps, table};
    use crate::run::Tool;

    #[test]
    fn a_line_of_progress_says_what_is_left() {
        let steps = Steps::new();
        steps.plan(["models", "plugins", "host"]);
        let line = steps.run("models", || Ok(steps.progress("models", "fetching 3 MB")));
        let line = line.expect("ran");
        assert_eq!(
            line,
            "xtask: [1/3 0:00] models: fetching 3 MB (left: plugins, host)"
        );
    }

    #[test]
    fn a_failed_step_ends_what_runs_beside_it() {
        let steps = Steps::new();
        steps.plan(["host", "models", "plugins"]);
        let program = || Ok(Tool::new("sleep").arg("600"));
        let error = steps.run_beside("host", program, || {
            steps.run("models", || -> anyhow::Result<()> { bail!("no network") })?;
            steps.run("plugins", || Ok(()))
        });
        assert_eq!(format!("{:#}", error.expect_err("failed")), "models: no network");
        assert!(steps.run("plugins", || Ok(())).is_err());
    }

    #[test]
    fn the_table_has_each_step_and_which_failed() {
        let record = |name: &str, took, failed| Record {
            name: name.to_owned(),
            from: Duration::from_secs(61),
            took: Duration::from_millis(took),
            failed,
        };
        let done = [
            record("tidy", 0, false),
            record("host", 1500, false),
            record("tests", 50, true),
        ];
        let expected = "xtask: step     from   seconds\nxtask: host     1:01       1.5\nxtask: tests    1:01       0.1  \
                        failed\nxtask: all                 2.0\n";
        assert_eq!(table(&done, Duration::from_secs(2)), expected);
    }
}
