//! Who may call, and how much: keys, tokens, scopes, limits, and where a request comes from.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Answer;
use crate::host::{TestHost, root, run};

/// A node of one model without plugins, with the given sections besides.
pub(crate) fn config(extra: &str) -> String {
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("state");
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n[state]\ndir = \"{}\"\n[models.spam]\npath = \
         \"{}/models/spam\"\n[endpoints.classify]\npath = \"/classify\"\nmodel = \"spam\"\n{extra}",
        state.display(),
        root().display(),
    )
}

const KEYS: &str = "[auth]\nmode = \"keys\"\n";

/// A node with a file that commands can be given.
struct Node {
    host: TestHost,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Node {
    fn start(extra: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, config) = (dir.path().join("node.toml"), config(extra));
        std::fs::write(&file, &config).expect("written");
        Self {
            host: TestHost::start(&config),
            file,
            _dir: dir,
        }
    }

    fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        let file = self.file.to_string_lossy();
        run(&[arguments, &["--config", &file]].concat())
    }

    /// A key's id and text.
    fn key(&self, arguments: &[&str]) -> (String, String) {
        let (code, output, error) = self.command(&[&["key", "create", "--json"], arguments].concat());
        assert_eq!(code, 0, "{error}");
        let made: Value = serde_json::from_str(&output).expect("JSON");
        let text = |field: &str| made[field].as_str().expect("text").to_owned();
        (text("id"), text("key"))
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.host
            .client()
            .send("POST", path, &headers, body.to_string().as_bytes())
    }

    fn classify(&self, headers: &[(&str, &str)]) -> Answer {
        self.post("/classify", headers, &json!({ "text": "you won a prize" }))
    }

    /// What is answered to a key, once the node has heard of it.
    fn eventually(&self, key: &str, status: u16) -> Answer {
        let began = Instant::now();
        loop {
            let answer = self.classify(&[("x-api-key", key)]);
            if answer.status == status || began.elapsed() > Duration::from_secs(10) {
                assert_eq!(answer.status, status, "{}", answer.json());
                return answer;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_key_opens_what_its_scopes_name_until_it_is_revoked() {
    let node = Node::start(KEYS);
    let none = node.classify(&[]);
    assert_eq!(none.status, 401);
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    assert_eq!(none.json()["code"], "unauthenticated");
    let (id, key) = node.key(&["--scope", "classify", "--name", "shop"]);
    node.eventually(&key, 200);
    let bearer = format!("Bearer {key}");
    assert_eq!(node.classify(&[("authorization", &bearer)]).status, 200);
    assert_eq!(
        node.classify(&[("authorization", &format!("{bearer}x"))]).status,
        401
    );
    assert_eq!(node.classify(&[("x-api-key", "selvedge_0_0")]).status, 401);
    let (code, listed, error) = node.command(&["key", "list", "--json"]);
    assert_eq!(code, 0, "{error}");
    assert!(listed.contains(&id) && !listed.contains(&key), "{listed}");
    assert_eq!(node.command(&["key", "revoke", &id]).0, 0);
    let refused = node.eventually(&key, 401);
    assert!(
        refused.json()["detail"]
            .as_str()
            .expect("text")
            .contains("revoked")
    );
    let (code, _, error) = node.command(&["key", "revoke", &id]);
    assert!(code == 1 && error.contains(&id), "{code} {error}");
    assert!(!node.host.log().contains(&key), "a key is in the log");
}

#[test]
fn a_key_without_the_scope_is_403_in_every_dialect() {
    let node = Node::start(&format!(
        "{KEYS}[endpoints.other]\nmodel = \"spam\"\nauth.scopes = [\"special\"]\n"
    ));
    let (_, key) = node.key(&["--scope", "special"]);
    node.eventually(&key, 403);
    let with = [("x-api-key", key.as_str())];
    let refused = node.classify(&with);
    assert_eq!(refused.json()["code"], "forbidden");
    assert!(
        refused.json()["detail"]
            .as_str()
            .expect("text")
            .contains("`classify`")
    );
    let refused = node.post(
        "/v1/embeddings",
        &with,
        &json!({ "model": "classify", "input": "a" }),
    );
    assert_eq!(
        (refused.status, &refused.json()["error"]["type"]),
        (403, &json!("permission_error"))
    );
    let refused = node.post("/api/embed", &with, &json!({ "model": "classify", "input": "a" }));
    assert_eq!(refused.status, 403);
    assert!(refused.json()["error"].as_str().expect("text").contains("scope"));
    // It may use the other, whose task is not for this path.
    let told = node.post(
        "/v1/embeddings",
        &with,
        &json!({ "model": "other", "input": "a" }),
    );
    assert_eq!(
        (told.status, &told.json()["error"]["code"]),
        (400, &json!("wrong_task"))
    );
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/v1/models", 401),
        ("/metrics", 401),
    ] {
        assert_eq!(node.host.client().get(path).status, status, "{path}");
    }
    let metrics = node.host.client().send("GET", "/metrics", &with, b"");
    assert_eq!(metrics.status, 403, "only an administrator's key reads them");
    let (_, admin) = node.key(&["--scope", "admin"]);
    node.eventually(&admin, 403);
    let metrics = node
        .host
        .client()
        .send("GET", "/metrics", &[("x-api-key", &admin)], b"");
    assert_eq!(metrics.status, 200);
}

#[test]
fn an_expired_key_says_so_and_a_scope_that_opens_nothing_is_refused() {
    let node = Node::start(KEYS);
    let (_, key) = node.key(&["--scope", "*", "--expires", "1ms"]);
    let refused = node.eventually(&key, 401);
    let began = Instant::now();
    let mut said = refused.json()["detail"].to_string();
    while !said.contains("expired") && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(100));
        said = node.classify(&[("x-api-key", &key)]).json()["detail"].to_string();
    }
    assert!(said.contains("expired"), "{said}");
    let (code, _, error) = node.command(&["key", "create", "--scope", "clasify"]);
    assert!(
        code == 1 && error.contains("known are") && error.contains("classify"),
        "{code} {error}"
    );
}

