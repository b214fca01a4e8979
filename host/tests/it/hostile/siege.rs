//! A node under attack: an innocent endpoint that must be served all along, and one whose plugin does its worst.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::guest::Guest;
use super::innocent::beside;
use crate::client::Answer;
use crate::generate::eventually;
use crate::host::{TestHost, root};
use crate::node::{CLASSIFY, NodeConfig};

/// A plugin that does its worst.
#[derive(Clone)]
pub(crate) struct Attacker {
    component: Component,
    config: Value,
    limits: BTreeMap<String, String>,
    allow: String,
    sandbox: String,
    model: Works,
}

/// What its endpoint's model is.
#[derive(Clone, Copy)]
enum Works {
    /// A folder of `models`.
    On(&'static str),
    /// Another server.
    OnServer(SocketAddr),
}

/// Where its bytes are.
#[derive(Clone)]
enum Component {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Attacker {
    /// With more time than by default, so that on a busy machine a deed ends by what it does and not by how long it takes.
    fn new(component: Component) -> Self {
        let attacker = Self {
            component,
            config: json!({}),
            limits: BTreeMap::new(),
            allow: String::new(),
            sandbox: String::new(),
            model: Works::On("spam"),
        };
        attacker.limits("configure_time = \"2s\", time = \"300ms\", wall_time = \"20s\"")
    }

    /// One of `plugins/dist`.
    pub(crate) fn built(name: &str, config: Value) -> Self {
        let file = root().join(format!("plugins/dist/{name}.wasm"));
        Self::new(Component::File(file)).config(config)
    }

    /// The plugin `hostile` with a deed for `validate`.
    pub(crate) fn deed(deed: &str) -> Self {
        Self::built("hostile", json!({ "validate": deed }))
    }

    /// A guest in text.
    pub(crate) fn text(guest: &Guest) -> Self {
        Self::bytes(guest.component())
    }

    /// Any bytes at all.
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Self::new(Component::Bytes(bytes))
    }

    fn config(self, config: Value) -> Self {
        Self { config, ..self }
    }

    /// Limits of `[plugins.hostile]`, in place of those of the same name.
    pub(crate) fn limits(mut self, limits: &str) -> Self {
        let pairs = limits.split(", ").filter_map(|pair| pair.split_once(" = "));
        self.limits
            .extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        self
    }

    /// `[plugins.hostile] allow`.
    pub(crate) fn allow(self, allow: &str) -> Self {
        let allow = allow.to_owned();
        Self { allow, ..self }
    }

    /// `[sandbox]`.
    pub(crate) fn sandbox(self, sandbox: &str) -> Self {
        let sandbox = sandbox.to_owned();
        Self { sandbox, ..self }
    }

    /// On another model of the project in place of the classifier.
    pub(crate) fn on(self, folder: &'static str) -> Self {
        let model = Works::On(folder);
        Self { model, ..self }
    }

    /// On another server's text in place of the classifier of the node.
    pub(crate) fn on_stream_of(self, server: SocketAddr) -> Self {
        let model = Works::OnServer(server);
        Self { model, ..self }
    }

    /// A node with it, besides the innocent endpoint.
    pub(crate) fn attack(self) -> Siege {
        let dir = tempfile::tempdir().expect("a folder");
        let config = node(&[("hostile", &self)], dir.path());
        Siege {
            host: TestHost::start(&config),
            dir,
        }
    }

    /// Its tables in a configuration, under a name; the files that they name are put into `dir`.
    fn tables(&self, name: &str, dir: &Path) -> String {
        let file = match &self.component {
            Component::File(file) => file.clone(),
            Component::Bytes(bytes) => {
                let file = dir.join(format!("{name}.wasm"));
                std::fs::write(&file, bytes).expect("written");
                file
            }
        };
        let settings = dir.join(format!("{name}.json"));
        std::fs::write(&settings, self.config.to_string()).expect("written");
        let (model, mut tables) = match self.model {
            Works::On(folder) => (folder.to_owned(), String::new()),
            Works::OnServer(server) => {
                let far = format!(
                    "\n[models.far-{name}]\nupstream = {{ kind = \"openai\", url = \"http://{server}\", model = \"m\" }}\n"
                );
                (format!("far-{name}"), far)
            }
        };
        if !self.sandbox.is_empty() {
            tables += &format!("\n[sandbox]\n{}\n", self.sandbox);
        }
        let limits = self.limits.iter().map(|(key, value)| format!("{key} = {value}"));
        let limits = limits.collect::<Vec<_>>().join(", ");
        tables += &format!(
            "\n[plugins.{name}]\npath = \"{}\"\nlimits = {{ {limits} }}\nallow = {{ {} }}\n\
             [endpoints.{name}]\npath = \"/{name}\"\nplugins = [{{ use = \"{name}\", config_file = \"{}\" }}]\nmodel = \"{model}\"\n",
            file.display(),
            self.allow,
            settings.display()
        );
        tables
    }

