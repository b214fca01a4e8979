//! Golden cases of a plugin: a folder each, with a configuration, what the plugin is given, and what it must answer.
//!
//! ```text
//! config.json    the attachment's configuration; {} where there is none
//! expected.json  what it must come to: an answer, {"error": ".."}, or {"failure": CODE} where only the error's code matters
//! allow.json     what the plugin is granted in it; read by `selvedge plugin`, not here
//! stage.json     "validate", the one stage that is called, of a plugin of several
//! request.json   the request's body as it is, also where it is not JSON; {} where there is none
//! headers.json   {"x-tenant": "a"}, the headers of the request
//! parts.json     the parts of a form, [{"name", "file_name", "media_type", "text", "times"}]
//! labels.json    for a post-processor: the labels of each input, [[["spam", 0.9]]]
//! text.json      or the texts that were generated, ["a", "b"], with finish.json, "stop" or "length"
//! scores.json    or one row of a tensor of float32, [0.1, 0.9], under the name in output.json
//! chunks.json    for a stream: pushes, each a list of [choice, text], or {"pause_ms": 250} between them
//! events.json    for an observer: what of each event is not as usual
//! ```
//!
//! A plugin is called in the sandbox that serves. `run` makes the answer, `given` reads what it is given, `prepared` has it ready
//! for who calls many times. A plugin of one stage answers for that stage, and so does one of several where `stage.json` names
//! which. Without it, that one is called at each stage for which the case has what it needs: as an observer where there is
//! `events.json`, on a stream where there is `chunks.json`, else at the others in order; then it answers by their names.
//!
//! Nobody waits for a pause: the plugin's clocks go ahead by it ([`Clock`]), and its limits are of each call, as on a node.

mod clock;
mod given;
mod prepared;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use clock::Clock;
pub use prepared::Prepared;
pub use run::Found;

use crate::inspect::{Plugin, Stage};

/// The files that a case may have.
const FILES: [&str; 14] = [
    "allow.json",
    "stage.json",
    "config.json",
    "expected.json",
    "request.json",
    "headers.json",
    "parts.json",
    "labels.json",
    "text.json",
    "finish.json",
    "scores.json",
    "output.json",
    "chunks.json",
    "events.json",
];

/// A case: its folder, or files of any name in place of the folder's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    dir: PathBuf,
    instead: BTreeMap<String, PathBuf>,
}

/// Why a case cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file cannot be read, or is not as it must be.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Case {
    /// The cases of a plugin, in the order of their names.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be read.
    pub fn all(dir: &Path) -> Result<Vec<Self>, CaseError> {
        let unread = |why: std::io::Error| CaseError::File {
            file: dir.to_owned(),
            why: why.to_string(),
        };
        let mut cases = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(unread)? {
            let dir = entry.map_err(unread)?.path();
            if dir.is_dir() {
                cases.push(Self::of(dir, BTreeMap::new())?);
            }
        }
        cases.sort_by(|one, other| one.dir.cmp(&other.dir));
        Ok(cases)
    }

    /// The case in a folder, with some of its files elsewhere: by the name that each would have in the folder. The folder need not
    /// be there.
    ///
    /// # Errors
    ///
    /// Where the folder has a file that no case has, by a slip of the pen.
    pub fn of(dir: PathBuf, instead: BTreeMap<String, PathBuf>) -> Result<Self, CaseError> {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let file = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if file.extension() == Some("json".as_ref()) && !FILES.contains(&name.as_str()) {
                let why = format!("is none of a case's files, which are {}", FILES.join(", "));
                return Err(CaseError::File { file, why });
            }
        }
        Ok(Self { dir, instead })
    }

    /// Where a file of it is, or would be.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        let instead = self.instead.get(name).cloned();
        instead.unwrap_or_else(|| self.dir.join(name))
    }

    /// Whether it has a file.
    fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// Its folder's name.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the plugin is configured with.
    ///
    /// # Errors
    ///
    /// Where the file is not JSON.
    pub fn config(&self) -> Result<Value, CaseError> {
        Ok(self.read("config.json")?.unwrap_or_else(|| json!({})))
    }

    /// The stages that a plugin may be called at: its own, or the one of them that the case names.
    ///
    /// # Errors
    ///
    /// Where it names none that the plugin has.
    pub fn stages(&self, plugin: &Plugin) -> Result<Vec<Stage>, CaseError> {
        let Some(name) = self.read::<String>("stage.json")? else {
            return Ok(plugin.stages.clone());
        };
        let named = plugin.stages.iter().find(|stage| stage.name() == name);
        named.map(|stage| vec![*stage]).ok_or_else(|| {
            let own: Vec<&str> = plugin.stages.iter().map(|stage| stage.name()).collect();
            CaseError::File {
                file: self.file("stage.json"),
                why: format!(
                    "{name:?} is none of the plugin's stages, which are {}",
                    own.join(", ")
                ),
            }
        })
    }

    /// What it must come to; none where nobody has said.
    ///
    /// # Errors
    ///
    /// Where the file is not JSON.
    pub fn expected(&self) -> Result<Option<Value>, CaseError> {
        self.read("expected.json")
    }

    /// Writes what it comes to as what it must.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub fn expect(&self, found: &Value) -> Result<(), CaseError> {
        let file = self.file("expected.json");
        let written = std::fs::write(&file, format!("{found:#}\n"));
        written.map_err(|why| CaseError::File {
            file,
            why: why.to_string(),
        })
    }

    /// A file of it as JSON; none where it is not there.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CaseError> {
        let file = self.file(name);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            // What the folder may lack must be there where it is named.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && !self.instead.contains_key(name) =>
            {
                return Ok(None);
            }
            Err(error) => {
                let why = error.to_string();
                return Err(CaseError::File { file, why });
            }
        };
        let value = serde_json::from_str(&text);
        value.map(Some).map_err(|error| CaseError::File {
            file,
            why: error.to_string(),
        })
    }
}
