//! Plugins that break the rules of what they answer: on a stream, in the component model's types, to the model, to the client.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::guest;
use super::siege::{Attacker, Siege};
use crate::client::head;
use crate::far::{self, HEAD, event};
use crate::generate::eventually;

/// A server that writes so many words, one every 15 ms: later than what the node pushes together.
pub(crate) fn words(count: usize) -> SocketAddr {
    let write = move |_, mut stream: std::net::TcpStream, _| {
        stream.write_all(HEAD.as_bytes()).ok();
        for _ in 0..count {
            if stream.write_all(event("word ").as_bytes()).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(15));
        }
        let done =
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        stream
            .write_all(format!("{:x}\r\n{done}\r\n0\r\n\r\n", done.len()).as_bytes())
            .ok();
    };
    far::server(write).0
}

/// A node whose hostile plugin works on what that server writes.
pub(crate) fn streams(deed: &str, server: SocketAddr) -> Siege {
    stream_attacker(deed, server).attack()
}

fn stream_attacker(deed: &str, server: SocketAddr) -> Attacker {
    Attacker::built("hostile-stream", json!({ "push": deed })).on_stream_of(server)
}

/// A streamed request: its status and all that came.
fn streamed(siege: &Siege) -> (u16, String) {
    let answer = siege.meanwhile(|| {
        siege
            .host
            .client()
            .post("/hostile", r#"{"prompt":"hello","stream":true}"#)
    });
    (answer.status, String::from_utf8(answer.body).expect("UTF-8"))
}

#[test]
pub(crate) fn case_30_a_trap_before_the_first_word() {
    Attacker::deed("trap").attack().ends_alone("plugin-trap");
    Attacker::deed("panic").attack().ends_alone("plugin-trap");
}

#[test]
pub(crate) fn case_31_a_trap_after_two_words() {
    let siege = streams("trap-third", words(20));
    let (status, text) = streamed(&siege);
    assert_eq!(status, 200, "{text}");
    assert!(
        text.contains("word ") && text.contains("plugin-trap") && !text.contains("[DONE]"),
        "{text}"
    );
    assert_eq!((siege.failures("plugin-trap"), siege.traps()), (1, 1));
    assert!(
        siege
            .host
            .log()
            .contains("plugin `hostile` on endpoint `hostile`"),
        "{}",
        siege.host.log()
    );
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_32_answers_many_times_as_long_as_what_was_pushed() {
    let siege = streams("multiply", words(3));
    let (status, text) = streamed(&siege);
    assert!(
        status == 502 && text.contains("plugin-output-limit"),
        "{status} {text}"
    );
    siege.leaves_nothing();
    // Each answer is short enough, all together are not.
    let siege = stream_attacker("amplify", words(20))
        .limits("stream_output = \"3MiB\"")
        .attack();
    let (status, text) = streamed(&siege);
    assert!(status == 200 && text.contains("plugin-output-limit"), "{status}");
    assert!(text.len() < 4 << 20, "{} bytes", text.len());
    assert_eq!(siege.failures("plugin-output-limit"), 1);
    assert!(
        siege.host.log().contains("limits.stream_output"),
        "{}",
        siege.host.log()
    );
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_33_choices_and_tokens_that_there_are_not() {
    let siege = streams("bad-choice", words(3));
    let (status, text) = streamed(&siege);
    assert!(
        status == 502 && text.contains("plugin-bad-choice"),
        "{status} {text}"
    );
    assert_eq!(siege.failures("plugin-bad-choice"), 1);
    siege.leaves_nothing();
    let tokens = Attacker::built("hostile-answer", json!({ "render": "token-ids" })).attack();
    let answer = tokens.meanwhile(|| tokens.ask());
    assert!(
        answer.status >= 400 && answer.status != 500,
        "{} {}",
        answer.status,
        answer.json()
    );
    tokens.leaves_nothing();
}

#[test]
pub(crate) fn case_34_a_stream_that_is_never_finished() {
    let siege = streams("pass", words(100_000));
    let instances = || siege.host.client().get("/readyz").json()["sandbox"]["instances"].clone();
    siege.meanwhile(|| {
        let mut stream = siege.host.client().connect();
        let body = br#"{"prompt":"hello","stream":true}"#;
        let head = head(
            "POST",
            "/hostile",
            &[("content-type", "application/json")],
            body.len(),
        );
        stream.write_all(&[&head, &body[..]].concat()).expect("sent");
        eventually("an instance for the stream", || instances() == 1);
        drop(stream);
        eventually("no instance", || instances() == 0);
    });
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_35_texts_and_variants_that_are_none() {
    for guest in [
        guest::NOT_UTF8,
        guest::LONE_SURROGATE,
        guest::BAD_VARIANT,
        guest::BAD_ENUM,
    ] {
        Attacker::text(&guest).attack().ends_alone("plugin-abi");
    }
}

#[test]
pub(crate) fn case_37_tensors_that_are_none() {
    let siege = Attacker::built("hostile-answer", json!({ "render": "bad-shapes" })).attack();
    siege.is_let();
    for render in ["no-elements", "not-a-number"] {
        let siege = Attacker::built("hostile-answer", json!({ "render": render })).attack();
        let answer = siege.meanwhile(|| siege.ask());
        let body = answer.json();
        assert!(
            [400, 422, 502].contains(&answer.status),
            "{render}: {} {body}",
            answer.status
        );
        siege.leaves_nothing();
    }
    // A number that JSON does not have.
    let siege = Attacker::built("hostile-answer", json!({ "process": "not-a-number" })).attack();
    let answer = siege.meanwhile(|| siege.ask());
    assert!([200, 502].contains(&answer.status), "{}", answer.json());
    let refusing = Attacker::built("hostile-answer", json!({ "process": "bad-status" })).attack();
    let answer = refusing.meanwhile(|| refusing.ask());
    // Status and code are clamped, and no header comes of either: the client checks each against its list.
    assert_eq!(answer.status, 499, "{}", answer.json());
}

#[test]
pub(crate) fn case_38_a_tensor_of_somebody_else() {
    Attacker::text(&guest::FORGED_TENSOR)
        .attack()
        .ends_alone("plugin-abi");
}
