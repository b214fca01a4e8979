//! Reads a component without running it: validity, stages, imports, manifest, and what forbids a snapshot.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wasmparser::{
    BinaryReaderError, ComponentExternalKind, Encoding, Parser, Payload, Validator, WasmFeatures,
};

use crate::error::LoadError;
use crate::link::{Need, need};
use crate::manifest::{self, Manifest};
use crate::mutation;
use crate::value::{NAME_LEN_SHOWN, safe};

/// A component that was read and found to be a plugin.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// The component's bytes.
    pub bytes: Bytes,
    /// SHA-256 of the bytes.
    pub digest: [u8; 32],
    /// What it says of itself.
    pub manifest: Manifest,
    /// The stages that it exports, in the order in which a request meets them.
    pub stages: Vec<Stage>,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The interfaces that it exports.
    pub exports: Vec<String>,
    /// How much of it there is to compile.
    pub code: Code,
    /// Why its memory cannot be snapshotted; none where it can.
    pub mutation: Option<String>,
}

/// What a compiler has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Code {
    /// Functions of all its modules.
    pub functions: usize,
    /// Bytes of the longest one.
    pub function_size: usize,
    /// Memories that its modules define.
    pub memories: usize,
}

impl Code {
    /// Checks it against the limits.
    ///
    /// # Errors
    ///
    /// What there is too much of.
    pub(crate) fn check(self, functions_max: usize, function_size_max: usize) -> Result<(), LoadError> {
        if self.functions > functions_max {
            return Err(LoadError::TooMuchCode {
                what: format!("it has {} functions, more than {functions_max}", self.functions),
                key: "sandbox.functions_max",
            });
        }
        if self.function_size > function_size_max {
            return Err(LoadError::TooMuchCode {
                what: format!(
                    "a function of it has {} bytes, more than {function_size_max}",
                    self.function_size
                ),
                key: "sandbox.function_size_max",
            });
        }
        Ok(())
    }
}

/// A place in the life of a request where a plugin is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "DESIGN's names")]
pub enum Stage {
    Validate,
    Template,
    Decode,
    Postprocess,
    Stream,
    Observe,
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::Validate,
        Self::Template,
        Self::Decode,
        Self::Postprocess,
        Self::Stream,
        Self::Observe,
    ];

    /// The interface that a plugin of this stage exports.
    #[must_use]
    pub fn interface(self) -> &'static str {
        match self {
            Self::Validate => "selvedge:plugin/validator",
            Self::Template => "selvedge:plugin/templater",
            Self::Decode => "selvedge:plugin/decoder",
            Self::Postprocess => "selvedge:plugin/postprocessor",
            Self::Stream => "selvedge:plugin/stream-postprocessor",
            Self::Observe => "selvedge:plugin/observer",
        }
    }

    /// The stage's name in configuration, log and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Template => "template",
            Self::Decode => "decode",
            Self::Postprocess => "postprocess",
            Self::Stream => "stream",
            Self::Observe => "observe",
        }
    }
}

impl Plugin {
    /// Reads a component. Nothing of it runs and nothing is compiled.
    ///
    /// # Errors
    ///
    /// Where the bytes are too long, no valid component, or no plugin.
    pub fn read(name: &str, bytes: Bytes, component_size_max: usize) -> Result<Self, LoadError> {
        if bytes.len() > component_size_max {
            return Err(LoadError::TooLarge {
                len: bytes.len(),
                max: component_size_max,
            });
        }
        check_kind(&bytes)?;
        // Before it is validated, which takes a time that grows with the square of the depth.
        let surface = Surface::read(&bytes)?;
        let features = WasmFeatures::default();
        Validator::new_with_features(features)
            .validate_all(&bytes)
            .map_err(damaged)?;
        let plugin = Self {
            name: name.into(),
            digest: Sha256::digest(&bytes).into(),
            manifest: surface.manifest()?,
            stages: Stage::ALL
                .into_iter()
                .filter(|stage| surface.has_export(stage.interface()))
                .collect(),
            mutation: mutation::find(&bytes).map_err(|error| LoadError::Compile(error.to_string()))?,
            bytes,
            code: surface.code,
            imports: surface.imports,
            exports: surface.exports,
        };
        if plugin.stages.is_empty() {
            return Err(LoadError::NoStage {
                exports: list(&plugin.exports),
            });
        }
        if !plugin
            .exports
            .iter()
            .any(|export| unversioned(export) == "selvedge:plugin/lifecycle")
        {
            return Err(LoadError::NoLifecycle);
        }
        Ok(plugin)
    }

