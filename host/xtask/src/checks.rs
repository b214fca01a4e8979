//! Checks before a command begins for what would stop it half-way: a full disk, a missing compiler, an address in use.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, size_of};
use crate::run::{Root, Tool, apt_install};
use crate::setup::Configuration;

/// Disk space that a command fills, in MB.
#[derive(Clone, Copy)]
pub(crate) struct Space {
    /// In cargo's target folders and the models' folders.
    pub(crate) target: u64,
    /// In the user's cache.
    pub(crate) cache: u64,
}

/// The demo: the host's crates, two models, four plugins.
pub(crate) const DEMO: Space = Space {
    target: 3_000,
    cache: 700,
};

/// All tests and lints: the crates a second time for clippy, every plugin, the clients.
pub(crate) const TESTS: Space = Space {
    target: 9_000,
    cache: 1_500,
};

/// Asks for what compiling C needs, which cargo would miss only after minutes.
pub(crate) fn compiler() -> Result<()> {
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if Tool::new(&cc).arg("--version").succeeds() {
        return Ok(());
    }
    apt_install(&["gcc", "libc6-dev"], "SQLite and zstd, which are C,")
}

/// Error if the disks have no room for what is still missing. Files that an interrupted command left count as done.
pub(crate) fn space(root: &Root, space: Space) -> Result<()> {
    let cache = Cache::of_user()?;
    let done = size_of(&root.target()) + size_of(&root.join("plugins/target"));
    let target = (space.target << 20).saturating_sub(done);
    let cached = (space.cache << 20).saturating_sub(size_of(cache.path()));
    let (target_disk, cache_disk) = (Disk::of(root.path())?, Disk::of(cache.path())?);
    if target_disk.name == cache_disk.name {
        return target_disk.has(target + cached, root.path());
    }
    target_disk.has(target, root.path())?;
    cache_disk.has(cached, cache.path())
}

/// A file system.
struct Disk {
    name: String,
    free: u64,
}

impl Disk {
    fn of(path: &Path) -> Result<Self> {
        let said = Tool::new("df").arg("-Pk").arg(path).output()?;
        Self::read(&said).with_context(|| format!("`df -Pk {}` says {said:?}", path.display()))
    }

    /// The second line has the device, the blocks, those used and those free, the share, and where it is mounted.
    fn read(said: &str) -> Option<Self> {
        let mut words = said.lines().nth(1)?.split_whitespace();
        let free = words.nth(3)?.parse::<u64>().ok()?;
        Some(Self {
            name: words.next_back()?.to_owned(),
            free: free << 10,
        })
    }

    fn has(&self, needed: u64, path: &Path) -> Result<()> {
        if self.free >= needed {
            return Ok(());
        }
        bail!(
            "{} MB more are needed in {}, and {} has {} MB free: make room, or set SELVEDGE_CACHE and CARGO_TARGET_DIR to folders on \
             another disk",
            needed >> 20,
            path.display(),
            self.name,
            self.free >> 20
        )
    }
}

/// Error if one of the demo's addresses cannot be listened on, so that this is known before the build.
pub(crate) fn addresses(configuration: &Configuration) -> Result<()> {
    for address in configuration.listen() {
        // A socket in the file system is the host's affair.
        if address.starts_with("unix:") {
            continue;
        }
        let file = configuration.file().display();
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
                "{address} is in use, where {file} is to be served: end what listens there (`ss -ltnp` names it), or change \
                 `listen` in the section [server] of {file}"
            ),
            Err(error) => bail!(
                "{file} cannot be served on {address}: {error}; change `listen` in its section [server]"
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;

    use super::{Disk, addresses};
    use crate::setup::Configuration;

    const DF: &str =
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 263174212 15728640 2048 17% /\n";

    #[test]
    fn says_how_much_is_needed_where_a_disk_is_too_small() {
        let disk = Disk::read(DF).expect("read");
        disk.has(2 << 20, Path::new("/clone")).expect("enough");
        let error = disk.has(3 << 20, Path::new("/clone")).expect_err("too small");
        let text = error.to_string();
        assert!(
            text.starts_with("3 MB more are needed in /clone, and / has 2 MB free: "),
            "{text}"
        );
    }

    #[test]
    fn says_which_key_to_change_where_an_address_is_in_use() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("node.toml");
        std::fs::write(&file, format!("[server]\nlisten = \"{address}\"\n")).expect("written");
        let configuration = Configuration::read(&file).expect("read");
        let error = addresses(&configuration).expect_err("in use").to_string();
        assert!(
            error.contains(&format!("{address} is in use")) && error.contains("`listen`"),
            "{error}"
        );
        drop(listener);
        addresses(&configuration).expect("free");
    }
}
