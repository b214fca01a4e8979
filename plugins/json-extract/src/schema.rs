//! A compiled JSON Schema and what it says of a value, in one sentence. Pure; knows no WIT.

use jsonschema::Validator;
use serde_json::Value;

/// Problems that a message names: enough to mend a prompt by, and still a line.
const PROBLEMS_MAX: usize = 4;

/// A schema that is ready to check values.
pub(crate) struct Schema(Validator);

impl Schema {
    /// Compiles the schema, or says what is wrong with it, and where.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        let validator = jsonschema::validator_for(schema).map_err(|error| {
            let at = error.instance_path().as_str();
            format!(
                "`schema` is not a JSON Schema{}{at}: {error}",
                if at.is_empty() { "" } else { ", at " }
            )
        })?;
        Ok(Self(validator))
    }

    /// Whether the value is as the schema wants it; if not, the first few problems with their places.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        if self.0.is_valid(value) {
            return Ok(());
        }
        let problems = self.0.iter_errors(value).take(PROBLEMS_MAX).map(|error| {
            let at = error.instance_path().as_str();
            let problem = error.masked_with("the value");
            if at.is_empty() {
                problem.to_string()
            } else {
                format!("at `{at}`: {problem}")
            }
        });
        Err(problems.collect::<Vec<_>>().join("; "))
    }
}
