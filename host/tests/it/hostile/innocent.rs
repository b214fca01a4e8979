//! A client beside an attack: it asks an innocent endpoint without a pause, and must be answered for as long as the attack lasts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::generate::eventually;

/// While an attack lasts, an answer must come at least in so many times as long as answers took before it, and in no less than
/// [`EVERY_MIN`]: what is looked for is no slowness, but a node that starves others until an attack ends.
const TIMES: u32 = 20;

/// See [`TIMES`]. A machine that is busy with other tests may well stop for as long.
const EVERY_MIN: Duration = Duration::from_millis(400);

/// Answers by which it is known how long they take.
const BEFORE: usize = 3;

/// How long a single answer may take: a client's patience, and much less than what an attack may last.
const SLOWEST: Duration = Duration::from_secs(5);

/// When an answer came, and how long it took.
type Answered = (Instant, Duration);

/// An attack's end, however it comes: nobody goes on asking behind one that panicked.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while an innocent client asks: before it, all along, and behind it. `ask` asserts that its answer is right.
pub(crate) fn beside<T>(ask: impl Fn() + Sync, attack: impl FnOnce() -> T) -> T {
    let (over, answers) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                ask();
                let answered = (Instant::now(), began.elapsed());
                answers.lock().expect("no panic").push(answered);
            }
        });
        let count = || answers.lock().expect("no panic").len();
        let another = |when: &str| {
            let before = count();
            eventually(when, || count() > before);
        };
        eventually("innocent requests before it", || count() >= BEFORE);
        let every = every(&answers.lock().expect("no panic"));
        let began = Instant::now();
        let outcome = attack();
        let ended = Instant::now();
        another("an innocent request after it");
        let answers = answers.lock().expect("no panic").clone();
        check(&answers, began, ended, every);
        outcome
    })
}

/// How often an answer must come, by what they took so far.
fn every(before: &[Answered]) -> Duration {
    let mut took: Vec<Duration> = before.iter().map(|(_, took)| *took).collect();
    took.sort();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    (median * TIMES).max(EVERY_MIN)
}

/// Whether enough of the answers came between the two, and none took too long.
fn check(answers: &[Answered], began: Instant, ended: Instant, every: Duration) {
    let lasted = ended - began;
    let during = answers.iter().filter(|(at, _)| (began..=ended).contains(at));
    let during = during.count();
    assert!(
        during >= least(lasted, every),
        "{during} innocent answers in an attack of {lasted:?}"
    );
    let slowest = answers.iter().map(|(_, took)| *took).max();
    let slowest = slowest.unwrap_or_default();
    assert!(
        slowest < SLOWEST,
        "an innocent answer took {slowest:?} beside an attack of {lasted:?}"
    );
}

/// How many answers there must be while an attack lasts, of which the first may have its whole life behind its begin.
fn least(lasted: Duration, every: Duration) -> usize {
    usize::try_from(lasted.as_millis() / every.as_millis()).unwrap_or(usize::MAX)
}

#[test]
fn a_longer_attack_needs_more_answers_and_a_moment_none() {
    let needed = |millis| least(Duration::from_millis(millis), EVERY_MIN);
    assert_eq!([0, 399, 400, 800, 20_000].map(needed), [0, 0, 1, 2, 50]);
}

#[test]
fn where_answers_are_slow_before_an_attack_they_may_be_so_in_it() {
    let answered = |millis| (Instant::now(), Duration::from_millis(millis));
    assert_eq!(every(&[answered(1), answered(2), answered(900)]), EVERY_MIN);
    assert_eq!(
        every(&[answered(90), answered(100), answered(110)]),
        Duration::from_secs(2)
    );
}

#[test]
#[should_panic(expected = "0 innocent answers in an attack of 500ms")]
fn who_is_starved_until_the_attack_is_over_is_noticed() {
    let moment = Duration::from_millis(1);
    let lasted = Duration::from_millis(500);
    let began = Instant::now() + moment;
    let ended = began + lasted;
    check(
        &[(began - moment, moment), (ended + moment, lasted)],
        began,
        ended,
        EVERY_MIN,
    );
}

#[test]
#[should_panic(expected = "an innocent answer took 6s")]
fn whoever_waits_too_long_for_one_answer_is_noticed() {
    let began = Instant::now();
    let late = Duration::from_secs(6);
    let mut answers = vec![(began, Duration::ZERO); 100];
    answers.push((began + late, late));
    check(&answers, began, began + late, EVERY_MIN);
}
