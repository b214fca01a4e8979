//! Deep tests: what takes long, or needs much, and is not part of CI. `cargo xtask test --deep PART` sets up what the part needs and
//! runs the tests in modules named `deep_PART`, which are ignored otherwise. What passed is written down for each commit, so that
//! a run that was interrupted goes on where it was.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::checks::{self, Space};
use crate::ci;
use crate::run::{Root, Tool};
use crate::setup::Scope;
use crate::steps::{Steps, say};
use crate::{fuzz, models, python};

/// Something that only a deep run looks at.
struct Part {
    name: &'static str,
    what: &'static str,
    /// Minutes on two quiet cores, once the host is built.
    minutes: u32,
    /// Disk space beside that of the tests, in MB.
    megabytes: u64,
}

const PARTS: [Part; 5] = [
    Part {
        name: "references",
        what: "SmolLM2 in fp32, and as other exporters write it, against the reference library's numbers",
        minutes: 6,
        megabytes: 1_200,
    },
    Part {
        name: "llama",
        what: "llama.cpp's server, built from its source, as an upstream and beside our texts",
        minutes: 12,
        megabytes: 600,
    },
    Part {
        name: "schemathesis",
        what: "every operation of /openapi.json, with many generated requests each",
        minutes: 15,
        megabytes: 100,
    },
    Part {
        name: "fuzz",
        what: "every target of host/fuzz, ten minutes each",
        minutes: 70,
        megabytes: 3_000,
    },
    Part {
        name: "packages",
        what: "each package, installed into a clean root as a user who is not root",
        minutes: 20,
        megabytes: 3_000,
    },
];

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
    let more: u64 = open.iter().map(|part| part.megabytes).sum();
    let space = Space {
        target: checks::TESTS.target + more,
        ..checks::TESTS
    };
    checks::space(root, &[space])?;
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
        let mut tests = ci::host_tests(root)?;
        match self.name {
            "references" => {
                for product in models::references() {
                    product.make(root)?;
                }
            }
            "llama" => {
                tests = tests
                    .env("SELVEDGE_TEST_LLAMA", python::llama(root)?)
                    .env("SELVEDGE_TEST_GGUF", models::gguf(root)?);
            }
            "fuzz" => fuzz::run(root, &[FUZZ_SECONDS.to_string()])?,
            _ => {}
        }
        let filter = format!("deep_{}::", self.name);
        tests.args(["--", "--ignored", &filter]).run()
    }
}

fn table() -> String {
    let mut text = format!("{:12}  {:>7}  {:>5}  what\n", "part", "minutes", "MB");
    for part in &PARTS {
        text += &format!(
            "{:12}  {:>7}  {:>5}  {}\n",
            part.name, part.minutes, part.megabytes, part.what
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
    use super::{Record, table};

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
        assert_eq!(table.lines().count(), 7, "{table}");
        assert!(table.contains("llama"), "{table}");
    }
}
