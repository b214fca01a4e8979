//! Plugins that take time: processor time, time on the clock, and that of whoever they call.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::guest;
use super::protocol::{streams, words};
use super::siege::{Attacker, Siege};
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
    streams("drop-other", words(3)).ends_with(502, "plugin-time-limit");
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

/// A plugin that calls a server.
pub(crate) fn calling(server: SocketAddr) -> Attacker {
    let url = format!("http://{server}");
    Attacker::built("hostile-http", json!({ "url": url })).allow(&format!("http = [\"{url}\"]"))
}

/// A plugin that may use one store, one model and one secret.
pub(crate) fn probe(config: Value) -> Attacker {
    Attacker::built("probe", config).allow("kv = [\"mine\"], models = [\"spam\"], secrets = { S = \"a\" }")
}

/// Instances that are alive.
pub(crate) fn instances(siege: &Siege) -> Value {
    siege.host.client().get("/readyz").json()["sandbox"]["instances"].clone()
}

#[test]
pub(crate) fn case_08_a_call_that_hangs() {
    let hanging = || far::server(|_, _stream, _| std::thread::park());
    calling(hanging().0)
        .limits("wall_time = \"300ms\"")
        .attack()
        .ends_alone("plugin-wall-time-limit");
    // The client leaves first: with it goes the instance, long before its time is over.
    let (server, called) = hanging();
    let siege = calling(server).limits("wall_time = \"100s\"").attack();
    let stream = siege.host.client().begin("/hostile", r#"{"text":"hello"}"#);
    eventually("the call", || called.load(Ordering::SeqCst) == 1);
    // Nobody else asks yet: it is the caller's.
    assert_eq!(instances(&siege), 1);
    siege.meanwhile(|| {
        std::thread::sleep(Duration::from_millis(300));
        drop(stream);
        eventually("no instance", || instances(&siege) == 0);
    });
    let left = [("endpoint", "hostile"), ("phase", "validate")];
    eventually("a request that was left", || {
        siege.counted("selvedge_cancelled_total", &left) == 1
    });
    assert_eq!(siege.failures("plugin-wall-time-limit"), 0);
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_09_floods_of_host_calls() {
    let siege = Attacker::deed("log-flood").attack();
    siege.ends_alone("plugin-time-limit");
    assert!(siege.host.log().contains("beyond `limits.log`"));
    assert!(siege.said() < 256 << 10, "{} bytes", siege.said());
    assert!(siege.log_dropped() > 0);
    let flood = json!({ "store": "mine", "steps": [{ "flood": 100_000_000 }] });
    // A call of the store waits for the disk: the time on the clock must not be over first.
    probe(flood)
        .limits("time = \"100ms\", wall_time = \"50s\"")
        .attack()
        .ends_with(502, "plugin-time-limit");
}

#[test]
pub(crate) fn names_that_nobody_granted_are_logged_within_the_limit() {
    const NAME: usize = 100_000;
    const TIMES: usize = 500;
    let siege = probe(json!({ "steps": [{ "flood-names": [NAME, TIMES] }] }))
        .limits("log = \"16KiB\", time = \"5s\"")
        .attack();
    let answer = siege.meanwhile(|| siege.ask());
    assert_eq!(
        (answer.status, &answer.json()["detail"]),
        (422, &json!("[\"denied\"]"))
    );
    assert_eq!(siege.denials("models"), TIMES);
    eventually("a line of it", || siege.said() > 0);
    siege.leaves_nothing();
    // What is logged comes through a pipe; of 50 MB some would be there by now.
    std::thread::sleep(Duration::from_millis(100));
    let log = siege.host.log();
    let letters = log.matches("xxxxxxxx").count() * 8;
    assert!(letters <= 16 << 10, "{letters} letters of names");
    // With what a line has of the node's.
    assert!(siege.said() < 64 << 10, "{} bytes", siege.said());
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
    let siege = probe(steps).attack();
    let body = siege.meanwhile(|| siege.ask()).json();
    assert_eq!(body["code"], "probe", "{body}");
    let told = body["detail"].as_str().expect("a message");
    let told: Value = serde_json::from_str(told).expect("JSON");
    assert_eq!(told[0], "denied");
    assert!(told[1]["labels"][0][0][0].is_string(), "{told}");
    assert_eq!(siege.denials("models"), 1);
    siege.leaves_nothing();
}
