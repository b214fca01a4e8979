//! Makes a plugin of what componentize-qjs 0.4 puts out, which is a component, but none that a node could call or snapshot.
//!
//! Three things are mended, and nothing else is touched; a component of another tool passes as it is.
//!
//! - It wraps its component into another one, in which a second component answers `local:init/module-loader`, the import by which
//!   modules were read at build time. Wizer snapshots no component within a component. So the inner one is taken out of its
//!   wrapping; the import stays, and the host answers it: nothing is loaded any more (`LOADER`).
//! - Its functions give a borrowed `request` back only when the host has read the result (in `post-return`), and the component model
//!   wants it back before they return: each call would end in "borrow handles still remain". So each exported function that
//!   borrows one is called by another that gives it back, and giving it back a second time does nothing.
//! - It cannot initialise a component that imports `wasi:http` with the resources of `wasi:io`. So a project calls them by another
//!   name, `call:http` and `call:io`, and gets them by their own.
//!
//! May go when componentize-qjs drops borrows in time and leaves the loader out, <https://github.com/andreiltd/componentize-qjs>.

use std::convert::Infallible;
use std::ops::Range;

use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    CodeSection, ElementSection, ExportSection, Function, FunctionSection, Module, RawSection,
};
use wasmparser::{BinaryReaderError, Encoding, Export, ExternalKind, FuncType, Parser, Payload, TypeRef};

/// The import by which JavaScript's modules were read when the plugin was built.
pub(crate) const LOADER: &str = "local:init/module-loader";

/// What a project calls `wasi:http` and `wasi:io` by, and what they are imported as.
const CALL: &str = "call:";
const WASI: &str = "wasi:";

/// The functions of stages that borrow a request, as their first parameter, by their interfaces' name.
const BORROWERS: [(&str, &str); 4] = [
    ("selvedge:plugin/validator@", "#validate"),
    ("selvedge:plugin/templater@", "#render"),
    ("selvedge:plugin/postprocessor@", "#process"),
    ("selvedge:plugin/stream-postprocessor@", "#[static]processor.open"),
];

/// Why a component cannot be mended.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// It is no valid component.
    #[error("the component is damaged: {0}")]
    Damaged(#[from] BinaryReaderError),
    /// It ends before what it says is in it.
    #[error("the component is cut off: it has {len} bytes, and what it holds goes on to {end}")]
    Cut {
        /// Bytes that there are.
        len: usize,
        /// Bytes that there should be at least.
        end: usize,
    },
    /// One of its modules cannot be written anew.
    #[error("a module cannot be written anew: {0}")]
    Module(String),
}

/// Makes a plugin of what componentize-qjs put out; anything else stays as it is.
///
/// # Errors
///
/// Where it is no valid component.
pub fn mend(component: &[u8]) -> Result<Vec<u8>, MendError> {
    let Some(inner) = unwrapped(component)? else {
        return Ok(component.to_vec());
    };
    let mut mended = wasm_encoder::Component::new();
    let mut nested = 0_usize;
    for payload in Parser::new(0).parse_all(inner) {
        let payload = payload?;
        match &payload {
            Payload::Version { .. } if nested == 0 => continue,
            Payload::ModuleSection { unchecked_range, .. } if nested == 0 => {
                let module = module(part(inner, unchecked_range)?)?;
                mended.section(&RawSection {
                    id: wasm_encoder::ComponentSectionId::CoreModule.into(),
                    data: &module,
                });
            }
            Payload::ComponentSection { unchecked_range, .. } if nested == 0 => {
                mended.section(&RawSection {
                    id: wasm_encoder::ComponentSectionId::Component.into(),
                    data: part(inner, unchecked_range)?,
                });
            }
            Payload::ComponentImportSection(imports) if nested == 0 => {
                let mut section = inner[imports.range()].to_vec();
                for import in imports.clone() {
                    let name = import?.name.name;
                    if let Some(rest) = name.strip_prefix(CALL) {
                        // Both names are of one length, so that the section stays as it is.
                        let at = name.as_ptr() as usize - inner[imports.range()].as_ptr() as usize;
                        section[at..at + name.len()].copy_from_slice(format!("{WASI}{rest}").as_bytes());
                    }
                }
                mended.section(&RawSection {
                    id: wasm_encoder::ComponentSectionId::Import.into(),
                    data: &section,
                });
            }
            _ if nested == 0 => {
                if let Some((id, range)) = payload.as_section() {
                    mended.section(&RawSection {
                        id,
                        data: &inner[range],
                    });
                }
            }
            _ => {}
        }
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => nested += 1,
            Payload::End(_) => nested = nested.saturating_sub(1),
            _ => {}
        }
    }
    Ok(mended.finish())
}

/// The component that is wrapped with a loader's stub; none where it is another tool's.
fn unwrapped(component: &[u8]) -> Result<Option<&[u8]>, MendError> {
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::ComponentSection { unchecked_range, .. } = payload? {
            let inner = part(component, &unchecked_range)?;
            return Ok(imports_loader(inner)?.then_some(inner));
        }
    }
    Ok(None)
}

