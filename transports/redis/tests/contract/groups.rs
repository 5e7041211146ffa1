//! Do groups start where they should, fan out, and share exclusively among their members?

use std::collections::BTreeMap;

use potluck_core::{ErrorKind, Member, Message, Start};

use crate::support::*;

#[tokio::test]
async fn declaring_is_idempotent_and_fixes_the_start_once() {
    let server = server().await;
    let transport = open(&server, "");
    publish(&transport, numbers(0..2)).await;
    for start in [Start::New, Start::Earliest, Start::New] {
        transport.declare(&to().start(start)).await.unwrap();
        // Between declaring and the first receive nothing is lost to a group that starts at `new`.
        publish(&transport, [format!("{start:?}")]).await;
    }
    assert!(consumers(&server).await.is_empty(), "declaring joined");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    assert_eq!(
        bodies(&take(&subscriber, 3).await),
        ["New", "Earliest", "New"]
    );
    nothing(&subscriber).await;
}

#[tokio::test]
async fn a_declared_topic_outlives_a_restart() {
    use potluck_brokers::redis::{Persistence, RedisOptions};
    let options = RedisOptions::default().persistence(Persistence::AofAlways);
    let server = server_with(options).await;
    let transport = open(&server, "");
    transport.declare(&to().start(Start::New)).await.unwrap();
    publish(&transport, numbers(0..3)).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let subscriber = transport.subscriber(&to().start(Start::New)).await.unwrap();
    assert_eq!(bodies(&take(&subscriber, 3).await), numbers(0..3));
}

#[tokio::test]
async fn every_group_gets_everything_and_topics_do_not_mix() {
    let server = server().await;
    let transport = open(&server, "");
    let first = transport.subscriber(&to_group("a")).await.unwrap();
    let second = transport.subscriber(&to_group("b")).await.unwrap();
    let mut other = to_group("a");
    other.topic = potluck_core::Topic::new("events.other").unwrap();
    let elsewhere = transport.subscriber(&other).await.unwrap();
    publish(&transport, numbers(0..50)).await;
    for subscriber in [&first, &second] {
        let taken = take(subscriber, 50).await;
        assert_eq!(bodies(&taken), numbers(0..50));
        ack(subscriber, &taken).await;
    }
    assert!(
        elsewhere
            .receive(many(1), millis(100))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn three_members_share_exclusively() {
    let server = server().await;
    let transport = open(&server, "");
    transport.declare(&to()).await.unwrap();
    let members: Vec<_> = (0..3)
        .map(|_| {
            let transport = transport.clone();
            tokio::spawn(async move {
                let subscriber = transport.subscriber(&to()).await.unwrap();
                let mut seen = Vec::new();
                loop {
                    let taken = subscriber.receive(many(7), SHORT).await.unwrap();
                    if taken.is_empty() {
                        return seen;
                    }
                    ack(&subscriber, &taken).await;
                    seen.extend(bodies(&taken));
                }
            })
        })
        .collect();
    until("three members", async || {
        consumers(&server).await.len() == 3
    })
    .await;
    for slice in numbers(0..3000).chunks(100) {
        publish(&transport, slice.to_vec()).await;
    }
    // Counted, not collected into a set: twice would be seen.
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut worked = 0;
    for member in members {
        let seen = member.await.unwrap();
        worked += usize::from(!seen.is_empty());
        for body in seen {
            *counts.entry(body).or_default() += 1;
        }
    }
    assert_eq!(counts.len(), 3000);
    assert!(counts.values().all(|count| *count == 1));
    assert!(worked >= 2);
    assert!(pending(&server).await.is_empty());
}

#[tokio::test]
async fn the_other_half_is_received_after_coming_back() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..10)).await;
    let taken = take(&subscriber, 10).await;
    let (even, odd): (Vec<_>, Vec<_>) = taken
        .into_iter()
        .partition(|delivery| delivery.message.body()[0] % 2 == 0);
    ack(&subscriber, &even).await;
    subscriber.close().await.unwrap();
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    assert_eq!(bodies(&take(&subscriber, 5).await), bodies(&odd));
    nothing(&subscriber).await;
}

/// The same name again, as after a restart with a stable name.
#[tokio::test]
async fn a_member_of_the_same_name_takes_over_what_the_last_one_left() {
    let server = server().await;
    let transport = open(&server, "lease=300ms");
    let named = to().member(Member::new("worker-1").unwrap());
    let subscriber = transport.subscriber(&named).await.unwrap();
    publish(&transport, numbers(0..5)).await;
    take(&subscriber, 5).await;
    drop(subscriber);
    let subscriber = transport.subscriber(&named).await.unwrap();
    let taken = take(&subscriber, 5).await;
    assert_eq!(
        (bodies(&taken), attempts(&taken)),
        (numbers(0..5), vec![2; 5])
    );
    ack(&subscriber, &taken).await;
    assert_eq!(consumers(&server).await, ["worker-1"]);
}

#[tokio::test]
async fn what_exists_and_cannot_serve_is_a_config_error() {
    let server = server().await;
    let transport = open(&server, "");
    ask(&server, "SET events.test text").await;
    let errors = [
        transport.declare(&to()).await.unwrap_err(),
        transport.subscriber(&to()).await.unwrap_err(),
        transport.reader(&topic(), Start::New).await.unwrap_err(),
        transport.status(&topic(), &to().group).await.unwrap_err(),
        transport.delete_topic(&topic(), &[]).await.unwrap_err(),
        try_publish(&transport, &[Message::new("x")], LONG)
            .await
            .unwrap_err()
            .first(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    assert_eq!(
        ask(&server, "GET events.test").await.text().unwrap(),
        "text"
    );
    // It also becomes one under a member.
    ask(&server, "DEL events.test").await;
    let subscriber = transport.subscriber(&to()).await.unwrap();
    ask(&server, "SET events.test text").await;
    let error = loop {
        if let Err(error) = subscriber.receive(many(1), millis(200)).await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn leases_out_of_range_are_refused() {
    use std::time::Duration;
    let server = server().await;
    let transport = open(&server, "");
    for lease in [Duration::ZERO, Duration::MAX] {
        let error = transport.subscriber(&to().lease(lease)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
}
