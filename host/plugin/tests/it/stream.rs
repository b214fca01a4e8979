//! Plugins on a stream: an instance that lives as long as it, and deeds that end it alone.

use selvedge_plugin::value::{Chunk, Finish, StreamAction, Usage};
use selvedge_plugin::{Attachment, Limits, StreamInstance};
use serde_json::json;

use crate::sandbox::{attach, options, request, sandbox};

fn chunk(text: &str) -> Vec<Chunk> {
    vec![Chunk {
        choice: 0,
        text: text.to_owned(),
    }]
}

async fn hostile(deed: &str) -> Attachment {
    let options = options(json!({ "push": deed }));
    attach(&sandbox(), "hostile-stream", options)
        .await
        .expect("attached")
}

async fn open(attachment: &Attachment) -> StreamInstance {
    attachment.open_stream(&request("{}"), 1).await.expect("opened")
}

#[tokio::test]
async fn an_instance_keeps_its_state_for_its_stream_and_no_longer() {
    let attachment = hostile("pass").await;
    for _ in 0..2 {
        let mut stream = open(&attachment).await;
        for _ in 0..4 {
            assert_eq!(
                stream.push(&chunk("a")).await.expect("pushed"),
                StreamAction::Pass
            );
        }
        let last = stream
            .finish(Finish::Stop, Usage::default())
            .await
            .expect("finished");
        assert_eq!(last, chunk("[finished after 4 calls]"));
    }
}

#[tokio::test]
async fn a_stream_can_be_stopped() {
    let mut stream = open(&hostile("stop-third").await).await;
    stream.push(&chunk("a")).await.expect("pushed");
    stream.push(&chunk("b")).await.expect("pushed");
    let action = stream.push(&chunk("c")).await.expect("pushed");
    assert_eq!(action, StreamAction::Stop(chunk("c"), Finish::ContentFilter));
}

#[tokio::test]
async fn each_deed_ends_its_stream_and_the_next_starts_clean() {
    for (deed, code) in [
        ("trap-third", "plugin-trap"),
        ("loop", "plugin-time-limit"),
        ("multiply", "plugin-output-limit"),
        ("bad-choice", "plugin-bad-choice"),
    ] {
        let attachment = hostile(deed).await;
        for _ in 0..2 {
            let mut stream = open(&attachment).await;
            let mut found = None;
            for _ in 0..3 {
                found = found.or(stream.push(&chunk("a")).await.err());
                if found.is_some() {
                    break;
                }
            }
            let fault = found.expect("the deed").fault;
            assert_eq!(fault.code(), code, "{deed}: {fault}");
        }
    }
}

#[tokio::test]
async fn time_is_counted_for_each_call_and_not_for_the_stream() {
    let limits = Limits {
        time: std::time::Duration::from_millis(5),
        ..Limits::default()
    };
    let options = selvedge_plugin::AttachOptions {
        limits,
        ..options(json!({ "words": ["secret"] }))
    };
    let attachment = attach(&sandbox(), "redact", options).await.expect("attached");
    let mut stream = open(&attachment).await;
    let started = std::time::Instant::now();
    let mut calls = 0;
    while started.elapsed() < std::time::Duration::from_millis(60) {
        stream
            .push(&chunk("no news is good news "))
            .await
            .expect("pushed");
        calls += 1;
    }
    assert!(calls > 50, "{calls}");
}

#[tokio::test]
async fn redact_hides_what_comes_in_pieces_in_each_answer_by_itself() {
    let options = options(json!({ "builtin": ["email"], "words": ["secret"], "replacement": "*" }));
    let attachment = attach(&sandbox(), "redact", options).await.expect("attached");
    let mut stream = attachment.open_stream(&request("{}"), 2).await.expect("opened");
    let mut texts = [String::new(), String::new()];
    let mut take = |chunks: Vec<Chunk>| {
        for chunk in chunks {
            texts[chunk.choice as usize] += &chunk.text;
        }
    };
    for (choice, text) in [
        (0, "to anna"),
        (1, "a sec"),
        (0, "@exam"),
        (1, "ond sec"),
        (0, "ple.co"),
        (1, "ret"),
        (0, "m now"),
    ] {
        let pushed = [Chunk {
            choice,
            text: text.to_owned(),
        }];
        match stream.push(&pushed).await.expect("pushed") {
            StreamAction::Emit(chunks) => take(chunks),
            other => panic!("{other:?}"),
        }
    }
    take(
        stream
            .finish(Finish::Stop, Usage::default())
            .await
            .expect("finished"),
    );
    assert_eq!(texts, ["to * now", "a second *"]);
}

#[tokio::test]
async fn redact_refuses_patterns_without_bound() {
    let options = options(json!({ "patterns": ["a+"] }));
    let error = attach(&sandbox(), "redact", options)
        .await
        .err()
        .expect("refused");
    assert!(error.to_string().contains("`{1,64}`"), "{error}");
}
