//! Guides: what they decide is what comes, and one that is late holds up nobody but its own sequence.

use std::time::Duration;

use selvedge_model::generate::{Decision, Seat, guide};
use selvedge_model::{
    Finish, GenerateOptions, GenerateRequest, Generation, InferError, Model, Sampling, Structure,
};

use crate::fixture::{folder, model};
use crate::generate::{recorded, request, rounds_as_recorded, text, warm_prompt, whole, with_options};

const ANY: Decision = Decision::Draw {
    allowed: None,
    bias: Vec::new(),
};

fn guided(model: &Model, request: GenerateRequest) -> (Generation, Seat) {
    let (guide, seat) = guide();
    (model.generate_guided(request, guide).expect("admitted"), seat)
}

/// Answers the questions of one sequence in turn, each after so many milliseconds, and lets everything come from then on; what was
/// asked.
async fn answer(mut seat: Seat, decisions: Vec<Decision>, late_ms: impl Fn(usize) -> u64) -> Vec<Vec<u32>> {
    let (mut asked, mut decisions) = (Vec::new(), decisions.into_iter());
    while let Some(taken) = seat.question().await {
        tokio::time::sleep(Duration::from_millis(late_ms(asked.len()))).await;
        asked.push(taken);
        seat.answer(decisions.next().unwrap_or(ANY));
    }
    asked
}

fn warm(index: usize, tokens_max: usize) -> GenerateRequest {
    drawn(&warm_prompt(index), index, tokens_max)
}

/// A text that is drawn, with a seed.
fn drawn(prompt: &[u32], seed: usize, tokens_max: usize) -> GenerateRequest {
    GenerateRequest {
        sampling: Sampling {
            temperature: 0.8,
            seed: seed as u64,
            ..Sampling::default()
        },
        ..request(prompt, tokens_max)
    }
}

#[tokio::test]
async fn what_is_decided_is_what_comes_and_what_came_is_told() {
    let model = model("smollm2");
    let prompt = &recorded("greedy.json")[0].tokens;
    let forced = model.text_prompt("green tea".to_owned()).await.expect("tokens");
    let one = forced[0];
    let mut only = vec![0; 49_152 / 32];
    only[one as usize / 32] = 1 << (one % 32);
    let only = Decision::Draw {
        allowed: Some(only),
        bias: Vec::new(),
    };
    let bias = Decision::Draw {
        allowed: None,
        bias: vec![(one, 100.0)],
    };
    let decisions = vec![Decision::Force(forced.clone()), only, bias, Decision::Stop];
    let (generation, seat) = guided(&model, request(prompt, 50));
    let (outcome, asked) = tokio::join!(whole(generation), answer(seat, decisions, |_| 0));
    let (piece, done) = outcome.expect("generated");
    let tail = model.text_prompt("green".to_owned()).await.expect("tokens");
    assert_eq!(tail, [one], "the test's word is one token");
    assert_eq!(piece.text, "green teagreengreen");
    assert_eq!(
        (done.finish, done.completion_tokens),
        (Finish::Stop, forced.len() + 2)
    );
    assert_eq!(asked, [vec![], forced, vec![one], vec![one]]);
}

#[tokio::test]
async fn forced_tokens_are_read_by_the_model_as_its_own() {
    let model = model("smollm2");
    let prompt = &recorded("greedy.json")[0].tokens;
    let (first, _) = whole(model.generate(request(prompt, 12)).expect("admitted"))
        .await
        .expect("generated");
    let begin = model.text_prompt(first.text.clone()).await.expect("tokens");
    let (generation, seat) = guided(&model, request(prompt, begin.len() + 12));
    let (outcome, _) = tokio::join!(
        whole(generation),
        answer(seat, vec![Decision::Force(begin.clone())], |_| 0)
    );
    let again = [prompt.clone(), begin].concat();
    let behind = text(&model, request(&again, 12)).await;
    // Read in one go or token by token, the numbers differ in their last digits.
    let found = outcome.expect("generated").0.text;
    let (expected, found) = (format!("{}{behind}", first.text), found);
    assert!(found.starts_with(&first.text), "{found}");
    assert_eq!(
        found.chars().take(first.text.len() + 8).collect::<String>(),
        expected.chars().take(first.text.len() + 8).collect::<String>()
    );
}

