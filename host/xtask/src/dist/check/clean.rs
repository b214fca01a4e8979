//! A clean Debian in a folder, gone when it is dropped, and programs that run in it. The folder is one of intermediate files, so that the
//! next run removes what an interrupted one left.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::super::container::suite;
use super::HOME;
use crate::run::Tool;
use crate::steps::say;

/// Packages beside Debian's smallest set: those that the `.deb` depends on, and those that install a wheel.
const PACKAGES: &str = "systemd,libgcc-s1,libstdc++6,python3-venv";

/// Changes into it with processes to be seen, as the user `$2`, and becomes the rest.
const ENTER: &str = r#"mount -t proc proc "$1/proc"; root=$1; user=$2; shift 2
exec chroot --userspec="$user" "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/srv/check "$@""#;

/// A folder with a Debian.
pub(super) struct CleanRoot(PathBuf);

/// User that a program runs as in the clean system.
#[derive(Debug, Clone, Copy)]
pub(super) enum User {
    Root,
    /// Owner of the folder that things are unpacked into.
    Nobody,
    /// The user that the package makes.
    Selvedge,
}

impl CleanRoot {
    /// Makes it in a folder that is not there yet.
    pub(super) fn make(folder: PathBuf) -> Result<Self> {
        say("making a clean Debian (a minute)");
        let clean = Self(folder);
        Tool::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", "--include", PACKAGES])
            .arg(suite()?)
            .arg(&clean.0)
            .run()?;
        clean.run(
            User::Root,
            &["install", "-d", "-o", "nobody", "-g", "nogroup", HOME],
        )?;
        Ok(clean)
    }

    /// Path of a file of the clean system, seen from outside.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Copies a file into it.
    pub(super) fn bring(&self, file: &Path, to: &str) -> Result<()> {
        fs::copy(file, self.path(to)).with_context(|| format!("{} cannot be copied", file.display()))?;
        Ok(())
    }

    /// A command in it.
    pub(super) fn command(&self, user: User, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", ENTER, "sh"]).arg(&self.0);
        command.arg(user.to_string());
        if matches!(user, User::Selvedge) {
            command.args(["env", "STATE_DIRECTORY=/var/lib/selvedge"]);
        }
        command.args(words);
        command
    }

    /// Runs a command in it to its end, and returns what it says.
    pub(super) fn run(&self, user: User, words: &[&str]) -> Result<String> {
        let output = self.command(user, words).output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if !output.status.success() {
            bail!(
                "`{}` failed as {user} ({}): {said}",
                words.join(" "),
                output.status
            );
        }
        Ok(said)
    }
}

impl Drop for CleanRoot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            say(&format!("{} cannot be removed: {error}", self.0.display()));
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root:root",
            Self::Nobody => "nobody:nogroup",
            Self::Selvedge => "selvedge:selvedge",
        })
    }
}
