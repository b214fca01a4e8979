//! Files that must be there before the host serves or is tested, and the steps that make them: ONNX Runtime, models, plugins.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::cache::Cache;
use crate::checks;
use crate::models::{self, Product};
use crate::onnxruntime::{self, Device};
use crate::plugins;
use crate::run::Root;
use crate::steps::Steps;

/// Purpose of a set-up.
pub(crate) enum Scope {
    /// Serving one configuration: only what it names is made.
    Demo(Configuration),
    /// The tests that CI runs.
    Tests,
}

/// Things that a set-up has to make.
pub(crate) struct Needs {
    device: Device,
    models: Vec<&'static Product>,
    plugins: Vec<String>,
    /// Plugins in JavaScript and Python, which are built by the host.
    scripts: Vec<String>,
}

impl Scope {
    /// Returns the things that have to be made for this purpose.
    pub(crate) fn needs(&self, root: &Root) -> Result<Needs> {
        let plugins = plugins::names(root)?;
        let scripts = plugins::script_names().map(str::to_owned);
        Ok(match self {
            Self::Tests => Needs {
                device: Device::Cpu,
                models: models::all().collect(),
                plugins,
                scripts: scripts.collect(),
            },
            Self::Demo(configuration) => {
                let named = configuration.plugins(root);
                Needs {
                    device: Device::Cpu,
                    models: configuration.models(root),
                    plugins: plugins.into_iter().filter(|name| named.contains(name)).collect(),
                    scripts: scripts.filter(|name| named.contains(name)).collect(),
                }
            }
        })
    }
}

impl Needs {
    /// The same with another ONNX Runtime.
    pub(crate) fn on(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Names of the steps.
    pub(crate) fn steps(&self) -> Vec<String> {
        let models = self.models.iter().map(|product| model_step(product));
        let first = std::iter::once("onnxruntime".to_owned());
        first.chain(models).chain(["plugins".to_owned()]).collect()
    }

    /// Makes what is missing, but for plugins that the host builds.
    pub(crate) fn make(&self, root: &Root, steps: &Steps) -> Result<()> {
        steps.run("onnxruntime", || onnxruntime::fetch(root, self.device))?;
        for product in &self.models {
            steps.run(&model_step(product), || product.make(root))?;
        }
        steps.run("plugins", || plugins::build(root, &self.plugins))
    }

    /// Makes the plugins that the host builds.
    pub(crate) fn make_scripts(&self, root: &Root) -> Result<()> {
        plugins::build_scripts(root, &self.scripts)
    }
}

fn model_step(product: &Product) -> String {
    format!("models/{}", product.name)
}

/// Makes all that the tests need, but for plugins that the host builds.
pub(crate) fn all(root: &Root) -> Result<()> {
    run(root, &Scope::Tests, Device::Cpu)
}

/// Makes all that a scope needs, but for plugins that the host builds.
pub(crate) fn run(root: &Root, scope: &Scope, device: Device) -> Result<()> {
    let mut spaces = checks::SETUP.to_vec();
    if device == Device::Gpu {
        spaces.push(checks::GPU);
    }
    checks::compiler()?;
    checks::space(root, &spaces)?;
    let needs = scope.needs(root)?.on(device);
    let steps = Steps::new();
    steps.plan(needs.steps());
    steps.finish(needs.make(root, &steps))?;
    sweep()
}

/// Makes the models that the tests need.
pub(crate) fn models(root: &Root) -> Result<()> {
    checks::space(root, &[checks::MODELS])?;
    let steps = Steps::new();
    steps.plan(models::all().map(model_step));
    let made = models::all().try_for_each(|product| steps.run(&model_step(product), || product.make(root)));
    steps.finish(made)?;
    sweep()
}

/// Keeps the user's cache within its bounds, where something may have been added.
pub(crate) fn sweep() -> Result<()> {
    Cache::of_user()?.sweep()
}

/// A configuration, read as far as it says what has to be made. The host checks all of it.
pub(crate) struct Configuration {
    file: PathBuf,
    table: Table,
}

impl Configuration {
    /// Reads a file.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let table = text
            .parse()
            .with_context(|| format!("{} is not valid TOML", file.display()))?;
        Ok(Self {
            file: file.to_owned(),
            table,
        })
    }

