//! The interfaces parse, and a released version of them never changes.

use std::collections::BTreeSet;
use std::path::Path;

use wit_parser::{Resolve, TypeDefKind, WorldItem};

use crate::sandbox::root;

fn package(dir: &Path) -> Resolve {
    let mut resolve = Resolve::default();
    resolve
        .push_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error:#}", dir.display()));
    resolve
}

/// Each interface's functions and types, and each world's items, as text that can be compared.
fn surface(resolve: &Resolve) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.clone().unwrap_or_default();
        for (function, declaration) in &interface.functions {
            lines.insert(format!(
                "{name}.{function} of {} parameters",
                declaration.params.len()
            ));
        }
        for (type_name, id) in &interface.types {
            lines.insert(format!(
                "{name} type {type_name} {}",
                shape(&resolve.types[*id].kind)
            ));
        }
    }
    for (_, world) in &resolve.worlds {
        for (key, item) in world.imports.iter().chain(&world.exports) {
            if let WorldItem::Interface { .. } = item {
                lines.insert(format!("world {} {}", world.name, resolve.name_world_key(key)));
            }
        }
    }
    lines
}

/// The names that a type has in it: a new field or case breaks every plugin that was compiled before.
fn shape(kind: &TypeDefKind) -> String {
    let names: Vec<&str> = match kind {
        TypeDefKind::Record(record) => record.fields.iter().map(|field| field.name.as_str()).collect(),
        TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| case.name.as_str()).collect(),
        TypeDefKind::Enum(cases) => cases.cases.iter().map(|case| case.name.as_str()).collect(),
        _ => Vec::new(),
    };
    format!("{} {}", kind.as_str(), names.join(" "))
}

#[test]
fn the_interfaces_parse_and_have_every_stage() {
    let lines = surface(&package(&root().join("wit")));
    for stage in [
        "lifecycle",
        "validator",
        "templater",
        "postprocessor",
        "stream-postprocessor",
        "observer",
    ] {
        let expected = format!("world full-plugin selvedge:plugin/{stage}@0.1.0");
        assert!(lines.contains(&expected), "{expected} is not among {lines:#?}");
    }
}

#[test]
fn a_frozen_version_is_still_there() {
    let frozen = root().join("wit/frozen");
    let Ok(versions) = std::fs::read_dir(&frozen) else {
        return;
    };
    let now = surface(&package(&root().join("wit")));
    for version in versions.flatten() {
        let then = surface(&package(&version.path()));
        let lost: Vec<_> = then.difference(&now).collect();
        assert!(
            lost.is_empty(),
            "{}: changed or gone: {lost:#?}",
            version.path().display()
        );
    }
}