    /// What each import takes of an operator, in the order of the imports.
    pub fn needs(&self) -> impl Iterator<Item = (&str, Need)> {
        self.imports.iter().map(|import| (import.as_str(), need(import)))
    }

    /// Whether it works on the tokens of the endpoint's model.
    #[must_use]
    pub fn needs_vocabulary(&self) -> bool {
        let reads = |import: &String| unversioned(import) == "selvedge:plugin/vocabulary";
        self.stages.contains(&Stage::Decode) || self.imports.iter().any(reads)
    }

    /// The digest in hexadecimal.
    #[must_use]
    pub fn digest_hex(&self) -> String {
        hex(&self.digest)
    }
}

/// An interface's name without its version.
pub(crate) fn unversioned(interface: &str) -> &str {
    interface.split('@').next().unwrap_or(interface)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{}`", safe(name, NAME_LEN_SHOWN)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Bytes of what the validator says, which cites names.
const WHY_LEN_MAX: usize = 1 << 10;

fn damaged(error: BinaryReaderError) -> LoadError {
    let why = safe(&error.to_string(), WHY_LEN_MAX);
    not_a_component(format!("the component is damaged: {why}"), "build it again")
}

fn not_a_component(what: String, remedy: &'static str) -> LoadError {
    LoadError::NotAComponent { what, remedy }
}

/// Tells apart what is handed in by mistake, before the validator says it in its own words.
fn check_kind(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.starts_with(b"\x7fELF") {
        let what = "the file is native or precompiled code, not a component".to_owned();
        return Err(not_a_component(
            what,
            "give the .wasm; the node compiles it itself",
        ));
    }
    if !bytes.starts_with(b"\0asm") {
        let what = "the file is not WebAssembly".to_owned();
        return Err(not_a_component(
            what,
            "give a component, e.g. one built for wasm32-wasip2",
        ));
    }
    if Parser::is_core_wasm(bytes) {
        let what = "the file is a core module, not a component".to_owned();
        return Err(not_a_component(
            what,
            "build it for wasm32-wasip2, or encode it with `wasm-tools component new`",
        ));
    }
    if !Parser::is_component(bytes) {
        let what = "the file is neither a component nor a module of a known version".to_owned();
        return Err(not_a_component(what, "build it again"));
    }
    Ok(())
}

/// How deep components and modules may lie in each other; what toolchains compose has a depth of three or four.
const DEPTH_MAX: usize = 32;

/// Imports, exports and custom sections of the outermost component.
#[derive(Default)]
struct Surface {
    imports: Vec<String>,
    exports: Vec<String>,
    manifests: Vec<Vec<u8>>,
    code: Code,
}

impl Surface {
    fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        let mut surface = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(damaged)? {
                Payload::Version {
                    encoding: Encoding::Component | Encoding::Module,
                    ..
                } if depth == DEPTH_MAX => {
                    let what = format!("components nest in it more than {DEPTH_MAX} deep");
                    return Err(not_a_component(what, "flatten it"));
                }
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::CodeSectionEntry(body) => {
                    let size = body.range().len();
                    surface.code.functions += 1;
                    surface.code.function_size = surface.code.function_size.max(size);
                }
                Payload::MemorySection(section) => surface.code.memories += section.count() as usize,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        surface
                            .imports
                            .push(import.map_err(damaged)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let export = export.map_err(damaged)?;
                        if export.kind == ComponentExternalKind::Instance {
                            surface.exports.push(export.name.name.to_owned());
                        }
                    }
                }
                Payload::CustomSection(section) if depth == 1 && section.name() == manifest::SECTION => {
                    surface.manifests.push(section.data().to_vec());
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    fn has_export(&self, interface: &str) -> bool {
        let versioned = format!("{interface}@0.1.");
        self.exports.iter().any(|export| export.starts_with(&versioned))
    }

    fn manifest(&self) -> Result<Manifest, LoadError> {
        match self.manifests.as_slice() {
            [] => Ok(Manifest::default()),
            [one] if one.len() <= manifest::LEN_MAX => Manifest::read(one).map_err(LoadError::Manifest),
            [one] => Err(LoadError::Manifest(format!(
                "{} bytes, at most {}",
                one.len(),
                manifest::LEN_MAX
            ))),
            many => Err(LoadError::Manifest(format!("there are {} of them", many.len()))),
        }
    }
}
