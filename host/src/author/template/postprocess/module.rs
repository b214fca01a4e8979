//! Answers with the best label, and whether the model was sure of it. The core is in `verdict`, and knows nothing of WIT.

use crate::Plugin;
use crate::exports::selvedge::plugin::postprocessor::{self, Action, Completion, Output};
use crate::verdict::Rule;
use selvedge_sdk::{Configured, Failure, Request};

pub(crate) static RULE: Configured<Rule> = Configured::new();

@STAGE@
