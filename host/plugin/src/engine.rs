//! The engine: how components are compiled and run, and the pool that instances come from.

use std::num::NonZeroUsize;
use std::sync::Arc;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::error::LoadError;
use crate::functions::Functions;
use crate::sandbox::SandboxOptions;

/// The engine with the pooling allocator; where that cannot be had, without it and with a warning.
pub(crate) fn engine(
    options: &SandboxOptions,
    functions: Option<Arc<Functions>>,
) -> Result<(Engine, bool), LoadError> {
    let refused = |error| LoadError::Compile(format!("{error:#}"));
    let mut config = config();
    config.consume_fuel(options.metered);
    if let Some(functions) = functions {
        config
            .enable_incremental_compilation(functions)
            .map_err(refused)?;
    }
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    match Engine::new(&config) {
        Ok(engine) => Ok((engine, true)),
        Err(error) => {
            let why = format!("{error:#}");
            tracing::warn!(
                why,
                "no pool of instances on this machine: calls of plugins will be slower"
            );
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            let engine = Engine::new(&config).map_err(refused)?;
            Ok((engine, false))
        }
    }
}

/// Instances for attaching, beside those of requests.
const ATTACHING_INSTANCES: u32 = 16;

/// Limits of one component: core instances, tables and memories. The pool has that many for every instance, so that no plugin can take
/// another's share. The core instances are of a main module and of those that its toolchain adds: 39 for CPython with its libraries, 9
/// for QuickJS. An instance of a module takes nothing from the pool except its memories and tables.
const CORE_INSTANCES_MAX: u32 = 64;
const TABLES_MAX: u32 = 4;
pub(crate) const MEMORIES_MAX: u32 = 2;

/// Elements of one table at most; `limits.table_elements` bounds an instance's tables together.
pub const TABLE_ELEMENTS_MAX: usize = 50_000;

fn pool(options: &SandboxOptions) -> PoolingAllocationConfig {
    let count = options.instances_max.saturating_add(options.observers_max);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let count = count.saturating_add(ATTACHING_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count)
        .total_core_instances(count.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(count.saturating_mul(MEMORIES_MAX))
        .total_tables(count.saturating_mul(TABLES_MAX))
        .total_stacks(count)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memory_size(options.memory_max)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_component_instance_size(2 << 20)
        .max_core_instance_size(2 << 20)
        .max_unused_warm_slots(128)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10)
        // Since Linux 6.7: only the pages that a request wrote are put back.
        .pagemap_scan(Enabled::Auto);
    pool
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Off: no `stream<T>`, and a call costs a fifth.
        .concurrency_support(false)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .memory_guaranteed_dense_image_size(64 << 20)
        .wasm_backtrace_max_frames(NonZeroUsize::new(32))
        // Registering unwind tables costs more with each plugin that comes and goes; our own code needs none.
        .native_unwind_info(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false);
    config
}
