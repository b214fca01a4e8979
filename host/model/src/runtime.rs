//! ONNX Runtime's library: found, loaded once, before anything else may touch it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use crate::error::LoadError;

/// File name of the library.
const LIBRARY: &str = "libonnxruntime.so";

/// The loaded library. One a process: what was loaded first stays.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) environment: Environment,
    library: PathBuf,
}

impl Runtime {
    /// Loads the library. Blocks for some tens of milliseconds.
    ///
    /// It is `asked` where that is given, else `ORT_DYLIB_PATH`, else `lib/selvedge/libonnxruntime.so` or `lib/libonnxruntime.so`
    /// in the executable's folder or one of the two above it, which is where our packages, `cargo xtask setup` and a system put it.
    ///
    /// # Errors
    ///
    /// Where there is none, or it cannot be loaded, or it is older than this crate needs, or another is loaded already.
    pub fn load(asked: Option<&Path>) -> Result<Self, LoadError> {
        static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);
        let library = find(asked)?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded.as_ref() {
            Some(runtime) if runtime.library == library => Ok(runtime.clone()),
            Some(runtime) => {
                let why = format!(
                    "{} is loaded already; restart the node",
                    runtime.library.display()
                );
                Err(LoadError::LibraryUnusable { path: library, why })
            }
            None => Ok(loaded.insert(Self::open(library)?).clone()),
        }
    }

    fn open(library: PathBuf) -> Result<Self, LoadError> {
        let unusable = |why: String| LoadError::LibraryUnusable {
            path: library.clone(),
            why,
        };
        let builder = ort::init_from(&library).map_err(|error| unusable(error.to_string()))?;
        let environment = builder
            .with_telemetry(false)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { environment, library })
    }

    /// The library's file.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// ONNX Runtime's own words about its build.
    #[must_use]
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }
}

fn find(asked: Option<&Path>) -> Result<PathBuf, LoadError> {
    let looked_at = match asked {
        Some(path) => vec![path.to_owned()],
        None => candidates(),
    };
    let found = looked_at.iter().find(|path| path.is_file());
    found
        .map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()))
        .ok_or(LoadError::LibraryMissing { looked_at })
}

fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    beside(&std::env::current_exe().unwrap_or_default())
}

/// Paths at which the library is looked for, relative to the executable. A library that was installed with the executable comes before
/// the system's.
fn beside(executable: &Path) -> Vec<PathBuf> {
    let folders = executable.ancestors().skip(1).take(3);
    folders
        .flat_map(|folder| ["lib/selvedge", "lib"].map(|lib| folder.join(lib).join(LIBRARY)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_executable_finds_its_own_library_before_the_systems() {
        let places = beside(Path::new("/usr/bin/selvedge"));
        let place = |path: &str| places.iter().position(|place| place == Path::new(path));
        let own = place("/usr/lib/selvedge/libonnxruntime.so").expect("the package's");
        assert!(own < place("/usr/lib/libonnxruntime.so").expect("the system's"));
        let built = beside(Path::new("/project/target/release/selvedge"));
        assert!(built.contains(&PathBuf::from("/project/target/lib/libonnxruntime.so")));
    }
}
