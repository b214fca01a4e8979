//! Events of requests: kept before the answer is whole, given to observers, given up by themselves, bounded.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::Answer;
use crate::generate::{eventually, send};
use crate::host::{TestHost, root, run};
use crate::node::NodeConfig;

/// Retries that a test can wait for.
pub(crate) const QUICK: &str = "backoff_min = \"50ms\"\nbackoff_max = \"200ms\"\n";

/// Retries that a test does not see.
const SLOW: &str = "backoff_min = \"100s\"\nbackoff_max = \"100s\"\n";

/// A node with a state folder of its own, that can be started again.
pub(crate) struct Node {
    dir: tempfile::TempDir,
    config: String,
}

impl Node {
    /// A node with the spam classifier at `/classify` behind one observer.
    pub(crate) fn new(observe: &str, plugin: &str, allow: &str, config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (state, root) = (dir.path().join("state"), root());
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
             [state]\ndir = \"{}\"\n\
             [observe]\n{observe}\n\
             [models.spam]\npath = \"{root}/models/spam\"\n\
             [plugins.observer]\npath = \"{root}/plugins/dist/{plugin}.wasm\"\nallow = {{ {allow} }}\n\
             [endpoints.classify]\npath = \"/classify\"\nmodel = \"spam\"\n\
             plugins = [{{ use = \"observer\", config = {{ {config} }} }}]\n\
             [endpoints.unobserved]\npath = \"/unobserved\"\nmodel = \"spam\"\n",
            state.display(),
            root = root.display(),
        );
        Self { dir, config }
    }

    /// The demo's language model behind an observer, at `captured`, that writes the journal `chat`.
    pub(crate) fn captured() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path().join("state");
        let captured = "plugins.capture.allow = { journals = [\"chat\"], bodies = true }\n\
             [endpoints.captured]\nmodel = \"smollm2\"\n\
             plugins = [{ use = \"capture\", config = { journal = \"chat\", only = \"all\" } }]\n";
        let config = NodeConfig::of(&[])
            .with_plugin("capture")
            .with(captured)
            .in_state(&state)
            .text();
        Self { dir, config }
    }

    /// The same with a line more in `[server]`.
    pub(crate) fn with_server(mut self, line: &str) -> Self {
        self.config = self.config.replacen("[server]", &format!("[server]\n{line}"), 1);
        self
    }

    /// The same with a section more.
    pub(crate) fn with_section(mut self, section: &str) -> Self {
        self.config += section;
        self
    }

    /// The same with limits for the plugin.
    pub(crate) fn with_limits(mut self, limits: &str) -> Self {
        self.config = self.config.replace(
            "[endpoints.classify]",
            &format!("limits = {{ {limits} }}\n[endpoints.classify]"),
        );
        self
    }

    pub(crate) fn start(&self) -> TestHost {
        TestHost::start(&self.config)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The lines of a journal.
    pub(crate) fn journal(&self, name: &str) -> Vec<Value> {
        lines(&self.state().join("journals").join(name))
    }

    /// Runs a subcommand of `events` to its end.
    pub(crate) fn events(&self, arguments: &[&str]) -> (i32, String, String) {
        let file = self.dir.path().join("node.toml");
        std::fs::write(&file, &self.config).expect("written");
        let file = file.to_string_lossy();
        run(&[&["events"], arguments, &["--config", &file]].concat())
    }

    /// What `events list --json` says.
    pub(crate) fn letters(&self) -> Vec<Value> {
        let (code, output, error) = self.events(&["list", "--json"]);
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&output).expect("a list")
    }
}

/// What `/readyz` says of the queue.
pub(crate) fn held(host: &TestHost) -> Value {
    host.client().get("/readyz").json()["observe"].clone()
}

pub(crate) fn classify(host: &TestHost, text: &str) -> Answer {
    host.client()
        .post("/classify", json!({ "text": text }).to_string())
}

/// A conversation with `captured`, in pieces or whole, of so many tokens.
pub(crate) fn long(stream: bool, tokens: usize) -> String {
    let messages = json!([{ "role": "user", "content": "List three fruits." }]);
    let bias = if tokens > 100 {
        json!({ "2": -100, "0": -100 })
    } else {
        json!({})
    };
    json!({
        "model": "captured", "messages": messages, "stream": stream, "temperature": 0, "max_tokens": tokens, "logit_bias": bias,
    })
    .to_string()
}

