//! Deep tests: what takes long, or needs much, and is not part of CI. `cargo xtask test --deep PART` sets up what the part needs and
//! runs its command, or the tests in modules named `deep_PART`, which are ignored otherwise. What passed is written down for each commit,
//! so that a run that was interrupted goes on where it was.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::checks::{self, Place, Space};
use crate::ci;
use crate::run::{Root, Tool};
use crate::setup::Scope;
use crate::steps::{Steps, say};
use crate::{dist, fuzz, models, python};

/// Something that only a deep run looks at.
struct Part {
    name: &'static str,
    what: &'static str,
    /// Minutes on two quiet cores, once the host is built.
    minutes: u32,
    /// Disk space beside that of the tests.
    spaces: &'static [Space],
    work: Work,
}

/// Work of a part.
enum Work {
    /// The ignored tests in modules named `deep_PART`. The function makes what they need, and gives `cargo test` what it tells them.
    Tests(fn(&Root, Tool) -> Result<Tool>),
    /// A command of this program.
    Command(fn(&Root) -> Result<()>),
}

static PARTS: [Part; 5] = [
    Part {
        name: "references",
        what: "SmolLM2 in fp32, and as other exporters write it, against the reference library's numbers",
        minutes: 6,
        spaces: &[Space {
            target: 1_200,
            cache: 0,
            places: &[
                Place::Target("models/smollm2-fp32"),
                Place::Target("models/smollm2-plain"),
            ],
        }],
        work: Work::Tests(make_references),
    },
    Part {
        name: "llama",
        what: "llama.cpp's server, built from its source, as an upstream and beside our texts",
        minutes: 12,
        spaces: &[Space {
            target: 500,
            cache: 100,
            places: &[
                Place::Target("models/smollm2.gguf"),
                Place::Target("venv-llama"),
                Place::Cache("llama"),
            ],
        }],
        work: Work::Tests(make_llama),
    },
    Part {
        name: "schemathesis",
        what: "every operation of /openapi.json, with many generated requests each",
        minutes: 15,
        spaces: &[STATE],
        work: Work::Tests(make_nothing),
    },
    Part {
        name: "fuzz",
        what: "every target of host/fuzz, ten minutes each",
        minutes: 70,
        spaces: &[checks::FUZZ],
        work: Work::Command(run_fuzz),
    },
    Part {
        name: "packages",
        what: "each package and the image, installed into a clean root as a user who is not root; must be run as root",
        minutes: 20,
        spaces: &checks::DIST,
        work: Work::Command(run_packages),
    },
];

/// Space of nodes' states.
const STATE: Space = Space {
    target: 100,
    cache: 0,
    places: &[Place::Target("tmp")],
};

/// Seconds of each target of the fuzzer.
const FUZZ_SECONDS: u64 = 600;

/// Runs parts, `all` of them or those that `rest` names, separated by commas or spaces. Without any, prints what there is.
pub(crate) fn run(root: &Root, rest: &[String]) -> Result<()> {
    let wanted: Vec<&str> = rest.iter().flat_map(|names| names.split(',')).collect();
    if wanted.is_empty() {
        eprint!("{}", table());
        return Ok(());
    }
    let known = |name: &str| PARTS.iter().find(|part| part.name == name);
    if let Some(unknown) = wanted
        .iter()
        .find(|name| **name != "all" && known(name).is_none())
    {
        bail!("there is no deep part {unknown:?}; there are:\n{}", table());
    }
    let is_wanted = |part: &&Part| wanted.contains(&"all") || wanted.contains(&part.name);
    let parts: Vec<&Part> = PARTS.iter().filter(is_wanted).collect();
    let steps = Steps::new();
    let ran = run_parts(root, &steps, &parts);
    steps.finish(ran)
}

fn run_parts(root: &Root, steps: &Steps, parts: &[&Part]) -> Result<()> {
    let record = Record::of(root)?;
    let (passed, open): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| record.has(part.name));
    for part in passed {
        say(&format!("{}: passed at this commit", part.name));
    }
    if open.is_empty() {
        return Ok(());
    }
    let mut spaces = checks::TESTS.to_vec();
    spaces.extend(open.iter().flat_map(|part| part.spaces));
    checks::space(root, &spaces)?;
    let needs = Scope::Tests.needs(root)?;
    steps.plan(needs.steps());
    steps.plan(ci::TEST_STEPS);
    steps.plan(open.iter().map(|part| format!("deep {}", part.name)));
    ci::prepare_tests(root, steps, &needs)?;
    for part in open {
        steps.run(&format!("deep {}", part.name), || part.run(root))?;
        record.add(part.name)?;
    }
    Ok(())
}

impl Part {
    fn run(&self, root: &Root) -> Result<()> {
        say(&format!("{} ({} minutes)", self.what, self.minutes));
        match self.work {
            Work::Command(command) => command(root),
            Work::Tests(make) => {
                let filter = format!("deep_{}::", self.name);
                ensure_tests(root, &filter)?;
                let tests = make(root, ci::host_tests(root)?)?;
                tests.args(["--", "--ignored", &filter]).run()
            }
        }
    }
}

/// Error if a filter matches no ignored test: libtest would run none of them, and succeed.
fn ensure_tests(root: &Root, filter: &str) -> Result<()> {
    let list = ci::host_tests(root)?.args(["--", "--ignored", "--list", filter]);
    if listed(&list.output()?) == 0 {
        bail!("there is no ignored test in a module {filter}");
    }
    Ok(())
}

/// Number of tests that libtest has listed, a line each: `NAME: test`.
fn listed(said: &str) -> usize {
    said.lines().filter(|line| line.ends_with(": test")).count()
}

fn make_nothing(_: &Root, tests: Tool) -> Result<Tool> {
    Ok(tests)
}

