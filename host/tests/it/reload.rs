//! Change without loss: a new configuration is taken whole or not at all, and nobody notices but by what it says.

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::edge::config;
use crate::generate::eventually;
use crate::host::{TestHost, root, run};

/// A node with an operators' listener, whose file can be changed.
struct Node {
    host: TestHost,
    admin: Client,
    file: PathBuf,
}

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

impl Node {
    fn start(extra: &str) -> Self {
        Self::of(&config(&format!("{extra}{ADMIN}")))
    }

    fn of(text: &str) -> Self {
        let host = TestHost::start(text);
        let admin = host.operators("http");
        let file = host.file().to_owned();
        Self { host, admin, file }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).expect("written");
    }

    fn reload(&self) -> Answer {
        self.admin.send("POST", "/admin/reload", &[], b"")
    }

    fn generation(&self) -> Value {
        self.host.client().get("/readyz").json()["generation"].clone()
    }
}

#[test]
fn an_endpoint_that_is_added_serves_and_models_that_are_the_same_are_taken_over() {
    let node = Node::start("");
    let ask = |model: &str| {
        let body = json!({ "text": "a prize" }).to_string();
        node.host.client().post(&format!("/{model}"), body).status
    };
    assert_eq!((ask("classify"), ask("second")), (200, 404));
    node.write(&config(&format!(
        "[endpoints.second]\npath = \"/second\"\nmodel = \"spam\"\n{ADMIN}"
    )));
    let answer = node.reload();
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(
        (&answer.json()["generation"], &answer.json()["models_loaded"]),
        (&json!(2), &json!([]))
    );
    assert_eq!((ask("classify"), ask("second")), (200, 200));
    assert_eq!(node.generation(), 2);
    // The signal does the same.
    node.write(&config(ADMIN));
    node.host.hang_up();
    eventually("a third generation", || node.generation() == 3);
    assert_eq!((ask("classify"), ask("second")), (200, 404));
}

#[test]
fn who_reloads_must_have_the_operators_scope_and_cannot_open_a_node_to_all() {
    let far = |text: String| text.replacen("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:0\"", 1);
    let keys = far(config(&format!(
        "[auth]\nmode = \"keys\"\nfailures = {{ requests = 1000, per = \"1m\" }}\n{ADMIN}"
    )));
    let node = Node::of(&keys);
    let key = |scope: &str| {
        let file = node.file.to_string_lossy();
        let made = run(&["key", "create", "--json", "--scope", scope, "--config", &file]);
        let made: Value = serde_json::from_str(&made.1).expect("JSON");
        made["key"].as_str().expect("a key").to_owned()
    };
    let (user, operator) = (key("classify"), key("admin"));
    let reload = |key: &str| {
        node.admin
            .send("POST", "/admin/reload", &[("x-api-key", key)], b"")
    };
    eventually("the keys", || {
        // Until it is known it is a wrong one, and those are counted.
        std::thread::sleep(Duration::from_millis(50));
        reload(&user).status == 403
    });
    assert_eq!((reload("none").status, node.reload().status), (401, 401));
    assert_eq!(reload(&operator).status, 200);
    // The file is for this machine alone now, and the node listens where others reach it.
    node.write(&config(ADMIN));
    let refused = reload(&operator);
    let told = refused.json()["detail"].to_string();
    assert!(
        refused.status == 422 && told.contains("0.0.0.0") && told.contains("restart"),
        "{told}"
    );
    let ask = |key: &[(&str, &str)]| {
        let headers = [&[("content-type", "application/json")], key].concat();
        node.host
            .client()
            .send("POST", "/classify", &headers, br#"{"text":"a"}"#)
            .status
    };
    assert_eq!((ask(&[]), ask(&[("x-api-key", &user)])), (401, 200));
    // Whoever says so means it.
    node.write(&far(config(&format!("[auth]\nmode = \"none\"\n{ADMIN}"))));
    assert_eq!((reload(&operator).status, ask(&[])), (200, 200));
}

#[test]
fn a_model_that_takes_too_long_for_its_first_input_is_not_taken() {
    let minilm = format!(
        "[models.minilm]\npath = \"{}/models/minilm\"\n{ADMIN}",
        root().display()
    );
    let impatient = config(&minilm).replacen("[state]", "warm_up_timeout = \"1us\"\n[state]", 1);
    let node = Node::start("");
    node.write(&impatient);
    let refused = node.reload();
    let told = refused.json()["detail"].to_string();
    assert!(
        refused.status == 422 && told.contains("models.minilm") && told.contains("warm_up_timeout"),
        "{told}"
    );
    assert_eq!(node.generation(), 1);
    node.write(&config(&minilm));
    assert_eq!((node.reload().status, node.generation()), (200, json!(2)));
}

#[test]
fn a_stream_ends_on_the_generation_that_it_began_with_though_its_model_is_gone() {
    let model = format!(
        "[models.smollm2]\npath = \"{}/models/smollm2\"\n[endpoints.write]\npath = \"/write\"\nmodel = \"smollm2\"\n",
        root().display()
    );
    let node = Node::start(&model);
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 160, "temperature": 0, "stream": true })
        .to_string();
    let alone = node.host.client().post("/write", &body).text();
    let mut stream = node.host.client().begin("/write", &body);
    let mut first = [0; 512];
    let len = stream.read(&mut first).expect("it begins");
    node.write(&config(ADMIN));
    assert_eq!(node.reload().status, 200);
    assert_eq!(node.host.client().post("/write", &body).status, 404);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("its end");
    let all = [&first[..len], &rest].concat();
    let tokens = |text: &str| text.matches("data: ").count();
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("\"done\":true"), "{text}");
    assert_eq!(tokens(&text), tokens(&alone), "{text}");
}

