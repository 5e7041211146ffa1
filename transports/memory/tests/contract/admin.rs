//! What do status, peek, readers, deletion and the counts say?

use super::*;
use potluck_core::{Figure, Start};

#[tokio::test(start_paused = true)]
async fn status_is_exact() {
    let transport = connect();
    let member = member(&transport, "g").await;
    publish(&transport, &["1", "2", "3", "4"]).await;
    tokio::time::sleep(SOON).await;
    let got = receipts(&take(&member, 3).await);
    ack(&member, &got[..1]).await;
    release(&member, &got[1..2]).await;
    let status = transport.status(&topic(), &group("g")).await.unwrap();
    assert_eq!(status.backlog, Figure::Exact(1));
    assert_eq!(status.in_flight, Figure::Exact(2));
    assert_eq!(status.oldest_ms, Figure::Exact(1000));
    assert_eq!(status.members, Figure::Exact(1));

    ack(&member, &receipts(&take(&member, 9).await)).await;
    ack(&member, &got[2..]).await;
    let status = transport.status(&topic(), &group("g")).await.unwrap();
    assert_eq!(status.oldest_ms, Figure::Exact(0));
}

#[tokio::test(start_paused = true)]
async fn peek_shows_all_that_is_not_acked_and_changes_nothing() {
    let transport = connect();
    let member = member(&transport, "g").await;
    publish(&transport, &["1", "2", "3", "4", "5"]).await;
    let got = receipts(&take(&member, 3).await);
    ack(&member, &got[1..2]).await;
    release(&member, &got[..1]).await;

    let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        pages += 1;
        let page = transport
            .peek(&topic(), &group("g"), after, 2)
            .await
            .unwrap();
        seen.extend(page.messages.iter().map(|one| one.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [id(1), id(3), id(4), id(5)]);
    assert_eq!(pages, 2);
    let page = transport
        .peek(&topic(), &group("g"), None, 0)
        .await
        .unwrap();
    assert!(page.messages.is_empty() && page.next.is_none());
    assert_eq!(figures(&transport, "g").await, (2, 2, 1));
    assert_eq!(attempts(&take(&member, 9).await), [2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_not_found() {
    let transport = connect();
    let status = transport.status(&topic(), &group("g")).await;
    assert_eq!(kind(status), ErrorKind::NotFound);
    let reader = transport.reader(&topic(), Start::New).await;
    assert_eq!(kind(reader), ErrorKind::NotFound);
    publish(&transport, &["1"]).await;
    let peek = transport.peek(&topic(), &group("g"), None, 1).await;
    assert_eq!(kind(peek), ErrorKind::NotFound);
    transport.delete_group(&topic(), &group("g")).await.unwrap();
    let other = Topic::new("other").unwrap();
    transport.delete_topic(&other, &[]).await.unwrap();
    transport.delete_group(&other, &group("g")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn deleting_a_group_ends_its_members_and_their_receipts() {
    let transport = connect();
    let (one, other) = (member(&transport, "g").await, member(&transport, "g").await);
    publish(&transport, &["1"]).await;
    let got = receipts(&take(&one, 1).await);
    let task = waiting(&other, 1, LONG).await;
    let started = tokio::time::Instant::now();
    transport.delete_group(&topic(), &group("g")).await.unwrap();
    assert_eq!(kind(task.await.unwrap()), ErrorKind::NotFound);
    assert_eq!(started.elapsed(), Duration::ZERO);
    // Also when one of its name is created again: that one is another.
    let again = member(&transport, "g").await;
    assert_eq!(kind(one.receive(some(1), SOON).await), ErrorKind::NotFound);
    assert_eq!(one.ack(&got).await.unwrap(), stale(&got));
    assert_eq!(figures(&transport, "g").await, (1, 0, 1));
    assert_eq!(take_one(&again).await.attempt, 1);
    one.close().await.unwrap();
    drop(other);
    assert_eq!(figures(&transport, "g").await, (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn deleting_a_topic_ends_all_and_a_new_one_begins_empty() {
    let broker = Broker::new();
    let transport = broker.connect();
    let one = member(&transport, "g").await;
    publish(&transport, &["1"]).await;
    let reader = transport.reader(&topic(), Start::Earliest).await.unwrap();
    assert_eq!(broker.topics(), [topic()]);
    transport.delete_topic(&topic(), &[]).await.unwrap();
    assert!(broker.topics().is_empty());
    assert_eq!(kind(one.receive(some(1), SOON).await), ErrorKind::NotFound);
    assert_eq!(
        kind(reader.receive(some(1), SOON).await),
        ErrorKind::NotFound
    );
    publish(&transport, &["2"]).await;
    let again = member(&transport, "g").await;
    assert_eq!(bodies(&take(&again, 9).await), ["2"]);
    assert_eq!(kind(one.receive(some(1), SOON).await), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_reader_sees_all_settles_nothing_and_leaves_nothing_behind() {
    let transport = connect();
    let member = member(&transport, "g").await;
    publish(&transport, &["1", "2", "3"]).await;
    ack(&member, &receipts(&take(&member, 1).await)).await;
    let reader = transport.reader(&topic(), Start::Earliest).await.unwrap();
    let new = transport.reader(&topic(), Start::New).await.unwrap();
    let ids = |page: Vec<potluck_core::Peeked>| page.iter().map(|one| one.id).collect::<Vec<_>>();
    let read = async |max| ids(reader.receive(some(max), Duration::ZERO).await.unwrap());
    assert_eq!(read(2).await, [id(1), id(2)]);
    assert_eq!(read(9).await, [id(3)]);
    assert_eq!(read(9).await, []);
    // Dropped while it waits, it loses nothing.
    let waits = reader.receive(some(9), LONG);
    assert!(tokio::time::timeout(SOON, waits).await.is_err());
    publish(&transport, &["4"]).await;
    assert_eq!(read(9).await, [id(4)]);
    assert_eq!(ids(new.receive(some(9), LONG).await.unwrap()), [id(4)]);

    let task = tokio::spawn({
        let reader = reader.clone();
        async move { reader.receive(some(1), LONG).await }
    });
    tokio::task::yield_now().await;
    reader.close().await.unwrap();
    reader.close().await.unwrap();
    assert_eq!(kind(task.await.unwrap()), ErrorKind::Closed);
    assert_eq!(figures(&transport, "g").await, (3, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn describe_warns_that_nothing_outlives_the_process() {
    let description = connect().describe().await.unwrap();
    assert_eq!(description.product, "memory");
    assert!(!description.version.is_empty());
    assert_eq!(description.notices.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn counts_are_a_connections_own() {
    let broker = Broker::new();
    let (publishes, receives) = (broker.connect(), broker.connect());
    publish(&publishes, &["1", "2", "3"]).await;
    let member = member(&receives, "g").await;
    let got = receipts(&take(&member, 9).await);
    ack(&member, &got[..1]).await;
    release(&member, &got[1..]).await;
    assert_eq!(member.ack(&got).await.unwrap(), stale(&got));
    let (stats, theirs) = (receives.stats(), publishes.stats());
    assert_eq!((theirs.published, theirs.delivered), (3, 0));
    assert_eq!((stats.published, stats.delivered), (0, 3));
    assert_eq!((stats.acked, stats.released, stats.stale), (1, 2, 3));
}

#[tokio::test(start_paused = true)]
async fn what_a_trim_takes_is_counted_as_lost_and_nothing_else_is() {
    let broker = Broker::new();
    let transport = broker.connect();
    let member = member(&transport, "g").await;
    publish(&transport, &["1", "2", "3", "4"]).await;
    let got = receipts(&take(&member, 3).await);
    ack(&member, &got[..1]).await;
    broker.trim(&topic());
    assert_eq!(figures(&transport, "g").await, (0, 0, 1));
    assert_eq!(member.ack(&got[1..]).await.unwrap(), stale(&got[1..]));
    assert!(take(&member, 9).await.is_empty());
    assert_eq!(transport.stats().lost_by_trim, 3);

    publish(&transport, &["5"]).await;
    assert_eq!(figures(&transport, "g").await, (1, 0, 1));
    let five = take(&member, 9).await;
    assert_eq!((bodies(&five), attempts(&five)), (vec!["5"], vec![1]));
    ack(&member, &receipts(&five)).await;
    assert_eq!(transport.stats().lost_by_trim, 3);
}
