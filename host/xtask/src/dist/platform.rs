//! The platform that packages are for: its names, and the tools that build for it.

use std::path::Path;

use anyhow::{Result, bail};

use crate::run::Tool;
use crate::wasm::own_triple;

/// Platforms that ONNX Runtime's library is published for: the triple, the machine, and Debian's name of it.
const PLATFORMS: [(&str, &str, &str); 2] = [
    ("x86_64-unknown-linux-gnu", "x86_64", "amd64"),
    ("aarch64-unknown-linux-gnu", "aarch64", "arm64"),
];

/// A platform.
pub(super) struct Platform {
    pub(super) triple: String,
    pub(super) machine: &'static str,
    pub(super) debian: &'static str,
    pub(super) kind: Kind,
}

/// Way of building for a platform.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is this machine's own.
    Native,
    /// By a cross compiler.
    Cross,
}

impl Platform {
    /// The platform that is asked for, or this one; refused where this machine cannot build for it.
    pub(super) fn find(asked: Option<&str>) -> Result<Self> {
        let own = own_triple()?;
        let platform = Self::named(asked.unwrap_or(&own), &own)?;
        if platform.kind == Kind::Cross {
            platform.check_tools()?;
        }
        Ok(platform)
    }

    fn named(triple: &str, own: &str) -> Result<Self> {
        let Some((triple, machine, debian)) = PLATFORMS.into_iter().find(|known| known.0 == triple) else {
            let known = PLATFORMS.map(|known| known.0).join(" and ");
            bail!("there are no packages for {triple}, only for {known}");
        };
        let kind = if triple == own { Kind::Native } else { Kind::Cross };
        let triple = triple.to_owned();
        Ok(Self {
            triple,
            machine,
            debian,
            kind,
        })
    }

    fn check_tools(&self) -> Result<()> {
        let libraries = Tool::new("rustc")
            .args(["--print", "target-libdir", "--target", &self.triple])
            .output()?;
        if !Path::new(&libraries).is_dir() {
            bail!(
                "this toolchain has no standard library for {0}: `rustup target add {0}` gets it",
                self.triple
            );
        }
        let compiler = self.tool("gcc");
        if !Tool::new(&compiler).arg("--version").succeeds() {
            bail!(
                "there is no {compiler}: `apt-get install gcc-{}-linux-gnu` gets it",
                self.machine
            );
        }
        Ok(())
    }

    /// The name of one of binutils' tools, or of the C compiler.
    pub(super) fn tool(&self, name: &str) -> String {
        match self.kind {
            Kind::Native => name.to_owned(),
            Kind::Cross => format!("{}-linux-gnu-{name}", self.machine),
        }
    }

    /// Environment variables that name the cross compiler to cargo and build scripts; none for this machine's own platform.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        match self.kind {
            Kind::Native => Vec::new(),
            Kind::Cross => {
                let name = self.triple.replace('-', "_");
                vec![
                    (
                        format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()),
                        self.tool("gcc"),
                    ),
                    (format!("CC_{name}"), self.tool("gcc")),
                    (format!("AR_{name}"), self.tool("ar")),
                ]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Platform};

    const OWN: &str = "x86_64-unknown-linux-gnu";

    #[test]
    fn another_platform_is_built_by_a_cross_compiler() {
        let platform = Platform::named("aarch64-unknown-linux-gnu", OWN).expect("known");
        assert_eq!((platform.kind, platform.debian), (Kind::Cross, "arm64"));
        let platform = Platform::named(OWN, OWN).expect("known");
        assert_eq!(
            (platform.tool("objcopy").as_str(), platform.kind),
            ("objcopy", Kind::Native)
        );
    }

    #[test]
    fn a_platform_without_the_library_is_refused() {
        let refused = Platform::named("riscv64gc-unknown-linux-gnu", OWN)
            .err()
            .expect("refused");
        assert!(
            refused.to_string().contains("aarch64-unknown-linux-gnu"),
            "{refused}"
        );
    }
}
