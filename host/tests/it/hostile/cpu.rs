//! Plugins that take time: processor time, time on the clock, and that of whoever they call.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::guest;
use super::protocol::{streams, words};
use super::siege::Attacker;
use crate::client::head;
use crate::far;
use crate::generate::eventually;

#[test]
pub(crate) fn case_01_an_endless_loop_in_an_export() {
    Attacker::deed("loop").attack().ends_alone("plugin-time-limit");
}

#[test]
pub(crate) fn case_02_an_endless_loop_before_the_first_request() {
    let in_configure = Attacker::built("hostile", json!({ "configure": "loop" }));
    in_configure
        .clone()
        .attack()
        .was_refused(&["limits.configure_time"]);
    let in_start = Attacker::text(&guest::LOOP_IN_START);
    in_start.clone().attack().was_refused(&["limits.configure_time"]);
    // A node that serves is given each in the place of one that does nothing.
    let siege = Attacker::text(&guest::HARMLESS).attack();
    for never_done in [&in_configure, &in_start] {
        siege.refuses_in_its_place(never_done, &["limits.configure_time"]);
    }
}

#[test]
pub(crate) fn case_03_an_endless_loop_in_a_destructor() {
    // The host drops the store, never the resource; what the guest drops itself costs it its time.
    let siege = streams("drop-other", words(3));
    let answer = siege.meanwhile(|| siege.ask());
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (502, &json!("plugin-time-limit"))
    );
    assert_eq!(siege.failures("plugin-time-limit"), 1);
    siege.leaves_nothing();
    streams("loop-in-drop", words(3)).is_let();
}

#[test]
pub(crate) fn case_04_an_endless_loop_where_the_host_writes() {
    Attacker::text(&guest::LOOP_IN_REALLOC)
        .attack()
        .ends_alone("plugin-time-limit");
    Attacker::text(&guest::BAD_REALLOC)
        .attack()
        .ends_alone("plugin-abi");
}

#[test]
pub(crate) fn case_05_an_endless_loop_in_post_return() {
    Attacker::text(&guest::LOOP_IN_POST_RETURN)
        .attack()
        .ends_alone("plugin-time-limit");
}

#[test]
pub(crate) fn case_06_memory_filled_for_ever() {
    Attacker::text(&guest::FILL)
        .attack()
        .ends_alone("plugin-time-limit");
}

#[test]
pub(crate) fn case_07_an_hour_of_sleep() {
    Attacker::deed("sleep")
        .limits("wall_time = \"500ms\"")
        .attack()
        .ends_alone("plugin-wall-time-limit");
}

/// A plugin that calls a server which never answers.
fn hanging(limits: &str) -> Attacker {
    let (address, _) = far::server(|_, _stream, _| std::thread::park());
    let url = format!("http://{address}");
    Attacker::built("hostile-http", json!({ "url": url }))
        .allow(&format!("http = [\"{url}\"]"))
        .limits(limits)
}

#[test]
pub(crate) fn case_08_a_call_that_hangs() {
    hanging("wall_time = \"300ms\"")
        .attack()
        .ends_alone("plugin-wall-time-limit");
    // The client leaves first: with it goes the instance, long before its time is over.
    let siege = hanging("wall_time = \"100s\"").attack();
    let instances = || siege.host.client().get("/readyz").json()["sandbox"]["instances"].clone();
    siege.meanwhile(|| {
        let mut stream = siege.host.client().connect();
        let body = br#"{"text":"hello"}"#;
        let head = head(
            "POST",
            "/hostile",
            &[("content-type", "application/json")],
            body.len(),
        );
        stream.write_all(&[&head, &body[..]].concat()).expect("sent");
        let held = Duration::from_millis(300);
        std::thread::sleep(held);
        drop(stream);
    });
    eventually("no instance", || instances() == 0);
}

#[test]
pub(crate) fn case_09_floods_of_host_calls() {
    let siege = Attacker::deed("log-flood").attack();
    siege.ends_alone("plugin-time-limit");
    assert!(siege.host.log().contains("beyond `limits.log`"));
    assert!(siege.said() < 256 << 10, "{} bytes", siege.said());
    let store = json!({ "store": "mine", "steps": [{ "flood": 100_000_000 }] });
    let siege = Attacker::built("probe", store)
        .allow("kv = [\"mine\"], models = [\"spam\"], secrets = { S = \"a\" }")
        .attack();
    let answer = siege.meanwhile(|| siege.ask());
    let code = answer.json()["code"].to_string();
    assert!(answer.status == 502 && code.contains("time-limit"), "{code}");
}

#[test]
pub(crate) fn case_10_an_endless_loop_in_every_worker() {
    let siege = Attacker::deed("loop").limits("wall_time = \"60s\"").attack();
    siege.meanwhile(|| {
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let body = siege.ask().json();
                    assert_eq!(body["code"], "plugin-time-limit", "{body}");
                });
            }
        });
    });
    assert_eq!(siege.failures("plugin-time-limit"), 16);
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_11_a_plugin_that_asks_for_its_own_endpoint() {
    // A model that a plugin reaches has no plugins: its own endpoint is none.
    let steps = json!({ "steps": [{ "classify": ["hostile", ["a"]] }, { "classify": ["spam", ["a"]] }] });
    let siege = Attacker::built("probe", steps)
        .allow("kv = [\"mine\"], models = [\"spam\"], secrets = { S = \"a\" }")
        .attack();
    let answer = siege.meanwhile(|| siege.ask());
    let told = answer.json()["detail"].to_string();
    assert!(
        answer.status == 422 && told.contains("denied") && told.contains("labels"),
        "{told}"
    );
    siege.leaves_nothing();
}
