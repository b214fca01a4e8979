//! The packages: a binary finds the files that lie beside it, in whatever folder, and an upgrade hands the service over. `cargo xtask
//! dist --check` installs the packages themselves.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::host::root;
use crate::service::{Service, signal};
use crate::sockets::{config, successor};

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

/// Programs in the place of systemd's: the service is active, the file `main` has the id of its process, and what is asked of it is
/// written to the file `asked`.
const SYSTEMD: [(&str, &str); 4] = [
    (
        "systemctl",
        "case \"$*\" in *MainPID*) cat \"$(dirname \"$0\")/main\" ;; esac",
    ),
    ("deb-systemd-invoke", "echo \"$@\" >> \"$(dirname \"$0\")/asked\""),
    ("deb-systemd-helper", "exit 0"),
    ("systemd-sysusers", "exit 0"),
];

/// Starts what runs after an upgrade of the `.deb`, with systemd's programs in this folder, for a service with this process.
fn upgrade(folder: &Path, main: u32) -> Child {
    for (name, text) in SYSTEMD {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("set");
    }
    fs::write(folder.join("main"), main.to_string()).expect("written");
    let script = fs::read_to_string(root().join("host/packaging/deb/postinst")).expect("the script");
    let shown = folder.display().to_string();
    let script = script.replace("/run/systemd/system", &shown);
    let script = script.replace("/usr/sbin/policy-rc.d", &format!("{shown}/policy-rc.d"));
    let path = std::env::var("PATH").expect("it is set");
    Command::new("sh")
        .args(["-c", &script, "postinst", "configure", "0.0.1"])
        .env("PATH", format!("{shown}:{path}"))
        .spawn()
        .expect("it runs")
}

#[test]
fn an_upgrade_hands_the_service_over_and_restarts_it_only_where_it_cannot() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut node = Service::start(&config("listen = \"127.0.0.1:0\"", ""), Vec::new(), &[]);
    node.told("READY=1");
    let mut script = upgrade(folder.path(), node.id());
    let next = successor(&node);
    // The script may be reading it.
    fs::write(folder.path().join("next"), next.to_string()).expect("written");
    fs::rename(folder.path().join("next"), folder.path().join("main")).expect("renamed");
    assert!(script.wait().expect("it ends").success());
    assert!(node.wait().success(), "the old process has drained");
    let asked = folder.path().join("asked");
    assert!(!asked.exists(), "nothing is restarted");
    signal(next, Signal::TERM);
    // One does not know the signal, and would end by it; the other hands nothing over.
    for text in [
        "echo ready; exec sleep 600",
        "trap : USR2; echo ready; read line; read line",
    ] {
        let mut other = Command::new("sh")
            .args(["-c", text])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let said = other.stdout.as_mut().expect("piped");
        BufReader::new(said)
            .read_line(&mut String::new())
            .expect("it is ready");
        let mut script = upgrade(folder.path(), other.id());
        assert!(script.wait().expect("it ends").success());
        let restart = fs::read_to_string(&asked).expect("asked");
        assert_eq!(restart, "try-restart selvedge.service\n", "{text}");
        fs::remove_file(&asked).expect("removed");
        assert!(other.try_wait().expect("known").is_none(), "it goes on: {text}");
        other.kill().expect("ended");
        other.wait().expect("ended");
    }
}
