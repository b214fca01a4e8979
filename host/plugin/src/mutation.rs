//! Finds what a snapshot of a component would lose: changed tables and dropped segments.
//!
//! A snapshot holds memories and globals. A table that code changed, and a data or element segment that code dropped, would
//! silently be as they were before `configure`. A component whose code can do either is therefore never snapshotted.

use wasmparser::{BinaryReaderError, Operator, Parser, Payload};

/// The first operator that a snapshot would not survive, by its name; none where there is none.
pub(crate) fn find(component: &[u8]) -> Result<Option<String>, BinaryReaderError> {
    for payload in Parser::new(0).parse_all(component) {
        let Payload::CodeSectionEntry(body) = payload? else {
            continue;
        };
        for operator in body.get_operators_reader()? {
            if let Some(name) = mutates(&operator?) {
                return Ok(Some(format!(
                    "its code uses `{name}`, whose effect a snapshot would lose"
                )));
            }
        }
    }
    Ok(None)
}

fn mutates(operator: &Operator<'_>) -> Option<&'static str> {
    match operator {
        Operator::TableSet { .. } => Some("table.set"),
        Operator::TableGrow { .. } => Some("table.grow"),
        Operator::TableFill { .. } => Some("table.fill"),
        Operator::TableCopy { .. } => Some("table.copy"),
        Operator::TableInit { .. } => Some("table.init"),
        Operator::ElemDrop { .. } => Some("elem.drop"),
        Operator::DataDrop { .. } => Some("data.drop"),
        _ => None,
    }
}
