//! Builds the plugins, writes each one's manifest into it, and puts it into plugins/dist/. Those in JavaScript and Python are built as
//! an author builds them, by `selvedge plugin build`, which the host's binary must be there for.
//!
//! Each is built alone, so that the others that are built change nothing of it: it has the features that it asks for, as in an
//! author's project. The cache keeps what was built by what it was made of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::Table;
use wasm_encoder::{ComponentSection, CustomSection};

use crate::cache::{Cache, copy_file};
use crate::python::{install_python_packages, short};
use crate::run::{Root, Tool, apt_install, digest, fetch, fetch_crates};
use crate::steps::say;
use crate::wasm::{Compiler, TARGET, host_triple};

/// A plugin in a scripting language.
struct Script {
    /// Name of its folder.
    name: &'static str,
    language: Language,
}

static SCRIPTS: [Script; 2] = [
    Script {
        name: "crm",
        language: Language::JavaScript,
    },
    Script {
        name: "calibrate",
        language: Language::Python,
    },
];

/// Language of a plugin that the host builds.
#[derive(Clone, Copy)]
enum Language {
    JavaScript,
    Python,
}

/// Sources of the code that calls the tools for JavaScript and Python and changes their output.
const SCRIPT_BUILDERS: [&str; 4] = [
    "host/src/author/build.rs",
    "host/src/author/build/javascript.rs",
    "host/src/author/build/python.rs",
    "host/plugin/src/quickjs.rs",
];