/// The bytes of a module or component within another one; how many they are nobody has checked yet.
fn part<'a>(whole: &'a [u8], range: &Range<usize>) -> Result<&'a [u8], MendError> {
    whole.get(range.clone()).ok_or(MendError::Cut {
        len: whole.len(),
        end: range.end,
    })
}

/// Whether a component itself, and none within it, imports the loader.
fn imports_loader(component: &[u8]) -> Result<bool, BinaryReaderError> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::Version {
                encoding: Encoding::Component | Encoding::Module,
                ..
            } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    if import?.name.name == LOADER {
                        return Ok(true);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(false)
}

/// A module whose functions give borrowed requests back; as it is, where it has none of them.
fn module(bytes: &[u8]) -> Result<Vec<u8>, MendError> {
    let Some(mut borrowers) = Borrowers::find(bytes)? else {
        return Ok(bytes.to_vec());
    };
    let mut module = Module::new();
    borrowers
        .parse_core_module(&mut module, Parser::new(0), bytes)
        .map_err(|error| MendError::Module(error.to_string()))?;
    Ok(module.finish())
}

/// An exported function that borrows a request.
struct Borrower {
    function: u32,
    ty: u32,
    parameters: u32,
}

/// The functions that borrow requests in a module, and how they are given back.
struct Borrowers {
    functions: Vec<Borrower>,
    /// How many functions there are, so that those which are added have the next numbers.
    count: u32,
    /// The import that gives a request back, and its type.
    drop: u32,
    drop_ty: u32,
    /// While elements of tables are written: by them the runtime gives a request back once more.
    in_elements: bool,
}

impl Borrowers {
    fn find(bytes: &[u8]) -> Result<Option<Self>, BinaryReaderError> {
        let (mut types, mut functions, mut exports, mut drop) = (Vec::new(), Vec::new(), Vec::new(), None);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let TypeRef::Func(ty) = import.ty else { continue };
                        if import.module.starts_with("selvedge:plugin/types@")
                            && import.name == "[resource-drop]request"
                        {
                            drop = Some((number(functions.len()), ty));
                        }
                        functions.push(ty);
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        functions.push(ty?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func && borrows(export.name) {
                            exports.push(export.index);
                        }
                    }
                }
                _ => {}
            }
        }
        let Some((drop, drop_ty)) = drop.filter(|_| !exports.is_empty()) else {
            return Ok(None);
        };
        let borrower = |function: u32| {
            let ty = *functions.get(function as usize)?;
            let parameters = types.get(ty as usize).map(FuncType::params)?.len();
            Some(Borrower {
                function,
                ty,
                parameters: number(parameters),
            })
        };
        Ok(Some(Self {
            functions: exports.into_iter().filter_map(borrower).collect(),
            count: number(functions.len()),
            drop,
            drop_ty,
            in_elements: false,
        }))
    }

    /// The number of the function that calls one and gives its request back; the first that is added does nothing.
    fn caller(&self, function: u32) -> Option<u32> {
        let place = self
            .functions
            .iter()
            .position(|borrower| borrower.function == function)?;
        Some(self.count + 1 + number(place))
    }
}

impl Reencode for Borrowers {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, reencode::Error<Infallible>> {
        Ok(if self.in_elements && function == self.drop {
            self.count
        } else {
            function
        })
    }

    fn parse_element_section(
        &mut self,
        elements: &mut ElementSection,
        section: wasmparser::ElementSectionReader<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        self.in_elements = true;
        utils::parse_element_section(self, elements, section)?;
        self.in_elements = false;
        Ok(())
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: Export<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        let index = match export.kind {
            ExternalKind::Func if borrows(export.name) => self.caller(export.index),
            _ => None,
        };
        let index = index.unwrap_or(export.index);
        utils::parse_export(self, exports, Export { index, ..export })
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        utils::parse_function_section(self, functions, section)?;
        functions.function(self.drop_ty);
        for borrower in &self.functions {
            functions.function(borrower.ty);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        utils::parse_code_section(self, code, section)?;
        let mut nothing = Function::new([]);
        nothing.instructions().end();
        code.function(&nothing);
        for borrower in &self.functions {
            let mut caller = Function::new([]);
            let mut instructions = caller.instructions();
            for parameter in 0..borrower.parameters {
                instructions.local_get(parameter);
            }
            instructions
                .call(borrower.function)
                .local_get(0)
                .call(self.drop)
                .end();
            code.function(&caller);
        }
        Ok(())
    }
}

fn borrows(export: &str) -> bool {
    BORROWERS
        .iter()
        .any(|(interface, function)| export.starts_with(interface) && export.ends_with(function))
}

/// Of functions, types and parameters a module has no more than its format counts in 32 bits.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
