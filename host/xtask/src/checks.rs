//! Checks before a command begins for what would stop it half-way: a full disk, a missing compiler, an address in use.

use std::fs::read_to_string;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, size_of};
use crate::run::{PROFILE, Root, Tool, apt_install};
use crate::rust_version;

/// Disk space that a product takes, in MiB. A command needs that of all that it makes.
#[derive(Clone, Copy)]
pub(crate) struct Space {
    /// Amount in the project's folder and cargo's target folder.
    pub(crate) target: u64,
    /// Amount in the user's cache.
    pub(crate) cache: u64,
    /// Folders and files of the product: what lies in them already is not needed again.
    pub(crate) places: &'static [Place],
}

/// Place of a folder or file.
pub(crate) enum Place {
    /// In cargo's target folder.
    Target(&'static str),
    /// In the project's folder.
    Project(&'static str),
    /// In the user's cache: a kind of entries.
    Cache(&'static str),
}

/// ONNX Runtime for the CPU.
const ONNXRUNTIME: Space = Space {
    target: 100,
    cache: 200,
    places: &[Place::Target("lib"), Place::Cache("onnxruntime")],
};

/// ONNX Runtime with CUDA, besides.
pub(crate) const GPU: Space = Space {
    target: 700,
    cache: 1_000,
    places: &[],
};

/// Every model, and what converts them.
pub(crate) const MODELS: Space = Space {
    target: 500,
    cache: 500,
    places: &[
        Place::Target("venv"),
        Place::Project("models"),
        Place::Cache("models"),
        Place::Cache("packages"),
        Place::Cache("wheels"),
    ],
};

/// Every plugin, and the tools for JavaScript and Python.
pub(crate) const PLUGINS: Space = Space {
    target: 1_000,
    cache: 200,
    places: &[
        Place::Project("plugins/calibrate/.venv"),
        Place::Project("plugins/crm/node_modules"),
        Place::Project("plugins/dist"),
        Place::Project("plugins/target"),
        Place::Cache("plugins"),
        Place::Cache("wasm-sysroot"),
    ],
};

/// The host in the quick profile. Compiled crates in the cache do not count: those of another lock file help nobody.
const HOST: Space = Space {
    target: 2_300,
    cache: 300,
    places: &[Place::Target(PROFILE)],
};

/// The host and its tests, and what clippy makes of them.
const HOST_TESTS: Space = Space {
    target: 7_000,
    cache: 700,
    places: &[Place::Target(PROFILE)],
};

/// The host in the full profile, with benches.
pub(crate) const RELEASE: Space = Space {
    target: 4_000,
    cache: 0,
    places: &[Place::Target("release")],
};

/// Packages, and a clean Debian that they are installed into.
const PACKAGES: Space = Space {
    target: 2_000,
    cache: 0,
    places: &[Place::Target("dist"), Place::Target("dist-work")],
};

/// The host's crates once more for the fuzzer, and its findings.
pub(crate) const FUZZ: Space = Space {
    target: 3_000,
    cache: 0,
    places: &[Place::Target("fuzz"), Place::Target("tools")],
};

/// A set-up without the host.
pub(crate) const SETUP: [Space; 3] = [ONNXRUNTIME, MODELS, PLUGINS];

/// The demo.
pub(crate) const DEMO: [Space; 4] = [HOST, ONNXRUNTIME, MODELS, PLUGINS];

/// All tests and lints.
pub(crate) const TESTS: [Space; 4] = [HOST_TESTS, ONNXRUNTIME, MODELS, PLUGINS];

/// Packages, with all that is in them.
pub(crate) const DIST: [Space; 4] = [RELEASE, PACKAGES, ONNXRUNTIME, PLUGINS];

/// Error if the Rust compiler is older than the project needs.
pub(crate) fn rust(root: &Root) -> Result<()> {
    let file = root.join("Cargo.toml");
    let manifest = read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let rustc = Tool::new("rustc").arg("--version").output()?;
    match rust_version::complaint(&rustc, &manifest) {
        Some(complaint) => bail!("{complaint}"),
        None => Ok(()),
    }
}

/// Asks for what compiling C needs, which cargo would miss only after minutes.
pub(crate) fn compiler() -> Result<()> {
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if Tool::new(&cc).arg("--version").succeeds() {
        return Ok(());
    }
    apt_install(&["gcc", "libc6-dev"], "SQLite and zstd, which are C,")
}

/// Error if the disks have no room for what is still missing of all these. Files that an interrupted command left count as done.
pub(crate) fn space(root: &Root, spaces: &[Space]) -> Result<()> {
    let target = root.target();
    let cache = Cache::of_user()?;
    let path = |place: &Place| match place {
        Place::Target(folder) => target.join(folder),
        Place::Project(folder) => root.join(folder),
        Place::Cache(kind) => cache.path().join(kind),
    };
    let mut needed = 0;
    let mut cached = 0;
    for space in spaces {
        let (in_target, in_cache) = space.missing(path);
        needed += in_target;
        cached += in_cache;
    }
    let (target_disk, cache_disk) = (Disk::of(&target)?, Disk::of(cache.path())?);
    if target_disk.name == cache_disk.name {
        return target_disk.has(needed + cached, &target);
    }
    target_disk.has(needed, &target)?;
    cache_disk.has(cached, cache.path())
}

impl Space {
    /// Bytes that are still missing in target folders, and in the cache. `path` leads to a place.
    fn missing(&self, path: impl Fn(&Place) -> PathBuf) -> (u64, u64) {
        let (mut target, mut cache) = (self.target << 20, self.cache << 20);
        for place in self.places {
            let left = match place {
                Place::Cache(_) => &mut cache,
                Place::Target(_) | Place::Project(_) => &mut target,
            };
            *left = left.saturating_sub(size_of(&path(place)));
        }
        (target, cache)
    }
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
            "{} MiB more are needed in {}, and {} has {} MiB free: make room, or set SELVEDGE_CACHE and CARGO_TARGET_DIR to folders on \
             another disk",
            needed >> 20,
            path.display(),
            self.name,
            self.free >> 20
        )
    }
}

/// Error if one of the addresses of a configuration in `file` cannot be listened on, so that this is known before the build.
pub(crate) fn addresses(addresses: &[&str], file: &Path) -> Result<()> {
    let file = file.display();
    for address in addresses {
        // A socket in the file system is the host's affair.
        if address.starts_with("unix:") {
            continue;
        }
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

    use super::{Disk, Place, Space, addresses};

    const DF: &str =
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 263174212 15728640 2048 17% /\n";

    #[test]
    fn says_how_much_is_needed_where_a_disk_is_too_small() {
        let disk = Disk::read(DF).expect("read");
        disk.has(2 << 20, Path::new("/clone")).expect("enough");
        let error = disk.has(3 << 20, Path::new("/clone")).expect_err("too small");
        let text = error.to_string();
        assert!(
            text.starts_with("3 MiB more are needed in /clone, and / has 2 MiB free: "),
            "{text}"
        );
    }

    #[test]
    fn what_lies_in_other_folders_does_not_count_as_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |place: &Place| match place {
            Place::Target(name) | Place::Project(name) | Place::Cache(name) => folder.path().join(name),
        };
        let write = |name: &str| {
            std::fs::create_dir_all(folder.path().join(name)).expect("made");
            std::fs::write(folder.path().join(name).join("file"), vec![7_u8; 3 << 20]).expect("written");
        };
        let space = Space {
            target: 5,
            cache: 2,
            places: &[Place::Target("quick"), Place::Cache("models")],
        };
        write("release");
        write("crates");
        assert_eq!(space.missing(path), (5 << 20, 2 << 20));
        write("quick");
        write("models");
        let (target, cache) = space.missing(path);
        assert!(target < 5 << 20, "{target}");
        assert_eq!(cache, 0, "there is more than was foreseen");
    }

    #[test]
    fn says_which_key_to_change_where_an_address_is_in_use() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        let listen = || addresses(&[&address], Path::new("node.toml"));
        let error = listen().expect_err("in use").to_string();
        assert!(
            error.contains(&format!("{address} is in use")) && error.contains("`listen`"),
            "{error}"
        );
        drop(listener);
        listen().expect("free");
    }
}
