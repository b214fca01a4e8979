//! Counts the requests that took too long, in the background. The core is in `watch`, and knows nothing of WIT.

use crate::Plugin;
use crate::exports::selvedge::plugin::observer::{self, Event};
use crate::watch::Watch;
use selvedge_sdk::logging::{self, Level};
use selvedge_sdk::{Configured, Failure, metrics};

pub(crate) static WATCH: Configured<Watch> = Configured::new();

@STAGE@
