//! A new plugin: a project that builds and passes its tests as it stands. Its files are part of the binary: a template of its stage,
//! the interfaces, and what its language needs.

mod script;

use std::path::{Path, PathBuf};

use selvedge_plugin::Stage;

/// A file of a project: where it is put, and its text.
type File = (&'static str, &'static str);

/// The interfaces, which every project has a copy of.
const INTERFACES: [File; 5] = [
    ("wit/imports.wit", include_str!("../../../wit/imports.wit")),
    ("wit/stages.wit", include_str!("../../../wit/stages.wit")),
    ("wit/types.wit", include_str!("../../../wit/types.wit")),
    ("wit/unstable.wit", include_str!("../../../wit/unstable.wit")),
    ("wit/worlds.wit", include_str!("../../../wit/worlds.wit")),
];

/// What every project in Rust has, the SDK among it.
const RUST: [File; 8] = [
    ("Cargo.toml", include_str!("template/Cargo.toml")),
    (".gitignore", include_str!("template/gitignore")),
    ("README.md", include_str!("template/README.md")),
    ("sdk/Cargo.toml", include_str!("../../../plugins/sdk/Cargo.toml")),
    ("sdk/src/lib.rs", include_str!("../../../plugins/sdk/src/lib.rs")),
    (
        "sdk/src/arena.rs",
        include_str!("../../../plugins/sdk/src/arena.rs"),
    ),
    (
        "sdk/src/configured.rs",
        include_str!("../../../plugins/sdk/src/configured.rs"),
    ),
    (
        "sdk/src/http.rs",
        include_str!("../../../plugins/sdk/src/http.rs"),
    ),
];

/// What every project in JavaScript has.
const JAVASCRIPT: [File; 5] = [
    ("package.json", include_str!("template/javascript/package.json")),
    (".gitignore", include_str!("template/javascript/gitignore")),
    ("README.md", include_str!("template/javascript/README.md")),
    ("jsconfig.json", include_str!("template/javascript/jsconfig.json")),
    ("selvedge.d.ts", include_str!("template/javascript/selvedge.d.ts")),
];

/// What every project in Python has.
const PYTHON: [File; 5] = [
    (
        "requirements.txt",
        include_str!("template/python/requirements.txt"),
    ),
    (".gitignore", include_str!("template/python/gitignore")),
    ("README.md", include_str!("template/python/README.md")),
    (
        "pyrightconfig.json",
        include_str!("template/python/pyrightconfig.json"),
    ),
    ("src/selvedge.py", include_str!("template/python/selvedge.py")),
];

/// A language that there are templates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust, for `wasm32-wasip2`.
    Rust,
    /// JavaScript, on QuickJS.
    JavaScript,
    /// Python, on CPython.
    Python,
}

/// The SDK's bindings, whose path to the interfaces is another in a project of its own.
const BINDINGS: &str = include_str!("../../../plugins/sdk/src/bindings.rs");

/// What a stage's template is.
struct Template {
    /// What the plugin does, after the README's colon.
    about: &'static str,
    /// Its core's name.
    core: &'static str,
    /// A model that it would go with, and its configuration, in the README.
    model: &'static str,
    config: &'static str,
    files: &'static [File],
}

/// A stage's files, by their names in its folder.
macro_rules! files {
    ($stage:literal; $($name:literal)+) => {
        &[$(($name, include_str!(concat!("template/", $stage, "/", $name)))),+]
    };
}

