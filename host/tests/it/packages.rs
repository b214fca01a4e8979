//! Layout of the packages: a binary finds the files that lie beside it, in whatever folder. `cargo xtask dist --check` installs the
//! packages themselves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::host::root;

/// A folder with `bin`, `lib` and `share` as packages have them, of links to what was built.
fn installed() -> tempfile::TempDir {
    let prefix = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let built = Path::new(env!("CARGO_BIN_EXE_selvedge"));
    let library = built
        .ancestors()
        .nth(2)
        .expect("the target folder")
        .join("lib/libonnxruntime.so");
    let share = prefix.path().join("share/selvedge");
    for folder in ["bin", "lib/selvedge", "share/selvedge/configs"] {
        fs::create_dir_all(prefix.path().join(folder)).expect("a folder");
    }
    // A symbolic link would lead the binary back to where it was built.
    fs::hard_link(built, prefix.path().join("bin/selvedge")).expect("the binary");
    symlink(library, prefix.path().join("lib/selvedge/libonnxruntime.so")).expect("the library");
    symlink(root().join("models"), share.join("models")).expect("models");
    symlink(root().join("plugins/dist"), share.join("plugins")).expect("plugins");
    let config = root().join("host/packaging/selvedge.toml");
    fs::copy(config, share.join("configs/selvedge.toml")).expect("the configuration");
    prefix
}

fn check(prefix: &Path) -> (Option<i32>, String) {
    let output = Command::new(prefix.join("bin/selvedge"))
        .arg("check")
        .current_dir(prefix)
        .env("STATE_DIRECTORY", prefix.join("state"))
        .env_remove("ORT_DYLIB_PATH")
        .output()
        .expect("it runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn an_installed_binary_finds_its_library_configuration_models_and_plugins() {
    let prefix = installed();
    let (code, said) = check(prefix.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("all is well: 1 endpoint, 1 model"), "{said}");
}

#[test]
fn an_installation_without_its_configuration_says_where_it_looked() {
    let prefix = installed();
    let config = prefix.path().join("share/selvedge/configs/selvedge.toml");
    fs::remove_file(&config).expect("removed");
    let (code, said) = check(prefix.path());
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&config.display().to_string()), "{said}");
}
