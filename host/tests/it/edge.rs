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

pub(crate) const KEYS: &str = "[auth]\nmode = \"keys\"\n";

/// A node with a file that commands can be given.
pub(crate) struct Node {
    pub(crate) host: TestHost,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Node {
    pub(crate) fn start(extra: &str) -> Self {
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
    pub(crate) fn key(&self, arguments: &[&str]) -> (String, String) {
        let (code, output, error) = self.command(&[&["key", "create", "--json"], arguments].concat());
        assert_eq!(code, 0, "{error}");
        let made: Value = serde_json::from_str(&output).expect("JSON");
        let text = |field: &str| made[field].as_str().expect("text").to_owned();
        (text("id"), text("key"))
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.host
            .client()
            .send("POST", path, &headers, body.to_string().as_bytes())
    }

    pub(crate) fn classify(&self, headers: &[(&str, &str)]) -> Answer {
        self.post("/classify", headers, &json!({ "text": "you won a prize" }))
    }

    /// What is answered to a key, once the node has heard of it.
    pub(crate) fn eventually(&self, key: &str, status: u16) -> Answer {
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
    for path in ["/v2/models/classify/infer", "/v2/models/classify/generate"] {
        let refused = node.post(path, &with, &json!({}));
        assert_eq!(refused.status, 403, "{path}");
        let told = refused.json();
        assert!(
            told["error"].as_str().expect("text").contains("`classify`"),
            "{told}"
        );
        assert_eq!(told.as_object().expect("an object").len(), 1, "{told}");
    }
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
fn who_does_not_say_who_they_are_is_told_so_in_every_dialect_s_form() {
    let node = Node::start(KEYS);
    let wrong = [("x-api-key", "selvedge_0123456789_guess")];
    let body = json!({ "model": "classify", "input": "a" });
    for headers in [&[][..], &wrong] {
        let ask = |path: &str| {
            let refused = node.post(path, headers, &body);
            assert_eq!(refused.status, 401, "{path}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{path}");
            refused.json()
        };
        let own = ask("/classify");
        assert_eq!(own["code"], "unauthenticated");
        assert!(
            own["detail"].is_string() && own["request_id"].is_string(),
            "{own}"
        );
        let openai = ask("/v1/embeddings");
        let message = &openai["error"]["message"];
        let expected = json!({ "error": {
            "message": message, "type": "authentication_error", "param": null, "code": "invalid_api_key",
        } });
        assert!(message.is_string() && openai == expected, "{openai}");
        for path in ["/api/embed", "/v2/models/classify/infer"] {
            let told = ask(path);
            assert_eq!(told, json!({ "error": message }), "{path}");
        }
    }
}

#[test]
fn strangers_are_not_told_which_paths_there_are_and_callers_are() {
    let node = Node::start(KEYS);
    let (_, key) = node.key(&["--scope", "classify"]);
    node.eventually(&key, 200);
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        node.host.client().send(method, path, headers, b"").status
    };
    for (method, path, status) in [
        ("POST", "/nothing", 404),
        ("GET", "/classify", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/api/nothing", 404),
        ("DELETE", "/v2/nothing", 404),
        ("OPTIONS", "/v1/models", 405),
    ] {
        let with = [("x-api-key", key.as_str())];
        let told = (ask(method, path, &[]), ask(method, path, &with));
        assert_eq!(told, (401, status), "{method} {path}");
    }
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/docs", 200),
        ("/", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/metrics", 401),
        ("/openapi.json", 401),
    ] {
        assert_eq!(ask("GET", path, &[]), status, "{path}");
    }
}

#[test]
fn browsers_may_ask_whether_they_may_call_before_they_show_a_key() {
    let cors = "cors = { origins = [\"https://app.test\"] }\n[state]";
    let host = TestHost::start(&config(KEYS).replacen("[state]", cors, 1));
    let origin = ("origin", "https://app.test");
    let wanted = ("access-control-request-method", "POST");
    for path in ["/classify", "/nothing"] {
        let preflight = host.client().send("OPTIONS", path, &[origin, wanted], b"");
        assert_eq!(preflight.status, 204, "{path}");
        let refused = host.client().send("POST", path, &[origin], b"");
        let allowed = refused.header("access-control-allow-origin");
        assert_eq!(
            (refused.status, allowed),
            (401, Some("https://app.test")),
            "{path}"
        );
    }
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
    assert_eq!(client.get("/v2/health/ready").status, 503);
    assert_eq!(client.post("/classify", r#"{"text":"a"}"#).status, 200);
    assert!(host.wait().success());
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn statistics_are_told_to_those_whom_metadata_is() {
    let node = Node::start(&format!("{KEYS}[endpoints.another]\nmodel = \"spam\"\n"));
    let (_, key) = node.key(&["--scope", "classify"]);
    let (_, other) = node.key(&["--scope", "another"]);
    node.eventually(&key, 200);
    node.eventually(&other, 403);
    let get = |path: &str, key: &[(&str, &str)]| node.host.client().send("GET", path, key, b"").status;
    for path in [
        "/v2/models/classify",
        "/v2/models/classify/stats",
        "/v2/models/stats",
    ] {
        assert_eq!(get(path, &[]), 401, "{path}");
        for key in [&key, &other] {
            assert_eq!(get(path, &[("x-api-key", key)]), 200, "{path}");
        }
    }
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
