//! Do entries that break rules, and entries that are gone, come as values and stop nothing?

use std::collections::BTreeSet;

use potluck_brokers::redis::RedisServer;
use potluck_core::{Defect, Delivery, Message};

use crate::support::*;

/// Writes entries as a foreign client would, in one script for speed.
async fn fill(server: &RedisServer, count: usize) {
    let script = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'data', i) end return 1";
    let count = count.to_string();
    server
        .cli(&["EVAL", script, "1", "events.test", &count])
        .await
        .unwrap();
}

/// One entry of each kind that is not a good message, between good ones.
async fn write_malformed(server: &RedisServer) {
    let add = async |fields: Vec<Vec<u8>>| {
        let mut command: Vec<Vec<u8>> = ["XADD", "events.test", "*"].map(Vec::from).to_vec();
        command.extend(fields);
        server.cli(&command).await.unwrap();
    };
    let pair = |name: &[u8], value: &[u8]| vec![name.to_vec(), value.to_vec()];
    let with_body = |more: Vec<Vec<u8>>| [pair(b"data", b"bad"), more].concat();
    let many_fields = |count: usize| {
        (0..count)
            .flat_map(|i| [format!("n{i}").into_bytes(), b"v".to_vec()])
            .collect::<Vec<_>>()
    };
    add(pair(b"data", b"good")).await;
    add(with_body(pair(b"\xff\xfe\x00", b"\xff"))).await;
    add(pair(b"payload", b"x")).await;
    add(with_body(many_fields(70))).await;
    add(pair(b"data", &vec![b'x'; 2 * 1024 * 1024])).await;
    add(with_body(pair(b"", b"v"))).await;
    add(with_body(pair(b"h:a\r\nb\x1b", b"v"))).await;
    add(with_body(many_fields(10_000))).await;
    add(with_body(pair(b"key", &[b'k'; 2000]))).await;
    add(with_body(pair(b"h:big", &[b'v'; 9000]))).await;
    add(pair(b"data", b"good")).await;
}

fn judge(taken: &[Delivery]) {
    assert_eq!(taken.len(), 11);
    let defects: Vec<_> = taken
        .iter()
        .map(|delivery| delivery.defect.clone())
        .collect();
    assert_eq!([&defects[0], &defects[10]], [&None, &None]);
    // Names that are no header's are escaped, so that they can travel on.
    let escaped = taken[1].message.headers().get("%FF%FE%00").unwrap();
    assert_eq!((escaped.as_ref(), &defects[1]), (&b"\xff"[..], &None));
    assert_eq!(defects[2], Some(Defect::NoBody));
    assert_eq!(
        taken[2].message.headers().get("payload").unwrap().as_ref(),
        b"x"
    );
    assert!(matches!(
        defects[3],
        Some(Defect::Headers { count: 70, .. })
    ));
    let limit = 1024 * 1024;
    assert_eq!(
        defects[4],
        Some(Defect::TooLarge {
            bytes: 2 * limit,
            limit
        })
    );
    assert_eq!(taken[4].message.body().len(), 2 * limit);
    assert_eq!(defects[5], Some(Defect::HeaderName));
    assert!(taken[6].message.headers().get("a%0D%0Ab%1B").is_some());
    assert!(matches!(
        defects[7],
        Some(Defect::Headers { count: 10_000, .. })
    ));
    assert_eq!(defects[8], Some(Defect::Key { bytes: 2000 }));
    assert!(matches!(
        defects[9],
        Some(Defect::Headers {
            count: 1,
            bytes: 9003
        })
    ));
}

#[tokio::test]
async fn malformed_entries_are_values_at_every_hand_over() {
    let server = server().await;
    let transport = open(&server, "lease=400ms");
    write_malformed(&server).await;
    let subscriber = transport.subscriber(&to()).await.unwrap();
    judge(&take(&subscriber, 11).await);
    // Dead: the same in a reclaim page.
    drop(subscriber);
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let again = take(&subscriber, 11).await;
    judge(&again);
    assert_eq!(attempts(&again), [2; 11]);
    let page = transport
        .peek(&topic(), &to().group, None, 100)
        .await
        .unwrap();
    assert_eq!(page.messages.len(), 11);
    assert_eq!(page.messages[2].defect, Some(Defect::NoBody));
    // All of them can go to dead letters as they are, if the broker takes them.
    let dead = topic().dead_letter(&to().group).unwrap();
    let publisher = transport.publisher().await.unwrap();
    for delivery in &again {
        let (body, headers) = (
            delivery.message.body().clone(),
            delivery.message.headers().clone(),
        );
        let copy = Message::copied(body, headers, delivery.message.key().cloned());
        publisher.publish(&dead, &[copy], LONG).await.unwrap();
    }
    ack(&subscriber, &again).await;
}

