//! The arguments of `cargo xtask dist`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The arguments, for who asks for them or gave wrong ones.
pub(super) const USAGE: &str = "\
usage: cargo xtask dist [--target TRIPLE] [--binary FILE] [--plugins FOLDER] [--container] [--check] [--boot]

  --target TRIPLE    the platform; default: this one
  --binary FILE      a built binary with its debug information; default: it is built
  --plugins FOLDER   built plugins; default: they are built
  --container        an image besides, for which Debian's mmdebstrap and buildah are used
  --check            installs each package into a clean root and has it serve, as a user who is not root
  --boot             the same, and boots the clean system, with the .deb's service, by systemd-nspawn";

/// Options of the command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) target: Option<String>,
    pub(super) binary: Option<PathBuf>,
    pub(super) plugins: Option<PathBuf>,
    pub(super) extras: Vec<Extra>,
}

/// Work that is done besides making packages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extra {
    Container,
    Check,
    Boot,
}

impl Options {
    /// Reads the arguments. Returns none if they ask for the usage.
    pub(super) fn read(arguments: &[String]) -> Result<Option<Self>> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{name} needs a value\n{USAGE}"))
            };
            match name.as_str() {
                "--target" => options.target = Some(value()?.clone()),
                "--binary" => options.binary = Some(value()?.into()),
                "--plugins" => options.plugins = Some(value()?.into()),
                "--container" => options.extras.push(Extra::Container),
                "--help" | "-h" => return Ok(None),
                "--check" => options.extras.push(Extra::Check),
                "--boot" => options.extras.extend([Extra::Check, Extra::Boot]),
                other => bail!("there is no `{other}`\n{USAGE}"),
            }
        }
        Ok(Some(options))
    }
}

#[cfg(test)]
mod tests {
    use super::{Extra, Options};

    fn read(arguments: &[&str]) -> anyhow::Result<Option<Options>> {
        let owned: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        Options::read(&owned)
    }

    #[test]
    fn reads_what_is_asked_for() {
        let read = read(&["--check", "--target", "aarch64-unknown-linux-gnu"]);
        let options = read.expect("well-formed").expect("no usage");
        assert_eq!(options.target.as_deref(), Some("aarch64-unknown-linux-gnu"));
        assert_eq!(options.extras, [Extra::Check]);
    }

    #[test]
    fn the_usage_is_no_error() {
        assert_eq!(read(&["--container", "--help"]).expect("well-formed"), None);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for wrong in [&["--targets"] as &[&str], &["--target"], &["x"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