    /// Addresses of the listener, where it says them.
    pub(crate) fn listen(&self) -> Vec<&str> {
        match self.table.get("server").and_then(|server| server.get("listen")) {
            Some(Value::String(address)) => vec![address],
            Some(Value::Array(addresses)) => addresses.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Name of the file, for messages.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Names of the plugins that are files in plugins/dist/.
    fn plugins(&self, root: &Root) -> BTreeSet<String> {
        let dist = root.join("plugins/dist");
        let paths = self.entries("plugins").filter_map(|(path, _)| {
            let is_ours = self.absolute(path).parent() == Some(&dist);
            let name = Path::new(path).file_stem()?.to_string_lossy().into_owned();
            is_ours.then_some(name)
        });
        paths.collect()
    }

    fn models(&self, root: &Root) -> Vec<&'static Product> {
        let folder = root.join("models");
        let mut wanted: Vec<&'static Product> = Vec::new();
        for (path, entry) in self.entries("models") {
            let path = self.absolute(path);
            let Ok(name) = path.strip_prefix(&folder) else {
                continue;
            };
            let file = entry.get("file").and_then(Value::as_str).unwrap_or("model.onnx");
            for product in models::for_file(&name.to_string_lossy(), file) {
                if !wanted.contains(&product) {
                    wanted.push(product);
                }
            }
        }
        wanted
    }

    /// Each entry of a section that has a path.
    fn entries(&self, section: &str) -> impl Iterator<Item = (&str, &Value)> {
        let section = self.table.get(section).and_then(Value::as_table);
        let entries = section.into_iter().flat_map(Table::values);
        entries.filter_map(|entry| Some((entry.get("path")?.as_str()?, entry)))
    }

    /// A path of the file, without `..`: what it leads to need not be there yet.
    fn absolute(&self, path: &str) -> PathBuf {
        let mut found = PathBuf::new();
        let base = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone());
        for part in base.parent().unwrap_or(&base).join(path).components() {
            match part {
                std::path::Component::ParentDir => drop(found.pop()),
                std::path::Component::CurDir => {}
                part => found.push(part),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{Configuration, Scope};
    use crate::run::Root;

    fn needs(file: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
        let root = Root::find().expect("found");
        let configuration = Configuration::read(&root.join(file)).expect("read");
        let needs = Scope::Demo(configuration).needs(&root).expect("known");
        let models = needs
            .models
            .iter()
            .map(|product| product.name.to_owned())
            .collect();
        (models, needs.plugins, needs.scripts)
    }

    #[test]
    fn the_demo_needs_what_its_configuration_names() {
        let (models, plugins, scripts) = needs("configs/demo.toml");
        assert_eq!(models, ["minilm", "smollm2"]);
        assert_eq!(plugins, ["json-schema", "label", "prompt-template", "redact"]);
        assert_eq!(scripts, [""; 0]);
    }

    #[test]
    fn another_configuration_needs_other_things() {
        let (models, plugins, scripts) = needs("configs/scripts.toml");
        assert_eq!(models, ["smollm2"]);
        assert_eq!(plugins, [""; 0]);
        assert_eq!(scripts, ["crm", "calibrate"]);
        assert_eq!(needs("configs/tensors.toml").0, ["minilm"]);
    }

    #[test]
    fn the_tests_need_no_variant_that_only_a_deep_run_compares() {
        let root = Root::find().expect("found");
        let steps = Scope::Tests.needs(&root).expect("known").steps();
        assert!(steps.contains(&"models/minilm-q8".to_owned()), "{steps:?}");
        assert!(
            !steps
                .iter()
                .any(|step| step.contains("fp32") || step.contains("plain"))
        );
    }

    #[test]
    fn the_demo_listens_where_its_configuration_says() {
        let root = Root::find().expect("found");
        let demo = Configuration::read(&root.join("configs/demo.toml")).expect("read");
        assert_eq!(demo.listen(), ["127.0.0.1:8080"]);
    }
}
