//! Values that must not stand in the file: `${NAME}` is taken from the environment, `${file:path}` from a file,
//! `${credential:NAME}` from what the service manager has loaded (`LoadCredential=`).

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

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
                return Err(
                    "`${NAME}`, `${file:path}` and `${credential:NAME}` must be all of the value".to_owned(),
                );
            }
            return Ok(self.clone());
        };
        let file = match (name.strip_prefix("file:"), credential(&self.0)) {
            (Some(path), _) => Some(folder.join(path)),
            (None, Some(found)) => Some(found?),
            (None, None) => None,
        };
        let (value, place) = match file {
            Some(path) => {
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

/// Path of the file that `${credential:NAME}` stands for; none if the text is something else.
///
/// # Errors
///
/// If the name is invalid, or the service manager has given this process no credentials.
pub(super) fn credential(text: &str) -> Option<Result<PathBuf, String>> {
    let name = text.strip_prefix("${credential:")?.strip_suffix('}')?;
    Some(credential_in(std::env::var_os("CREDENTIALS_DIRECTORY"), name))
}

fn credential_in(folder: Option<OsString>, name: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(format!("`{name}` is no name of a credential"));
    }
    let folder = folder.ok_or_else(|| {
        format!("there are no credentials (CREDENTIALS_DIRECTORY is not set): give `{name}` with `LoadCredential=` in the unit")
    })?;
    Ok(Path::new(&folder).join(name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Secret, credential_in};

    #[test]
    fn a_credential_is_a_file_of_the_service_managers_folder_and_of_no_other() {
        let find = |folder: Option<&str>, name| credential_in(folder.map(Into::into), name);
        let found = find(Some("/run/credentials/selvedge.service"), "api_key");
        assert_eq!(
            found.as_deref(),
            Ok(Path::new("/run/credentials/selvedge.service/api_key"))
        );
        assert!(find(Some("/run"), "../passwd").is_err());
        let refused = find(None, "api_key").expect_err("none");
        assert!(refused.contains("LoadCredential="), "{refused}");
    }

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
