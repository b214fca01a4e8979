//! Plugins that break the rules of what they answer: on a stream, in the component model's types, to the model, to the client.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::cpu::instances;
use super::guest;
use super::siege::{Attacker, Siege};
use crate::client::Answer;
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

pub(crate) fn stream_attacker(deed: &str, server: SocketAddr) -> Attacker {
    Attacker::built("hostile-stream", json!({ "push": deed })).on_stream_of(server)
}

const STREAMED: &str = r#"{"prompt":"hello","stream":true}"#;

fn ask_for_stream(siege: &Siege) -> Answer {
    siege.host.client().post("/hostile", STREAMED)
}

/// A streamed request: its status and all that came.
fn streamed(siege: &Siege) -> (u16, String) {
    let answer = siege.meanwhile(|| ask_for_stream(siege));
    (answer.status, answer.text())
}

/// A plugin that renders one thing, or makes it of what a model gave.
fn answering(stage: &str, deed: &str) -> Attacker {
    Attacker::built("hostile-answer", json!({ stage: deed }))
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
    siege.ends_so(502, "plugin-output-limit", || ask_for_stream(&siege));
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
    siege.ends_so(502, "plugin-bad-choice", || ask_for_stream(&siege));
    // Tokens that the vocabulary does not have, and tokens for a model that takes none.
    for model in ["minilm", "spam"] {
        let siege = answering("render", "token-ids").on(model).attack();
        siege.ends_alone("plugin-bad-prompt");
    }
    // What is too long may be so by the client's text: it is told, and the plugin has not failed.
    let siege = answering("render", "many-token-ids").on("minilm").attack();
    let answer = siege.meanwhile(|| siege.ask());
    assert_eq!(answer.problem()["type"], "input_too_long", "{}", answer.json());
    assert_eq!(siege.failures("plugin-bad-prompt"), 0);
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_34_a_stream_that_is_never_finished() {
    let siege = streams("pass", words(100_000));
    let stream = siege.host.client().begin("/hostile", STREAMED);
    // Nobody else asks yet: it is the stream's.
    eventually("an instance for the stream", || instances(&siege) == 1);
    siege.meanwhile(|| {
        std::thread::sleep(Duration::from_millis(300));
        drop(stream);
        eventually("no instance", || instances(&siege) == 0);
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
    answering("render", "bad-shapes").attack().is_let();
    // Tensors for a model that takes others, and for one that takes texts.
    for (render, model) in [
        ("not-a-number", "minilm-tensor"),
        ("flat", "minilm-tensor"),
        ("misnamed", "minilm-tensor"),
        ("twice", "minilm-tensor"),
        ("flat", "spam"),
    ] {
        let siege = answering("render", render).on(model).attack();
        siege.ends_alone("plugin-bad-prompt");
    }
    // Type and names are right, and so is the shape by what the file says: the model itself does not come to an end with it.
    let siege = answering("render", "no-elements").on("minilm-tensor").attack();
    let answer = siege.meanwhile(|| siege.ask());
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (502, &json!("model_failed")),
        "{}",
        siege.host.log()
    );
    assert_eq!(siege.failures("plugin-bad-prompt"), 0);
    siege.leaves_nothing();
    // A number that JSON does not have.
    let siege = answering("process", "not-a-number").attack();
    let answer = siege.meanwhile(|| siege.ask());
    let nan = json!({ "labels": [[{ "label": "nan", "score": null }]] });
    assert_eq!((answer.status, answer.json()), (200, nan));
    siege.leaves_nothing();
    let siege = answering("process", "bad-status").attack();
    let answer = siege.meanwhile(|| siege.ask());
    // The status is clamped, and of code and message no header comes: the client checks each against its list.
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["code"], &body["detail"]),
        (
            499,
            &Value::from("x\r\nset-cookie: a=b"),
            &Value::from("x\r\ncontent-length: 0")
        )
    );
    siege.leaves_nothing();
}

#[test]
pub(crate) fn case_38_a_tensor_of_somebody_else() {
    Attacker::text(&guest::FORGED_TENSOR)
        .attack()
        .ends_alone("plugin-abi");
}
