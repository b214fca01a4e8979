//! One core module of a component, taken apart: its code with memories that are imported, and a module with the memories.
//!
//! The code is written so that a module has the same whether it is as its author built it, instrumented for a snapshot, or
//! snapshotted. So what instrumentation exports is exported always, and what the memories begin with is left out.

use std::collections::HashSet;

use wasm_encoder::reencode::{self, Reencode, RoundtripReencoder};
use wasm_encoder::{
    ConstExpr, DataSection, EntityType, ExportKind, ExportSection, ImportSection, MemorySection, Module,
    ModuleType, RawSection, SectionId,
};
use wasmparser::{
    Data, DataKind, Export, ExternalKind, FuncType, GlobalType, Import, MemoryType, Operator, Parser,
    Payload, TableType, TypeRef,
};

/// Name of the module that the memories are imported from.
pub(crate) const STATE: &str = "selvedge:state";

/// Begin of the names by which instrumentation exports memories and globals that have none.
const INSTRUMENTED: &str = "__wizer_";

/// A core module as far as it matters here.
pub(crate) struct CoreModule<'a> {
    /// Bytes of its functions.
    pub(crate) code_len: usize,
    types: Vec<FuncType>,
    imports: Vec<Import<'a>>,
    /// Types of all functions, those that are imported first.
    functions: Vec<u32>,
    tables: Vec<TableType>,
    globals: Vec<GlobalType>,
    globals_imported: usize,
    memories_imported: Vec<MemoryType>,
    /// Memories that it defines.
    memories: Vec<MemoryType>,
    /// Pages of each as its author built it; a snapshot's may have grown.
    pages_min: Vec<u64>,
    exports: Vec<Export<'a>>,
    /// Initial contents of the memories.
    segments: Vec<Segment<'a>>,
    /// True if the module has no data segment at all, not even one for a memory that it imports.
    has_no_data: bool,
    sections: Vec<Section<'a>>,
}

/// Bytes of a memory at an offset.
struct Segment<'a> {
    memory: u32,
    offset: i32,
    bytes: &'a [u8],
}

/// A section as it is read.
struct Section<'a> {
    id: u8,
    bytes: &'a [u8],
}

type ReencodeResult<T> = Result<T, reencode::Error>;

