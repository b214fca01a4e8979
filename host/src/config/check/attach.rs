//! What an endpoint's plugins are configured with, where that stands in a file; and its uploads.

use std::path::Path;

use serde_json::Value;

use super::Findings;
use crate::config::Size;
use crate::config::endpoint::{Attach, Endpoint};

/// Bytes of a configuration's file at most: as much as a plugin's memory bears.
const FILE_LEN_MAX: u64 = 4 << 20;

/// An attachment's whole configuration: its own keys over those of its file.
pub(super) fn config(folder: &Path, attach: &Attach) -> Result<Value, String> {
    let Some(file) = &attach.config_file else {
        return Ok(attach.config.clone());
    };
    let (path, shown) = (folder.join(file), file.display());
    let len = std::fs::metadata(&path).map(|file| file.len());
    if len.is_ok_and(|len| len > FILE_LEN_MAX) {
        return Err(format!("{shown} is longer than {FILE_LEN_MAX} bytes"));
    }
    let text = std::fs::read_to_string(&path).map_err(|why| format!("{shown} cannot be read: {why}"))?;
    let read = match path.extension().and_then(|end| end.to_str()) {
        Some("json") => serde_json::from_str(&text).map_err(|why| why.to_string()),
        Some("toml") => toml::from_str(&text).map_err(|why| why.to_string()),
        _ => return Err(format!("{shown} must end in `.json` or `.toml`")),
    };
    let mut whole: Value = read.map_err(|why| format!("{shown} cannot be read: {why}"))?;
    let fields = whole
        .as_object_mut()
        .ok_or_else(|| format!("{shown} must hold an object"))?;
    if let Value::Object(own) = &attach.config {
        fields.extend(own.clone());
    }
    Ok(whole)
}

/// Checks what an endpoint says of forms.
pub(super) fn check_uploads(name: &str, endpoint: &Endpoint, spooled_max: Size, found: &mut Findings<'_>) {
    let Some(uploads) = &endpoint.uploads else { return };
    let key = |field: &str| format!("endpoints.{name}.uploads.{field}");
    if endpoint.path.is_none() {
        let message = "forms come to an endpoint's own path, and this one has none: add `path`";
        found.add(format!("endpoints.{name}.uploads"), message);
    }
    if uploads.files.is_empty() || uploads.files.iter().any(String::is_empty) {
        found.add(key("files"), "name the fields that are files, such as [\"file\"]");
    }
    found.at_least_one(key("file_size_max"), uploads.file_size_max.0);
    found.at_least_one(key("size_max"), uploads.size_max.0);
    found.at_least_one(key("parts_max"), uploads.parts_max);
    if uploads.size_max > spooled_max {
        let message =
            format!("must be at most `uploads.bytes_max`, {spooled_max}: a longer form would never fit");
        found.add(key("size_max"), message);
    }
    if uploads.file_size_max > uploads.size_max {
        let message = format!("must be at most `uploads.size_max`, {}", uploads.size_max);
        found.add(key("file_size_max"), message);
    }
}
