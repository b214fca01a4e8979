//! Decode control: an instance for each sequence, answers that are none, and snapshots that hold a vocabulary.

use std::sync::Arc;
use std::time::Duration;

use selvedge_plugin::{
    AttachOptions, Attachment, CallError, Decision, Decoding, LoadError, Startup, Vocabulary,
};
use serde_json::{Value, json};

use crate::sandbox::{attach, options, request, root, sandbox};

/// A token for each byte, then these words, then the end.
fn vocabulary(words: &[&str]) -> Arc<Vocabulary> {
    let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
    let words = words.iter().map(|word| word.as_bytes().to_vec());
    let mut all: Vec<Vec<u8>> = bytes.chain(words).collect();
    let end = u32::try_from(all.len()).expect("few");
    all.push(Vec::new());
    Arc::new(Vocabulary::new(&all, vec![end]))
}

fn with(vocabulary: &Arc<Vocabulary>, config: Value) -> AttachOptions {
    AttachOptions {
        vocabulary: Some(Arc::clone(vocabulary)),
        ..options(config)
    }
}

async fn hostile(deed: &str) -> Attachment {
    let options = with(&vocabulary(&["one"]), json!({ "next": deed }));
    attach(&sandbox(), "hostile-decode", options)
        .await
        .expect("attached")
}

async fn open(attachment: &Attachment) -> Result<Decoding, CallError> {
    attachment.open_decoding(&request("{}"), 0).await
}

