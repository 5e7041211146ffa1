//! Are hand-overs counted, and is what comes again the same message?

use std::collections::BTreeSet;

use potluck_brokers::redis::{Persistence, RedisOptions};
use potluck_core::{Delivery, Message};

use crate::support::*;

#[tokio::test]
async fn attempts_grow_across_release_crash_and_restart_and_the_message_stays_the_same() {
    let options = RedisOptions::default().persistence(Persistence::AofAlways);
    let server = server_with(options).await;
    let transport = open(&server, "lease=300ms");
    let every_byte: Vec<u8> = (0..=255).collect();
    let message = Message::new(every_byte.clone())
        .with_key(every_byte.clone())
        .unwrap()
        .with_header("ü \"x", every_byte)
        .unwrap()
        .with_header("content-type", "")
        .unwrap();
    let ids = try_publish(&transport, &[message.clone(), Message::new("")], LONG)
        .await
        .unwrap();
    let mut seen: Vec<Vec<Delivery>> = Vec::new();

    let subscriber = transport.subscriber(&to()).await.unwrap();
    seen.push(take(&subscriber, 2).await);
    let _ = subscriber.release(&receipts(&seen[0])).await.unwrap();
    seen.push(take(&subscriber, 2).await);
    // A crash: nothing is given back, and the lease ends.
    drop((subscriber, transport));
    let transport = open(&server, "lease=300ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    seen.push(take(&subscriber, 2).await);
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    // The same member, after its own lease.
    seen.push(take(&subscriber, 2).await);
    // An orderly end.
    subscriber.close().await.unwrap();
    let subscriber = transport.subscriber(&to()).await.unwrap();
    seen.push(take(&subscriber, 2).await);

    for (round, deliveries) in (1..).zip(&seen) {
        assert_eq!(attempts(deliveries), [round, round]);
        assert_eq!([deliveries[0].id, deliveries[1].id], ids[..]);
        let back = &deliveries[0].message;
        assert_eq!(
            (back.body(), back.key(), back.headers()),
            (message.body(), message.key(), message.headers())
        );
        let empty = &deliveries[1].message;
        assert!(empty.body().is_empty() && empty.key().is_none() && empty.headers().is_empty());
        assert!(deliveries.iter().all(|delivery| delivery.defect.is_none()));
    }
    let receipts: BTreeSet<_> = seen
        .iter()
        .flatten()
        .map(|d| (d.receipt.epoch, d.receipt.slot))
        .collect();
    assert_eq!(receipts.len(), 10, "receipts are of one hand-over each");
    ack(&subscriber, &seen[4]).await;
}

#[tokio::test]
async fn a_message_of_the_largest_size_and_most_headers_comes_back_as_it_went() {
    let server = server().await;
    let transport = open(&server, "");
    let max = transport.capabilities().max_message;
    let mut message = Message::new(vec![0xa5; max]);
    for i in 0..64 {
        let value = vec![i; 100];
        message = message.with_header(format!("name-{i:02}"), value).unwrap();
    }
    let subscriber = transport.subscriber(&to()).await.unwrap();
    try_publish(&transport, &[message.clone()], LONG)
        .await
        .unwrap();
    let taken = take(&subscriber, 1).await;
    assert_eq!(taken[0].defect, None);
    assert_eq!(taken[0].message.body(), message.body());
    assert_eq!(taken[0].message.headers(), message.headers());
}

#[tokio::test]
async fn a_foreign_ids_and_a_plain_redis_client_are_understood() {
    let server = server().await;
    let transport = open(&server, "field=payload");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    ask(&server, "XADD events.test 5-7 payload body key k h:a 1 b 2").await;
    let taken = take(&subscriber, 1).await;
    assert_eq!(taken[0].id.to_string(), "5-7");
    assert_eq!(bodies(&taken), ["body"]);
    assert_eq!(taken[0].message.key().unwrap().as_ref(), b"k");
    let headers: Vec<_> = taken[0]
        .message
        .headers()
        .iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(headers, ["a", "b"]);
    // Ours is as plain to it.
    let ours = Message::new("x")
        .with_key("k")
        .unwrap()
        .with_header("n", "v")
        .unwrap();
    try_publish(&transport, &[ours], LONG).await.unwrap();
    let last = ask(&server, "XREVRANGE events.test + - COUNT 1").await;
    let fields = last.items().unwrap()[0].items().unwrap()[1]
        .items()
        .unwrap();
    let fields: Vec<_> = fields.iter().map(|field| field.text().unwrap()).collect();
    assert_eq!(fields, ["payload", "x", "key", "k", "h:n", "v"]);
}
