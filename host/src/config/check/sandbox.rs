//! Checks of what all plugins together may take.

use super::Findings;
use crate::config::Sandbox;

/// The most instances that the address space is enough for; how many the process's mappings allow is seen at the start.
const INSTANCES_MAX: usize = 8000;

pub(super) fn check(sandbox: &Sandbox, found: &mut Findings<'_>) {
    found.at_least_one("sandbox.functions_max".into(), sandbox.functions_max);
    found.at_least_one("sandbox.function_size_max".into(), sandbox.function_size_max.0);
    let max = sandbox.memory_max;
    if let Some(total) = sandbox.memory_total_max.filter(|total| *total < max) {
        found.add(
            "sandbox.memory_total_max",
            format!("must be at least `sandbox.memory_max`, {max}, and is {total}"),
        );
    }
    let instances = sandbox.instances_max;
    if instances == 0 || instances > INSTANCES_MAX {
        found.add(
            "sandbox.instances_max",
            format!("must be from 1 to {INSTANCES_MAX}, and is {instances}"),
        );
    }
}