fn lines(folder: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension() == Some("jsonl".as_ref()));
    files.sort();
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).expect("text"));
    let lines = texts.collect::<String>();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn capture_writes_a_line_for_each_request_and_rotates() {
    let config = "journal = \"spam\", file_bytes_max = 4096, files_max = 3";
    let node = Node::new("", "capture", "journals = [\"spam\"], bodies = true", config);
    let host = node.start();
    let journal = node.state().join("journals/spam");
    let answer = classify(&host, "hello there");
    assert_eq!(answer.status, 200);
    assert_eq!(host.client().post("/classify", r#"{"txet":"a"}"#).status, 422);
    assert_eq!(host.client().post("/unobserved", r#"{"text":"a"}"#).status, 200);
    eventually("a line", || !lines(&journal).is_empty());
    let line = &lines(&journal)[0];
    assert_eq!(
        (&line["request"], &line["response"]),
        (&json!({ "text": "hello there" }), &answer.json())
    );
    assert_eq!(
        (&line["endpoint"], &line["model"], &line["status"]),
        (&json!("classify"), &json!("spam"), &json!(200))
    );
    assert_eq!(
        Some(line["request_id"].as_str().expect("an id")),
        answer.header("x-request-id")
    );
    assert!(line["usage"]["prompt_tokens"].as_u64() > Some(0), "{line}");
    for number in 0..60 {
        assert_eq!(classify(&host, &format!("text number {number}")).status, 200);
    }
    eventually("an empty queue", || held(&host)["waiting"] == 0);
    let found = lines(&journal);
    assert_eq!(found.last().expect("lines")["request"]["text"], "text number 59");
    let files: Vec<PathBuf> = std::fs::read_dir(&journal)
        .expect("the journal")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let files: Vec<_> = files
        .iter()
        .filter(|file| file.extension() == Some("jsonl".as_ref()))
        .collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(
        files
            .iter()
            .all(|file| file.metadata().expect("there").len() <= 4096)
    );
    assert!(!journal.join("spam-000001.jsonl").exists(), "the oldest is gone");
    assert_eq!(
        held(&host),
        json!({ "waiting": 0, "waiting_bytes": 0, "dead": 0, "lost": 0 })
    );
}

#[test]
fn a_stream_is_an_event_with_its_text_and_so_is_one_that_the_client_leaves() {
    let node = Node::captured();
    let host = node.start();
    let answer = host.client().post("/v1/chat/completions", long(true, 12));
    assert_eq!(answer.status, 200);
    eventually("a line", || !node.journal("chat").is_empty());
    let line = &node.journal("chat")[0];
    assert_eq!(
        (&line["finish"], &line["usage"]["completion_tokens"]),
        (&json!("length"), &json!(12)),
        "{line}"
    );
    let text = line["response"]["text"].as_str().expect("a text");
    assert!(
        text.len() > 10 && line["request"]["messages"][0]["role"] == "user",
        "{line}"
    );
    let mut stream = send(&host, "/v1/chat/completions", &long(true, 2000));
    std::io::Read::read_exact(&mut stream, &mut [0; 600]).expect("some words");
    drop(stream);
    eventually("a second line", || node.journal("chat").len() == 2);
    let line = &node.journal("chat")[1];
    assert_eq!(
        (&line["finish"], &line["status"]),
        (&json!("cancelled"), &json!(200)),
        "{line}"
    );
}

#[test]
fn one_event_that_an_observer_fails_on_is_given_up_alone_and_can_be_given_again() {
    let observe = format!("{QUICK}attempts_max = 2");
    let node =
        Node::new(&observe, "hostile-observer", "bodies = true", "").with_limits("observe_time = \"100ms\"");
    let host = node.start();
    for text in ["trap", "never", "loop", "fine one", "fine two"] {
        assert_eq!(
            classify(&host, text).status,
            200,
            "an observer is nothing to a request"
        );
    }
    eventually("dead letters", || {
        held(&host)["dead"] == 3 && held(&host)["waiting"] == 0
    });
    let letters = node.letters();
    let reasons: Vec<&str> = letters
        .iter()
        .filter_map(|letter| letter["reason"].as_str())
        .collect();
    for (reason, start) in reasons
        .iter()
        .zip(["plugin-trap", "plugin-failed", "plugin-time-limit"])
    {
        assert!(reason.starts_with(start), "{reasons:?}");
    }
    let log = host.log();
    assert!(
        log.contains(r#"{"text":"fine one"}"#) && log.contains(r#"{"text":"fine two"}"#),
        "{log}"
    );
    let id = letters[1]["id"].to_string();
    let (code, output, error) = node.events(&["show", &id]);
    assert_eq!(code, 0, "{error}");
    let shown: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(
        (&shown["request_body"], &shown["state"]),
        (&json!(r#"{"text":"never"}"#), &json!("dead"))
    );
    assert!(
        shown["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("it never will")),
        "{shown}"
    );
    let (_, text, _) = node.events(&["list", "--dead"]);
    assert!(
        text.lines().count() == 3 && text.contains("classify/observer"),
        "{text}"
    );
    let (code, output, _) = node.events(&["requeue", &id]);
    assert_eq!((code, output.as_str()), (0, "1 given again\n"));
    // What the queue's file says counts here: the node looks at it when it works on it.
    let dead = || {
        node.letters()
            .iter()
            .filter(|letter| letter["state"] == "dead")
            .count()
    };
    eventually("a second death", || {
        host.log().matches("never-will").count() > 1 && dead() == 3
    });
    assert_eq!(node.events(&["drop", "--all", "--dead"]).1, "3 dropped\n");
    assert_eq!(node.letters(), Vec::<Value>::new());
    let (code, _, error) = node.events(&["drop", "4711"]);
    assert!(
        code == 1 && error.contains("there is no such event"),
        "{code} {error}"
    );
    assert_eq!(node.events(&["drop"]).0, 2, "nothing is dropped by mistake");
}

#[test]
fn many_events_are_given_together() {
    let node = Node::new("", "hostile-observer", "bodies = true", "");
    let host = node.start();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let host = &host;
            scope.spawn(move || {
                for number in 0..25 {
                    assert_eq!(classify(host, &format!("text {thread} {number}")).status, 200);
                }
            });
        }
    });
    eventually("all taken", || host.log().matches("taken ").count() == 200);
    let log = host.log();
    assert!(log.contains("taken 2 of "), "some came together: {log}");
}

#[test]
fn where_the_queue_is_full_requests_are_answered_and_their_events_dropped_and_counted() {
    let observe = format!("{SLOW}bytes_max = \"4KiB\"");
    let node = Node::new(&observe, "hostile-observer", "bodies = true", "");
    let host = node.start();
    for _ in 0..20 {
        assert_eq!(classify(&host, "later").status, 200);
    }
    let found = held(&host);
    assert!(
        found["waiting_bytes"].as_u64() <= Some(4096) && found["waiting"].as_u64() > Some(1),
        "{found}"
    );
    assert_eq!(
        found["waiting"].as_u64().unwrap_or_default() + found["lost"].as_u64().unwrap_or_default(),
        20,
        "{found}"
    );
    assert_eq!(host.log().matches("events are lost").count(), 1, "{}", host.log());
}

#[test]
fn where_no_event_may_be_lost_requests_are_refused_until_there_is_room() {
    let observe = format!("{SLOW}bytes_max = \"2KiB\"\nfull = \"refuse\"");
    let node = Node::new(&observe, "hostile-observer", "bodies = true", "");
    let host = node.start();
    let mut served = 0;
    let refused = loop {
        let answer = classify(&host, "later");
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(served < 50, "it is never refused");
    };
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("events_full"))
    );
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert_eq!(
        (held(&host)["waiting"].as_u64(), held(&host)["lost"].as_u64()),
        (Some(served), Some(0))
    );
    assert_eq!(
        host.client().post("/unobserved", r#"{"text":"a"}"#).status,
        200,
        "others are served"
    );
    assert_eq!(node.events(&["drop", "--all"]).0, 0);
    eventually("room", || classify(&host, "fine").status == 200);
}

#[test]
fn an_observer_without_its_grants_is_refused_with_the_line_to_add() {
    for (plugin, allow, config, expected) in [
        (
            "capture",
            "bodies = true",
            "journal = \"j\"",
            "`allow = { journals = [\"NAME\"] }` in [plugins.observer] would",
        ),
        (
            "capture",
            "journals = [\"j\"]",
            "journal = \"j\"",
            "`allow = { bodies = true }` in [plugins.observer] would",
        ),
        (
            "webhook",
            "secrets = { S = \"x\" }",
            "url = \"https://a.example\"",
            "`allow = { http = [\"https://HOST\"] }` in [plugins.observer] would",
        ),
        (
            "webhook",
            "http = [\"https://a.example\"]",
            "url = \"https://a.example\"",
            "`allow = { secrets = [\"NAME\"] }` in [plugins.observer] would",
        ),
    ] {
        let node = Node::new("", plugin, allow, config);
        let file = node.dir.path().join("node.toml");
        std::fs::write(&file, &node.config).expect("written");
        let (code, _, error) = run(&["check", "--config", &file.to_string_lossy()]);
        assert!(code == 3 && error.contains(expected), "{code}: {error}");
    }
}

#[test]
fn of_two_nodes_with_one_folder_one_gives_the_events_and_the_other_takes_over_when_it_is_killed() {
    let node = Node::new(QUICK, "hostile-observer", "bodies = true", "");
    let (first, second) = (node.start(), node.start());
    eventually("a second that waits", || {
        second.log().contains("this one waits for its end")
    });
    assert_eq!(classify(&second, "to the second").status, 200);
    eventually("the first to take it", || first.log().contains("to the second"));
    drop(first);
    assert_eq!(classify(&second, "to the heir").status, 200);
    eventually("the second to take it", || second.log().contains("to the heir"));
}

#[test]
fn observers_are_given_events_over_a_reload() {
    let node = Node::new(QUICK, "hostile-observer", "bodies = true", "");
    let host = node.start();
    assert_eq!(classify(&host, "before it").status, 200);
    eventually("the first to be taken", || {
        host.log().contains(r#"{"text":"before it"}"#)
    });
    host.hang_up();
    eventually("a new generation", || {
        host.client().get("/readyz").json()["generation"] == 2
    });
    assert_eq!(classify(&host, "after it").status, 200);
    eventually("the second to be taken", || {
        host.log().contains(r#"{"text":"after it"}"#)
    });
    assert_eq!(
        host.log().matches("taken ").count(),
        2,
        "each is given once: {}",
        host.log()
    );
}