    /// The folder of its model, where that is none of the innocent's.
    fn folder(&self) -> Option<&'static str> {
        match self.model {
            Works::On("spam") | Works::OnServer(_) => None,
            Works::On(folder) => Some(folder),
        }
    }
}

/// The configuration of a node with an endpoint for each attacker, and an innocent one.
pub(crate) fn node(attackers: &[(&str, &Attacker)], dir: &Path) -> String {
    let mut config = String::new();
    let folders: BTreeSet<&str> = attackers.iter().filter_map(|(_, it)| it.folder()).collect();
    for folder in folders {
        let path = root().join("models").join(folder);
        config += &format!("\n[models.{folder}]\npath = \"{}\"\n", path.display());
    }
    for (name, attacker) in attackers {
        config += &attacker.tables(name, dir);
    }
    // The demo's `classify` is the innocent endpoint.
    NodeConfig::of(&[CLASSIFY]).with(&config).text()
}

/// A node under attack.
pub(crate) struct Siege {
    pub(crate) host: TestHost,
    dir: tempfile::TempDir,
}

impl Siege {
    /// The file of the hostile component, where it was given as bytes.
    pub(crate) fn component(&self) -> PathBuf {
        self.dir.path().join("hostile.wasm")
    }

    /// One request to the hostile endpoint.
    pub(crate) fn ask(&self) -> Answer {
        self.host
            .client()
            .post("/hostile", r#"{"text":"hello","prompt":"hello"}"#)
    }

    /// Does something while the innocent endpoint is asked without a pause, and must answer all along.
    pub(crate) fn meanwhile<T>(&self, attack: impl FnOnce() -> T) -> T {
        beside(|| self.serves_the_innocent(), attack)
    }

    fn serves_the_innocent(&self) {
        let answer = self.host.client().post("/classify", r#"{"text":"hello"}"#);
        assert_eq!(answer.status, 200, "the innocent: {}", answer.json());
    }

    /// Two requests, each of which ends with the code and nothing else: status, metric, log, and no instance left.
    pub(crate) fn ends_alone(&self, code: &str) {
        for _ in 0..2 {
            self.ends_with(502, code);
        }
        let is_trap = ["plugin-trap", "plugin-stack-overflow"].contains(&code);
        assert_eq!(self.traps(), if is_trap { 2 } else { 0 });
        eventually("a line of the log", || {
            let log = self.host.log();
            log.contains(code) && log.contains("plugin `hostile` on endpoint `hostile`")
        });
    }

    /// One request that ends with the code, as the answer says and the metric counts; what it was answered.
    pub(crate) fn ends_with(&self, status: u16, code: &str) -> Answer {
        self.ends_so(status, code, || self.ask())
    }

    /// The same for a request of another kind.
    pub(crate) fn ends_so(&self, status: u16, code: &str, ask: impl FnOnce() -> Answer) -> Answer {
        let before = self.failures(code);
        let answer = self.meanwhile(ask);
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["code"]),
            (status, &json!(code)),
            "{body}\n{}",
            self.host.log()
        );
        let detail = body["detail"].as_str().unwrap_or_default();
        assert!(
            detail.contains("`hostile`"),
            "it does not name the plugin: {body}"
        );
        assert_eq!(self.failures(code), before + 1, "{code}");
        self.leaves_nothing();
        answer
    }

