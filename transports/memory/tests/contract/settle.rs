//! What do ack and release do, and when are they too late?

use super::*;
use potluck_core::{Retention, Start};

#[tokio::test(start_paused = true)]
async fn acked_is_final() {
    let transport = connect();
    let one = member(&transport, "g").await;
    publish(&transport, &["1", "2"]).await;
    let got = take(&one, 9).await;
    ack(&one, &receipts(&got)).await;
    tokio::time::sleep(LONG).await;
    let other = member(&transport, "g").await;
    assert!(take(&one, 9).await.is_empty() && take(&other, 9).await.is_empty());
    assert_eq!(figures(&transport, "g").await, (0, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn settling_twice_is_stale() {
    let transport = connect();
    let member = member(&transport, "g").await;
    publish(&transport, &["1", "2"]).await;
    let got = receipts(&take(&member, 9).await);
    // Also within one slice.
    let twice = [got[0], got[0]];
    assert_eq!(member.ack(&twice).await.unwrap(), stale(&got[..1]));
    assert_eq!(member.ack(&got).await.unwrap(), stale(&got[..1]));
    assert_eq!(member.release(&got).await.unwrap(), stale(&got));
    assert_eq!(member.extend(&got).await.unwrap(), stale(&got));
    let stats = transport.stats();
    assert_eq!((stats.acked, stats.released, stats.stale), (2, 0, 4));
}

#[tokio::test(start_paused = true)]
async fn nothing_in_nothing_out() {
    let member = member(&connect(), "g").await;
    ack(&member, &[]).await;
    release(&member, &[]).await;
    assert_eq!(member.extend(&[]).await.unwrap(), nothing_stale());
}

#[tokio::test(start_paused = true)]
async fn released_comes_back_at_once_to_any_member() {
    let transport = connect();
    let (one, other) = (member(&transport, "g").await, member(&transport, "g").await);
    publish(&transport, &["1"]).await;
    let got = take(&one, 1).await;
    let task = waiting(&other, 1, LONG).await;
    let started = tokio::time::Instant::now();
    release(&one, &receipts(&got)).await;
    let again = task.await.unwrap().unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!((bodies(&again), attempts(&again)), (vec!["1"], vec![2]));
    assert_eq!(again[0].id, got[0].id);
    // Too late for the first, which settles nothing of the other's.
    assert_eq!(
        one.ack(&receipts(&got)).await.unwrap(),
        stale(&receipts(&got))
    );
    assert_eq!(figures(&transport, "g").await, (0, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn released_comes_before_newer_ones_and_in_order() {
    let transport = connect();
    let member = member(&transport, "g").await;
    publish(&transport, &["1", "2", "3", "4"]).await;
    let got = receipts(&take(&member, 3).await);
    release(&member, &[got[2], got[0]]).await;
    let again = take(&member, 9).await;
    assert_eq!(bodies(&again), ["1", "3", "4"]);
    assert_eq!(attempts(&again), [2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_is_the_same_message() {
    let transport = connect();
    let member = member(&transport, "g").await;
    let message = Message::new("x")
        .with_key("k")
        .unwrap()
        .with_header("traceparent", "00-1")
        .unwrap();
    let publisher = transport.publisher().await.unwrap();
    publisher
        .publish(&topic(), std::slice::from_ref(&message), SOON)
        .await
        .unwrap();
    for attempt in 1..=3 {
        let got = take_one(&member).await;
        assert_eq!((got.attempt, got.id), (attempt, id(1)));
        assert_eq!(got.message.body(), message.body());
        assert_eq!(got.message.headers(), message.headers());
        assert_eq!(got.message.key(), message.key());
        release(&member, &[got.receipt]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_count_by_group() {
    let transport = connect();
    let (a, b) = (member(&transport, "a").await, member(&transport, "b").await);
    publish(&transport, &["1"]).await;
    release(&a, &receipts(&take(&a, 1).await)).await;
    assert_eq!(take_one(&a).await.attempt, 2);
    assert_eq!(take_one(&b).await.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_good_at_the_member_that_got_it_only() {
    let transport = connect();
    let (one, other) = (member(&transport, "g").await, member(&transport, "g").await);
    publish(&transport, &["1", "2"]).await;
    let got = receipts(&take(&one, 1).await);
    assert_eq!(other.ack(&got).await.unwrap(), stale(&got));
    let theirs = take_one(&other).await.receipt;
    let mixed = [Receipt {
        epoch: theirs.epoch,
        slot: got[0].slot,
    }];
    assert_eq!(one.ack(&mixed).await.unwrap(), stale(&mixed));
    assert_eq!(other.ack(&mixed).await.unwrap(), stale(&mixed));
    ack(&one, &got).await;
}

#[tokio::test(start_paused = true)]
async fn until_acked_removes_with_the_ack_and_never_with_a_release() {
    let transport = connect();
    let to = to("g").retention(Retention::UntilAcked);
    let member = transport.subscriber(&to).await.unwrap();
    publish(&transport, &["1", "2"]).await;
    let kept = async || {
        let reader = transport.reader(&topic(), Start::Earliest).await.unwrap();
        reader.receive(some(9), Duration::ZERO).await.unwrap().len()
    };
    let got = receipts(&take(&member, 2).await);
    release(&member, &got).await;
    assert_eq!(kept().await, 2);
    let got = receipts(&take(&member, 2).await);
    ack(&member, &got[..1]).await;
    assert_eq!(kept().await, 1);
    ack(&member, &got[1..]).await;
    assert_eq!(kept().await, 0);
}
