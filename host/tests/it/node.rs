//! The configuration of a node, composed of what a test needs and of nothing else: endpoints of the demo, with the models and
//! plugins that they name, and sections of the test's own. What is not named is not loaded.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value as Json;
use toml::{Table, Value};

use crate::host::{TestHost, root};

/// The demo's `POST /classify`: the spam classifier behind three plugins. It starts at once.
pub(crate) const CLASSIFY: &str = "classify";
/// The demo's `POST /embed`: MiniLM behind a validator.
pub(crate) const EMBED: &str = "embed";
/// The demo's `POST /assistant`: SmolLM2 before a stream plugin.
pub(crate) const ASSISTANT: &str = "assistant";

/// Endpoints of the spam classifier without a template, which answer at once: `plain` without plugins, and `scores`, whose requests are
/// of this schema, an inline table of TOML.
pub(crate) fn plain_and_scores(schema: &str) -> String {
    format!(
        r#"
[endpoints.plain]
path = "/plain"
model = "spam"
[endpoints.scores]
path = "/scores"
model = "spam"
plugins = [{{ use = "json-schema", config = {{ schema = {schema} }} }}, {{ use = "label", config = {{ scores = true }} }}]
"#
    )
}

/// Sections whose entries have names that endpoints, models and plugins refer to.
const NAMED: [&str; 3] = ["models", "plugins", "endpoints"];

/// The state folder that tests share, so that each configuration of a plugin is compiled once.
pub(crate) fn shared_state() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("state")
}

/// The demo's text on a free port, with the shared state folder and absolute paths.
pub(crate) fn demo_text() -> String {
    let demo = std::fs::read_to_string(root().join("configs/demo.toml")).expect("the demo");
    let demo = demo
        .replace("127.0.0.1:8080\"", "127.0.0.1:0\"")
        .replace("../target/state", &shared_state().to_string_lossy());
    demo.replace("\"../", &format!("\"{}/", root().display()))
}

fn demo() -> &'static Table {
    static DEMO: OnceLock<Table> = OnceLock::new();
    DEMO.get_or_init(|| parse(&demo_text()))
}

fn parse(toml: &str) -> Table {
    toml.parse().unwrap_or_else(|error| panic!("{error}:\n{toml}"))
}

/// A node's configuration.
#[derive(Clone)]
pub(crate) struct NodeConfig(Table);

impl NodeConfig {
    /// A node on a free port with these endpoints of the demo.
    pub(crate) fn of(endpoints: &[&str]) -> Self {
        let common = ["server", "state"].map(|section| (section.to_owned(), demo()[section].clone()));
        let mut config = Self(Table::from_iter(common));
        for name in endpoints {
            config.take_from_demo("endpoints", name);
        }
        config
    }

    /// The same with TOML merged in: a table's keys one by one, anything else in place of what was there.
    pub(crate) fn with(mut self, toml: &str) -> Self {
        merge(&mut self.0, parse(toml));
        self
    }

    /// The same with a plugin of `plugins/dist`, under its own name.
    pub(crate) fn with_plugin(self, name: &str) -> Self {
        let path = root().join("plugins/dist").join(format!("{name}.wasm"));
        self.with(&format!("[plugins.{name}]\npath = \"{}\"\n", path.display()))
    }

    /// The same with a state folder of its own, whose plugins are compiled anew.
    pub(crate) fn in_state(self, dir: &Path) -> Self {
        self.with(&format!("state.dir = \"{}\"", dir.display()))
    }

    /// The file's text. Models and plugins that are named are the demo's, but for what is said of them here.
    pub(crate) fn text(&self) -> String {
        let mut whole = self.clone();
        whole.describe_what_is_named();
        let mut text = String::new();
        for (section, value) in &whole.0 {
            let value = value.as_table().expect("a section");
            if NAMED.contains(&section.as_str()) {
                for (name, entry) in value {
                    let entry = entry.as_table().expect("a table");
                    write_table(&mut text, &format!("{section}.{}", quoted(name)), entry);
                }
            } else {
                write_table(&mut text, section, value);
            }
        }
        text
    }

    /// Starts a node with it, which ends when it is dropped.
    pub(crate) fn start(&self) -> TestHost {
        TestHost::start(&self.text())
    }

