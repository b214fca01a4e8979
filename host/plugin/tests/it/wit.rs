//! The interfaces parse, and a released version of them never changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wit_parser::{Resolve, TypeDefKind, UnresolvedPackageGroup, WorldItem};

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

/// The folders of the versions that are frozen.
fn frozen() -> Vec<PathBuf> {
    let folder = root().join("wit/frozen");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let versions: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    assert!(!versions.is_empty(), "no version is frozen");
    versions
}

#[test]
fn a_frozen_version_is_still_there() {
    let now = surface(&package(&root().join("wit")));
    for version in frozen() {
        let then = surface(&package(&version));
        let lost: Vec<_> = then.difference(&now).collect();
        assert!(
            lost.is_empty(),
            "{}: changed or gone: {lost:#?}",
            version.display()
        );
    }
}

/// A plugin of each world of a frozen version, put into the place of one of today's: types, parameters and results agree.
#[test]
fn a_plugin_of_a_frozen_version_fits_todays_worlds() {
    for version in frozen() {
        for world in worlds(&version) {
            if let Err(error) = fits(&version, &root().join("wit"), &world) {
                panic!("{}: world {world}: {error:#}", version.display());
            }
        }
    }
}

/// What a plugin could not live with is found: the check is no empty one.
#[test]
fn a_field_more_and_a_result_less_do_not_fit() {
    let now = root().join("wit");
    for (file, old, new) in [
        (
            "types.wit",
            "record label { name: string,",
            "record label { name: string, rank: u32,",
        ),
        (
            "imports.wit",
            "get: func(name: string) -> result<list<u8>, secret-error>;",
            "get: func(name: string) -> list<u8>;",
        ),
        (
            "stages.wit",
            "configure: func(config: string)",
            "configure: func(config: string, more: bool)",
        ),
    ] {
        let changed = tempfile::tempdir().expect("a folder");
        for entry in std::fs::read_dir(&now).expect("the interfaces").flatten() {
            if entry.path().is_file() {
                let text = std::fs::read_to_string(entry.path()).expect("read");
                let is_it = entry.file_name() == file;
                assert!(!is_it || text.contains(old), "{file} has no `{old}`");
                let text = if is_it { text.replace(old, new) } else { text };
                std::fs::write(changed.path().join(entry.file_name()), text).expect("written");
            }
        }
        fits(&now, changed.path(), "full-plugin").expect_err(new);
    }
}

fn worlds(dir: &Path) -> Vec<String> {
    let resolve = package(dir);
    let names = resolve.worlds.iter().map(|(_, world)| world.name.clone());
    names.collect()
}

/// Whether a component of `world` as it was can be used where one is expected as it is.
fn fits(then: &Path, now: &Path, world: &str) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let mut find = |dir: &Path, version: &str| -> anyhow::Result<_> {
        let mut group = UnresolvedPackageGroup::parse_dir(dir)?;
        // Two packages of one name need two versions; the check does not look at them.
        group.main.name.version = Some(version.parse()?);
        let package = resolve.push_group(group)?;
        resolve.select_world(&[package], Some(world))
    };
    let (then, now) = (find(then, "0.0.1")?, find(now, "0.0.2")?);
    wit_component::semver_check(resolve, then, now)
}

#[test]
fn what_is_experimental_is_seen_only_by_those_who_ask_for_it() {
    let mut resolve = Resolve::default();
    resolve.features.insert("decode".to_owned());
    resolve
        .push_dir(root().join("wit"))
        .expect("the interfaces parse");
    let (asked, plain) = (surface(&resolve), surface(&package(&root().join("wit"))));
    for line in
        ["decoder", "vocabulary"].map(|name| format!("world decode-plugin selvedge:plugin/{name}@0.1.0"))
    {
        assert!(
            asked.contains(&line) && !plain.contains(&line),
            "{line} in {asked:#?}"
        );
    }
    assert!(
        plain
            .iter()
            .all(|line| !line.starts_with("decoder") && !line.starts_with("vocabulary"))
    );
}
