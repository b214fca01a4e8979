//! The standard plugins that ask models of the node, on a node: what their cases have stand-ins for.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Barrier, Mutex};

use serde_json::{Value, json};

use crate::far::{server, upstream};
use crate::generate::eventually;
use crate::host::root;
use crate::node::NodeConfig;

/// What no guard lets through.
const SPAM: &str = "WINNER!! Claim your free prize now, call 09061701461";

/// An endpoint whose model is asked by its guard too, and how many inputs may wait for that model.
fn guarded(model: &str, more: &str) -> NodeConfig {
    let root = root();
    let root = root.display();
    NodeConfig::of(&[]).with(&format!(
        r#"
[plugins.guard-model]
path = "{root}/plugins/dist/guard-model.wasm"
allow = {{ models = ["{model}"] }}
limits = {{ time = "5s", wall_time = "20s", inference_time = "10s" }}
[endpoints.guarded]
path = "/guarded"
model = "{model}"
plugins = [{{ use = "guard-model", config = {{ classifier = {{ model = "{model}", label = "spam" }} }} }}]
{more}"#
    ))
}

#[test]
fn a_guard_asks_its_model_and_refuses_what_that_refuses() {
    let host = guarded("spam", "").start();
    let ask = |text: &str| {
        host.client()
            .post("/guarded", json!({ "text": text }).to_string())
    };
    let refused = ask(SPAM);
    let body = refused.json();
    let problem = &body["detail"][0];
    assert_eq!(
        (refused.status, &problem["type"], &problem["loc"]),
        (422, &json!("not_allowed"), &json!(["body", "text"])),
        "{problem}"
    );
    let decent = ask("See you at five.");
    assert_eq!(decent.status, 200, "{}", decent.json());
    assert_eq!(decent.json()["labels"][0][0]["label"], "ham");
}

#[test]
fn the_passage_that_is_nearest_to_a_question_is_in_the_prompt() {
    let prompts: Arc<Mutex<Vec<Value>>> = Arc::default();
    let seen = Arc::clone(&prompts);
    let (far, _) = server(move |_, mut stream, request| {
        let (_, body) = request.split_once("\r\n\r\n").expect("a head");
        let body: Value = serde_json::from_str(body).expect("JSON");
        seen.lock().expect("no panic").push(body["prompt"].clone());
        let entry = json!({ "index": 0, "text": "Yes.", "finish_reason": "stop" });
        let events = format!("data: {}\n\ndata: [DONE]\n\n", json!({ "choices": [entry] }));
        let len = events.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all((head + &events).as_bytes()).ok();
    });
    let config = NodeConfig::of(&[]).with(&format!(
        r#"
[models.far]
upstream = {{ {upstream} }}
[plugins.retrieve]
path = "{root}/plugins/dist/retrieve.wasm"
allow = {{ models = ["minilm"], kv = ["retrieve"] }}
limits = {{ wall_time = "20s", inference_time = "10s" }}
[endpoints.asked]
path = "/asked"
model = "far"
plugins = [{{ use = "retrieve", config = {{ model = "minilm", top = 1, template = "{{{{ passages[0].text }}}} {{{{ question }}}}", corpus = [{{ text = "The bridge is closed at night." }}, {{ text = "Tickets are sold at the kiosk." }}, {{ text = "Dogs are welcome on the ferry." }}] }} }}]
"#,
        upstream = upstream("openai", far, "far"),
        root = root().display(),
    ));
    let host = config.start();
    let questions = [
        (
            "When is the bridge closed?",
            "The bridge is closed at night. When is the bridge closed?",
        ),
        (
            "May I bring my dog?",
            "Dogs are welcome on the ferry. May I bring my dog?",
        ),
    ];
    for (question, prompt) in questions {
        let body = json!({ "question": question }).to_string();
        let answer = host.client().post("/asked", body);
        assert_eq!(answer.status, 200, "{}\n{}", answer.json(), host.log());
        assert_eq!(answer.json()["text"], "Yes.");
        let prompts = prompts.lock().expect("no panic");
        assert_eq!(prompts.last(), Some(&json!(prompt)));
    }
}

#[test]
fn a_guard_that_asks_its_own_endpoint_s_model_deadlocks_with_nobody() {
    const THREADS: usize = 40;
    const ROUNDS: usize = 5;
    // One session takes one input at a time, two may wait, and there are fewer instances than callers.
    let gate = format!(
        "[models.gate]\npath = \"{}/models/spam\"\nreplicas = 1\nbatch = {{ items_max = 1, queue_items_max = 2 }}\n[sandbox]\ninstances_max = 4\n",
        root().display()
    );
    let host = guarded("gate", &gate).start();
    let body = json!({ "text": "See you at five. ".repeat(20) }).to_string();
    let (start, seen) = (Barrier::new(THREADS), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..ROUNDS {
                    let answer = host.client().post("/guarded", &body);
                    let code = match answer.status {
                        200 => String::new(),
                        _ => answer.json()["code"].as_str().unwrap_or_default().to_owned(),
                    };
                    let mut seen = seen.lock().expect("no panic");
                    *seen.entry((answer.status, code)).or_insert(0) += 1;
                }
            });
        }
    });
    let seen = seen.into_inner().expect("no panic");
    let answered: usize = seen.values().sum();
    assert_eq!(answered, THREADS * ROUNDS, "{seen:?}");
    let typed = ["guard-busy", "queue_full", "plugins-busy"];
    for (status, code) in seen.keys() {
        assert!(
            *status == 200 || (*status == 503 && typed.contains(&code.as_str())),
            "{seen:?}"
        );
    }
    assert!(seen.contains_key(&(200, String::new())), "{seen:?}");
    eventually("no instance is left", || {
        host.client().get("/readyz").json()["sandbox"]["instances"] == 0
    });
    assert_eq!(host.client().post("/guarded", &body).status, 200);
}
