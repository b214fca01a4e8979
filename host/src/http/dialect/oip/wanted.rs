//! What is wanted of an answer: which outputs, and each in which form.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::request::check_name;
use super::{bad, unsupported};
use crate::pipeline::ClientFault;
use crate::ports::{Ports, names};

/// How a tensor is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In the JSON.
    Json,
    /// In bytes behind it.
    Binary,
}

/// The outputs that are wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Where there are none, all of them.
    pub(super) outputs: Vec<WantedOutput>,
    /// How those are written of which nothing else is said.
    pub(super) form: Form,
}

/// An output that is wanted.
#[derive(Debug, Clone)]
pub(super) struct WantedOutput {
    /// Its name.
    pub(super) name: String,
    /// How it is written.
    pub(super) form: Form,
    /// How many of its greatest values are wanted in place of it; 0 for the output itself.
    pub(super) classes: usize,
}

/// An output, as a request names it.
#[derive(Deserialize)]
pub(super) struct OutputHead {
    name: String,
    parameters: Option<OutputParameters>,
}

#[derive(Deserialize, Default)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<u64>,
    shared_memory_region: Option<IgnoredAny>,
}

impl Wanted {
    /// Reads what a request says of outputs, one by one and of all of them.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(
        outputs: Vec<OutputHead>,
        parameters: &Map<String, Value>,
    ) -> Result<Self, ClientFault> {
        let form_of = |binary| if binary { Form::Binary } else { Form::Json };
        let form = match parameters.get("binary_data_output") {
            None | Some(Value::Null) => Form::Json,
            Some(Value::Bool(binary)) => form_of(*binary),
            Some(_) => {
                return Err(bad(
                    "bool_type",
                    "parameters.binary_data_output",
                    "`binary_data_output` must be true or false",
                ));
            }
        };
        let output = |output: OutputHead| {
            check_name(&output.name, "output")?;
            let parameters = output.parameters.unwrap_or_default();
            if parameters.shared_memory_region.is_some() {
                let name = &output.name;
                return Err(unsupported(&format!(
                    "the output `{name}` is to be in shared memory, which is not supported"
                )));
            }
            Ok(WantedOutput {
                name: output.name,
                form: parameters.binary_data.map_or(form, form_of),
                classes: usize::try_from(parameters.classification.unwrap_or_default()).unwrap_or(usize::MAX),
            })
        };
        let outputs = outputs.into_iter().map(output).collect::<Result<_, _>>()?;
        Ok(Self { outputs, form })
    }

    /// Whether all of it can be had, before anything is run for it.
    ///
    /// # Errors
    ///
    /// Which output there is not, or is asked for twice.
    pub(super) fn check(&self, ports: &Ports) -> Result<(), ClientFault> {
        let mut seen = HashSet::new();
        for output in &self.outputs {
            let name = &output.name;
            if ports.output(name).is_none() {
                let known = names(&ports.outputs);
                return Err(bad(
                    "value_error",
                    "outputs",
                    format!("there is no output `{name}`; the model gives {known}"),
                ));
            }
            if !seen.insert(name) {
                return Err(bad(
                    "value_error",
                    "outputs",
                    format!("the output `{name}` is asked for twice"),
                ));
            }
        }
        Ok(())
    }
}
