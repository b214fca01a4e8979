//! What calls of a plugin took of its limits, what they logged and where they trapped, for those who write it. A node that
//! serves does not count it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::symbols::Frame;

/// Lines that are kept at most; a call's own bound is `limits.log`.
const LINES_MAX: usize = 1000;

/// What calls took since somebody looked.
#[derive(Debug, Default)]
pub struct Spent(Mutex<Tally>);

/// It in numbers: of each limit the most that one call took, and what is said to be of all calls together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of all memories of an instance at its end; they never shrink.
    pub memory: usize,
    /// Milliseconds of CPU time, in which the plugin was seen to run.
    pub time_ms: u64,
    /// Bytes of lines that were logged, 32 a line counted besides.
    pub log: usize,
    /// Elements of all tables.
    pub table_elements: usize,
    /// Instances that were started, of all calls.
    pub calls: u64,
    /// Bytes that the host gave the plugin, of all calls: arguments, and what imports answered.
    pub given: u64,
    /// Bytes that the plugin gave the host, of all calls: answers, and arguments of imports.
    pub brought: u64,
    /// Bytes of the longest that it brought at once.
    pub brought_max: usize,
    /// Bytes of the longest answer.
    pub answer: usize,
    /// Units of fuel of all calls, about one an instruction; 0 where the sandbox does not count them.
    pub fuel: u64,
    /// The lines that were logged or printed, as they are in the log, with their level before them.
    pub lines: Vec<String>,
    /// Where the last trap was, innermost first.
    pub trap: Vec<Frame>,
}

impl Spent {
    pub(crate) fn add(&self, call: &Tally) {
        let mut seen = self.seen();
        seen.memory = seen.memory.max(call.memory);
        seen.time_ms = seen.time_ms.max(call.time_ms);
        seen.log = seen.log.max(call.log);
        seen.table_elements = seen.table_elements.max(call.table_elements);
        seen.brought_max = seen.brought_max.max(call.brought_max);
        seen.answer = seen.answer.max(call.answer);
        seen.calls += call.calls;
        seen.given += call.given;
        seen.brought += call.brought;
        seen.fuel += call.fuel;
    }

    pub(crate) fn line(&self, level: &str, line: &str) {
        let mut seen = self.seen();
        if seen.lines.len() < LINES_MAX {
            seen.lines.push(format!("{level} {line}"));
        }
    }

    pub(crate) fn trapped(&self, frames: Vec<Frame>) {
        self.seen().trap = frames;
    }

    /// The lines that were logged or printed since the last time that somebody took them, but for the first of them.
    pub(crate) fn lines_after(&self, first: usize) -> Vec<String> {
        self.seen().lines.get(first..).unwrap_or_default().to_vec()
    }

    /// How many lines that are.
    pub(crate) fn lines_len(&self) -> usize {
        self.seen().lines.len()
    }

    /// What was counted since the last time; it begins anew.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.seen())
    }

    fn seen(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