    /// Takes an entry of the demo, but for what is said of it here.
    fn take_from_demo(&mut self, section: &str, name: &str) {
        let entry = demo()[section].get(name);
        let entry = entry.unwrap_or_else(|| panic!("the demo has no `{section}.{name}`"));
        let mut taken = entry.as_table().expect("a table").clone();
        let section = self.0.entry(section).or_insert_with(|| Table::new().into());
        let section = section.as_table_mut().expect("a section");
        if let Some(Value::Table(said)) = section.remove(name) {
            merge(&mut taken, said);
        }
        section.insert(name.to_owned(), taken.into());
    }

    /// Adds the demo's models and plugins that something names.
    fn describe_what_is_named(&mut self) {
        for (section, name) in self.names() {
            if demo()[section].get(&name).is_some() {
                self.take_from_demo(section, &name);
            }
        }
    }

    /// Models and plugins that endpoints name, models in whose place they stand, and models that plugins are granted.
    fn names(&self) -> Vec<(&'static str, String)> {
        let entries = |section: &str| {
            let section = self.0.get(section).and_then(Value::as_table);
            section.into_iter().flat_map(Table::values)
        };
        let texts = |list: Option<&Value>| {
            let list = list.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut names = Vec::new();
        for endpoint in entries("endpoints") {
            let model = endpoint.get("model").and_then(Value::as_str);
            names.extend(model.map(|model| ("models", model.to_owned())));
            let plugins = endpoint.get("plugins").and_then(Value::as_array);
            let used = plugins
                .into_iter()
                .flatten()
                .filter_map(|plugin| plugin.get("use"));
            names.extend(
                used.filter_map(Value::as_str)
                    .map(|name| ("plugins", name.to_owned())),
            );
        }
        for model in entries("models") {
            let fallback = model.get("upstream").and_then(|it| it.get("fallback"));
            names.extend(texts(fallback).into_iter().map(|name| ("models", name)));
        }
        for plugin in entries("plugins") {
            let granted = plugin.get("allow").and_then(|allow| allow.get("models"));
            names.extend(texts(granted).into_iter().map(|name| ("models", name)));
        }
        names
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn write_table(text: &mut String, name: &str, table: &Table) {
    text.push_str(&format!("[{name}]\n"));
    for (key, value) in table {
        text.push_str(&format!("{} = {}\n", quoted(key), inline(value)));
    }
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(inline).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Table(table) => {
            let entries = table
                .iter()
                .map(|(key, value)| format!("{} = {}", quoted(key), inline(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text as JSON writes it, which is a basic string of TOML too.
fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}

#[test]
fn a_configuration_has_what_its_endpoints_name_and_nothing_else() {
    let config = NodeConfig::of(&[CLASSIFY]).with(
        "endpoints.classify.timeout = \"2s\"\nmodels.minilm.batch.items_max = 7\n[endpoints.\"odd name\"]\nmodel = \"minilm\"\nplugins = [{ use = \"label\", \
         config = { a = [1, 2.5, true], \"b \\\" c\" = \"d\\n\" } }]\n",
    );
    let written = parse(&config.text());
    let names = |section: &str| written[section].as_table().expect("a table").keys();
    assert_eq!(names("models").collect::<Vec<_>>(), ["minilm", "spam"]);
    assert_eq!(
        names("plugins").collect::<Vec<_>>(),
        ["json-schema", "label", "prompt-template"]
    );
    assert_eq!(names("endpoints").collect::<Vec<_>>(), ["classify", "odd name"]);
    let batch = &written["models"]["minilm"]["batch"];
    assert_eq!(batch["items_max"].as_integer(), Some(7));
    assert_eq!(
        batch["queue_items_max"],
        demo()["models"]["minilm"]["batch"]["queue_items_max"]
    );
    assert_eq!(written["endpoints"]["classify"]["timeout"].as_str(), Some("2s"));
    assert_eq!(
        written["endpoints"]["odd name"],
        config.0["endpoints"]["odd name"]
    );
    let whole = NodeConfig::of(&[ASSISTANT, CLASSIFY, EMBED]);
    assert_eq!(parse(&whole.text()), *demo(), "all of its endpoints are the demo");
}
