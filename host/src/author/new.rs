//! A new plugin: a project that builds and passes its tests as it stands. Its files are part of the binary: templates of its stages
//! (`part`, and the sources in `rust` and `script`), the interfaces, and what its language needs.

mod part;
mod rust;
mod script;

use std::path::{Path, PathBuf};

use selvedge_plugin::Stage;
use selvedge_plugin::value::{NAME_LEN_SHOWN, safe};

use part::Part;

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

/// Why there is no new plugin.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The name cannot be one of a crate.
    #[error(
        "`{}` is no name for a plugin: lower-case letters, digits and `-`, beginning with a letter, at most 64",
        safe(.0, NAME_LEN_SHOWN)
    )]
    Name(String),
    /// The stage is experimental.
    #[error("there is no template for the stage `{}`, which is experimental; begin with a copy of plugins/decode-regex", .0.name())]
    NoTemplate(Stage),
    /// A stage is named more than once.
    #[error("the stage `{}` is named twice; a plugin has each once", .0.name())]
    Twice(Stage),
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

/// A project that is being made.
struct Project<'a> {
    name: &'a str,
    dir: PathBuf,
    /// What its stages bring, in the order in which a request meets them.
    parts: Vec<Part>,
}

/// Makes a plugin of one stage or several in a folder of its name.
///
/// # Errors
///
/// Where the name is none, a stage is named twice or has no template, the folder is there, or a file cannot be written.
pub fn project(parent: &Path, name: &str, stages: &[Stage], language: Language) -> Result<PathBuf, NewError> {
    check_name(name)?;
    let parts = parts(stages)?;
    let dir = parent.join(name);
    if dir.exists() {
        return Err(NewError::There(dir));
    }
    let project = Project { name, dir, parts };
    project.write_shared()?;
    match language {
        Language::Rust => rust::write(&project)?,
        Language::JavaScript => script::JAVASCRIPT.write(&project)?,
        Language::Python => script::PYTHON.write(&project)?,
    }
    Ok(project.dir)
}

/// Whether a plugin may be called so: it becomes the name of a crate, of a file and of its key in a configuration.
pub(super) fn check_name(name: &str) -> Result<(), NewError> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins || name.len() > 64 || !name.bytes().all(is_part) || name.ends_with('-') {
        return Err(NewError::Name(name.to_owned()));
    }
    Ok(())
}

/// What the stages bring, each once.
fn parts(stages: &[Stage]) -> Result<Vec<Part>, NewError> {
    let mut stages = stages.to_vec();
    stages.sort();
    if let Some(twice) = stages.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(NewError::Twice(twice[0]));
    }
    let parts = stages
        .into_iter()
        .map(|stage| Part::of(stage).ok_or(NewError::NoTemplate(stage)));
    parts.collect()
}

impl Project<'_> {
    /// What is the same in each language: the interfaces, the manifest and the cases.
    fn write_shared(&self) -> Result<(), NewError> {
        for (place, text) in INTERFACES {
            self.write(place, text)?;
        }
        self.write("manifest.json", &part::manifest(&self.parts))?;
        for part in &self.parts {
            for (place, text) in part.cases {
                self.write(&format!("cases/{place}"), text)?;
                // Where a plugin has several stages, a case of one says so.
                let folder = place.strip_suffix("config.json");
                if let Some(folder) = folder.filter(|_| self.parts.len() > 1) {
                    let stage = format!("\"{}\"\n", part.stage.name());
                    self.write(&format!("cases/{folder}stage.json"), &stage)?;
                }
            }
        }
        Ok(())
    }

    /// Writes a file of it, with what is this project's in the places for it.
    fn write(&self, place: &str, text: &str) -> Result<(), NewError> {
        let text = text
            .replace("@NAME@", self.name)
            .replace("@ABOUT@", &part::about(&self.parts))
            .replace("@MODEL@", &part::model(&self.parts))
            .replace("@CONFIG@", &part::config(&self.parts));
        let file = self.dir.join(place);
        let folder = file.parent().unwrap_or(&self.dir);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
        written.map_err(|why| NewError::Unwritten { file, why })
    }
}

#[cfg(test)]
mod tests {
    use selvedge_plugin::Stage;

    use super::{NewError, parts};

    #[test]
    fn stages_are_taken_once_each_in_the_order_of_a_request() {
        let stages = |named: &[Stage]| {
            let parts = parts(named)?;
            Ok::<Vec<Stage>, NewError>(parts.iter().map(|part| part.stage).collect())
        };
        let ordered = stages(&[Stage::Observe, Stage::Validate]).expect("there are templates");
        assert_eq!(ordered, [Stage::Validate, Stage::Observe]);
        let twice = stages(&[Stage::Stream, Stage::Observe, Stage::Stream]);
        assert!(matches!(twice, Err(NewError::Twice(Stage::Stream))), "{twice:?}");
        let none = stages(&[Stage::Validate, Stage::Decode]);
        assert!(
            matches!(none, Err(NewError::NoTemplate(Stage::Decode))),
            "{none:?}"
        );
    }
}
