//! Publishing, receiving, settling: the ordinary day.

use std::time::Duration;

use potluck_core::{Message, Receipt, Start};

use crate::support::{LONG, SHORT, bodies, many, open, publish, server, take, to};

#[tokio::test]
async fn what_is_published_is_received_in_order_and_acked_for_good() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, (0..100).map(|i| i.to_string())).await;
    let taken = take(&subscriber, 100).await;
    assert_eq!(
        bodies(&taken),
        (0..100).map(|i| i.to_string()).collect::<Vec<_>>()
    );
    assert!(
        taken
            .iter()
            .all(|delivery| delivery.attempt == 1 && delivery.defect.is_none())
    );
    let receipts: Vec<Receipt> = taken.iter().map(|delivery| delivery.receipt).collect();
    assert!(subscriber.ack(&receipts).await.unwrap().stale.is_empty());
    assert_eq!(subscriber.ack(&receipts).await.unwrap().stale, receipts);
    subscriber.close().await.unwrap();
    let again = transport.subscriber(&to()).await.unwrap();
    assert!(again.receive(many(1), SHORT).await.unwrap().is_empty());
    assert_eq!(transport.stats().acked, 100);
}

#[tokio::test]
async fn released_comes_to_another_member_within_a_second_and_is_counted() {
    let server = server().await;
    let transport = open(&server, "");
    let first = transport.subscriber(&to()).await.unwrap();
    let second = transport.subscriber(&to()).await.unwrap();
    publish(&transport, ["x".to_owned()]).await;
    let delivery = take(&first, 1).await.remove(0);
    assert!(
        first
            .release(&[delivery.receipt])
            .await
            .unwrap()
            .stale
            .is_empty()
    );
    let released_at = tokio::time::Instant::now();
    let again = take(&second, 1).await.remove(0);
    assert_eq!((again.id, again.attempt), (delivery.id, 2));
    assert!(released_at.elapsed() < Duration::from_secs(2));
    assert_eq!(
        first.ack(&[delivery.receipt]).await.unwrap().stale,
        [delivery.receipt]
    );
    assert!(second.ack(&[again.receipt]).await.unwrap().stale.is_empty());
}

#[tokio::test]
async fn a_group_that_starts_new_sees_what_comes_after_it_only() {
    let server = server().await;
    let transport = open(&server, "");
    publish(&transport, ["before".to_owned()]).await;
    transport.declare(&to().start(Start::New)).await.unwrap();
    publish(&transport, ["after".to_owned()]).await;
    let subscriber = transport
        .subscriber(&to().start(Start::Earliest))
        .await
        .unwrap();
    assert_eq!(bodies(&take(&subscriber, 1).await), ["after"]);
    assert!(subscriber.receive(many(1), SHORT).await.unwrap().is_empty());
}

#[tokio::test]
async fn close_gives_back_what_is_held_and_leaves_no_member() {
    let server = server().await;
    let transport = open(&server, "");
    let first = transport.subscriber(&to()).await.unwrap();
    publish(&transport, (0..10).map(|i| i.to_string())).await;
    let held = take(&first, 4).await;
    first.close().await.unwrap();
    let second = transport.subscriber(&to()).await.unwrap();
    let all = take(&second, 10).await;
    assert_eq!(
        bodies(&all),
        (0..10).map(|i| i.to_string()).collect::<Vec<_>>()
    );
    assert!(
        all[..held.len()]
            .iter()
            .all(|delivery| delivery.attempt == 2)
    );
    let status = transport.status(&to().topic, &to().group).await.unwrap();
    assert_eq!(status.members.value(), Some(1));
    assert!(first.receive(many(1), LONG).await.is_err());
}

#[tokio::test]
async fn publishes_that_overlap_all_arrive_once() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let publisher = transport.publisher().await.unwrap();
    let tasks: Vec<_> = (0..500)
        .map(|i| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                publisher
                    .publish(&to().topic, &[Message::new(i.to_string())], LONG)
                    .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let mut all = bodies(&take(&subscriber, 500).await);
    all.sort_by_key(|body| body.parse::<usize>().unwrap());
    assert_eq!(all, (0..500).map(|i| i.to_string()).collect::<Vec<_>>());
}
