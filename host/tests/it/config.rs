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
