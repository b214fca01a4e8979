//! From text to sections, strictly: an unknown key is an error that names the nearest known one.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{
    Admin, Auth, CallerLimits, ConfigError, Endpoint, Model, Observe, Plugin, Runtime, Sandbox, Server,
    Spooling, State, Telemetry,
};

/// The file as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sections {
    #[serde(default)]
    pub(super) server: Server,
    pub(super) auth: Option<Auth>,
    pub(super) admin: Option<Admin>,
    #[serde(default)]
    pub(super) limits: CallerLimits,
    #[serde(default)]
    pub(super) state: State,
    #[serde(default)]
    pub(super) runtime: Runtime,
    #[serde(default)]
    pub(super) sandbox: Sandbox,
    #[serde(default)]
    pub(super) observe: Observe,
    #[serde(default)]
    pub(super) telemetry: Telemetry,
    #[serde(default)]
    pub(super) uploads: Spooling,
    #[serde(default)]
    pub(super) models: BTreeMap<String, Model>,
    #[serde(default)]
    pub(super) plugins: BTreeMap<String, Plugin>,
    #[serde(default)]
    pub(super) endpoints: BTreeMap<String, Endpoint>,
}

/// Reads the sections, or says what is wrong and where.
pub(super) fn sections(file: &Path, text: &str) -> Result<Sections, ConfigError> {
    let deserializer = toml::Deserializer::parse(text).map_err(|error| describe(file, text, "", &error))?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "" } else { &path };
        describe(file, text, path, error.inner())
    })
}

fn describe(file: &Path, text: &str, path: &str, error: &toml::de::Error) -> ConfigError {
    let (key, message) = match unknown_field(error.message()) {
        Some((field, known)) => {
            // The path already ends with the key that is not known.
            let key = if path.ends_with(&field) {
                path.to_owned()
            } else {
                join(path, &field)
            };
            (key, unknown_key(&known, &field))
        }
        None => (path.to_owned(), error.message().to_owned()),
    };
    let place = error.span().map(|span| place(text, span.start));
    ConfigError {
        file: file.to_owned(),
        place,
        key,
        message,
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// The field and the known ones of serde's "unknown field `a`, expected one of `b`, `c`".
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (field, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((field.to_owned(), known))
}

fn unknown_key(known: &[String], field: &str) -> String {
    let list = known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match nearest(known.iter().map(String::as_str), field) {
        Some(near) => format!("there is no such key; did you mean `{near}`? Known here: {list}"),
        None => format!("there is no such key; known here: {list}"),
    }
}

/// The known name that is most like one that is not known, if any is like it at all.
pub(super) fn nearest<'a>(known: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let scored = known.map(|known| (strsim::jaro_winkler(known, name), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then_some(best.1)
}

/// Line and column of a byte, both from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