/// What comes of the first calls of a sequence.
async fn third(attachment: &Attachment) -> Result<Decision, CallError> {
    let mut decoding = open(attachment).await?;
    decoding.next(&[]).await?;
    decoding.next(&[7]).await?;
    decoding.next(&[8]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_deed_ends_its_sequence_and_the_next_starts_clean() {
    for (deed, code) in [
        ("loop", "plugin-time-limit"),
        ("loop-in-open", "plugin-time-limit"),
        ("trap", "plugin-trap"),
        ("memory-bomb", "plugin-memory-limit"),
        ("fail", "plugin-failed"),
        ("empty-mask", "plugin-no-token"),
        ("empty-list", "plugin-no-token"),
        ("force-nothing", "plugin-no-token"),
        ("short-mask", "plugin-bad-mask"),
        ("long-mask", "plugin-bad-mask"),
        ("huge-mask", "plugin-host-bytes-limit"),
        ("mask-beyond", "plugin-bad-token"),
        ("bad-token", "plugin-bad-token"),
        ("bad-forced", "plugin-bad-token"),
        ("bad-bias", "plugin-bad-bias"),
        ("bad-bias-token", "plugin-bad-token"),
    ] {
        let attachment = hostile(deed).await;
        let mut innocent = open(&hostile("pass").await).await.expect("opened");
        for _ in 0..2 {
            let error = third(&attachment).await.expect_err(deed);
            assert_eq!(error.fault.code(), code, "{deed}: {error}");
            innocent.next(&[7]).await.expect("it goes on");
        }
    }
}

#[tokio::test]
async fn what_is_allowed_means_the_same_however_it_is_said() {
    let mut decoding = open(&hostile("pass").await).await.expect("opened");
    let mut said = Vec::new();
    for _ in 0..6 {
        match decoding.next(&[7]).await.expect("answered") {
            Decision::Draw { allowed, .. } => said.push(allowed),
            other => panic!("{other:?}"),
        }
    }
    let all = Some([vec![u32::MAX; 8], vec![0b11]].concat());
    // Nothing is ruled out; a mask; a list.
    assert_eq!(said, [None, None, all.clone(), all.clone(), None, all]);
}

#[tokio::test]
async fn time_is_counted_for_each_step_and_not_for_the_sequence() {
    let mut options = with(&vocabulary(&["one"]), json!({ "next": "slow" }));
    options.limits.time = Duration::from_millis(400);
    options.limits.wall_time = Duration::from_secs(20);
    let attachment = attach(&sandbox(), "hostile-decode", options)
        .await
        .expect("attached");
    let mut decoding = open(&attachment).await.expect("opened");
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_millis(1200) {
        decoding.next(&[7]).await.expect("answered");
    }
}

#[tokio::test]
async fn a_plugin_that_decides_needs_a_vocabulary() {
    let error = attach(&sandbox(), "decode-regex", options(json!({ "pattern": "a" })))
        .await
        .err();
    assert!(matches!(error, Some(LoadError::NoVocabulary)), "{error:?}");
}

#[tokio::test]
async fn a_pattern_is_worked_out_in_configure_for_the_vocabulary_that_there_is() {
    let sandbox = sandbox();
    // 256 is the first word, 258 the end.
    let mut found = Vec::new();
    for words in [["12", "ab"], ["ab", "12"]] {
        let options = with(&vocabulary(&words), json!({ "pattern": "[0-9]{2}" }));
        let attachment = attach(&sandbox, "decode-regex", options).await.expect("attached");
        assert!(
            matches!(attachment.startup(), Startup::Snapshot { .. }),
            "{:?}",
            attachment.startup()
        );
        let mut decoding = open(&attachment).await.expect("opened");
        let Decision::Draw {
            allowed: Some(mask), ..
        } = decoding.next(&[]).await.expect("answered")
        else {
            panic!("a mask");
        };
        let digits = (b'0'..=b'9').fold(0_u32, |word, digit| word | 1 << (digit % 32));
        assert_eq!(mask[1], digits);
        found.push(mask[8]);
        let word = 256 + mask[8].trailing_zeros();
        assert_eq!(decoding.next(&[word]).await.expect("answered"), Decision::Stop);
    }
    assert_eq!(found, [0b01, 0b10], "the second is not the first one's snapshot");
}

#[tokio::test]
async fn each_sequence_has_a_state_of_its_own() {
    let options = with(&vocabulary(&[]), json!({ "pattern": "ab|cd" }));
    let attachment = attach(&sandbox(), "decode-regex", options)
        .await
        .expect("attached");
    let (mut first, mut second) = (
        open(&attachment).await.expect("opened"),
        open(&attachment).await.expect("opened"),
    );
    let byte = |text: &str| u32::from(text.as_bytes()[0]);
    for decoding in [&mut first, &mut second] {
        assert!(matches!(decoding.next(&[]).await, Ok(Decision::Draw { .. })));
    }
    let force = |text: &str| Decision::Force(vec![byte(text)]);
    assert_eq!(first.next(&[byte("a")]).await.expect("answered"), force("b"));
    assert_eq!(second.next(&[byte("c")]).await.expect("answered"), force("d"));
    assert_eq!(first.next(&[byte("b")]).await.expect("answered"), Decision::Stop);
    let error = second.next(&[byte("x")]).await.expect_err("it was not allowed");
    assert_eq!(error.fault.code(), "plugin-failed");
}

#[tokio::test]
async fn a_pattern_that_cannot_be_kept_to_is_refused_with_the_reason() {
    for (config, expected) in [
        (json!({ "pattern": "(" }), "unclosed group"),
        (json!({ "pattern": "x$y" }), "matches no text at all"),
        (json!({ "pattern": r"\bword\b" }), "cannot be compiled"),
        (json!({ "pattern": "[ab]{9000}" }), "states"),
        (json!({ "pattern": r"(\w{0,300}x){300}" }), "cannot be compiled"),
        (json!({}), "pattern"),
        (json!({ "pattern": "" }), "shorter than 1"),
    ] {
        let options = with(&vocabulary(&[]), config.clone());
        let error = attach(&sandbox(), "decode-regex", options)
            .await
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[test]
fn every_deed_has_a_test() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).expect("a file of ours");
    let deeds = read("plugins/hostile-decode/src/lib.rs");
    let tests = read("host/plugin/tests/it/decode.rs") + &read("host/tests/it/decode_faults.rs");
    let body = deeds
        .split("enum Deed {")
        .nth(1)
        .and_then(|rest| rest.split("\n}").next())
        .expect("the enum");
    let names = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    let mut checked = 0;
    for name in names.filter(|name| !name.contains(' ')) {
        let kebab: String = name
            .char_indices()
            .map(|(at, letter)| match letter.is_uppercase() && at > 0 {
                true => format!("-{}", letter.to_ascii_lowercase()),
                false => letter.to_ascii_lowercase().to_string(),
            })
            .collect();
        assert!(tests.contains(&format!("\"{kebab}\"")), "`{kebab}` has no test");
        checked += 1;
    }
    assert!(checked >= 22, "only {checked} deeds were found");
}
