//! What is told of cases: lines for people with what differs, JSON for scripts, JUnit's XML for those who show it.

use std::fmt::Write;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use selvedge_plugin::Limits;
use serde_json::{Value, json};
use similar::TextDiff;

use super::Outcome;

/// Lines round a difference.
const CONTEXT_LINES: usize = 3;

/// For people: a line a case, with what differs behind one that failed.
#[must_use]
pub fn text(outcomes: &[Outcome], limits: &Limits) -> String {
    let mut out = String::new();
    let width = outcomes
        .iter()
        .map(|outcome| outcome.name.len())
        .max()
        .unwrap_or(0);
    for outcome in outcomes {
        let word = if outcome.passed() { "ok" } else { "FAILED" };
        let name = &outcome.name;
        // Nothing is written that a String could refuse.
        writeln!(out, "{word:6}  {name:width$}  {}", shares(outcome, limits)).ok();
        if !outcome.passed() {
            out += &difference(outcome);
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let passed = outcomes.len() - failed;
    writeln!(out, "{passed} passed, {failed} failed").ok();
    out
}

/// What a case took, each with its share of the limit.
fn shares(outcome: &Outcome, limits: &Limits) -> String {
    let share = |part: u128, whole: u128| format!("{} %", (part * 100).div_ceil(whole.max(1)));
    let tally = &outcome.tally;
    let memory = share(tally.memory as u128, limits.memory as u128);
    let time = share(tally.time_ms.into(), limits.time.as_millis());
    let log = share(tally.log as u128, limits.log as u128);
    format!(
        "{:>6.2} ms  memory {} KiB ({memory})  CPU {} ms ({time})  log {} B ({log})",
        outcome.took.as_secs_f64() * 1e3,
        tally.memory >> 10,
        tally.time_ms,
        tally.log,
    )
}

/// What was expected and what was found, line by line.
fn difference(outcome: &Outcome) -> String {
    let Some(expected) = &outcome.expected else {
        return format!(
            "        there is no expected.json; `--update` writes what was found:\n{}\n",
            indented(&format!("{:#}", outcome.found))
        );
    };
    let (expected, found) = (format!("{expected:#}\n"), format!("{:#}\n", outcome.found));
    let diff = TextDiff::from_lines(&expected, &found);
    let unified = diff
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .header("expected", "found")
        .to_string();
    indented(&unified) + "\n"
}

fn indented(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| format!("        {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// For scripts.
#[must_use]
pub fn json(outcomes: &[Outcome]) -> Value {
    let case = |outcome: &Outcome| {
        let tally = &outcome.tally;
        json!({
            "name": outcome.name,
            "passed": outcome.passed(),
            "expected": outcome.expected,
            "found": outcome.found,
            "micros": u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX),
            "memory_bytes": tally.memory,
            "cpu_ms": tally.time_ms,
            "log_bytes": tally.log,
            "table_elements": tally.table_elements,
            "instances": tally.calls,
        })
    };
    json!({
        "passed": outcomes.iter().filter(|outcome| outcome.passed()).count(),
        "failed": outcomes.iter().filter(|outcome| !outcome.passed()).count(),
        "cases": outcomes.iter().map(case).collect::<Value>(),
    })
}

/// JUnit's XML.
///
/// # Errors
///
/// Where a name or a value has characters that XML cannot hold.
pub fn junit(plugin: &str, outcomes: &[Outcome]) -> Result<String, String> {
    let mut suite = TestSuite::new(plugin);
    for outcome in outcomes {
        let mut status = TestCaseStatus::success();
        if !outcome.passed() {
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message("the plugin came to something else than the case expects");
            status.set_description(difference(outcome));
        }
        let mut case = TestCase::new(outcome.name.as_str(), status);
        case.set_time(outcome.took);
        suite.add_test_case(case);
    }
    let mut report = Report::new("selvedge plugin test");
    report.add_test_suite(suite);
    report.to_string().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use selvedge_plugin::Limits;
    use selvedge_plugin::spent::Tally;
    use serde_json::{Value, json};

    use super::{junit, text};
    use crate::author::Outcome;

    fn outcome(name: &str, found: Value, expected: Option<Value>) -> Outcome {
        Outcome {
            name: name.to_owned(),
            found,
            expected,
            took: Duration::from_micros(1500),
            tally: Tally {
                memory: 16 << 20,
                time_ms: 7,
                ..Tally::default()
            },
        }
    }

    #[test]
    fn says_what_differs_and_what_share_of_the_limits_was_taken() {
        let outcomes = [
            outcome("good", json!({ "a": 1 }), Some(json!({ "a": 1 }))),
            outcome("bad", json!({ "a": 2, "b": 1 }), Some(json!({ "a": 1, "b": 1 }))),
            outcome("new", json!("Accept"), None),
        ];
        let told = text(&outcomes, &Limits::default());
        for part in [
            "ok      good    1.50 ms  memory 16384 KiB (50 %)  CPU 7 ms (7 %)",
            "FAILED  bad ",
            "        -  \"a\": 1,",
            "        +  \"a\": 2,",
            "there is no expected.json",
            "1 passed, 2 failed",
        ] {
            assert!(told.contains(part), "`{part}` is not in\n{told}");
        }
    }

    #[test]
    fn junit_has_each_case_and_keeps_markup_out() {
        let outcomes = [
            outcome("a<b", json!(1), Some(json!(1))),
            outcome("c", json!("</failure>"), Some(json!("x"))),
        ];
        let xml = junit("label", &outcomes).expect("XML");
        assert!(
            xml.contains("tests=\"2\"") && xml.contains("failures=\"1\""),
            "{xml}"
        );
        assert!(xml.contains("a&lt;b") && !xml.contains("+\"</failure>"), "{xml}");
    }
}
