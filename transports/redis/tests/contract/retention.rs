//! Does `keep=` trim, and never what a group still needs?

use crate::support::*;

/// Trimming goes on behind publishes, once a second at most.
async fn publish_until_length(
    server: &potluck_brokers::redis::RedisServer,
    transport: &std::sync::Arc<dyn potluck_core::Transport>,
    length: std::ops::RangeInclusive<i64>,
) {
    until("the topic to be trimmed", async || {
        publish(transport, ["more".to_owned()]).await;
        let now = ask(server, "XLEN events.test").await.int().unwrap();
        length.contains(&now)
    })
    .await;
}

#[tokio::test]
async fn a_count_is_kept_where_every_group_is_done() {
    let server = server().await;
    let transport = open(&server, "keep=100");
    publish(&transport, numbers(0..5000)).await;
    // Without a group nobody needs them.
    publish_until_length(&server, &transport, 100..=130).await;
    assert_eq!(transport.stats().lost_by_trim, 0);
}

#[tokio::test]
async fn nothing_that_a_group_needs_is_trimmed() {
    let server = server().await;
    let transport = open(&server, "keep=10");
    let done = transport.subscriber(&to()).await.unwrap();
    let slow = transport.subscriber(&to_group("slow")).await.unwrap();
    transport.declare(&to_group("unread")).await.unwrap();
    publish(&transport, numbers(0..200)).await;
    let taken = take(&done, 200).await;
    ack(&done, &taken).await;
    let held = take(&slow, 50).await;
    ack(&slow, &held[..20]).await;

    // One group has read nothing.
    tokio::time::sleep(millis(1100)).await;
    publish(&transport, numbers(200..201)).await;
    tokio::time::sleep(millis(200)).await;
    assert_eq!(ask(&server, "XLEN events.test").await.int(), Some(201));
    // One has 30 unacknowledged: the first 20 may go.
    transport
        .delete_group(&topic(), &to_group("unread").group)
        .await
        .unwrap();
    let mut first = String::new();
    until("the 20 to go", async || {
        publish(&transport, ["more".to_owned()]).await;
        let entries = ask(&server, "XRANGE events.test - + COUNT 1").await;
        first = entries.items().unwrap()[0].items().unwrap()[0]
            .text()
            .unwrap();
        first != held[0].id.to_string()
    })
    .await;
    assert_eq!(first, held[20].id.to_string());
    // The 30 and what it has not read yet are all there.
    ack(&slow, &held[20..]).await;
    assert_eq!(bodies(&take(&slow, 150).await), numbers(50..200));
    assert_eq!(transport.stats().lost_by_trim, 0);
}

#[tokio::test]
async fn an_age_is_kept() {
    let server = server().await;
    let transport = open(&server, "keep=1s");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..100)).await;
    let taken = take(&subscriber, 100).await;
    ack(&subscriber, &taken[..60]).await;
    tokio::time::sleep(millis(1100)).await;
    // Old, but 40 of them are needed.
    publish_until_length(&server, &transport, 40..=60).await;
    ack(&subscriber, &taken[60..]).await;
    let rest = subscriber.receive(many(100), millis(10)).await.unwrap();
    ack(&subscriber, &rest).await;
    assert_eq!(transport.stats().lost_by_trim, 0);
}

#[tokio::test]
async fn force_trims_and_counts() {
    let server = server().await;
    let transport = open(&server, "keep=10&trim=force&lease=300ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..50)).await;
    take(&subscriber, 20).await;
    drop(subscriber);
    tokio::time::sleep(millis(1100)).await;
    publish(&transport, ["last".to_owned()]).await;
    until("the trim", async || {
        ask(&server, "XLEN events.test").await.int() == Some(10)
    })
    .await;
    // 50 + 1 - 10 are gone; 20 of them were pending, and are counted by who misses them.
    until("the unread", async || transport.stats().lost_by_trim >= 21).await;
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let taken = take(&subscriber, 10).await;
    assert_eq!(bodies(&taken)[9], "last");
    ack(&subscriber, &taken).await;
    until("the pending", async || {
        assert!(
            subscriber
                .receive(many(1), millis(50))
                .await
                .unwrap()
                .is_empty()
        );
        transport.stats().lost_by_trim == 41
    })
    .await;
}

#[tokio::test]
async fn large_entries_are_trimmed_in_small_steps() {
    let server = server().await;
    let transport = open(&server, "keep=5");
    for _ in 0..30 {
        publish(&transport, ["x".repeat(700_000)]).await;
    }
    publish_until_length(&server, &transport, 5..=30).await;
    until("the last steps", async || {
        ask(&server, "XLEN events.test").await.int().unwrap() <= 30
    })
    .await;
}