/// Four at a time in three rows, guides that are late at unlike steps: each text is the one that it is alone and without a guide.
pub(crate) async fn late_guides_change_nothing(model: &Model, prompt: impl Fn(usize) -> Vec<u32>) {
    let warm = |index, tokens_max| drawn(&prompt(index), index, tokens_max);
    let mut alone = Vec::new();
    for index in 0..5 {
        alone.push(text(model, warm(index, 6 + 4 * index)).await);
    }
    let late = |index: usize| move |call: usize| [0, 3, 40, 0, 12][(call + index) % 5];
    let running = (0..5).map(|index| {
        let request = warm(index, 6 + 4 * index);
        async move {
            // Every other one has no guide.
            if index % 2 == 1 {
                return text(model, request).await;
            }
            let (generation, seat) = guided(model, request);
            let (outcome, _) = tokio::join!(whole(generation), answer(seat, Vec::new(), late(index)));
            outcome.expect("generated").0.text
        }
    });
    let together = futures_util::future::join_all(running).await;
    assert_eq!(together.len(), alone.len());
    assert!(
        !rounds_as_recorded() || together == alone,
        "{together:?} {alone:?}"
    );
}

#[tokio::test]
async fn late_guides_change_no_text_in_a_shared_cache() {
    let options = GenerateOptions {
        slots: 3,
        prefill_chunk: 16,
        ..GenerateOptions::default()
    };
    late_guides_change_nothing(&with_options(&folder("smollm2"), options), warm_prompt).await;
}

#[tokio::test]
async fn one_that_never_answers_holds_up_nobody_and_leaves_when_it_is_not_wanted() {
    let options = GenerateOptions {
        slots: 2,
        ..GenerateOptions::default()
    };
    let model = with_options(&folder("smollm2"), options);
    let (stuck, mut seat) = guided(&model, warm(0, 50));
    assert_eq!(seat.question().await, Some(vec![]));
    for index in 1..4 {
        let alone = text(&model, warm(index, 10)).await;
        assert!(!alone.is_empty());
    }
    drop(stuck);
    // Its end drops the guide.
    assert_eq!(seat.question().await, None);
}

#[tokio::test]
async fn one_that_gives_up_ends_its_sequence_alone() {
    let model = model("smollm2");
    let (generation, mut seat) = guided(&model, warm(0, 50));
    let other = model.generate(warm(1, 20)).expect("admitted");
    seat.question().await;
    seat.answer(ANY);
    seat.question().await;
    drop(seat);
    assert_eq!(whole(generation).await.expect_err("failed"), InferError::Guide);
    assert_eq!(whole(other).await.expect("generated").1.completion_tokens, 20);
}

#[tokio::test]
async fn a_token_that_there_is_not_never_reaches_the_model() {
    let model = model("smollm2");
    let (generation, seat) = guided(&model, warm(0, 50));
    let decisions = vec![Decision::Force(vec![49_152])];
    let (outcome, _) = tokio::join!(whole(generation), answer(seat, decisions, |_| 0));
    let error = outcome.expect_err("failed").to_string();
    assert!(error.contains("a token that there is not"), "{error}");
}

#[tokio::test]
async fn the_end_of_a_text_that_is_forced_is_its_end() {
    let model = model("smollm2");
    let (generation, seat) = guided(&model, warm(0, 50));
    let (outcome, asked) = tokio::join!(
        whole(generation),
        answer(seat, vec![ANY, Decision::Force(vec![2, 5, 5])], |_| 0)
    );
    let (_, done) = outcome.expect("generated");
    assert_eq!(
        (done.finish, done.completion_tokens, asked.len()),
        (Finish::Stop, 2, 2)
    );
}

#[tokio::test]
async fn a_structure_and_a_guide_do_not_go_together() {
    let model = model("smollm2");
    let constraint = model.structure(Structure::Object).await.expect("compiled");
    let (guide, _seat) = guide();
    let request = GenerateRequest {
        constraint: Some(constraint),
        ..warm(0, 5)
    };
    let error = model.generate_guided(request, guide).err();
    assert!(matches!(error, Some(InferError::Structure(_))), "{error:?}");
}

#[test]
fn the_words_of_a_vocabulary_are_its_tokens_bytes() {
    let model = model("smollm2");
    let (words, ends) = model.words().expect("it generates").expect("they are known");
    assert_eq!((words.len(), ends.contains(&2)), (49_152, true));
    assert!(words[2].is_empty(), "a control token is no text");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for text in ["Hello, wörld!\n\n", " 12 日本 \t x"] {
        let tokens = runtime
            .block_on(model.text_prompt(text.to_owned()))
            .expect("tokens");
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| words[*token as usize].clone())
            .collect();
        assert_eq!(String::from_utf8(bytes).expect("UTF-8"), text);
    }
    assert!(self::model("spam").words().is_none());
}