#[tokio::test]
async fn trimmed_entries_are_counted_and_come_never() {
    let server = server().await;
    let transport = open(&server, "lease=300ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    fill(&server, 10).await;
    let held = take(&subscriber, 10).await;
    for delivery in &held[2..5] {
        ask(&server, &format!("XDEL events.test {}", delivery.id)).await;
    }
    drop(subscriber);
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let taken = take(&subscriber, 7).await;
    assert_eq!(attempts(&taken), [2; 7]);
    ack(&subscriber, &taken).await;
    until("the count", async || transport.stats().lost_by_trim == 3).await;
    nothing(&subscriber).await;
    assert!(pending(&server).await.is_empty());
    assert_eq!(transport.stats().lost_by_trim, 3);
}

/// The holder itself is full of them.
#[tokio::test]
async fn a_full_member_gets_rid_of_trimmed_entries() {
    let server = server().await;
    let transport = open(&server, "lease=300ms");
    let subscriber = transport.subscriber(&to().max_held(many(4))).await.unwrap();
    fill(&server, 8).await;
    let held = take(&subscriber, 4).await;
    for delivery in &held[..3] {
        ask(&server, &format!("XDEL events.test {}", delivery.id)).await;
    }
    let mut taken = BTreeSet::new();
    while taken.len() < 5 {
        let deliveries = take(&subscriber, 1).await;
        assert_eq!(
            subscriber.ack(&receipts(&deliveries)).await.unwrap().stale,
            []
        );
        taken.extend(bodies(&deliveries));
    }
    assert_eq!(taken, (4..=8).map(|i| i.to_string()).collect());
    assert_eq!(transport.stats().lost_by_trim, 3);
    assert!(pending(&server).await.is_empty());
}

/// Settles of what was trimmed while it was held.
#[tokio::test]
async fn trimmed_while_held_can_be_acked() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    fill(&server, 3).await;
    let held = take(&subscriber, 3).await;
    ask(&server, "XTRIM events.test MAXLEN 0").await;
    ack(&subscriber, &held[..1]).await;
    let gone = receipts(&held[1..2]);
    assert_eq!(subscriber.extend(&gone).await.unwrap().stale, gone);
    let gone = receipts(&held[2..]);
    assert_eq!(subscriber.release(&gone).await.unwrap().stale, gone);
    nothing(&subscriber).await;
    assert!(pending(&server).await.is_empty());
}

#[tokio::test]
async fn thousands_of_a_dead_member_are_reclaimed_page_by_page() {
    let server = server().await;
    let transport = open(&server, "lease=1s");
    let dead = transport
        .subscriber(&to().max_held(many(3000)))
        .await
        .unwrap();
    fill(&server, 1200).await;
    write_malformed(&server).await;
    fill(&server, 1200).await;
    let held = take(&dead, 2411).await;
    let trimmed: Vec<_> = held
        .iter()
        .step_by(10)
        .take(200)
        .map(|delivery| delivery.id.to_string())
        .collect();
    let mut delete = vec!["XDEL", "events.test"];
    delete.extend(trimmed.iter().map(String::as_str));
    server.cli(&delete).await.unwrap();
    drop(dead);

    // Room for 64 only, so it takes many pages.
    let subscriber = transport
        .subscriber(&to().max_held(many(64)))
        .await
        .unwrap();
    let mut ids = Vec::new();
    while ids.len() < 2211 {
        let taken = subscriber.receive(many(50), LONG).await.unwrap();
        assert!(!taken.is_empty(), "only {} came", ids.len());
        assert!(taken.iter().all(|delivery| delivery.attempt == 2));
        ack(&subscriber, &taken).await;
        ids.extend(taken.iter().map(|delivery| delivery.id.to_string()));
    }
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), 2211);
    assert!(trimmed.iter().all(|id| !unique.contains(id)));
    until("every page", async || {
        assert!(
            subscriber
                .receive(many(1), millis(50))
                .await
                .unwrap()
                .is_empty()
        );
        pending(&server).await.is_empty()
    })
    .await;
    assert_eq!(transport.stats().lost_by_trim, 200);
}
