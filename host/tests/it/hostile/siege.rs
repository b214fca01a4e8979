//! A node under attack: an innocent endpoint that must be served all along, and one whose plugin does its worst.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::guest::Guest;
use crate::client::Answer;
use crate::generate::eventually;
use crate::host::{TestHost, demo_config, root};

/// A plugin that does its worst.
pub(crate) struct Attacker {
    component: Component,
    config: Value,
    limits: BTreeMap<String, String>,
    allow: String,
    sandbox: String,
    model: String,
}

/// Where its bytes are.
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
            model: "spam".to_owned(),
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

    /// On another server's text in place of the classifier of the node.
    pub(crate) fn on_stream_of(self, server: SocketAddr) -> Self {
        let model = format!(
            "far\"\n[models.far]\nupstream = {{ kind = \"openai\", url = \"http://{server}\", model = \"m\" }}\n#\""
        );
        Self { model, ..self }
    }

    /// A node with it, besides the innocent endpoint.
    pub(crate) fn attack(self) -> Siege {
        let dir = tempfile::tempdir().expect("a folder");
        let config = node(&[("hostile", &self)], dir.path());
        Siege {
            host: TestHost::start(&config),
            _dir: dir,
        }
    }
}

/// The configuration of a node with an endpoint for each attacker, and an innocent one.
pub(crate) fn node(attackers: &[(&str, &Attacker)], dir: &std::path::Path) -> String {
    // Its `classify` is the innocent endpoint; what takes long to load is left out.
    let demo = demo_config("");
    let part = |from: &str, to: &str| {
        let rest = demo.split_once(from).expect("in the demo").1;
        format!("{from}{}", rest.split_once(to).expect("in the demo").0)
    };
    let head = demo.split_once("[models.spam]").expect("in the demo").0;
    let mut config = [
        head,
        &part("[models.spam]", "[models.minilm]"),
        &part("[plugins.json-schema]", "[plugins.redact]"),
        &part("[endpoints.classify]", "# POST /embed"),
    ]
    .join("\n");
    for (name, attacker) in attackers {
        let file = match &attacker.component {
            Component::File(file) => file.clone(),
            Component::Bytes(bytes) => {
                let file = dir.join(format!("{name}.wasm"));
                std::fs::write(&file, bytes).expect("written");
                file
            }
        };
        let settings = dir.join(format!("{name}.json"));
        std::fs::write(&settings, attacker.config.to_string()).expect("written");
        let Attacker {
            limits,
            allow,
            sandbox,
            model,
            ..
        } = attacker;
        let limits: Vec<String> = limits
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let limits = limits.join(", ");
        if !sandbox.is_empty() {
            config += &format!("\n[sandbox]\n{sandbox}\n");
        }
        config += &format!(
            "\n[plugins.{name}]\npath = \"{}\"\nlimits = {{ {limits} }}\nallow = {{ {allow} }}\n\
             [endpoints.{name}]\npath = \"/{name}\"\nplugins = [{{ use = \"{name}\", config_file = \"{}\" }}]\nmodel = \"{model}\"\n",
            file.display(),
            settings.display()
        );
    }
    config
}

/// A node under attack.
pub(crate) struct Siege {
    pub(crate) host: TestHost,
    _dir: tempfile::TempDir,
}

/// An attack's end, however it comes: nobody goes on asking behind one that panicked.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Siege {
    /// One request to the hostile endpoint.
    pub(crate) fn ask(&self) -> Answer {
        self.host
            .client()
            .post("/hostile", r#"{"text":"hello","prompt":"hello"}"#)
    }

    /// Does something while the innocent endpoint is asked without a pause; each of its answers must be a 200.
    pub(crate) fn meanwhile<T>(&self, attack: impl FnOnce() -> T) -> T {
        let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let _over = Over(&over);
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    self.serves_the_innocent();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
            let another = |when: &str| {
                let before = served.load(Ordering::Relaxed);
                eventually(when, || served.load(Ordering::Relaxed) > before);
            };
            another("an innocent request before it");
            let outcome = attack();
            another("an innocent request after it");
            outcome
        })
    }

    fn serves_the_innocent(&self) {
        let answer = self.host.client().post("/classify", r#"{"text":"hello"}"#);
        assert_eq!(answer.status, 200, "the innocent: {}", answer.json());
    }

    /// Two requests, each of which ends with the code and nothing else: status, metric, log, and no instance left.
    pub(crate) fn ends_alone(&self, code: &str) {
        self.meanwhile(|| {
            for _ in 0..2 {
                let answer = self.ask();
                let body = answer.json();
                assert_eq!(
                    (answer.status, &body["code"]),
                    (502, &json!(code)),
                    "{body}\n{}",
                    self.host.log()
                );
                let detail = body["detail"].as_str().unwrap_or_default();
                assert!(
                    detail.contains("`hostile`"),
                    "it does not name the plugin: {body}"
                );
            }
        });
        assert_eq!(self.failures(code), 2);
        let is_trap = ["plugin-trap", "plugin-stack-overflow"].contains(&code);
        assert_eq!(self.traps(), if is_trap { 2 } else { 0 });
        eventually("a line of the log", || {
            let log = self.host.log();
            log.contains(code) && log.contains("plugin `hostile` on endpoint `hostile`")
        });
        self.leaves_nothing();
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
        self.counted(&format!(
            "selvedge_plugin_failures_total{{plugin=\"hostile\",code=\"{code}\"}} "
        ))
    }

    /// How many of them were traps.
    pub(crate) fn traps(&self) -> usize {
        self.counted("selvedge_plugin_traps_total{plugin=\"hostile\"} ")
    }

    /// The value of a counter, 0 where there is none yet.
    fn counted(&self, metric: &str) -> usize {
        let text = String::from_utf8(self.host.client().get("/metrics").body).expect("UTF-8");
        let line = text.lines().find_map(|line| line.strip_prefix(metric));
        line.map_or(0, |count| count.parse().expect("a number"))
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
