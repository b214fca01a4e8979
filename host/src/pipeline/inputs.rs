//! What of a body a plugin's problems are about: it is echoed, to help.

use selvedge_plugin::value::{Problem, Step};
use serde_json::Value;

/// Bytes of an input that is echoed; a longer one is left out, since a body is not to be sent back.
const INPUT_LEN_MAX: usize = 1 << 10;

/// What stands at the place of each problem in a body of JSON; where nothing does, what would hold it. Null for what is long.
#[must_use]
pub fn of_problems(problems: &[Problem], body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let input = |problem: &Problem| {
        let input = at(&body, &problem.loc);
        is_short(input, &mut { INPUT_LEN_MAX }).then(|| input.clone())
    };
    let inputs = problems.iter().map(input);
    inputs.map(Option::unwrap_or_default).collect()
}

fn at<'a>(body: &'a Value, loc: &[Step]) -> &'a Value {
    let mut found = body;
    for step in loc {
        let next = match step {
            Step::Key(key) => found.get(key),
            Step::Index(index) => found.get(*index as usize),
        };
        match next {
            Some(next) => found = next,
            None => break,
        }
    }
    found
}

/// Whether a value has at most `left` bytes or so of text; looks at no more of it than that.
fn is_short(value: &Value, left: &mut usize) -> bool {
    let cost = match value {
        Value::String(text) => text.len(),
        _ => 1,
    };
    match left.checked_sub(cost + 1) {
        Some(rest) => *left = rest,
        None => return false,
    }
    match value {
        Value::Array(items) => items.iter().all(|item| is_short(item, left)),
        Value::Object(fields) => fields.iter().all(|(key, value)| {
            *left = left.saturating_sub(key.len());
            is_short(value, left)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
