//! What is told of cases: lines for people with what differs, JSON for scripts, JUnit's XML for those who show it.

use std::fmt::Write;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};
use selvedge_plugin::Limits;
use selvedge_plugin::value::safe;
use serde_json::{Value, json};
use similar::TextDiff;

use super::{Outcome, shown};

/// Lines round a difference.
const CONTEXT_LINES: usize = 3;

/// Characters of a logged line that people are shown; JSON has all of them.
const LINE_LEN_MAX: usize = 400;

/// For people: a line a case, with what differs behind one that failed, and what the plugin said.
#[must_use]
pub fn text(outcomes: &[Outcome], limits: &Limits) -> String {
    let mut out = String::new();
    let width = outcomes
        .iter()
        .map(|outcome| outcome.name.len())
        .max()
        .unwrap_or(0);
    for outcome in outcomes {
        let word = match outcome.passed() {
            _ if outcome.updated => "wrote",
            true => "ok",
            false => "FAILED",
        };
        let name = &outcome.name;
        // Nothing is written that a String could refuse.
        writeln!(out, "{word:6}  {name:width$}  {}", shares(outcome, limits)).ok();
        if !outcome.passed() {
            out += &difference(outcome);
            out += &said(outcome);
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let passed = outcomes.len() - failed;
    writeln!(out, "{passed} passed, {failed} failed").ok();
    printable(&out)
}

/// For people, of one run that nothing was expected of: what it came to, what it took, what the plugin said.
#[must_use]
pub fn run_text(outcome: &Outcome, limits: &Limits) -> String {
    let (found, shares) = (&outcome.found.value, shares(outcome, limits));
    printable(&format!("{found:#}\n{}\n{}", shares.trim_start(), said(outcome)))
}

/// The lines of a text without what would make a terminal do something: plugins' answers, names and logs are in it.
fn printable(text: &str) -> String {
    let lines = text
        .split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(whole) => safe(whole, whole.len()) + "\n",
            None => safe(line, line.len()),
        });
    lines.collect()
}

/// What a case took, each with its share of the limit where there is one.
fn shares(outcome: &Outcome, limits: &Limits) -> String {
    let tally = &outcome.tally;
    let memory = share(tally.memory, limits.memory);
    let time = share(tally.time_ms, outcome.time_max.as_millis());
    let log = share(tally.log, limits.log);
    // Of both bounds on what it brings, the one that it is nearer to.
    let at_once = share(tally.brought_max, limits.host_bytes);
    let brought = at_once.max(share(tally.answer, limits.output));
    let instructions = match outcome.instructions {
        Some(count) => format!("{} instructions", thousands(count)),
        None => "instructions not counted".to_owned(),
    };
    format!(
        "{:>6.2} ms  {instructions}  memory {} KiB ({memory} %)  CPU {} ms ({time} %)  in {}  out {} ({brought} %)  log {} ({log} %)",
        outcome.took.as_secs_f64() * 1e3,
        tally.memory >> 10,
        tally.time_ms,
        bytes(tally.given),
        bytes(tally.brought),
        bytes(tally.log as u64),
    )
}

/// A part of a limit in percent, rounded up.
fn share(part: impl TryInto<u128>, whole: impl TryInto<u128>) -> u128 {
    let part = part.try_into().unwrap_or(u128::MAX);
    let whole = whole.try_into().unwrap_or(u128::MAX);
    part.saturating_mul(100).div_ceil(whole.max(1))
}

fn bytes(len: u64) -> String {
    match len {
        0..10_240 => format!("{len} B"),
        _ => format!("{} KiB", len >> 10),
    }
}

/// A number with its digits in threes.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What the plugin logged, where it trapped, and what is to be said besides.
fn said(outcome: &Outcome) -> String {
    let tally = &outcome.tally;
    let mut lines: Vec<String> = outcome.notes.clone();
    let cut = |line: &String| line.chars().take(LINE_LEN_MAX).collect::<String>();
    lines.extend(tally.lines.iter().map(|line| format!("log: {}", cut(line))));
    if !tally.trap.is_empty() {
        lines.push("it was in:".to_owned());
        lines.extend(tally.trap.iter().map(|frame| format!("  {}", shown(frame))));
    }
    let lines = lines.iter().map(|line| format!("        {line}\n"));
    lines.collect()
}

