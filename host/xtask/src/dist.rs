//! `cargo xtask dist`: packages for one platform, in `target/dist/`: a tarball, a `.deb`, a Python wheel, and what makes a backtrace
//! readable beside them. All are made of one tree (`tree`), and come out the same, byte for byte, of the same binary.

mod binary;
mod check;
mod container;
mod deb;
mod options;
mod parts;
mod platform;
mod tree;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::checks;
use crate::run::{Root, Tool, apt_install};
use crate::steps::say;
use binary::Binary;
use options::{Extra, Options, USAGE};
use platform::Platform;
use tree::Tree;

/// Version that the packages have.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One run: what it makes, for whom, where.
struct Dist<'a> {
    root: &'a Root,
    platform: Platform,
    /// Seconds since 1970 that every file's time is set to.
    epoch: String,
    /// Folder of intermediate files.
    work: PathBuf,
    /// Folder of the packages.
    out: PathBuf,
}

/// The packages that were made.
struct Packages {
    tarball: PathBuf,
    deb: PathBuf,
    wheel: PathBuf,
    container: Option<PathBuf>,
}

/// Makes the packages.
pub(crate) fn run(root: &Root, rest: &[String]) -> Result<()> {
    let Some(options) = Options::read(rest)? else {
        return Ok(writeln!(std::io::stdout(), "{USAGE}")?);
    };
    checks::rust(root)?;
    checks::compiler()?;
    checks::space(root, &checks::DIST)?;
    let dist = Dist::new(root, Platform::find(options.target.as_deref())?)?;
    // What is compiled for the binary serves for its documentation too; where that is given, what this program was compiled with.
    let profile = match options.binary {
        Some(_) => own_profile()?,
        None => "release".to_owned(),
    };
    let built = binary::build(&dist, options.binary)?;
    let binary = Binary::split(&dist, &built)?;
    let parts = parts::Parts::gather(&dist, options.plugins, &profile)?;
    let tree = tree::lay(&dist, &binary, &parts)?;
    let mut packages = dist.packages(&binary, &tree)?;
    if options.extras.contains(&Extra::Container) {
        packages.container = Some(container::build(&dist, &packages.deb)?);
    }
    dist.write_sums()?;
    if options.extras.contains(&Extra::Check) {
        check::run(&dist, &packages, &options.extras)?;
    }
    say(&format!("the packages are in {}", dist.out.display()));
    Ok(())
}

impl<'a> Dist<'a> {
    fn new(root: &'a Root, platform: Platform) -> Result<Self> {
        let work = root.target().join("dist-work").join(&platform.triple);
        let out = root.target().join("dist");
        if work.exists() {
            ensure_unmounted(&work, &fs::read_to_string("/proc/self/mounts")?)?;
            fs::remove_dir_all(&work).with_context(|| format!("{} cannot be removed", work.display()))?;
        }
        fs::create_dir_all(&work)?;
        fs::create_dir_all(&out)?;
        let epoch = epoch(root)?;
        let dist = Self {
            root,
            platform,
            epoch,
            work,
            out,
        };
        Ok(dist)
    }

    fn packages(&self, binary: &Binary, tree: &Tree) -> Result<Packages> {
        let name = format!("selvedge-{VERSION}-{}", self.platform.triple);
        say("packing the tarballs");
        let tarball = self.tarball(&tree.folder, &name)?;
        let debug = self.work.join("debug");
        tree::put(&binary.debug, &debug.join("selvedge.debug"))?;
        self.tarball(&debug, &format!("{name}-debug"))?;
        say("packing the .deb");
        let deb = deb::pack(self, binary, tree)?;
        say("packing the wheel");
        let wheel = self.wheel(tree)?;
        Ok(Packages {
            tarball,
            deb,
            wheel,
            container: None,
        })
    }

    /// A tarball of a folder's contents, below a folder of the tarball's name.
    fn tarball(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let tarball = self.out.join(format!("{name}.tar.gz"));
        Tool::new("tar")
            .args([
                "--create",
                "--format=gnu",
                "--sort=name",
                "--use-compress-program=gzip -9n",
            ])
            .args(["--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", self.epoch))
            .arg(format!("--transform=s,^\\.,{name},"))
            .arg("--file")
            .arg(&tarball)
            .arg("--directory")
            .arg(folder)
            .arg(".")
            .run()?;
        Ok(tarball)
    }

    fn wheel(&self, tree: &Tree) -> Result<PathBuf> {
        let tag = format!(
            "manylinux_{}_{}",
            tree.glibc.replace('.', "_"),
            self.platform.machine
        );
        Tool::new("python3")
            .arg(self.root.join("host/packaging/wheel.py"))
            .arg(&tree.folder)
            .args([VERSION, &tag])
            .arg(&self.out)
            .env("SOURCE_DATE_EPOCH", &self.epoch)
            .run()?;
        Ok(self.out.join(format!("selvedge-{VERSION}-py3-none-{tag}.whl")))
    }

    /// SHA256SUMS of all that lies beside it.
    fn write_sums(&self) -> Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.out)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "SHA256SUMS" {
                names.push(name);
            }
        }
        names.sort();
        let sums = Tool::new("sha256sum")
            .args(names)
            .current_dir(&self.out)
            .output()?;
        Ok(fs::write(self.out.join("SHA256SUMS"), sums + "\n")?)
    }
}

/// Error if something is mounted below a folder, by the text of `/proc/self/mounts`: removing the folder would remove the contents of what
/// is mounted.
fn ensure_unmounted(folder: &Path, mounts: &str) -> Result<()> {
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for place in places {
        // A space in a path has its octal code there.
        let place = place.replace("\\040", " ");
        if Path::new(&place).starts_with(folder) {
            bail!("an interrupted run left {place} mounted: `umount {place}`");
        }
    }
    Ok(())
}

/// `SOURCE_DATE_EPOCH`, else the time of the last commit.
fn epoch(root: &Root) -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        epoch
            .parse::<u32>()
            .with_context(|| format!("SOURCE_DATE_EPOCH is `{epoch}`, and must be seconds since 1970"))?;
        return Ok(epoch);
    }
    let git = Tool::new("git").arg("-C").arg(root.path());
    git.args(["log", "-1", "--format=%ct"])
        .output()
        .context("SOURCE_DATE_EPOCH must be set where there is no commit to take the packages' time from")
}

/// The profile that this program was built with: the name of its folder.
fn own_profile() -> Result<String> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::file_name);
    let folder = folder.context("this program lies in no folder")?;
    Ok(folder.to_string_lossy().into_owned())
}

/// Has a program there, of a Debian package.
fn need(program: &str, package: &str, purpose: &str) -> Result<()> {
    if Tool::new(program).arg("--version").succeeds() {
        return Ok(());
    }
    apt_install(&[package], purpose)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::ensure_unmounted;

    #[test]
    fn a_folder_with_a_mount_below_it_is_not_removed() {
        let mounts = "proc /proc proc rw 0 0\nproc /a\\040clone/target/dist-work/x/clean/proc proc rw 0 0\n";
        let error = ensure_unmounted(Path::new("/a clone/target/dist-work/x"), mounts).expect_err("mounted");
        assert!(error.to_string().contains("/clean/proc mounted"), "{error}");
        ensure_unmounted(Path::new("/a clone/target/dist"), mounts).expect("nothing is mounted there");
    }
}
