//! Refuses texts that are too long. The core is in `rule`, and knows nothing of WIT.

use crate::Plugin;
use crate::exports::selvedge::plugin::validator::{self, Verdict};
use crate::rule::Rule;
use selvedge_sdk::{Configured, Failure, LocItem, Problem, Rejection, Request};

pub(crate) static RULE: Configured<Rule> = Configured::new();

@STAGE@