/// Names of the plugins in Rust.
pub(crate) fn names(root: &Root) -> Result<Vec<String>> {
    let has = |folder: &Path| folder.join("manifest.json").is_file() && folder.join("Cargo.toml").is_file();
    let folders = fs::read_dir(root.join("plugins"))?.flatten();
    let mut names: Vec<String> = folders
        .filter(|entry| has(&entry.path()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Names of those in JavaScript and Python.
pub(crate) fn script_names() -> impl Iterator<Item = &'static str> {
    SCRIPTS.iter().map(|script| script.name)
}

/// Builds those in Rust that are not there as their sources say.
pub(crate) fn build(root: &Root, names: &[String]) -> Result<()> {
    let workshop = Workshop::new(root)?;
    let mut missing = Vec::new();
    for name in names {
        if !workshop.is_fresh(name)? {
            missing.push(name);
        }
    }
    for (index, name) in missing.iter().enumerate() {
        say(&format!("{name}, {} of {}", index + 1, missing.len()));
        workshop
            .make(name)
            .with_context(|| format!("the plugin {name} cannot be built"))?;
    }
    Ok(())
}

/// Builds the named ones in JavaScript and Python, where they or the interfaces have changed. Their tools are installed into their
/// folders the first time.
pub(crate) fn build_scripts(root: &Root, names: &[String]) -> Result<()> {
    let is_wanted = |script: &&Script| names.iter().any(|wanted| wanted == script.name);
    SCRIPTS
        .iter()
        .filter(is_wanted)
        .try_for_each(|script| script.build(root))
}

impl Script {
    /// Builds it, or takes it from the cache.
    fn build(&self, root: &Root) -> Result<()> {
        let name = self.name;
        let folder = self.folder(root);
        let mut sources = vec![folder.join("manifest.json")];
        sources.extend(self.pins(root));
        for part in [folder.join("src"), folder.join("wit"), root.join("wit")] {
            collect(&part, &mut sources)?;
        }
        sources.extend(SCRIPT_BUILDERS.map(|file| root.join(file)));
        let key = digest(&[name], &sources)?;
        let dist = root.join("plugins/dist");
        let made = [dist.join(format!("{name}.wasm"))];
        let stamp = root.stamp(&format!("plugin-{name}"), key.clone());
        if stamp.is_fresh(&made) {
            return Ok(());
        }
        let entry = Cache::of_user()?.entry("plugins", &format!("{name}-{}", short(&key)), |dir| {
            let builder = self.builder(root)?;
            say(&format!("building the plugin {name}"));
            builder.arg(&folder).arg("--dist").arg(dir).run()
        })?;
        fs::create_dir_all(&dist)?;
        copy_file(&entry.path().join(format!("{name}.wasm")), &made[0])?;
        stamp.write(&made)
    }

    /// The host's command that builds plugins. The tools that it calls are installed before: what fails then is the network, and what
    /// fails later is the plugin.
    fn builder(&self, root: &Root) -> Result<Tool> {
        let builder = Tool::new(root.binary()).args(["plugin", "build"]);
        match self.language {
            Language::JavaScript => {
                self.install_npm_packages(root)?;
                Ok(builder)
            }
            Language::Python => {
                install_python_packages(root, self.name)?;
                // The host would take an active environment for the plugin's own.
                Ok(builder.without_env("VIRTUAL_ENV"))
            }
        }
    }

    /// Installs what the lock file pins into the plugin's folder, where it is not there.
    fn install_npm_packages(&self, root: &Root) -> Result<()> {
        let folder = self.folder(root);
        let stamp = root.stamp(&format!("npm-{}", self.name), digest(&[], &self.pins(root))?);
        // npm writes it last, with what it has installed.
        let made = [folder.join("node_modules/.package-lock.json")];
        if stamp.is_fresh(&made) {
            return Ok(());
        }
        if !Tool::new("npm").arg("--version").succeeds() {
            apt_install(&["nodejs", "npm"], "plugins in JavaScript")?;
        }
        say(&format!("fetching the npm packages of {}", self.name));
        let remedy =
            "look after the network, and at what the registry gives (npm_config_registry names a mirror)";
        fetch(remedy, || {
            let npm = Tool::new("npm").current_dir(&folder).arg("ci");
            npm.args(["--no-audit", "--no-fund", "--loglevel", "error"])
                .run_for("`npm ci`")
        })?;
        stamp.write(&made)
    }

    fn folder(&self, root: &Root) -> PathBuf {
        root.join("plugins").join(self.name)
    }

    /// Files that pin the tools that build it.
    fn pins(&self, root: &Root) -> Vec<PathBuf> {
        let files: &[&str] = match self.language {
            Language::JavaScript => &["package.json", "package-lock.json"],
            Language::Python => &["requirements.txt"],
        };
        files.iter().map(|file| self.folder(root).join(file)).collect()
    }
}

/// Builder of plugins in Rust.
struct Workshop<'a> {
    root: &'a Root,
    compiler: Compiler,
    /// The compiler's own words about itself.
    version: String,
    /// Files that every plugin is made of: the interfaces, the lock file, the workspace's profile.
    shared: Vec<PathBuf>,
}

impl<'a> Workshop<'a> {
    fn new(root: &'a Root) -> Result<Self> {
        let compiler = Compiler::find(root)?;
        let version = compiler.version()?;
        let mut shared = vec![root.join("plugins/Cargo.toml"), root.join("plugins/Cargo.lock")];
        collect(&root.join("wit"), &mut shared)?;
        Ok(Self {
            root,
            compiler,
            version,
            shared,
        })
    }

    fn is_fresh(&self, name: &str) -> Result<bool> {
        Ok(self
            .root
            .stamp(&format!("plugin-{name}"), self.key(name)?)
            .is_fresh(&[self.placed(name)]))
    }

    /// Puts it into plugins/dist/, from the cache or built.
    fn make(&self, name: &str) -> Result<()> {
        let key = self.key(name)?;
        let entry = Cache::of_user()?.entry("plugins", &format!("{name}-{}", short(&key)), |dir| {
            self.compile(name, &dir.join(format!("{name}.wasm")))
        })?;
        let made = self.placed(name);
        fs::create_dir_all(self.root.join("plugins/dist"))?;
        let built = entry.path().join(format!("{name}.wasm"));
        // The same bytes keep their time, so that nothing that depends on it is made again.
        if fs::read(&made).ok() != Some(fs::read(&built)?) {
            copy_file(&built, &made)?;
        }
        self.root.stamp(&format!("plugin-{name}"), key).write(&[made])
    }

    fn placed(&self, name: &str) -> PathBuf {
        self.root.join("plugins/dist").join(format!("{name}.wasm"))
    }

    fn compile(&self, name: &str, out: &Path) -> Result<()> {
        let workspace = self.root.join("plugins");
        fetch_crates(&workspace, &[TARGET, host_triple(&self.version)?])?;
        self.compiler
            .cargo()
            .current_dir(&workspace)
            .env("CARGO_TARGET_DIR", workspace.join("target"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--release",
                "--target",
                TARGET,
                "--package",
                name,
            ])
            .run()?;
        let built = workspace
            .join("target")
            .join(TARGET)
            .join("release")
            .join(format!("{}.wasm", name.replace('-', "_")));
        let mut component = fs::read(&built).with_context(|| format!("{} is missing", built.display()))?;
        let manifest = fs::read_to_string(workspace.join(name).join("manifest.json"))?;
        let section = CustomSection {
            name: "selvedge:manifest".into(),
            data: manifest
                .replace("@TOOLCHAIN@", self.compiler.name(&self.version))
                .into_bytes()
                .into(),
        };
        section.append_to_component(&mut component);
        fs::write(out, component).with_context(|| format!("{} cannot be written", out.display()))
    }

    /// A hash of all that it is made of.
    fn key(&self, name: &str) -> Result<String> {
        let mut files = self.shared.clone();
        for folder in self.crates(name)? {
            let folder = self.root.join("plugins").join(folder);
            files.extend([folder.join("Cargo.toml"), folder.join("manifest.json")]);
            collect(&folder.join("src"), &mut files)?;
        }
        files.retain(|file| file.exists());
        digest(
            &[
                name,
                &self.version,
                TARGET,
                &std::env::var("RUSTFLAGS").unwrap_or_default(),
            ],
            &files,
        )
    }

    /// Its own folder, and those of the workspace's crates that it uses.
    fn crates(&self, name: &str) -> Result<BTreeSet<String>> {
        let members = read_table(&self.root.join("plugins/Cargo.toml"))?;
        let members = members
            .get("workspace")
            .and_then(|workspace| workspace.get("dependencies"));
        let path_of = |dependency: &str| members?.get(dependency)?.get("path")?.as_str();
        let (mut found, mut open) = (BTreeSet::new(), vec![name.to_owned()]);
        while let Some(folder) = open.pop() {
            let manifest = read_table(&self.root.join("plugins").join(&folder).join("Cargo.toml"))?;
            let uses = manifest.get("dependencies").and_then(|uses| uses.as_table());
            let uses = uses.into_iter().flat_map(Table::keys);
            let paths = uses
                .filter_map(|dependency| path_of(dependency))
                .map(str::to_owned);
            if found.insert(folder) {
                open.extend(paths);
            }
        }
        Ok(found)
    }
}

fn read_table(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    text.parse()
        .with_context(|| format!("{} is not valid TOML", path.display()))
}

/// All files below a folder, in order.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Workshop, names, script_names};
    use crate::run::Root;
    use crate::wasm::Compiler;

    #[test]
    fn a_plugin_is_made_of_the_crates_that_it_uses() {
        let root = Root::find().expect("found");
        let workshop = Workshop {
            root: &root,
            compiler: Compiler::Rustup,
            version: String::new(),
            shared: Vec::new(),
        };
        let crates = |name| -> Vec<String> { workshop.crates(name).expect("read").into_iter().collect() };
        assert_eq!(crates("guard"), ["guard", "guard-rules", "sdk"]);
        assert_eq!(crates("label"), ["label", "sdk"]);
        assert_ne!(
            workshop.key("label").expect("hashed"),
            workshop.key("redact").expect("hashed")
        );
    }

    #[test]
    fn every_plugin_in_the_folder_is_known() {
        let root = Root::find().expect("found");
        let names = names(&root).expect("read");
        assert!(
            names.contains(&"json-schema".to_owned()) && !names.contains(&"sdk".to_owned()),
            "{names:?}"
        );
        assert!(script_names().all(|name| root.join("plugins").join(name).is_dir()));
    }
}