impl<'a> CoreModule<'a> {
    /// Reads a valid module. None where it has what cannot be taken apart: shared or 64-bit memories, segments that code
    /// names or whose place is not known, types that are not functions.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut module = Self {
            code_len: 0,
            types: Vec::new(),
            imports: Vec::new(),
            functions: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            globals_imported: 0,
            memories_imported: Vec::new(),
            memories: Vec::new(),
            pages_min: Vec::new(),
            exports: Vec::new(),
            segments: Vec::new(),
            has_no_data: true,
            sections: Vec::new(),
        };
        let mut data = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.ok()?;
            if let Some((id, range)) = payload.as_section() {
                let bytes = bytes.get(range)?;
                module.sections.push(Section { id, bytes });
            }
            module.add(payload, &mut data)?;
        }
        module.has_no_data = data.is_empty();
        if module.has_memory() {
            module.take_segments(data)?;
        }
        module.pages_min = module.memories.iter().map(|memory| memory.initial).collect();
        Some(module)
    }

    fn add(&mut self, payload: Payload<'a>, data: &mut Vec<Data<'a>>) -> Option<()> {
        match payload {
            Payload::TypeSection(types) => {
                for ty in types.into_iter_err_on_gc_types() {
                    self.types.push(ty.ok()?);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    self.add_import(import.ok()?)?;
                }
            }
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.functions.push(ty.ok()?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    self.tables.push(table.ok()?.ty);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.memories.push(plain(memory.ok()?)?);
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    self.globals.push(global.ok()?.ty);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    self.exports.push(export.ok()?);
                }
            }
            Payload::DataSection(segments) => {
                for segment in segments {
                    data.push(segment.ok()?);
                }
            }
            Payload::CodeSectionStart { range, .. } => self.code_len = range.len(),
            Payload::TagSection(_) => return None,
            _ => {}
        }
        Some(())
    }

    fn add_import(&mut self, import: Import<'a>) -> Option<()> {
        match import.ty {
            TypeRef::Func(ty) => self.functions.push(ty),
            TypeRef::Table(ty) => self.tables.push(ty),
            TypeRef::Global(ty) => {
                self.globals.push(ty);
                self.globals_imported += 1;
            }
            TypeRef::Memory(ty) => {
                self.memories_imported.push(plain(ty)?);
            }
            TypeRef::FuncExact(_) | TypeRef::Tag(_) => return None,
        }
        if import.module == STATE {
            return None;
        }
        self.imports.push(import);
        Some(())
    }

    /// Takes what the memories begin with. A segment that code may name has an index that must stay, so that there may be none.
    fn take_segments(&mut self, data: Vec<Data<'a>>) -> Option<()> {
        let is_named = |section: &Section<'_>| section.id == u8::from(SectionId::DataCount);
        if self.sections.iter().any(is_named) {
            return None;
        }
        for segment in data {
            let (memory, offset) = match segment.kind {
                // What a snapshot leaves of a segment that was there before.
                DataKind::Passive if segment.data.is_empty() => continue,
                DataKind::Passive => return None,
                DataKind::Active {
                    memory_index,
                    offset_expr,
                } => {
                    let mut operators = offset_expr.get_operators_reader();
                    let Operator::I32Const { value } = operators.read().ok()? else {
                        return None;
                    };
                    let Operator::End = operators.read().ok()? else {
                        return None;
                    };
                    (memory_index, value)
                }
            };
            let imported = u32::try_from(self.memories_imported.len()).ok()?;
            self.segments.push(Segment {
                memory: memory.checked_sub(imported)?,
                offset,
                bytes: segment.data,
            });
        }
        Some(())
    }

    /// Returns true if the module defines a memory.
    pub(crate) fn has_memory(&self) -> bool {
        !self.memories.is_empty()
    }

    /// The module with the memories that it defines, and what they begin with. They are exported by their numbers.
    pub(crate) fn state(&self) -> Module {
        let mut memories = MemorySection::new();
        let mut exports = ExportSection::new();
        for (memory, index) in self.memories.iter().zip(0..) {
            memories.memory(memory_type(*memory));
            exports.export(&index.to_string(), ExportKind::Memory, index);
        }
        let mut data = DataSection::new();
        for segment in &self.segments {
            let offset = ConstExpr::i32_const(segment.offset);
            data.active(segment.memory, &offset, segment.bytes.iter().copied());
        }
        let mut module = Module::new();
        module.section(&memories).section(&exports).section(&data);
        module
    }

    /// The same with code that imports memories of the size that they have in `built`, the module as its author built it. None if it
    /// has other memories.
    pub(crate) fn import_as(mut self, built: &CoreModule<'_>) -> Option<Self> {
        let is_same = built.memories.len() == self.memories.len()
            && built
                .memories
                .iter()
                .zip(&self.memories)
                .all(|(built, own)| built.initial <= own.initial && built.maximum == own.maximum);
        self.pages_min.clone_from(&built.pages_min);
        is_same.then_some(self)
    }

    /// The memories that the code imports, by their names.
    fn memory_imports(&self) -> impl Iterator<Item = (String, EntityType)> {
        let memories = self.memories.iter().zip(&self.pages_min).zip(0_usize..);
        memories.map(|((memory, pages_min), index)| {
            let ty = wasm_encoder::MemoryType {
                minimum: *pages_min,
                ..memory_type(*memory)
            };
            (index.to_string(), EntityType::Memory(ty))
        })
    }

    /// The code: the module as it is, but for its memories.
    pub(crate) fn code(&self) -> ReencodeResult<Vec<u8>> {
        let mut module = Module::new();
        let mut imports = Some(self.imports()?);
        for section in &self.sections {
            if is_behind_imports(section.id)
                && let Some(imports) = imports.take()
            {
                module.section(&imports);
            }
            match section.id {
                id if id == u8::from(SectionId::Import) => {
                    module.section(&imports.take().unwrap_or_default());
                }
                id if id == u8::from(SectionId::Export) => {
                    module.section(&self.exports()?);
                }
                // Written anew, since a snapshot's numbers may be written in another way.
                id if id == u8::from(SectionId::Global) => {
                    let reader = wasmparser::BinaryReader::new(section.bytes, 0);
                    let mut globals = wasm_encoder::GlobalSection::new();
                    RoundtripReencoder
                        .parse_global_section(&mut globals, wasmparser::SectionLimited::new(reader)?)?;
                    module.section(&globals);
                }
                id if self.has_memory() && id == u8::from(SectionId::Memory) => {}
                // A snapshot has a section even if there is nothing in it.
                id if id == u8::from(SectionId::Data) && (self.has_memory() || self.has_no_data) => {}
                id => {
                    module.section(&RawSection {
                        id,
                        data: section.bytes,
                    });
                }
            }
        }
        Ok(module.finish())
    }

    fn imports(&self) -> ReencodeResult<ImportSection> {
        let mut section = ImportSection::new();
        for import in &self.imports {
            let ty = RoundtripReencoder.entity_type(import.ty)?;
            section.import(import.module, import.name, ty);
        }
        for (name, memory) in self.memory_imports() {
            section.import(STATE, &name, memory);
        }
        Ok(section)
    }

    /// Its exports, with those that instrumentation adds behind them, whether or not it has.
    fn exports(&self) -> ReencodeResult<ExportSection> {
        let mut section = ExportSection::new();
        for export in self.own_exports() {
            RoundtripReencoder.parse_export(&mut section, *export)?;
        }
        for (name, kind, index) in self.instrumented() {
            section.export(&name, kind, index);
        }
        Ok(section)
    }

    fn own_exports(&self) -> impl Iterator<Item = &Export<'a>> {
        let instrumented: HashSet<String> = self.instrumented().map(|(name, ..)| name).collect();
        self.exports
            .iter()
            .filter(move |export| !instrumented.contains(export.name))
    }

    /// Exports that instrumentation adds. A global that can change is named by its index, a memory of the module by its place among the
    /// module's own memories.
    fn instrumented(&self) -> impl Iterator<Item = (String, ExportKind, u32)> {
        let globals = self.globals.iter().zip(0..).skip(self.globals_imported);
        let globals = globals.filter(|(global, _)| global.mutable).map(|(_, index)| {
            let name = format!("{INSTRUMENTED}global_{index}");
            (name, ExportKind::Global, index)
        });
        let memories = (0..self.memories.len()).filter_map(|place| {
            let index = u32::try_from(self.memories_imported.len() + place).ok()?;
            Some((format!("{INSTRUMENTED}memory_{place}"), ExportKind::Memory, index))
        });
        globals.chain(memories)
    }

    /// The type by which a component imports the code. Of what instrumentation exports it has what this module has been given.
    pub(crate) fn ty(&self) -> Option<ModuleType> {
        let mut ty = ModuleType::new();
        for function in &self.types {
            let function = RoundtripReencoder.func_type(function.clone()).ok()?;
            ty.ty().func_type(&function);
        }
        for import in &self.imports {
            let entity = RoundtripReencoder.entity_type(import.ty).ok()?;
            ty.import(import.module, import.name, entity);
        }
        for (name, memory) in self.memory_imports() {
            ty.import(STATE, &name, memory);
        }
        for export in &self.exports {
            let index = export.index as usize;
            let entity = match export.kind {
                ExternalKind::Func => EntityType::Function(*self.functions.get(index)?),
                ExternalKind::Table => {
                    let table = RoundtripReencoder.table_type(*self.tables.get(index)?);
                    EntityType::Table(table.ok()?)
                }
                ExternalKind::Global => {
                    let global = RoundtripReencoder.global_type(*self.globals.get(index)?);
                    EntityType::Global(global.ok()?)
                }
                ExternalKind::Memory => match index.checked_sub(self.memories_imported.len()) {
                    Some(own) => self.memory_imports().nth(own)?.1,
                    None => EntityType::Memory(memory_type(*self.memories_imported.get(index)?)),
                },
                ExternalKind::FuncExact | ExternalKind::Tag => return None,
            };
            ty.export(export.name, entity);
        }
        Some(ty)
    }
}

fn memory_type(memory: MemoryType) -> wasm_encoder::MemoryType {
    wasm_encoder::MemoryType {
        minimum: memory.initial,
        maximum: memory.maximum,
        memory64: false,
        shared: false,
        page_size_log2: None,
    }
}

/// A memory that may be imported from another module without a difference to its code.
fn plain(memory: MemoryType) -> Option<MemoryType> {
    let is_plain = !memory.memory64 && !memory.shared && memory.page_size_log2.is_none();
    is_plain.then_some(memory)
}

/// Returns true if a section comes after the import section.
fn is_behind_imports(id: u8) -> bool {
    id > u8::from(SectionId::Import)
}