fn template(stage: Stage) -> Option<Template> {
    Some(match stage {
        Stage::Validate => Template {
            about: "refuses texts that are too long.",
            core: "rule",
            model: "spam",
            config: "{ length_max = 500 }",
            files: files!("validate"; "manifest.json" "lib.rs" "core.rs"
                "cases/short/config.json" "cases/short/request.json" "cases/short/expected.json"
                "cases/long/config.json" "cases/long/request.json" "cases/long/expected.json"),
        },
        Stage::Template => Template {
            about: "puts an instruction before the text.",
            core: "prompt",
            model: "smollm2",
            config: "{ instruction = \"Summarise the text.\" }",
            files: files!("template"; "manifest.json" "lib.rs" "core.rs"
                "cases/text/config.json" "cases/text/request.json" "cases/text/expected.json"
                "cases/no-text/config.json" "cases/no-text/request.json" "cases/no-text/expected.json"),
        },
        Stage::Postprocess => Template {
            about: "answers with the best label, and whether the model was sure of it.",
            core: "verdict",
            model: "spam",
            config: "{ threshold = 0.9 }",
            files: files!("postprocess"; "manifest.json" "lib.rs" "core.rs"
                "cases/sure/config.json" "cases/sure/labels.json" "cases/sure/expected.json"
                "cases/unsure/config.json" "cases/unsure/labels.json" "cases/unsure/expected.json"),
        },
        Stage::Stream => Template {
            about: "writes generated text in capital letters.",
            core: "shout",
            model: "smollm2",
            config: "{}",
            files: files!("stream"; "manifest.json" "lib.rs" "core.rs"
                "cases/all/config.json" "cases/all/chunks.json" "cases/all/expected.json"
                "cases/only/config.json" "cases/only/chunks.json" "cases/only/expected.json"),
        },
        Stage::Observe => Template {
            about: "counts the requests that took too long.",
            core: "watch",
            model: "spam",
            config: "{ slow_ms = 500 }",
            files: files!("observe"; "manifest.json" "lib.rs" "core.rs"
                "cases/slow/config.json" "cases/slow/events.json" "cases/slow/expected.json"),
        },
        Stage::Decode => return None,
    })
}

/// Why there is no new plugin.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The name cannot be one of a crate.
    #[error(
        "`{0}` is no name for a plugin: lower-case letters, digits and `-`, beginning with a letter, at most 64"
    )]
    Name(String),
    /// The stage is experimental.
    #[error("there is no template for the stage `{}`, which is experimental; begin with a copy of plugins/decode-regex", .0.name())]
    NoTemplate(Stage),
    /// The folder is there.
    #[error("{0} is there already; take another name, or remove it")]
    There(PathBuf),
    /// A file cannot be written.
    #[error("{file} cannot be written: {why}")]
    Unwritten {
        /// The file.
        file: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

/// Makes a plugin in a folder of its name.
///
/// # Errors
///
/// Where the name is none, the folder is there, or a file cannot be written.
pub fn project(parent: &Path, name: &str, stage: Stage, language: Language) -> Result<PathBuf, NewError> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins || name.len() > 64 || !name.bytes().all(is_part) || name.ends_with('-') {
        return Err(NewError::Name(name.to_owned()));
    }
    let dir = parent.join(name);
    if dir.exists() {
        return Err(NewError::There(dir));
    }
    let template = template(stage).ok_or(NewError::NoTemplate(stage))?;
    let shared: &[File] = match language {
        Language::Rust => &RUST,
        Language::JavaScript => &JAVASCRIPT,
        Language::Python => &PYTHON,
    };
    let neutral = template.files.iter().filter(|(file, _)| !file.ends_with(".rs"));
    let files = shared.iter().chain(&INTERFACES).chain(neutral);
    for (place, text) in files {
        write(&dir, place, &filled(text, name, &template))?;
    }
    match language {
        Language::Rust => rust(&dir, name, &template)?,
        Language::JavaScript => {
            write(&dir, "src/plugin.js", script::javascript(stage))?;
            write(&dir, "wit/plugin.wit", &script::world(stage))?;
        }
        Language::Python => {
            for (place, text) in script::python(stage) {
                write(&dir, place, text)?;
            }
            write(&dir, "wit/plugin.wit", &script::world(stage))?;
        }
    }
    Ok(dir)
}

/// The SDK's bindings and the stage's sources.
fn rust(dir: &Path, name: &str, template: &Template) -> Result<(), NewError> {
    let (first, rest) = BINDINGS.split_once("\"../../wit\"").unwrap_or((BINDINGS, ""));
    let rest = rest.replace("\"../../wit\"", "\"wit\"");
    write(dir, "sdk/src/bindings.rs", &format!("{first}\"../wit\"{rest}"))?;
    for (file, text) in template.files {
        let place = match *file {
            "lib.rs" => "src/lib.rs".to_owned(),
            "core.rs" => format!("src/{}.rs", template.core),
            _ => continue,
        };
        write(dir, &place, &filled(text, name, template))?;
    }
    Ok(())
}

fn filled(text: &str, name: &str, template: &Template) -> String {
    text.replace("@NAME@", name)
        .replace("@ABOUT@", template.about)
        .replace("@CORE@", template.core)
        .replace("@MODEL@", template.model)
        .replace("@CONFIG@", template.config)
}

fn write(dir: &Path, place: &str, text: &str) -> Result<(), NewError> {
    let file = dir.join(place);
    let folder = file.parent().unwrap_or(dir);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
    written.map_err(|why| NewError::Unwritten { file, why })
}
