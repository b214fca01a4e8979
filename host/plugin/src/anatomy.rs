//! What a component is made of: its modules, how large each kind of thing in them is, and which tools made it. Nothing runs.

use serde::Serialize;
use wasmparser::{Encoding, KnownCustom, Parser, Payload};

/// Sizes in bytes, over all modules of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Anatomy {
    /// Core modules: the plugin's own, and the small ones that its toolchain adds.
    pub modules: usize,
    /// Functions with code.
    pub functions: usize,
    /// Their code.
    pub code: usize,
    /// What memories begin with.
    pub data: usize,
    /// Custom sections with names of functions, by which a trap's place can be told.
    pub names: usize,
    /// Custom sections with debug information, by which its line can be told.
    pub debug: usize,
    /// All other custom sections.
    pub custom: usize,
    /// Memories at their start.
    pub memory_min: u64,
    /// The tools that made it, each once: what it did (`language`, `processed-by`, `sdk`), its name, its version.
    pub tools: Vec<(String, String, String)>,
}

/// Bytes of a page of memory where a module says nothing else.
const PAGE_LEN: u64 = 64 << 10;

impl Anatomy {
    /// Looks a component over, as far as it can be read.
    #[must_use]
    pub fn of(component: &[u8]) -> Self {
        let mut anatomy = Self::default();
        for payload in Parser::new(0).parse_all(component) {
            let Ok(payload) = payload else { break };
            anatomy.add(&payload);
        }
        anatomy
    }

    fn add(&mut self, payload: &Payload<'_>) {
        match payload {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } => self.modules += 1,
            Payload::CodeSectionStart { count, range, .. } => {
                self.functions += *count as usize;
                self.code += range.len();
            }
            Payload::DataSection(section) => self.data += section.range().len(),
            Payload::MemorySection(section) => {
                for memory in section.clone().into_iter().flatten() {
                    let page_len = memory.page_size_log2.map_or(PAGE_LEN, |log| 1 << log);
                    self.memory_min += memory.initial.saturating_mul(page_len);
                }
            }
            Payload::CustomSection(section) => {
                let len = section.data().len();
                match section.name() {
                    "name" | "component-name" => self.names += len,
                    name if name.starts_with(".debug_") => self.debug += len,
                    _ => self.custom += len,
                }
                if let KnownCustom::Producers(fields) = section.as_known() {
                    self.add_tools(fields);
                }
            }
            _ => {}
        }
    }

    fn add_tools(&mut self, fields: wasmparser::ProducersSectionReader<'_>) {
        for field in fields.into_iter().flatten() {
            for tool in field.values.into_iter().flatten() {
                let tool = (
                    field.name.to_owned(),
                    tool.name.to_owned(),
                    tool.version.to_owned(),
                );
                if !self.tools.contains(&tool) {
                    self.tools.push(tool);
                }
            }
        }
    }
}
