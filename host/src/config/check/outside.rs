//! What stands outside the file: secrets, and plugins' configurations in files of their own.

use std::path::Path;

use serde_json::Value;

use super::{Findings, folder_of};
use crate::config::Tls;
use crate::config::allow::Secrets;
use crate::config::endpoint::Attach;
use crate::config::read::Sections;
use crate::config::secret::{Secret, credential};

/// Bytes of a configuration's file at most: as much as a plugin's memory bears.
const FILE_LEN_MAX: u64 = 4 << 20;

/// Puts all of it in its place. It is read once, so that what was checked is what serves.
pub(super) fn take_in(sections: &mut Sections, found: &mut Findings<'_>) {
    let folder = folder_of(found.file);
    let mut secret = |key: String, secret: &mut Secret| match secret.find(&folder) {
        Ok(value) => *secret = value,
        Err(why) => found.add(key, why),
    };
    for (name, value) in &mut sections.telemetry.headers {
        secret(format!("telemetry.headers.{name}"), value);
    }
    for (name, model) in &mut sections.models {
        let upstream = model.upstream.as_mut();
        if let Some(value) = upstream.and_then(|upstream| upstream.api_key.as_mut()) {
            secret(format!("models.{name}.upstream.api_key"), value);
        }
    }
    for (name, plugin) in &mut sections.plugins {
        let mut values = std::mem::take(&mut plugin.allow.secrets).values();
        for (of, value) in &mut values {
            secret(format!("plugins.{name}.allow.secrets.{of}"), value);
        }
        plugin.allow.secrets = Secrets::Values(values);
    }
    let admin = sections.admin.as_mut().and_then(|admin| admin.tls.as_mut());
    for (section, tls) in [("server", sections.server.tls.as_mut()), ("admin", admin)] {
        for (key, why) in tls.map(take_in_tls).unwrap_or_default() {
            found.add(format!("{section}.tls.{key}"), why);
        }
    }
    for (name, endpoint) in &mut sections.endpoints {
        for (index, attach) in endpoint.plugins.iter_mut().enumerate() {
            match config(&folder, attach) {
                Ok(whole) => attach.config = whole,
                Err(why) => found.add(format!("endpoints.{name}.plugins[{index}].config_file"), why),
            }
        }
    }
}

/// Puts the paths of credentials in their place; answers what is wrong with which of them.
fn take_in_tls(tls: &mut Tls) -> Vec<(&'static str, String)> {
    let paths = [
        ("cert", Some(&mut tls.cert)),
        ("key", Some(&mut tls.key)),
        ("client_ca", tls.client_ca.as_mut()),
    ];
    let mut wrong = Vec::new();
    for (key, path) in paths {
        let Some(path) = path else { continue };
        match path.to_str().and_then(credential) {
            Some(Ok(found)) => *path = found,
            Some(Err(why)) => wrong.push((key, why)),
            None => {}
        }
    }
    wrong
}

/// An attachment's whole configuration: its own keys over those of its file.
fn config(folder: &Path, attach: &Attach) -> Result<Value, String> {
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