#[test]
pub(crate) fn what_is_wrong_changes_nothing_and_is_named() {
    let node = Node::start("");
    let cases = [
        ("[server]\nlisten = 7\n".to_owned(), "server.listen"),
        (
            config(ADMIN).replace("models/spam", "models/nowhere"),
            "models.spam",
        ),
        (
            config(ADMIN).replace("model = \"spam\"", "model = \"spma\""),
            "did you mean `spam`",
        ),
        ("not toml at all".to_owned(), "node.toml"),
    ];
    for (text, word) in cases {
        node.write(&text);
        let refused = node.reload();
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (422, &json!("reload_refused")),
            "{text}"
        );
        let told = refused.json()["detail"].to_string();
        assert!(
            told.contains(word) && told.contains("nothing was changed"),
            "{told}"
        );
        assert_eq!(node.generation(), 1);
        assert_eq!(
            node.host.client().post("/classify", r#"{"text":"a"}"#).status,
            200
        );
    }
    std::fs::remove_file(&node.file).expect("removed");
    assert_eq!(node.reload().status, 422);
    node.write(&config(&ADMIN.replace(":0", ":1")).replace(
        "listen = \"127.0.0.1:0\"\ntrusted",
        "listen = \"127.0.0.1:9\"\ntrusted",
    ));
    let done = node.reload();
    assert_eq!(
        done.json()["needs_restart"],
        json!(["server.listen", "admin"]),
        "{}",
        done.json()
    );
}

