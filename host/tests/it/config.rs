//! Golden configurations: each of `tests/config/invalid` is refused with exactly the message beside it.
//!
//! `UPDATE_GOLDEN=1` writes what is found as what is expected.

use std::path::{Path, PathBuf};

use selvedge::config::Config;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(folder);
    let entries = std::fs::read_dir(folder)
        .expect("the folder")
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension() == Some("toml".as_ref()))
        .collect();
    files.sort();
    files
}

#[test]
fn valid_configurations_are_read() {
    let files = files("valid");
    assert!(!files.is_empty());
    for file in files {
        if let Err(errors) = Config::read(&file) {
            panic!("{errors:?}");
        }
    }
}

#[test]
fn invalid_configurations_are_refused_with_their_message() {
    let files = files("invalid");
    assert!(files.len() >= 15, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let name = file.file_name().expect("a name");
        let errors = Config::parse(Path::new(name), &text)
            .err()
            .unwrap_or_else(|| panic!("{name:?} is accepted"));
        let found: String = errors.iter().map(|error| format!("{error}\n")).collect();
        let expected = file.with_extension("err");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&expected, &found).expect("written");
        }
        assert_eq!(
            found,
            std::fs::read_to_string(&expected).unwrap_or_default(),
            "{name:?}"
        );
    }
}

/// The keys that a section knows, as the error about one that it does not know lists them.
fn known_keys(section: &str) -> Vec<String> {
    let errors = Config::parse(Path::new("x.toml"), section).expect_err("the key is not known");
    let message = &errors[0].message;
    let (_, list) = message
        .split_once("nown here: ")
        .unwrap_or_else(|| panic!("{message}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_reference_names_every_key() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/reference.toml");
    let reference = std::fs::read_to_string(reference).expect("the reference");
    let sections = [
        "zzz = 1",
        "[server]\nzzz = 1",
        "[server.tls]\nzzz = 1",
        "[server.cors]\nzzz = 1",
        "[server.unix_socket]\nzzz = 1",
        "[admin]\nzzz = 1",
        "[auth]\nzzz = 1",
        "[auth.jwt]\nzzz = 1",
        "[limits]\nzzz = 1",
        "[limits.key]\nzzz = 1",
        "[endpoints.e.auth]\nzzz = 1",
        "[state]\nzzz = 1",
        "[runtime]\nzzz = 1",
        "[sandbox]\nzzz = 1",
        "[observe]\nzzz = 1",
        "[uploads]\nzzz = 1",
        "[telemetry]\nzzz = 1",
        "[endpoints.e.uploads]\nzzz = 1",
        "[models.m]\nzzz = 1",
        "[models.m.batch]\nzzz = 1",
        "[models.m.generate]\nzzz = 1",
        "[models.m.upstream]\nzzz = 1",
        "[plugins.p]\nzzz = 1",
        "[plugins.p.limits]\nzzz = 1",
        "[plugins.p.allow]\nzzz = 1",
        "[endpoints.e]\nzzz = 1",
        "[endpoints.e]\nplugins = [{ zzz = 1 }]",
    ];
    let mut checked = 0;
    for key in sections.into_iter().flat_map(known_keys) {
        let forms = [
            format!("\n{key} = "),
            format!("# {key} = "),
            format!("[{key}"),
            format!("{{ {key} = "),
            format!(", {key} = "),
        ];
        let nested = format!(".{key}]");
        let named = forms.iter().any(|form| reference.contains(form)) || reference.contains(&nested);
        assert!(named, "`{key}` is not in configs/reference.toml");
        checked += 1;
    }
    assert!(checked > 45, "only {checked} keys were found");
}
