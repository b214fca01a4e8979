//! The age of the compiler: rustc must be as new as `rust-version` in the workspace's `Cargo.toml`. This crate has no `rust-version` of its
//! own, for which cargo would end with an error that names no remedy.

/// Complaint about a compiler that is older than a workspace needs, in one line with the remedy; none if it is new enough, or if its
/// version is unknown. `rustc` is the output of `rustc --version`, `manifest` the text of the workspace's `Cargo.toml`.
pub(crate) fn complaint(rustc: &str, manifest: &str) -> Option<String> {
    let mut lines = manifest.lines();
    let needed = lines.find_map(|line| line.strip_prefix("rust-version = "))?;
    let needed = needed.trim().trim_matches('"');
    let found = rustc.split_whitespace().nth(1)?;
    if numbers(found)? >= numbers(needed)? {
        return None;
    }
    Some(format!(
        "rustc {found} is older than {needed}, which Selvedge needs: run `rustup update`"
    ))
}

/// Major, minor and patch number of a version such as `1.95`, `1.95.0` or `1.97.0-nightly`.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let release = version.split('-').next()?;
    let mut numbers = [0; 3];
    for (index, part) in release.split('.').enumerate() {
        *numbers.get_mut(index)? = part.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::complaint;

    const MANIFEST: &str = "[workspace.package]\nedition = \"2024\"\nrust-version = \"1.95\"\n";

    #[test]
    fn an_older_compiler_is_told_the_remedy() {
        assert_eq!(
            complaint("rustc 1.90.0 (1159e78c4 2025-09-14)", MANIFEST).as_deref(),
            Some("rustc 1.90.0 is older than 1.95, which Selvedge needs: run `rustup update`")
        );
        assert!(complaint("rustc 1.94.1-beta.3 (0 2026-01-01)", MANIFEST).is_some());
        assert!(complaint("rustc 1.9.0 (0 2016-05-26)", MANIFEST).is_some());
    }

    #[test]
    fn the_same_and_newer_compilers_are_taken() {
        for version in ["1.95.0", "1.95.1", "1.100.0", "1.97.0-nightly", "2.0.0"] {
            let rustc = format!("rustc {version} (0 2026-04-14)");
            assert_eq!(complaint(&rustc, MANIFEST), None, "{version}");
        }
    }

    #[test]
    fn an_unknown_version_is_no_reason_to_complain() {
        assert_eq!(complaint("a compiler of mine", MANIFEST), None);
        assert_eq!(complaint("rustc 1.90.0", "[workspace]\n"), None);
    }
}