#[test]
fn who_guesses_keys_is_told_to_wait_and_others_are_not() {
    let node = Node::start("[auth]\nmode = \"keys\"\nfailures = { requests = 5, per = \"1h\" }\n");
    let (_, key) = node.key(&["--scope", "classify"]);
    let from = |address: &'static str, key: &str| {
        node.classify(&[("x-forwarded-for", address), ("x-api-key", key)])
            .status
    };
    let known = (0..40).any(|count| {
        std::thread::sleep(Duration::from_millis(250));
        let address = format!("198.51.100.{count}");
        let headers = [("x-forwarded-for", address.as_str()), ("x-api-key", key.as_str())];
        node.classify(&headers).status == 200
    });
    assert!(known, "the key is not known");
    for _ in 0..5 {
        assert_eq!(from("203.0.113.9", "selvedge_0123456789_guess"), 401);
    }
    assert_eq!(from("203.0.113.9", "selvedge_0123456789_guess"), 429);
    assert_eq!(
        from("203.0.113.9", &key),
        200,
        "who has the key is let in, though somebody at the same address guesses"
    );
    assert_eq!(from("198.51.100.2", &key), 200, "somebody else is served");
}

#[test]
fn requests_over_a_limit_are_429_with_what_is_left_and_when() {
    let node = Node::start("rate_limit = { requests = 3, per = \"1h\" }\n");
    for left in ["2", "1", "0"] {
        let answer = node.classify(&[]);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("3"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
    }
    let refused = node.classify(&[]);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!("rate_limited"))
    );
    let wait: u64 = refused
        .header("retry-after")
        .expect("there")
        .parse()
        .expect("seconds");
    assert!((1100..=1200).contains(&wait), "{wait}");
    let other = node.classify(&[("x-forwarded-for", "198.51.100.7")]);
    assert_eq!(other.status, 200, "another address has a limit of its own");
    let openai = node.post(
        "/v1/embeddings",
        &[],
        &json!({ "model": "classify", "input": "a" }),
    );
    assert_eq!(
        (openai.status, &openai.json()["error"]["type"]),
        (429, &json!("rate_limit_error"))
    );
}

#[test]
fn tokens_are_reserved_and_settled() {
    let node = Node::start("rate_limit = { tokens = 400, per = \"1h\" }\n");
    // A request reserves more than a hundred; what it does not use comes back, so that far more than three of them fit.
    for _ in 0..8 {
        let answer = node.classify(&[]);
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("400"));
    }
    let long = "word ".repeat(100);
    node.post("/classify", &[], &json!({ "text": long }));
    let refused = node.classify(&[]);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!("rate_limited"))
    );
    assert!(
        refused.json()["detail"]
            .as_str()
            .expect("text")
            .contains("400 tokens")
    );
}