    /// Another in its place, by a reload, is refused for a reason with these words, and it goes on serving.
    pub(crate) fn refuses_in_its_place(&self, other: &Attacker, words: &[&str]) {
        let refused = || self.counted("selvedge_reloads_total", &[("outcome", "refused")]);
        let (before, said_before) = (refused(), self.host.log().len());
        let config = node(&[("hostile", other)], self.dir.path());
        std::fs::write(self.host.file(), config).expect("written");
        self.meanwhile(|| {
            self.host.hang_up();
            eventually("an end of the reload", || refused() > before);
        });
        eventually("the reason in the log", || {
            let log = self.host.log();
            let mut told = log[said_before..]
                .lines()
                .filter(|line| line.contains("was not reloaded"));
            told.any(|line| words.iter().all(|word| line.contains(word)))
        });
        assert_eq!(self.host.client().get("/readyz").json()["generation"], 1);
        assert_eq!(self.ask().status, 200, "the plugin from before serves");
    }

    /// Bytes of the log's lines in the plugin's name.
    pub(crate) fn said(&self) -> usize {
        let log = self.host.log();
        let lines = log.lines().filter(|line| line.contains("plugin=\"hostile\""));
        lines.map(str::len).sum()
    }

    /// No instance is alive, and none of their memory is counted.
    pub(crate) fn leaves_nothing(&self) {
        eventually("no instance", || {
            let sandbox = self.host.client().get("/readyz").json()["sandbox"].clone();
            sandbox["instances"] == 0 && sandbox["memory"] == 0
        });
    }

    /// How many calls failed with the code, by the node's metric.
    pub(crate) fn failures(&self, code: &str) -> usize {
        let labels = [("plugin", "hostile"), ("code", code)];
        self.counted("selvedge_plugin_failures_total", &labels)
    }

    /// How many of them were traps.
    pub(crate) fn traps(&self) -> usize {
        self.counted("selvedge_plugin_traps_total", &[("plugin", "hostile")])
    }

    /// How many calls of an import no grant covered.
    pub(crate) fn denials(&self, import: &str) -> usize {
        let labels = [("endpoint", "hostile"), ("plugin", "hostile"), ("import", import)];
        self.counted("selvedge_plugin_denials_total", &labels)
    }

    /// Bytes that it wanted to log beyond `limits.log`.
    pub(crate) fn log_dropped(&self) -> usize {
        let labels = [("endpoint", "hostile"), ("plugin", "hostile")];
        self.counted("selvedge_plugin_log_dropped_bytes_total", &labels)
    }

    /// The sum of a counter's values with these labels, 0 where there is none yet.
    pub(crate) fn counted(&self, metric: &str, labels: &[(&str, &str)]) -> usize {
        let text = String::from_utf8(self.host.client().get("/metrics").body).expect("UTF-8");
        let labels = labels.iter().map(|(key, value)| format!("{key}=\"{value}\""));
        let labels: Vec<String> = labels.collect();
        let counted = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let given = series.strip_prefix(metric)?.strip_prefix('{')?;
            let is_asked = labels.iter().all(|label| given.contains(label.as_str()));
            is_asked.then(|| value.parse::<usize>().expect("a number"))
        });
        counted.sum()
    }

    /// A request that it lets pass: what it does is harmless here. The node's log afterwards.
    pub(crate) fn is_let(&self) -> String {
        let answer = self.meanwhile(|| self.ask());
        assert_eq!(answer.status, 200, "{}", answer.json());
        self.leaves_nothing();
        // What is logged comes through a pipe.
        std::thread::sleep(Duration::from_millis(100));
        self.host.log()
    }

    /// It was refused when it was loaded, for a reason with these words; its endpoint alone is broken.
    pub(crate) fn was_refused(&self, words: &[&str]) {
        let answer = self.meanwhile(|| self.ask());
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["code"]),
            (503, &json!("endpoint_unavailable")),
            "{body}"
        );
        let ready = self.host.client().get("/readyz").json();
        assert_eq!(ready["status"], "degraded", "{ready}");
        let endpoints = ready["endpoints"].to_string();
        for word in words {
            assert!(endpoints.contains(word), "no `{word}` in {endpoints}");
        }
        let metrics = String::from_utf8(self.host.client().get("/metrics").body).expect("UTF-8");
        assert!(
            metrics.contains("selvedge_endpoint_ready{endpoint=\"hostile\"} 0"),
            "{metrics}"
        );
        self.leaves_nothing();
    }
}
