//! Compiles components on threads of its own, whose priority is low: a node that serves gives plugins that are being attached
//! only what its requests leave.

use rayon::{ThreadPool, ThreadPoolBuilder};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::error::LoadError;

/// How far behind others the threads stand, as `nice` has it: with all cores taken by requests they still have a tenth, so
/// that a reload of a busy node comes to its end.
const NICENESS: i32 = 10;

/// The threads; they sleep while nothing is compiled.
pub(crate) struct Compiler(ThreadPool);

impl Compiler {
    /// Starts the threads, one a core.
    ///
    /// # Errors
    ///
    /// Where the system gives none.
    pub(crate) fn start() -> Result<Self, LoadError> {
        let lower = |_| {
            // On Linux that is of the thread alone. Where it is refused, compiling is only less polite.
            rustix::process::setpriority_process(None, NICENESS).ok();
        };
        let pool = ThreadPoolBuilder::new()
            .thread_name(|number| format!("selvedge-compiler-{number}"))
            .start_handler(lower)
            .build();
        pool.map(Self)
            .map_err(|error| LoadError::Thread(std::io::Error::other(error)))
    }

    /// Compiles a component; blocks until it is done.
    ///
    /// # Errors
    ///
    /// Where wasmtime refuses it.
    pub(crate) fn compile(&self, engine: &Engine, bytes: &[u8]) -> Result<Component, LoadError> {
        let compiled = self.0.install(|| Component::new(engine, bytes));
        compiled.map_err(|error| LoadError::Compile(format!("{error:#}")))
    }

    /// Compiles a module; blocks until it is done.
    ///
    /// # Errors
    ///
    /// If wasmtime refuses it.
    pub(crate) fn compile_module(&self, engine: &Engine, bytes: &[u8]) -> Result<Module, LoadError> {
        let compiled = self.0.install(|| Module::new(engine, bytes));
        compiled.map_err(|error| LoadError::Compile(format!("{error:#}")))
    }
}
