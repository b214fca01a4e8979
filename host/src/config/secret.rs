//! Values that must not stand in the file: `${NAME}` is taken from the environment, `${file:path}` from a file.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

/// A secret, as typed or as it was found. It is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The secret that an environment variable holds.
    pub(super) fn of_variable(name: &str) -> Self {
        Self(format!("${{{name}}}"))
    }

    /// What it stands for. A file's last line break is no part of it; its path is relative to `folder`.
    ///
    /// # Errors
    ///
    /// Where the variable is not set, or the file cannot be read, or there is nothing in it.
    pub fn find(&self, folder: &Path) -> Result<Self, String> {
        let Some(name) = self.0.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
            if self.0.contains("${") {
                return Err("`${NAME}` and `${file:path}` must be all of the value".to_owned());
            }
            return Ok(self.clone());
        };
        let (value, place) = match name.strip_prefix("file:") {
            Some(path) => {
                let path = folder.join(path);
                let place = format!("the file {}", path.display());
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|error| format!("{place} cannot be read: {error}"))?;
                (text.trim_end_matches(['\r', '\n']).to_owned(), place)
            }
            None => {
                let place = format!("the environment variable {name}");
                let value = std::env::var(name).map_err(|_| format!("{place} is not set"))?;
                (value, place)
            }
        };
        if value.is_empty() {
            return Err(format!("{place} is empty"));
        }
        Ok(Self(value))
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Secret;

    #[test]
    fn is_found_where_it_says_and_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), "s3cret\n").expect("written");
        std::fs::write(folder.path().join("none"), "\n").expect("written");
        let find = |typed: &str| Secret(typed.to_owned()).find(folder.path());
        assert_eq!(find("${file:key}").expect("found").reveal(), "s3cret");
        assert_eq!(find("plain").expect("as it is").reveal(), "plain");
        assert_eq!(
            find("${PATH}").expect("found").reveal(),
            std::env::var("PATH").expect("it is set")
        );
        assert!(
            find("${file:none}")
                .expect_err("empty")
                .ends_with("none is empty")
        );
        assert!(
            find("${file:missing}")
                .expect_err("missing")
                .contains("cannot be read")
        );
        assert!(
            find("${NO_SUCH_VARIABLE}")
                .expect_err("unset")
                .ends_with("NO_SUCH_VARIABLE is not set")
        );
        let broken = find("Bearer ${KEY}").expect_err("not whole");
        assert!(broken.contains("all of the value"), "{broken}");
        let shown = format!("{:?}", Secret("plain".to_owned()).find(Path::new(".")));
        assert!(!shown.contains("plain"), "{shown}");
    }
}