#[test]
fn a_request_that_fails_behind_its_model_is_charged_what_that_used() {
    // `label` wants scores or a text, and is given vectors; `json-schema` refuses before the model runs.
    let root = root();
    let node = Node::start(&format!(
        "[models.minilm]\npath = \"{root}/models/minilm\"\n\
         [plugins.label]\npath = \"{root}/plugins/dist/label.wasm\"\n\
         [plugins.json-schema]\npath = \"{root}/plugins/dist/json-schema.wasm\"\n\
         [endpoints.wrong]\npath = \"/wrong\"\nmodel = \"minilm\"\nrate_limit = {{ tokens = 5000, per = \"24h\" }}\n\
         plugins = [{{ use = \"json-schema\", config = {{ schema = {{ required = [\"input\"] }} }} }}, {{ use = \"label\", config = {{}} }}]\n",
        root = root.display(),
    ));
    let left = |body: &Value, status: u16| {
        let answer = node.post("/wrong", &[], body);
        assert_eq!(answer.status, status, "{}", answer.json());
        let left = answer.header("x-ratelimit-remaining-tokens").expect("there");
        left.parse::<u64>().expect("a number")
    };
    let (short, long) = (
        json!({ "other": "a" }),
        json!({ "input": vec!["word ".repeat(50); 20] }),
    );
    let whole = left(&short, 422);
    assert!(left(&short, 422) >= whole, "no model ran");
    left(&long, 502);
    let after = left(&short, 422);
    assert!(after + 1000 <= whole, "{after} of {whole} are left");
}

#[test]
fn a_key_s_own_limits_go_before_those_of_all_keys() {
    let node = Node::start(&format!(
        "{KEYS}[limits]\nkey = {{ requests = 100, per = \"1h\" }}\n"
    ));
    let (_, tight) = node.key(&["--scope", "classify", "--requests", "2", "--per", "1h"]);
    let (_, wide) = node.key(&["--scope", "classify"]);
    node.eventually(&tight, 200);
    node.eventually(&tight, 429);
    let answer = node.eventually(&wide, 200);
    assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("100"));
}

#[test]
fn a_node_that_others_reach_must_say_who_may_call() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    let check = |extra: &str| {
        let config = config(extra).replace("127.0.0.1:0", "0.0.0.0:0");
        std::fs::write(&file, config).expect("written");
        run(&["check", "--config", &file.to_string_lossy()])
    };
    let (code, _, error) = check("");
    assert_eq!(code, 3, "{error}");
    assert!(
        error.contains("selvedge key create") && error.contains("mode = \"none\""),
        "{error}"
    );
    assert_eq!(check("[auth]\nmode = \"none\"\n").0, 0);
}

#[test]
fn a_node_that_ends_says_so_first_and_serves_for_a_while() {
    let delayed = config("").replacen("[state]", "drain_delay = \"3s\"\n[state]", 1);
    let host = TestHost::start(&delayed);
    let client = host.client();
    assert_eq!(client.get("/readyz").status, 200);
    host.terminate();
    let began = Instant::now();
    while client.get("/readyz").status == 200 {
        assert!(began.elapsed() < Duration::from_secs(2), "it is still ready");
    }
    assert_eq!(client.get("/readyz").json()["status"], "draining");
    assert_eq!(client.post("/classify", r#"{"text":"a"}"#).status, 200);
    assert!(host.wait().success());
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn who_must_say_who_they_are_is_told_no_more_than_whether_a_node_is_ready() {
    let node = Node::start(KEYS);
    let told = node.host.client().get("/readyz").json();
    assert_eq!(told, json!({ "status": "ready", "generation": 1 }));
}

#[test]
fn an_endpoint_cannot_be_named_as_the_operators_scope() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    std::fs::write(&file, config("[endpoints.admin]\nmodel = \"spam\"\n")).expect("written");
    let (code, _, error) = run(&["check", "--config", &file.to_string_lossy()]);
    assert!(
        code == 3 && error.contains("endpoints.admin") && error.contains("scope"),
        "{code} {error}"
    );
}

#[test]
fn a_key_with_a_limit_of_odd_length_is_read_again() {
    let node = Node::start(KEYS);
    let (_, key) = node.key(&["--scope", "classify", "--requests", "1000", "--per", "1500ms"]);
    assert_eq!(
        node.eventually(&key, 200).header("x-ratelimit-limit-requests"),
        Some("1000")
    );
    let (code, listed, error) = node.command(&["key", "list"]);
    assert!(code == 0 && listed.contains("unnamed"), "{code} {error}");
    assert_eq!(
        node.command(&["key", "create", "--scope", "classify", "--per", "5us"])
            .0,
        1
    );
}