/// What was expected and what was found, line by line.
fn difference(outcome: &Outcome) -> String {
    let Some(expected) = &outcome.expected else {
        return format!(
            "        there is no expected.json; `--update` writes what was found:\n{}\n",
            indented(&format!("{:#}", outcome.found.value))
        );
    };
    let (expected, found) = (format!("{expected:#}\n"), format!("{:#}\n", outcome.found.value));
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

/// For scripts, what one case came to and took.
#[must_use]
pub fn case_json(outcome: &Outcome) -> Value {
    let tally = &outcome.tally;
    let mut told = json!({
        "name": outcome.name,
        "passed": outcome.passed(),
        "expected": outcome.expected,
        "found": outcome.found.value,
        "failure": outcome.found.codes,
        "log": tally.lines,
        "backtrace": tally.trap.iter().map(shown).collect::<Vec<_>>(),
        "notes": outcome.notes,
    });
    for (name, value) in numbers(outcome) {
        told[name] = value;
    }
    told
}

/// The numbers of a case, by their names.
fn numbers(outcome: &Outcome) -> [(&'static str, Value); 11] {
    let tally = &outcome.tally;
    let micros = u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX);
    [
        ("micros", micros.into()),
        ("instructions", outcome.instructions.into()),
        ("memory_bytes", tally.memory.into()),
        ("cpu_ms", tally.time_ms.into()),
        ("given_bytes", tally.given.into()),
        ("brought_bytes", tally.brought.into()),
        ("brought_bytes_at_once", tally.brought_max.into()),
        ("answer_bytes", tally.answer.into()),
        ("log_bytes", tally.log.into()),
        ("table_elements", tally.table_elements.into()),
        ("instances", tally.calls.into()),
    ]
}

/// For scripts.
#[must_use]
pub fn json(outcomes: &[Outcome]) -> Value {
    json!({
        "passed": outcomes.iter().filter(|outcome| outcome.passed()).count(),
        "failed": outcomes.iter().filter(|outcome| !outcome.passed()).count(),
        "cases": outcomes.iter().map(case_json).collect::<Value>(),
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
            status.set_description(difference(outcome) + &said(outcome));
        }
        let mut case = TestCase::new(outcome.name.as_str(), status);
        case.set_time(outcome.took);
        for (name, value) in numbers(outcome) {
            case.add_property(Property::new(name, value.to_string()));
        }
        case.set_system_err(outcome.tally.lines.join("\n"));
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
    use selvedge_plugin::cases::Found;
    use selvedge_plugin::spent::Tally;
    use serde_json::{Value, json};

    use super::{junit, run_text, text};
    use crate::author::Outcome;

    fn outcome(name: &str, found: Value, expected: Option<Value>) -> Outcome {
        Outcome {
            name: name.to_owned(),
            found: Found {
                value: found,
                codes: Vec::new(),
            },
            expected,
            took: Duration::from_micros(1500),
            tally: Tally {
                memory: 16 << 20,
                time_ms: 7,
                given: 300,
                brought: 3 << 20,
                answer: 2 << 20,
                lines: vec!["warn a line".to_owned()],
                ..Tally::default()
            },
            instructions: Some(1_234_567),
            time_max: Duration::from_millis(100),
            updated: false,
            notes: vec!["a note".to_owned()],
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
            "ok      good    1.50 ms  1,234,567 instructions  memory 16384 KiB (50 %)  CPU 7 ms (7 %)  in 300 B  out 3072 KiB (50 %)  log 0 B",
            "        a note\n        log: warn a line\n",
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
    fn nothing_of_a_plugin_reaches_the_terminal_as_a_command() {
        let mut shown = outcome("bad", json!("a\u{9b}2J\u{7f}"), Some(json!("b")));
        shown.tally.lines = vec!["warn \u{1b}[31mred".to_owned()];
        shown.notes = vec!["a call of \u{1b}[0m\r".to_owned()];
        let limits = Limits::default();
        for told in [run_text(&shown, &limits), text(&[shown], &limits)] {
            let is_command = |character: char| character.is_control() && character != '\n';
            assert!(!told.contains(is_command), "{told:?}");
            for part in [
                "a\\u{9b}2J\\u{7f}",
                "log: warn \\u{1b}[31mred\n",
                "a call of \\u{1b}[0m\\r\n",
            ] {
                assert!(told.contains(part), "`{part}` is not in\n{told}");
            }
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
        assert!(xml.contains("name=\"instructions\" value=\"1234567\""), "{xml}");
        assert!(xml.contains("a&lt;b") && !xml.contains("+\"</failure>"), "{xml}");
    }
}