fn make_references(root: &Root, tests: Tool) -> Result<Tool> {
    for product in models::references() {
        product.make(root)?;
    }
    Ok(tests)
}

fn make_llama(root: &Root, tests: Tool) -> Result<Tool> {
    let server = python::llama(root)?;
    let weights = models::gguf(root)?;
    Ok(tests
        .env("SELVEDGE_TEST_LLAMA", server)
        .env("SELVEDGE_TEST_GGUF", weights))
}

fn run_fuzz(root: &Root) -> Result<()> {
    fuzz::run(root, &[FUZZ_SECONDS.to_string()])
}

fn run_packages(root: &Root) -> Result<()> {
    dist::run(root, &["--container", "--check"].map(str::to_owned))
}

fn table() -> String {
    let mut text = format!("{:12}  {:>7}  {:>5}  what\n", "part", "minutes", "MiB");
    for part in &PARTS {
        text += &format!(
            "{:12}  {:>7}  {:>5}  {}\n",
            part.name,
            part.minutes,
            part.spaces
                .iter()
                .map(|space| space.target + space.cache)
                .sum::<u64>(),
            part.what
        );
    }
    text + "`all` is all of them\n"
}

/// Names of the parts that passed, in a file for each commit. A tree with changes has no such file.
struct Record(Option<PathBuf>);

impl Record {
    fn of(root: &Root) -> Result<Self> {
        let git = |arguments: &[&str]| Tool::new("git").current_dir(root.path()).args(arguments).output();
        let (Ok(commit), Ok(changes)) = (git(&["rev-parse", "HEAD"]), git(&["status", "--porcelain"])) else {
            return Ok(Self(None));
        };
        if !changes.is_empty() {
            say("there are changes that are not committed, so what passes is not written down");
            return Ok(Self(None));
        }
        let folder = root.target().join("deep");
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self(Some(folder.join(commit))))
    }

    fn has(&self, part: &str) -> bool {
        let passed = self.0.as_ref().and_then(|file| fs::read_to_string(file).ok());
        passed.is_some_and(|passed| passed.lines().any(|line| line == part))
    }

    fn add(&self, part: &str) -> Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        let passed = fs::read_to_string(file).unwrap_or_default();
        fs::write(file, format!("{passed}{part}\n"))
            .with_context(|| format!("{} cannot be written", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::{PARTS, Record, Work, listed, table};
    use crate::run::Root;
    use crate::tidy;

    #[test]
    fn what_passed_is_known_the_next_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = || Record(Some(folder.path().join("commit")));
        assert!(!record().has("llama"));
        record().add("llama").expect("written");
        record().add("fuzz").expect("written");
        assert!(record().has("llama") && record().has("fuzz") && !record().has("packages"));
        Record(None).add("llama").expect("nothing to write");
        assert!(!Record(None).has("llama"));
    }

    #[test]
    fn the_table_says_what_each_part_costs() {
        let table = table();
        assert_eq!(table.lines().count(), PARTS.len() + 2, "{table}");
        assert!(table.contains("llama"), "{table}");
    }

    /// All texts between two others.
    fn between<'a>(text: &'a str, before: &str, after: char) -> Vec<&'a str> {
        let rest = text.split(before).skip(1);
        rest.filter_map(|rest| Some(rest.split_once(after)?.0)).collect()
    }

    #[test]
    fn each_part_with_tests_has_some_and_each_ignored_test_is_run_by_a_part() {
        let root = Root::find().expect("found");
        let mut files = Vec::new();
        tidy::collect(&root.join("host"), &mut files).expect("readable");
        files.retain(|file| !file.starts_with(root.join("host/xtask")));
        let parts: Vec<&str> = PARTS
            .iter()
            .filter(|part| matches!(part.work, Work::Tests(_)))
            .map(|part| part.name)
            .collect();
        let (mut modules, mut marks) = (Vec::new(), Vec::new());
        for file in files {
            let text = std::fs::read_to_string(&file).expect("readable");
            let declared = text.replace(" {", ";");
            modules.extend(
                between(&declared, "mod deep_", ';')
                    .into_iter()
                    .map(str::to_owned),
            );
            for reason in between(&text, "#[ignore = \"", '"') {
                let by_command = reason.contains("`cargo xtask ");
                let mark = reason.strip_prefix("deep: ");
                assert!(
                    by_command || mark.is_some(),
                    "{}: {reason:?} names neither a part, `deep: PART`, nor a command that runs the test",
                    file.display()
                );
                marks.extend(mark.map(str::to_owned));
            }
        }
        for part in &parts {
            assert!(
                modules.iter().any(|module| module == part),
                "no module deep_{part}"
            );
            assert!(
                marks.iter().any(|mark| mark == part),
                "no test is marked deep: {part}"
            );
        }
        for name in modules.iter().chain(&marks) {
            assert!(parts.contains(&name.as_str()), "no part runs deep_{name}");
        }
    }

    #[test]
    fn the_guide_has_each_part() {
        let root = Root::find().expect("found");
        let guide = std::fs::read_to_string(root.join("host/docs/testing.md")).expect("readable");
        for part in &PARTS {
            let row = match part.work {
                Work::Tests(_) => format!("\n| `deep_{}`: ", part.name),
                Work::Command(_) => format!("\n| `{}`: ", part.name),
            };
            assert!(guide.contains(&row), "host/docs/testing.md has no row {row:?}");
        }
    }

    #[test]
    fn a_filter_that_matches_nothing_is_seen_in_the_list() {
        assert_eq!(listed("0 tests, 0 benchmarks\n\n0 tests, 0 benchmarks\n"), 0);
        let some =
            "deep_references::a_claim: test\ndeep_references::another: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(listed(some), 2);
    }
}
