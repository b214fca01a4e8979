//! The queue admits, orders and forgets as it says.

use std::sync::Arc;
use std::time::Duration;

use super::{Item, Queue, retry_after};
use crate::batch::BatchOptions;
use crate::card::Padding;
use crate::error::InferError;

fn queue() -> Arc<Queue> {
    let options = BatchOptions {
        items_max: 4,
        queue_items_max: 10,
        ..BatchOptions::default()
    };
    Arc::new(Queue::new(options, Padding::Computed))
}

fn items(count: usize, len: usize) -> Vec<Item> {
    (0..count).map(|_| Item::Tokens(vec![0; len])).collect()
}

fn lengths(queue: &Queue) -> Vec<usize> {
    queue
        .take()
        .expect("not stopped")
        .iter()
        .map(|entry| entry.item.len())
        .collect()
}

#[test]
fn refuses_while_the_queue_is_full() {
    let queue = queue();
    let _ten: Vec<_> = (0..10)
        .map(|_| queue.submit(items(1, 1)).expect("admitted"))
        .collect();
    let refused = queue.submit(items(1, 1)).err();
    assert!(
        matches!(
            refused,
            Some(InferError::Busy {
                waiting: (10, 10),
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn forgets_what_nobody_waits_for() {
    let queue = queue();
    let gone = queue.submit(items(10, 1)).expect("admitted");
    drop(gone);
    assert_eq!(queue.len(), 0);
    assert!(queue.submit(items(1, 1)).is_ok(), "its place is free");
}

#[tokio::test]
async fn forgets_the_last_input_that_is_being_waited_for() {
    let queue = queue();
    let rows = queue.submit(items(1, 1)).expect("admitted").rows();
    let gone = tokio::time::timeout(Duration::ZERO, rows).await;
    assert!(gone.is_err(), "nothing serves this queue");
    assert_eq!(queue.len(), 0);
}

#[test]
fn serves_a_small_request_between_the_shares_of_a_large_one() {
    let queue = queue();
    let _large = queue.submit(items(9, 7)).expect("admitted");
    assert_eq!(lengths(&queue), vec![7; 4]);
    let _small = queue.submit(items(1, 3)).expect("admitted");
    let second = lengths(&queue);
    assert!(second.contains(&3), "{second:?}");
}

#[test]
fn a_large_request_does_not_use_up_what_others_are_admitted_by() {
    let queue = queue();
    let _large = queue.submit(items(2000, 1)).expect("admitted");
    assert!(queue.submit(items(1, 1)).is_ok(), "only its first share counts");
}

#[test]
fn later_shares_get_their_turn_however_many_others_come() {
    let queue = queue();
    let _large = queue.submit(items(8, 7)).expect("admitted");
    let mut others = Vec::new();
    for batch in 1..10 {
        if lengths(&queue) == vec![7; 4] && batch > 1 {
            return;
        }
        others.extend((0..4).map(|_| queue.submit(items(1, 3))));
    }
    panic!("the second share starves");
}

#[test]
fn gives_tensors_a_run_of_their_own() {
    let queue = queue();
    let _one = queue
        .submit(vec![Item::Tensors(vec![]), Item::Tensors(vec![])])
        .expect("admitted");
    assert_eq!(lengths(&queue).len(), 1);
}

#[test]
fn answers_what_waits_when_it_stops() {
    let queue = queue();
    let mut waiting = queue.submit(items(1, 1)).expect("admitted");
    queue.stop();
    let reply = waiting.replies.remove(0).blocking_recv().expect("answered");
    assert_eq!(reply.expect_err("stopped"), InferError::Stopped);
    assert!(queue.take().is_none());
}

#[test]
fn says_when_to_come_again_in_whole_seconds() {
    assert_eq!(retry_after(1000, 400.0), Duration::from_secs(3));
    assert_eq!(retry_after(0, 400.0), Duration::from_secs(1));
    assert_eq!(retry_after(1_000_000, 1.0), Duration::from_secs(60));
    assert_eq!(retry_after(5, 0.0), Duration::from_secs(1));
}
