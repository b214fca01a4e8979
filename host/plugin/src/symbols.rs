//! Where in a plugin's source a trap was: names that the component has, and lines where it has been built with them.
//!
//! wasmtime could look lines up itself, and would then keep every plugin's debug information with its code; only authors want
//! it, so it is read from the component here, when it is asked for.

use std::collections::HashMap;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use addr2line::{Context, demangle_auto};
use wasmparser::{Parser, Payload, TypeRef};

/// One function of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its name; none where the component has no names.
    pub function: Option<String>,
    /// Where in the source it was, as `src/lib.rs:12:5`; none until [`locate`] finds it.
    pub at: Option<String>,
    /// The function's index in its module.
    pub(crate) index: u32,
    /// Bytes from the function's begin.
    pub(crate) offset: Option<usize>,
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The module of a component that has debug information.
struct Module<'a> {
    sections: HashMap<&'a str, &'a [u8]>,
    /// Where its code begins; lines are found by the distance from there.
    code: usize,
    /// Functions that it imports, which come first.
    imported: u32,
    /// Where each of its own functions begins.
    functions: Vec<usize>,
}

/// Adds to each frame where in the source it was, as far as the component says so; functions that were inlined become frames of
/// their own.
#[must_use]
pub fn locate(component: &[u8], mut frames: Vec<Frame>) -> Vec<Frame> {
    for frame in &mut frames {
        let name = frame.function.take();
        frame.function = name.map(|name| demangle_auto(name.into(), None).into_owned());
    }
    let Some(module) = Module::read(component).ok().flatten() else {
        return frames;
    };
    let section = |id: SectionId| -> Result<Slice<'_>, addr2line::gimli::Error> {
        let data = module.sections.get(id.name()).copied().unwrap_or_default();
        Ok(EndianSlice::new(data, LittleEndian))
    };
    let Ok(context) = Dwarf::load(section).and_then(Context::from_dwarf) else {
        return frames;
    };
    frames
        .into_iter()
        .flat_map(|frame| module.inlined(&context, frame))
        .collect()
}

impl<'a> Module<'a> {
    /// The first module with debug information, if one has any.
    fn read(component: &'a [u8]) -> Result<Option<Self>, wasmparser::BinaryReaderError> {
        let mut module = Self::new();
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::Version { .. } => module = Self::new(),
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        module.imported +=
                            u32::from(matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                    }
                }
                Payload::CodeSectionStart { range, .. } => module.code = range.start,
                Payload::CodeSectionEntry(body) => module.functions.push(body.range().start),
                Payload::CustomSection(section) if section.name().starts_with(".debug_") => {
                    module.sections.insert(section.name(), section.data());
                }
                Payload::End(_) if module.sections.contains_key(".debug_line") => return Ok(Some(module)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn new() -> Self {
        Self {
            sections: HashMap::new(),
            code: 0,
            imported: 0,
            functions: Vec::new(),
        }
    }

    /// A frame, and before it what was inlined into it.
    fn inlined(&self, context: &Context<Slice<'a>>, frame: Frame) -> Vec<Frame> {
        let own = frame.index.checked_sub(self.imported);
        let begin = own.and_then(|own| self.functions.get(own as usize));
        let (Some(begin), Some(offset)) = (begin, frame.offset) else {
            return vec![frame];
        };
        let address = (begin + offset - self.code) as u64;
        let Ok(mut found) = context.find_frames(address).skip_all_loads() else {
            return vec![frame];
        };
        let mut frames = Vec::new();
        while let Ok(Some(inner)) = found.next() {
            let at = inner.location.as_ref().and_then(|place| {
                let (file, line) = (place.file?, place.line?);
                Some(format!("{file}:{line}:{}", place.column.unwrap_or_default()))
            });
            let name = inner
                .function
                .as_ref()
                .and_then(|function| function.demangle().ok());
            frames.push(Frame {
                function: name.map(|name| name.into_owned()),
                at,
                ..frame.clone()
            });
        }
        // The outermost is the function itself, of which the component's own name is the better one.
        match frames.last_mut() {
            Some(outermost) => {
                outermost.function = frame.function.clone().or(outermost.function.take());
                frames
            }
            None => vec![frame],
        }
    }
}
