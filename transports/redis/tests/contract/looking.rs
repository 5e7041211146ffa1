//! Do status, peek, reader and describe tell what is so, and change nothing?

use std::time::Duration;

use potluck_brokers::redis::{Persistence, RedisOptions};
use potluck_core::{ErrorKind, Figure, GroupStatus, Peeked, Start};

use crate::support::*;

fn texts(messages: &[Peeked]) -> Vec<String> {
    let text = |peeked: &Peeked| String::from_utf8_lossy(peeked.message.body()).into_owned();
    messages.iter().map(text).collect()
}

#[tokio::test]
async fn status_counts_what_is_so_at_every_moment() {
    let server = server().await;
    let transport = open(&server, "");
    let figures = async || {
        let status = transport.status(&topic(), &to().group).await.unwrap();
        let GroupStatus {
            backlog,
            in_flight,
            oldest_ms,
            members,
        } = status;
        (backlog, in_flight, oldest_ms.value().unwrap(), members)
    };
    use Figure::Exact;
    for missing in [topic(), potluck_core::Topic::new("nowhere").unwrap()] {
        let error = transport.status(&missing, &to().group).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        publish(&transport, []).await;
    }
    transport.declare(&to()).await.unwrap();
    assert_eq!(figures().await, (Exact(0), Exact(0), 0, Exact(0)));
    publish(&transport, numbers(0..4)).await;
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let (backlog, in_flight, _, members) = figures().await;
    assert_eq!(
        (backlog, in_flight, members),
        (Exact(4), Exact(0), Exact(1))
    );
    // Not a full slice, behind which the next would be read.
    let held = subscriber.receive(many(100), LONG).await.unwrap();
    assert_eq!(held.len(), 4);
    tokio::time::sleep(millis(300)).await;
    publish(&transport, numbers(4..12)).await;
    let (backlog, in_flight, oldest, _) = figures().await;
    assert_eq!((backlog, in_flight), (Exact(8), Exact(4)));
    assert!((300..5000).contains(&oldest), "{oldest}");
    // What was given back is in flight still, and its keeper is no member.
    let _ = subscriber.release(&receipts(&held[2..])).await.unwrap();
    ack(&subscriber, &held[..2]).await;
    let (backlog, in_flight, _, members) = figures().await;
    assert_eq!(
        (backlog, in_flight, members),
        (Exact(8), Exact(2), Exact(1))
    );
    // The server's own count is lost when unread entries are deleted.
    let unread = ask(&server, "XRANGE events.test - +").await;
    let id = unread.items().unwrap()[7].items().unwrap()[0]
        .text()
        .unwrap();
    ask(&server, &format!("XDEL events.test {id}")).await;
    assert_eq!(figures().await.0, Exact(7));
    // All done: none is old.
    let rest = take(&subscriber, 9).await;
    ack(&subscriber, &rest).await;
    assert_eq!(figures().await, (Exact(0), Exact(0), 0, Exact(1)));
    subscriber.close().await.unwrap();
    assert_eq!(figures().await.3, Exact(0));
    let other = transport
        .status(&topic(), &to_group("other").group)
        .await
        .unwrap_err();
    assert_eq!(other.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_long_backlog_is_counted_or_estimated() {
    let server = server().await;
    let transport = open(&server, "");
    transport.declare(&to()).await.unwrap();
    let script = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'data', ARGV[2]) end";
    for (count, body, backlog) in [
        ("9000", "x", Figure::Exact(9000)),
        ("6000", "x", Figure::Estimated(15_000)),
    ] {
        server
            .cli(&["EVAL", script, "1", "events.test", count, body])
            .await
            .unwrap();
        let status = transport.status(&topic(), &to().group).await.unwrap();
        assert_eq!(status.backlog, backlog);
    }
}

#[tokio::test]
async fn peek_pages_through_pending_and_unread_and_changes_nothing() {
    let server = server().await;
    let transport = open(&server, "lease=300ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..20)).await;
    let held = take(&subscriber, 8).await;
    ack(&subscriber, &held[..3]).await;
    let _ = subscriber.release(&receipts(&held[5..6])).await.unwrap();
    ask(&server, &format!("XDEL events.test {}", held[4].id)).await;
    let before = ask(&server, "XPENDING events.test group - + 100").await;
    let group = to().group;
    for size in [1, 2, 3, 7, 100, usize::MAX] {
        let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = transport.peek(&topic(), &group, after, size).await.unwrap();
            assert!(page.messages.len() <= size);
            seen.extend(texts(&page.messages));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // 3 is held, 4 was deleted, 5 was given back; the rest is unread.
        let expected = [
            &["3", "5", "6", "7"].map(str::to_owned)[..],
            &numbers(8..20),
        ]
        .concat();
        assert_eq!(seen, expected, "in pages of {size}");
        assert!(pages <= 19);
    }
    assert!(
        transport
            .peek(&topic(), &group, None, 0)
            .await
            .unwrap()
            .messages
            .is_empty()
    );
    let after = ask(&server, "XPENDING events.test group - + 100").await;
    let counts = |reply: &potluck_brokers::resp::Reply| {
        let rows = reply.items().unwrap().iter();
        rows.map(|row| row.items().unwrap()[3].int())
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&before), counts(&after));
    let missing = transport
        .peek(&topic(), &to_group("none").group, None, 1)
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_reader_reads_from_where_it_was_opened_and_leaves_nothing() {
    let server = server().await;
    let transport = open(&server, "");
    let missing = transport
        .reader(&topic(), Start::Earliest)
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    publish(&transport, numbers(0..5)).await;
    let earliest = transport.reader(&topic(), Start::Earliest).await.unwrap();
    let new = transport.reader(&topic(), Start::New).await.unwrap();
    // Fixed when it was opened, not when it is first read.
    publish(&transport, numbers(5..7)).await;
    assert_eq!(
        texts(&new.receive(many(9), LONG).await.unwrap()),
        ["5", "6"]
    );
    assert_eq!(
        texts(&earliest.receive(many(3), Duration::ZERO).await.unwrap()),
        numbers(0..3)
    );
    let rest = earliest
        .receive(many(usize::MAX), Duration::MAX)
        .await
        .unwrap();
    assert_eq!(texts(&rest), numbers(3..7));
    for wait in [0, 20, 300] {
        let (none, took) = timed(new.receive(many(1), millis(wait))).await;
        assert!(none.unwrap().is_empty());
        assert!(
            took >= millis(wait) && took < millis(wait + 200),
            "{took:?} for {wait}"
        );
    }
    // A dropped receive loses nothing.
    for _ in 0..5 {
        let _ = tokio::time::timeout(millis(5), new.receive(many(1), LONG)).await;
    }
    publish(&transport, numbers(7..8)).await;
    assert_eq!(texts(&new.receive(many(9), LONG).await.unwrap()), ["7"]);
    assert_eq!(
        ask(&server, "XINFO GROUPS events.test")
            .await
            .items()
            .unwrap()
            .len(),
        0
    );
    // Closing wakes it and ends its connection.
    let reading = new.clone();
    let blocked = tokio::spawn(async move { reading.receive(many(1), LONG).await });
    until("a blocked client", async || {
        info(&server, "blocked_clients").await == 1
    })
    .await;
    new.close().await.unwrap();
    new.close().await.unwrap();
    assert_eq!(
        blocked.await.unwrap().unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(
        new.receive(many(1), LONG).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    until("three connections", async || {
        connections(&server).await == 3
    })
    .await;
    // And the topic may go.
    transport.delete_topic(&topic(), &[]).await.unwrap();
    let (gone, took) = timed(earliest.receive(many(1), LONG)).await;
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(took < millis(1000), "{took:?}");
}

#[tokio::test]
async fn a_reader_goes_on_after_its_connection_was_lost() {
    let server = server_with(RedisOptions::default().persistence(Persistence::AofAlways)).await;
    let transport = open(&server, "");
    publish(&transport, numbers(0..3)).await;
    let reader = transport.reader(&topic(), Start::Earliest).await.unwrap();
    assert_eq!(reader.receive(many(2), LONG).await.unwrap().len(), 2);
    server.kill().await.unwrap();
    let (none, took) = timed(reader.receive(many(1), millis(300))).await;
    assert!(none.unwrap().is_empty());
    assert!(took >= millis(300) && took < millis(500), "{took:?}");
    server.restart().await.unwrap();
    assert_eq!(texts(&reader.receive(many(9), LONG).await.unwrap()), ["2"]);
}

#[tokio::test]
async fn describe_names_what_endangers_messages() {
    let server = server().await;
    let transport = open(&server, "");
    let description = transport.describe().await.unwrap();
    assert_eq!(description.product, "redis");
    assert!(
        description
            .version
            .starts_with(|c: char| c.is_ascii_digit())
    );
    assert_eq!(description.notices.len(), 1, "{:?}", description.notices);
    assert!(description.notices[0].contains("appendonly"));
    ask(&server, "CONFIG SET appendonly yes").await;
    assert!(transport.describe().await.unwrap().notices.is_empty());
    for (policy, is_bad) in [
        ("allkeys-lru", true),
        ("allkeys-random", true),
        ("volatile-ttl", false),
    ] {
        ask(&server, &format!("CONFIG SET maxmemory-policy {policy}")).await;
        let notices = transport.describe().await.unwrap().notices;
        assert_eq!(
            notices.iter().any(|notice| notice.contains(policy)),
            is_bad,
            "{notices:?}"
        );
    }
    // What cannot be known is a notice.
    ask(&server, "ACL SETUSER default -info").await;
    let notices = open(&server, "").describe().await.unwrap().notices;
    assert!(
        notices
            .iter()
            .any(|notice| notice.contains("INFO is denied")),
        "{notices:?}"
    );
}