#[test]
fn a_limit_goes_on_over_a_reload_where_it_is_the_same_and_begins_anew_where_it_is_another() {
    let limits = [
        "rate_limit = { requests = 10, per = \"24h\" }\n",
        "[limits]\naddress = { requests = 10, per = \"24h\" }\n",
    ];
    for limit in limits {
        let node = Node::start(limit);
        let left = || {
            let headers = [
                ("content-type", "application/json"),
                ("x-forwarded-for", "198.51.100.7"),
            ];
            let answer = node
                .host
                .client()
                .send("POST", "/classify", &headers, br#"{"text":"a"}"#);
            let left = answer.header("x-ratelimit-remaining-requests").expect("there");
            left.parse::<u32>().expect("a number")
        };
        assert_eq!((left(), left()), (9, 8), "{limit}");
        let more = "[endpoints.second]\nmodel = \"spam\"\n";
        node.write(&config(&format!("{limit}{more}{ADMIN}")));
        assert_eq!((node.reload().status, left()), (200, 7), "{limit}");
        node.write(&config(&format!("{}{ADMIN}", limit.replace("10", "20"))));
        assert_eq!((node.reload().status, left()), (200, 19), "{limit}");
        node.write(&config(ADMIN));
        assert_eq!(node.reload().status, 200);
        node.write(&config(&format!("{}{ADMIN}", limit.replace("10", "20"))));
        assert_eq!((node.reload().status, left()), (200, 19), "it was away: {limit}");
    }
}

#[test]
fn a_model_that_a_reload_gives_another_task_is_told_with_that_one_alone() {
    let node = Node::start("");
    let told = || {
        let metrics = String::from_utf8(node.host.client().get("/metrics").body).expect("text");
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("selvedge_model_info{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let classifies = r#"selvedge_model_info{model="spam",task="text-classification",device="cpu"} 1"#;
    assert_eq!(told(), [classifies]);
    node.write(&config(ADMIN).replace("models/spam", "models/minilm"));
    assert_eq!(node.reload().status, 200);
    let embeds = classifies.replace("text-classification", "feature-extraction");
    assert_eq!(told(), [embeds]);
}

#[test]
fn metrics_tell_of_what_a_reload_took_away_no_more_and_go_on_where_it_comes_back() {
    let node = Node::start("");
    let second = "[endpoints.second]\npath = \"/second\"\nmodel = \"other\"\n";
    let other = config(ADMIN).replace("[models.spam]", "[models.other]");
    let other = other
        .lines()
        .skip_while(|line| !line.starts_with("[models.other]"))
        .take(2);
    let both = config(&format!(
        "{second}{}\n{ADMIN}",
        other.collect::<Vec<_>>().join("\n")
    ));
    let metrics = || String::from_utf8(node.host.client().get("/metrics").body).expect("text");
    let ask = || node.host.client().post("/second", r#"{"text":"a prize"}"#).status;
    node.write(&both);
    assert_eq!((node.reload().status, ask()), (200, 200));
    let told = metrics();
    for sample in [
        "selvedge_requests_running{endpoint=\"second\"} 0",
        "selvedge_endpoint_ready{endpoint=\"second\"} 1",
        "selvedge_requests_total{endpoint=\"second\",dialect=\"endpoint\",code=\"200\"} 1",
        "selvedge_queue_depth{model=\"other\"} 0",
        "selvedge_inference_seconds_count{model=\"other\"} ",
    ] {
        assert!(
            told.lines().any(|line| line.starts_with(sample)),
            "no {sample}: {told}"
        );
    }
    node.write(&config(ADMIN));
    assert_eq!((node.reload().status, ask()), (200, 404));
    let told = metrics();
    assert!(!told.contains("second\"") && !told.contains("other\""), "{told}");
    assert!(
        told.contains("selvedge_requests_running{endpoint=\"classify\"}"),
        "{told}"
    );
    assert!(
        told.contains("endpoint=\"\",dialect=\"endpoint\",code=\"404\""),
        "{told}"
    );
    // What was asked before a reload is told behind it, too.
    let first = || {
        let stats = node.host.client().get("/v2/models/classify/stats").json();
        stats["model_stats"][0]["inference_stats"]["success"]["count"].clone()
    };
    let asked = node.host.client().post("/classify", r#"{"text":"a prize"}"#);
    assert_eq!(asked.status, 200);
    eventually("the count", || first() == 1);
    node.write(&both);
    assert_eq!((node.reload().status, ask()), (200, 200));
    assert_eq!(first(), 1);
    let counted = "selvedge_requests_total{endpoint=\"second\",dialect=\"endpoint\",code=\"200\"} 2";
    assert!(metrics().contains(counted), "{}", metrics());
}

#[test]
pub(crate) fn reloads_do_not_meet_and_the_public_listener_has_none() {
    let node = Node::start("");
    assert_eq!(
        node.host.client().send("POST", "/admin/reload", &[], b"").status,
        404
    );
    assert_eq!(node.admin.get("/admin/reload").status, 405);
    assert_eq!(node.admin.post("/classify", r#"{"text":"a"}"#).status, 404);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| node.reload().status)).collect();
        asking
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let done = statuses.iter().filter(|status| **status == 200).count();
    assert!(
        done >= 1 && statuses.iter().all(|status| [200, 409].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(node.generation(), 1 + done);
}

#[test]
pub(crate) fn requests_under_reloads_all_succeed_and_memory_does_not_grow() {
    let node = Node::start("");
    // Each of them loads the model anew, and every other attaches a plugin whose instances wait for requests.
    let plugin = format!(
        "plugins = [{{ use = \"label\", config = {{ scores = true }} }}]\n[plugins.label]\npath = \"{}\"\ninstances = {{ reuse = 100 }}\n",
        root().join("plugins/dist/label.wasm").display()
    );
    let other = config(&format!("{plugin}{ADMIN}"))
        .replace("[models.spam]\n", "[models.spam]\nbatch = { items_max = 16 }\n");
    let texts = [config(ADMIN), other];
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let resident = || node.host.resident();
    let (early, late) = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let answer = node.host.client().post("/classify", r#"{"text":"you won"}"#);
                    assert_eq!(answer.status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let reload = |count: usize| {
            for number in 0..count {
                node.write(&texts[(number + 1) % 2]);
                let done = node.reload();
                assert_eq!(done.json()["models_loaded"], json!(["spam"]), "{}", done.json());
            }
            // Old generations end with the last request that holds them.
            std::thread::sleep(Duration::from_millis(100));
            resident()
        };
        let (early, late) = (reload(40), reload(200));
        over.store(true, Ordering::Relaxed);
        (early, late)
    });
    assert!(served.load(Ordering::Relaxed) > 200, "the load was none");
    assert!(
        late < early + (16 << 20),
        "from {early} to {late} bytes in 200 reloads"
    );
    assert_eq!(node.generation(), 241);
}
