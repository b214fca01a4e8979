//! What an endpoint takes of forms, against what the node does.

use super::Findings;
use crate::config::Spooling;
use crate::config::endpoint::Endpoint;

/// Checks what an endpoint says of forms.
pub(super) fn check(name: &str, endpoint: &Endpoint, spooling: &Spooling, found: &mut Findings<'_>) {
    let Some(uploads) = &endpoint.uploads else { return };
    let key = |field: &str| format!("endpoints.{name}.uploads.{field}");
    if endpoint.path.is_none() {
        let message = "forms come to an endpoint's own path, and this one has none: add `path`";
        found.add(format!("endpoints.{name}.uploads"), message);
    }
    if uploads.files.is_empty() || uploads.files.iter().any(String::is_empty) {
        found.add(key("files"), "name the fields that are files, such as [\"file\"]");
    }
    if let Some(file) = uploads.lists.iter().find(|name| uploads.files.contains(name)) {
        let message = format!("`{file}` is one of `files`, and cannot be a plain field");
        found.add(key("lists"), message);
    }
    found.at_least_one(key("file_size_max"), uploads.file_size_max.0);
    found.at_least_one(key("size_max"), uploads.size_max.0);
    found.at_least_one(key("parts_max"), uploads.parts_max);
    let bounds = [
        ("bytes_max", spooling.bytes_max),
        ("caller_bytes_max", spooling.caller_bytes_max),
    ];
    for (bound, max) in bounds {
        if uploads.size_max > max {
            let message = format!("must be at most `uploads.{bound}`, {max}: a longer form would never fit");
            found.add(key("size_max"), message);
        }
    }
    if uploads.file_size_max > uploads.size_max {
        let message = format!("must be at most `uploads.size_max`, {}", uploads.size_max);
        found.add(key("file_size_max"), message);
    }
}
