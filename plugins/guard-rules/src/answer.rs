//! The answer to a request with texts that are denied, as WIT has it.
//!
//! The client is told where, and never what: a list of words that can be found out by asking is no list for long. Operators are
//! told more: by a line in the log, and by an attribute in the events.

use selvedge_sdk::{LocItem, Problem, Rejection, Request, logging};

use crate::{Finding, Step};

/// The attribute that says what denied a request.
const REASON: &str = "guard.reason";

/// Leaves for operators why a request is refused.
pub fn note(request: &Request, reason: &str) {
    request.set_attribute(REASON, reason);
    let fields = [("reason".to_owned(), reason.to_owned())];
    logging::log(logging::Level::Info, "refused", &fields);
}

/// Refuses a request for the texts that were found in it, and notes the first one's reason.
#[must_use]
pub fn rejection(request: &Request, findings: Vec<Finding>) -> Rejection {
    const MESSAGE: &str = "Text is not allowed here";
    if let Some(finding) = findings.first() {
        note(request, &finding.reason);
    }
    let problem = |finding: Finding| Problem {
        kind: "not_allowed".to_owned(),
        loc: finding.loc.into_iter().map(item).collect(),
        msg: MESSAGE.to_owned(),
    };
    Rejection {
        status: 422,
        code: "guard-denied".to_owned(),
        message: MESSAGE.to_owned(),
        problems: findings.into_iter().map(problem).collect(),
    }
}

fn item(step: Step) -> LocItem {
    match step {
        Step::Key(key) => LocItem::Key(key),
        Step::Index(index) => LocItem::Index(index),
    }
}
