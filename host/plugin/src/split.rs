//! Splits a component into its code and its state, so that the code is compiled once for all its configurations.
//!
//! A snapshot changes what memories and globals begin with, and nothing else. In the result, each module with much code is imported
//! ([`Code`], named by the digest of its bytes). Its memories, with what they begin with, lie in a small module of their own that is
//! instantiated first. Two configurations of a plugin differ in the small modules alone, unless `configure` changed a global: then the
//! code differs too. What is not understood here stays as it is: it is compiled with its component.
//!
//! The code takes its memories as imports, and everything else of it is unchanged: functions, tables and globals with their
//! indices. See `code` for what is done with it, and `module` for how one module is taken apart.

use std::convert::Infallible;

use sha2::{Digest, Sha256};
use wasm_encoder::reencode::{self, Reencode, ReencodeComponent};
use wasm_encoder::{
    ComponentImportSection, ComponentTypeRef, CoreTypeSection, InstanceSection, ModuleArg, RawSection,
};
use wasmparser::{ComponentAlias, ComponentOuterAliasKind, Instance, Parser, Payload};

use crate::inspect::hex;
use crate::module::{CoreModule, STATE};

/// Bytes of code from which a module is worth being compiled by itself. Below it, looking its imports up by their names
/// whenever it is instantiated costs more than compiling it again.
const CODE_MIN: usize = 32 << 10;

/// A component whose large modules are imports.
pub(crate) struct Split {
    /// The component that imports them.
    pub(crate) component: Vec<u8>,
    pub(crate) codes: Vec<Code>,
}

/// A core module without memories of its own.
pub(crate) struct Code {
    /// Name of the import; it has the digest.
    pub(crate) import: String,
    /// SHA-256 of the bytes.
    pub(crate) digest: [u8; 32],
    pub(crate) bytes: Vec<u8>,
}

/// The digest in an import's name; none where it is no import of code.
pub(crate) fn digest_in(import: &str) -> Option<[u8; 32]> {
    let (_, hexadecimal) = import.strip_prefix(PREFIX)?.split_once("-x")?;
    let mut digest = [0; 32];
    if hexadecimal.len() != 2 * digest.len() {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hexadecimal.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// Begin of an import's name; behind it comes the module's index in its component.
const PREFIX: &str = "code";

/// Splits a valid component: `built` as its author built it, instrumented, or with a snapshot. None if it is of a kind that
/// stays whole, or has no large module.
pub(crate) fn split(component: &[u8], built: &[u8]) -> Option<Split> {
    split_from(component, built, CODE_MIN)
}

/// Splits off the modules that have so much code.
fn split_from(component: &[u8], built: &[u8], code_min: usize) -> Option<Split> {
    let mut plan = Plan::make(component, code_min)?;
    plan.import_as(&Plan::make(built, code_min)?);
    if plan.modules.iter().all(Option::is_none) {
        return None;
    }
    let mut splitter = Splitter {
        states: plan.states(),
        plan: &plan,
        module: 0,
        types: 0,
        codes: Vec::new(),
    };
    let mut encoder = wasm_encoder::Component::new();
    splitter.begin(&mut encoder)?;
    splitter
        .parse_component(&mut encoder, Parser::new(0), component)
        .ok()?;
    Some(Split {
        component: encoder.finish(),
        codes: splitter.codes,
    })
}

/// The core modules of a component, in their order: those whose code is imported; none where a module stays as it is. The memories of
/// one that defines some come from a module of their own.
struct Plan<'a> {
    modules: Vec<Option<CoreModule<'a>>>,
}

impl<'a> Plan<'a> {
    /// Reads a component. None where it has something that would be numbered anew and is not understood here.
    fn make(component: &'a [u8], code_min: usize) -> Option<Self> {
        let mut modules = Vec::new();
        let mut instantiated: Vec<u32> = Vec::new();
        let (mut parser, mut rest) = (Parser::new(0), component);
        while !rest.is_empty() {
            let wasmparser::Chunk::Parsed { consumed, payload } = parser.parse(rest, true).ok()? else {
                return None;
            };
            rest = rest.get(consumed..)?;
            match payload {
                Payload::ModuleSection { unchecked_range, .. } => {
                    rest = rest.get(unchecked_range.len()..)?;
                    modules.push(component.get(unchecked_range)?);
                }
                Payload::InstanceSection(instances) => {
                    for instance in instances {
                        if let Instance::Instantiate { module_index, .. } = instance.ok()? {
                            instantiated.push(module_index);
                        }
                    }
                }
                Payload::ComponentAliasSection(aliases) => {
                    for alias in aliases {
                        if is_of_another_component(&alias.ok()?) {
                            return None;
                        }
                    }
                }
                Payload::ComponentSection { unchecked_range, .. } => {
                    rest = rest.get(unchecked_range.len()..)?;
                    check_nested(component.get(unchecked_range)?)?;
                }
                Payload::CoreTypeSection(_) | Payload::ComponentStartSection { .. } => return None,
                _ => {}
            }
        }
        let once = |index: usize| {
            let times = instantiated.iter().filter(|module| **module as usize == index);
            times.count() == 1
        };
        let large = |(index, bytes)| {
            let module = CoreModule::read(bytes)?;
            (module.code_len >= code_min && once(index)).then_some(module)
        };
        Some(Self {
            modules: modules.into_iter().enumerate().map(large).collect(),
        })
    }

    /// Makes the modules import memories of the sizes that they have in `built`, the component as its author built it.
    fn import_as(&mut self, built: &Plan<'_>) {
        for (index, module) in self.modules.iter_mut().enumerate() {
            let built = built.modules.get(index).and_then(Option::as_ref);
            *module = module.take().and_then(|module| module.import_as(built?));
        }
    }

    /// Number of modules whose memories are in a module of their own.
    fn states(&self) -> u32 {
        let states = self.with_state().count();
        u32::try_from(states).unwrap_or(u32::MAX)
    }

    /// The modules that define memories, in their order, which is that of the modules with their state.
    fn with_state(&self) -> impl Iterator<Item = (usize, &CoreModule<'a>)> {
        let modules = self.modules.iter().enumerate();
        let large = modules.filter_map(|(index, module)| Some((index, module.as_ref()?)));
        large.filter(|(_, module)| module.has_memory())
    }
}

/// Refuses a component within another that names modules or core types outside.
fn check_nested(component: &[u8]) -> Option<()> {
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::ComponentAliasSection(aliases) = payload.ok()? {
            for alias in aliases {
                if is_of_another_component(&alias.ok()?) {
                    return None;
                }
            }
        }
    }
    Some(())
}

