//! The code of plugins, compiled once per node: modules without memories, which the components of all configurations import.
//!
//! A module is known by the digest of its bytes, so that no configuration runs another plugin's code. It is compiled when the
//! first component needs it, kept on disk for the next start, and let go with the last attachment that uses it. See `split` for
//! how a component is taken apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Module};

use crate::cache::{Cache, Key};
use crate::compiler::Compiler;
use crate::error::LoadError;
use crate::split::{self, Split};
use crate::state::State;

/// A compiled component with the modules that it imports.
pub(crate) struct CompiledComponent {
    pub(crate) component: Component,
    /// Each module, by the import's name.
    modules: Vec<(String, Arc<Module>)>,
}

impl CompiledComponent {
    /// Links the component with its modules and with what `linker` has.
    ///
    /// # Errors
    ///
    /// If an import is missing or of another type.
    pub(crate) fn link(&self, linker: &Linker<State>) -> wasmtime::Result<Linkage> {
        let pre = if self.modules.is_empty() {
            linker.instantiate_pre(&self.component)?
        } else {
            let mut linker = linker.clone();
            for (import, module) in &self.modules {
                linker.root().module(import, module)?;
            }
            linker.instantiate_pre(&self.component)?
        };
        let modules = self.modules.iter().map(|(_, module)| Arc::clone(module));
        Ok(Linkage {
            pre,
            _modules: modules.collect(),
        })
    }
}

/// A linked component.
pub(crate) struct Linkage {
    pub(crate) pre: InstancePre<State>,
    /// Keeps the modules known to [`Codes`] for as long as they are in use.
    _modules: Box<[Arc<Module>]>,
}

/// All modules of a sandbox, and the compiler.
pub(crate) struct Codes {
    engine: Engine,
    compiler: Compiler,
    cache: Cache,
    modules: Mutex<HashMap<[u8; 32], Arc<Slot>>>,
    compiled: AtomicU64,
}

/// A module, if anything uses it. The lock is held while it is loaded or compiled, so that others wait for it.
#[derive(Default)]
struct Slot(Mutex<Weak<Module>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Weak<Module>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Codes {
    pub(crate) fn new(engine: Engine, compiler: Compiler, cache: Cache) -> Self {
        Self {
            engine,
            compiler,
            cache,
            modules: Mutex::default(),
            compiled: AtomicU64::new(0),
        }
    }

    /// Number of modules that were compiled since the start.
    pub(crate) fn compiled(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    /// Compiles a component; of its large modules those that no component has brought before. `built` is the component as its
    /// author built it. Blocks.
    ///
    /// # Errors
    ///
    /// If wasmtime refuses it.
    pub(crate) fn compile(&self, component: &[u8], built: &[u8]) -> Result<CompiledComponent, LoadError> {
        let Some(split) = split::split(component, built) else {
            return self.compile_whole(component);
        };
        self.compile_split(split).or_else(|error| {
            // If the component cannot be compiled at all, that is the error.
            let whole = self.compile_whole(component)?;
            tracing::warn!(%error, "a plugin's code cannot be shared by its configurations; it is compiled with each");
            Ok(whole)
        })
    }

    fn compile_split(&self, split: Split) -> Result<CompiledComponent, LoadError> {
        let mut modules = Vec::with_capacity(split.codes.len());
        for code in split.codes {
            let module = self.find_or(code.digest, || self.compile_module(&code.bytes))?;
            modules.push((code.import, module));
        }
        let component = self.compiler.compile(&self.engine, &split.component)?;
        Ok(CompiledComponent { component, modules })
    }

    fn compile_whole(&self, component: &[u8]) -> Result<CompiledComponent, LoadError> {
        Ok(CompiledComponent {
            component: self.compiler.compile(&self.engine, component)?,
            modules: Vec::new(),
        })
    }

    fn compile_module(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        self.compiler.compile_module(&self.engine, bytes)
    }

    /// Finds the modules that a component from the cache imports. None if one of them is not kept any more.
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub(crate) fn complete(&self, component: Component) -> Result<Option<CompiledComponent>, LoadError> {
        let mut modules = Vec::new();
        for (import, _) in component.component_type().imports(&self.engine) {
            let Some(digest) = split::digest_in(import) else {
                continue;
            };
            match self.find(digest)? {
                Some(module) => modules.push((import.to_owned(), module)),
                None => return Ok(None),
            }
        }
        Ok(Some(CompiledComponent { component, modules }))
    }

    /// A module that is in use or kept on disk.
    fn find(&self, digest: [u8; 32]) -> Result<Option<Arc<Module>>, LoadError> {
        let slot = self.slot(digest);
        let mut known = slot.lock();
        if let Some(module) = known.upgrade() {
            return Ok(Some(module));
        }
        let kept = self.cache.load_module(&self.engine, &self.key(&digest))?;
        let module = kept.map(Arc::new);
        *known = module.as_ref().map(Arc::downgrade).unwrap_or_default();
        Ok(module)
    }

    /// A module that is in use or kept on disk; else it is made, and kept for the next start.
    fn find_or(
        &self,
        digest: [u8; 32],
        make: impl FnOnce() -> Result<Module, LoadError>,
    ) -> Result<Arc<Module>, LoadError> {
        let slot = self.slot(digest);
        let mut known = slot.lock();
        if let Some(module) = known.upgrade() {
            return Ok(module);
        }
        let key = self.key(&digest);
        let module = match self.cache.load_module(&self.engine, &key)? {
            Some(kept) => kept,
            None => {
                let made = make()?;
                if let Err(error) = self.cache.store_module(&key, &made) {
                    tracing::warn!(%error, "compiled code cannot be kept; the next start compiles it again");
                }
                made
            }
        };
        let module = Arc::new(module);
        *known = Arc::downgrade(&module);
        Ok(module)
    }

    fn key(&self, digest: &[u8; 32]) -> Key {
        Key::code(&self.engine, digest)
    }

    /// The place of a module. Places of modules that nothing uses are given up.
    fn slot(&self, digest: [u8; 32]) -> Arc<Slot> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        modules.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.lock().strong_count() > 0);
        Arc::clone(modules.entry(digest).or_default())
    }
}
