//! Limits, by what they let through and what they give back.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderMap;

use super::{Limiter, Who};
use crate::config::{Rate, Time};
use crate::pipeline::ClientFault;

fn limiter(requests: u32, tokens: u32, concurrent: u32) -> Limiter {
    Limiter::new(&Rate {
        requests: NonZeroU32::new(requests),
        tokens: NonZeroU32::new(tokens),
        per: Time(Duration::from_secs(3600)),
        concurrent: NonZeroU32::new(concurrent),
    })
}

fn who(name: &str) -> Who {
    Who::Principal(name.into())
}

/// A limit that refuses, and what is left of it, as headers tell them.
fn told(refused: &ClientFault) -> [String; 2] {
    let (unit, left) = match refused {
        ClientFault::RateLimited { limited, left, .. } => (limited.name(), left),
        _ => panic!("{refused:?}"),
    };
    let mut headers = HeaderMap::new();
    left.expect("it is one in a time").write_headers(&mut headers);
    ["limit", "remaining"].map(|part| {
        let value = &headers[format!("x-ratelimit-{part}-{unit}")];
        value.to_str().expect("text").to_owned()
    })
}

#[test]
fn refuses_one_request_too_many_of_a_caller_and_lets_others_through() {
    let limiter = limiter(2, 0, 0);
    for _ in 0..2 {
        limiter.admit(&who("a"), 0).expect("within the limit");
    }
    let refused = limiter.admit(&who("a"), 0).err().expect("one too many");
    let &ClientFault::RateLimited { max, retry_after, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!((max, told(&refused)), (2, ["2", "0"].map(str::to_owned)));
    assert!(
        retry_after > Duration::from_secs(1700) && retry_after < Duration::from_secs(1801),
        "{retry_after:?}"
    );
    limiter.admit(&who("b"), 0).expect("somebody else");
}

#[test]
fn settles_tokens_when_a_request_ends() {
    let limiter = limiter(0, 1000, 0);
    let first = limiter.admit(&who("a"), 600).expect("within the limit");
    limiter
        .admit(&who("a"), 600)
        .err()
        .expect("the first has reserved them");
    first.settle(100);
    let second = limiter
        .admit(&who("a"), 600)
        .expect("it took less than it reserved");
    second.settle(5000);
    limiter
        .admit(&who("a"), 1)
        .err()
        .expect("it took more, and is in debt");
}

#[test]
fn takes_more_where_a_request_turns_out_to_be_longer() {
    let limiter = limiter(0, 1000, 0);
    let mut first = limiter.admit(&who("a"), 100).expect("within the limit");
    first.expect(900);
    first.expect(100);
    limiter
        .admit(&who("a"), 200)
        .err()
        .expect("the first has reserved 900");
    drop(first);
    limiter.admit(&who("a"), 1000).expect("nothing was used");
}

#[test]
fn claims_what_an_answer_may_take_only_where_it_is_there() {
    let limiter = limiter(0, 1000, 0);
    let mut first = limiter.admit(&who("a"), 100).expect("within the limit");
    let mut second = limiter.admit(&who("a"), 100).expect("within the limit");
    first.claim(700).expect("it is there");
    let refused = second.claim(700).expect_err("the first has claimed it");
    assert_eq!(told(&refused), ["1000", "200"]);
    second.claim(300).expect("as much is left");
    drop(first);
    second
        .claim(5000)
        .expect("what is more than the limit is all of it");
    drop(second);
    limiter.admit(&who("a"), 1000).expect("nothing was used");
}

#[test]
fn gives_back_what_a_request_that_is_dropped_reserved() {
    let limiter = limiter(0, 1000, 1);
    let first = limiter.admit(&who("a"), 1000).expect("within the limit");
    limiter.admit(&who("a"), 0).err().expect("one is at work");
    drop(first);
    limiter.admit(&who("a"), 1000).expect("nothing was used");
}

#[test]
fn tells_what_is_left_of_the_tightest_limit() {
    let (wide, tight) = (limiter(100, 0, 0), limiter(10, 0, 0));
    let mut headers = HeaderMap::new();
    for limiter in [&wide, &tight, &wide] {
        limiter
            .admit(&who("a"), 0)
            .expect("within the limit")
            .write_headers(&mut headers);
    }
    assert_eq!(headers["x-ratelimit-limit-requests"], "10");
    assert_eq!(headers["x-ratelimit-remaining-requests"], "9");
}