/// Returns true if an alias names a core module, a core type or a component of an enclosing component. A split may change its number.
fn is_of_another_component(alias: &ComponentAlias<'_>) -> bool {
    matches!(
        alias,
        ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::CoreModule
                | ComponentOuterAliasKind::CoreType
                | ComponentOuterAliasKind::Component,
            ..
        }
    )
}

/// Writes the component anew. The modules with state come first, so that all others are numbered behind them.
struct Splitter<'a> {
    plan: &'a Plan<'a>,
    /// Number of modules that were put before all others, and of core instances.
    states: u32,
    /// Index of the next module, as it was.
    module: usize,
    /// Number of module types that were written.
    types: u32,
    codes: Vec<Code>,
}

impl Splitter<'_> {
    /// Writes the modules with state, an instance of each, and the types of the modules that are imported.
    fn begin(&self, encoder: &mut wasm_encoder::Component) -> Option<()> {
        for (_, module) in self.plan.with_state() {
            encoder.section(&wasm_encoder::ModuleSection(&module.state()));
        }
        let mut instances = InstanceSection::new();
        for index in 0..self.states {
            instances.instantiate(index, std::iter::empty::<(&str, ModuleArg)>());
        }
        if !instances.is_empty() {
            encoder.section(&instances);
        }
        let mut types = CoreTypeSection::new();
        for module in self.plan.modules.iter().flatten() {
            types.ty().module(&module.ty()?);
        }
        encoder.section(&types);
        Some(())
    }

    /// The core instance with the state of a module, as it was numbered; none where it has no memories.
    fn state_of(&self, module_index: u32) -> Option<u32> {
        let place = self
            .plan
            .with_state()
            .position(|(index, _)| index == module_index as usize)?;
        u32::try_from(place).ok()
    }
}

impl Reencode for Splitter<'_> {
    type Error = Infallible;
}

impl ReencodeComponent for Splitter<'_> {
    fn module_index(&mut self, index: u32) -> u32 {
        index + self.states
    }

    fn instance_index(&mut self, index: u32) -> u32 {
        index + self.states
    }

    fn parse_component_submodule(
        &mut self,
        encoder: &mut wasm_encoder::Component,
        _: Parser,
        bytes: &[u8],
    ) -> Result<(), reencode::Error<Infallible>> {
        let index = self.module;
        self.module += 1;
        let Some(Some(module)) = self.plan.modules.get(index) else {
            encoder.section(&RawSection {
                id: wasm_encoder::ComponentSectionId::CoreModule.into(),
                data: bytes,
            });
            return Ok(());
        };
        let bytes = module.code()?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let import = format!("{PREFIX}{index}-x{}", hex(&digest));
        let mut imports = ComponentImportSection::new();
        imports.import(&import, ComponentTypeRef::Module(self.types));
        encoder.section(&imports);
        self.types += 1;
        self.codes.push(Code {
            import,
            digest,
            bytes,
        });
        Ok(())
    }

    /// A component within this one has numbers of its own, and stays as it is.
    fn parse_component_subcomponent(
        &mut self,
        encoder: &mut wasm_encoder::Component,
        _: Parser,
        bytes: &[u8],
        _: &[u8],
    ) -> Result<(), reencode::Error<Infallible>> {
        encoder.section(&RawSection {
            id: wasm_encoder::ComponentSectionId::Component.into(),
            data: bytes,
        });
        Ok(())
    }

    fn parse_instance(
        &mut self,
        instances: &mut InstanceSection,
        instance: Instance<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        let Instance::Instantiate { module_index, args } = &instance else {
            return reencode::component_utils::parse_instance(self, instances, instance);
        };
        let own = args
            .iter()
            .map(|arg| (arg.name, ModuleArg::Instance(arg.index + self.states)));
        let state = self.state_of(*module_index);
        let state = state.map(|state| (STATE, ModuleArg::Instance(state)));
        let args: Vec<(&str, ModuleArg)> = own.chain(state).collect();
        instances.instantiate(module_index + self.states, args);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
