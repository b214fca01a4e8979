//! A client beside an attack: it asks an innocent endpoint without a pause, and must be answered for as long as the attack lasts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::generate::eventually;

/// Answers must come at least so often while an attack lasts. Alone they come every few milliseconds, beside an attack on a busy
/// machine of two cores every few tens: what is looked for is no slowness, but a node that starves others until an attack ends.
const EVERY: Duration = Duration::from_millis(250);

/// From so long an attack on there must be one answer at least; before, none need have its whole life within it.
const NOTICED: Duration = Duration::from_millis(200);

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
        another("an innocent request before it");
        let began = Instant::now();
        let outcome = attack();
        let ended = Instant::now();
        another("an innocent request after it");
        let answers = answers.lock().expect("no panic").clone();
        check(&answers, began, ended);
        outcome
    })
}

/// Whether enough of the answers came between the two, and none took too long.
fn check(answers: &[Answered], began: Instant, ended: Instant) {
    let lasted = ended - began;
    let during = answers.iter().filter(|(at, _)| (began..=ended).contains(at));
    let during = during.count();
    assert!(
        during >= least(lasted),
        "{during} innocent answers in an attack of {lasted:?}"
    );
    let slowest = answers.iter().map(|(_, took)| *took).max();
    let slowest = slowest.unwrap_or_default();
    assert!(
        slowest < SLOWEST,
        "an innocent answer took {slowest:?} beside an attack of {lasted:?}"
    );
}

/// How many answers there must be while an attack lasts.
fn least(lasted: Duration) -> usize {
    let whole = usize::try_from(lasted.as_millis() / EVERY.as_millis()).unwrap_or(usize::MAX);
    whole.max(usize::from(lasted > NOTICED))
}

#[test]
fn a_longer_attack_needs_more_answers_and_a_moment_none() {
    let needed = |millis| least(Duration::from_millis(millis));
    assert_eq!([0, 200, 201, 499, 500, 20_000].map(needed), [0, 0, 1, 1, 2, 80]);
}

#[test]
#[should_panic(expected = "0 innocent answers in an attack of 300ms")]
fn who_is_starved_until_the_attack_is_over_is_noticed() {
    let moment = Duration::from_millis(1);
    let lasted = Duration::from_millis(300);
    let began = Instant::now() + moment;
    let ended = began + lasted;
    check(
        &[(began - moment, moment), (ended + moment, lasted)],
        began,
        ended,
    );
}

#[test]
#[should_panic(expected = "an innocent answer took 6s")]
fn whoever_waits_too_long_for_one_answer_is_noticed() {
    let began = Instant::now();
    let late = Duration::from_secs(6);
    let mut answers = vec![(began, Duration::ZERO); 100];
    answers.push((began + late, late));
    check(&answers, began, began + late);
}
