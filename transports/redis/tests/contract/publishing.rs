//! Is every publish answered truly, in order, once, within bounds, also when it is dropped?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use potluck_brokers::redis::RedisServer;
use potluck_core::headers::Headers;
use potluck_core::{ErrorKind, Message, Outcome, Publisher};

use crate::support::*;

/// The bodies on the server, in order.
async fn stored(server: &RedisServer) -> Vec<String> {
    let entries = ask(server, "XRANGE events.test - +").await;
    let body = |entry: &potluck_brokers::resp::Reply| {
        entry.items().unwrap()[1].items().unwrap()[1]
            .text()
            .unwrap()
    };
    entries.items().unwrap().iter().map(body).collect()
}

#[tokio::test]
async fn a_slice_keeps_its_order_and_says_its_ids() {
    let server = server().await;
    let transport = open(&server, "");
    let messages: Vec<_> = numbers(0..2500).into_iter().map(Message::new).collect();
    let ids = try_publish(&transport, &messages, LONG).await.unwrap();
    assert_eq!(ids.len(), 2500);
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(stored(&server).await, numbers(0..2500));
    let first = ask(&server, "XRANGE events.test - + COUNT 1").await;
    let first = first.items().unwrap()[0].items().unwrap()[0]
        .text()
        .unwrap();
    assert_eq!(first, ids[0].to_string());
    assert_eq!(transport.stats().published, 2500);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_whole_before_anything_is_sent() {
    let server = server().await;
    let transport = open(&server, "");
    let publisher = transport.publisher().await.unwrap();
    let max = transport.capabilities().max_message;
    let slice = [
        Message::new("ok"),
        Message::new(vec![0; max + 1]),
        Message::new("ok"),
    ];
    let error = publisher.publish(&topic(), &slice, LONG).await.unwrap_err();
    assert_eq!(error.first().kind(), ErrorKind::TooLarge);
    assert!(
        error
            .outcomes()
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Refused(_)))
    );
    assert_eq!(error.outcomes().len(), 3);
    // An application's message to a derived topic is, a runtime's copy is not, however large.
    let dead = topic().dead_letter(&to().group).unwrap();
    let error = publisher
        .publish(&dead, &[Message::new("x")], LONG)
        .await
        .unwrap_err();
    assert_eq!(error.first().kind(), ErrorKind::Invalid);
    let mut headers = Headers::new();
    headers.set("potluck-reason", "exhausted");
    let copy = Message::copied(vec![0; max + 1].into(), headers, None);
    assert_eq!(
        publisher.publish(&dead, &[copy], LONG).await.unwrap().len(),
        1
    );
    assert_eq!(publisher.publish(&topic(), &[], LONG).await.unwrap(), []);
    assert_eq!(ask(&server, "EXISTS events.test").await.int(), Some(0));
    assert_eq!(
        (transport.stats().refused, transport.stats().published),
        (4, 1)
    );
}

/// Futures are dropped at every poll that they ever need, on a quiet line and on a busy one.
#[tokio::test]
async fn a_dropped_publish_is_stored_once_or_not_at_all() {
    const COUNT: usize = 400;
    let server = server().await;
    let transport = open(&server, "");
    let publisher = transport.publisher().await.unwrap();
    let mut answered = Vec::new();
    let mut busy = Vec::new();
    for i in 0..COUNT {
        if i % 4 == 0 {
            let publisher = publisher.clone();
            busy.push(tokio::spawn(async move {
                let slice = vec![Message::new("busy"); 20];
                publisher.publish(&topic(), &slice, LONG).await
            }));
        }
        let (topic, body) = (topic(), [Message::new(i.to_string())]);
        let mut publish = publisher.publish(&topic, &body, LONG);
        for _ in 0..i % 5 {
            if let std::task::Poll::Ready(stored) = poll_once(&mut publish).await {
                stored.unwrap();
                answered.push(i.to_string());
                break;
            }
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_micros((i % 7) as u64 * 50)).await;
        }
    }
    for task in busy {
        task.await.unwrap().unwrap();
    }
    publisher
        .publish(&topic(), &[Message::new("last")], LONG)
        .await
        .unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for body in stored(&server).await {
        *counts.entry(body).or_default() += 1;
    }
    assert_eq!(counts.remove("busy"), Some(COUNT / 4 * 20));
    assert_eq!(counts.remove("last"), Some(1));
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert!(answered.iter().all(|body| counts.contains_key(body)));
    assert!(counts.len() < COUNT, "none was dropped before it was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_in_flight_arrive_once_and_each_task_in_order() {
    let server = server().await;
    let transport = open(&server, "");
    let publisher = transport.publisher().await.unwrap();
    let tasks: Vec<_> = (0..200)
        .map(|task| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                // Ten in flight at once, then a slice behind them.
                let ten = (0..10).map(|i| one(publisher.clone(), format!("{task}:{i}")));
                futures_util::future::join_all(ten).await;
                let slice: Vec<_> = (10..15)
                    .map(|i| Message::new(format!("{task}:{i}")))
                    .collect();
                publisher.publish(&topic(), &slice, LONG).await.unwrap();
                one(publisher, format!("{task}:15")).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut by_task: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for body in stored(&server).await {
        let (task, i) = body.split_once(':').unwrap();
        by_task
            .entry(task.to_owned())
            .or_default()
            .push(i.parse().unwrap());
    }
    assert_eq!(by_task.len(), 200);
    for (task, mut order) in by_task {
        assert_eq!(order[10..], (10..16).collect::<Vec<_>>(), "of {task}");
        order.sort_unstable();
        assert_eq!(order, (0..16).collect::<Vec<_>>(), "of {task}");
    }
    assert_eq!(transport.stats().published, 3200);
}

async fn one(publisher: Arc<dyn Publisher>, body: String) {
    publisher
        .publish(&topic(), &[Message::new(body)], LONG)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_at_the_deadline() {
    let server = server().await;
    let transport = open(&server, "");
    let publisher = transport.publisher().await.unwrap();
    publish(&transport, numbers(0..1)).await;
    server.stop().await.unwrap();
    until("the loss to be seen", async || {
        transport.state() != potluck_core::State::Ready
    })
    .await;
    // 40 MB, of which the queue takes 16.
    let body = Message::new(vec![b'x'; 1_000_000]);
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let (publisher, body) = (publisher.clone(), body.clone());
            // Those behind give up first, while there is no room yet.
            let within = if i < 20 { 900 } else { 500 };
            let publish = async move { publisher.publish(&topic(), &[body], millis(within)).await };
            (within, tokio::spawn(timed(publish)))
        })
        .collect();
    let mut full = 0;
    for (within, task) in tasks {
        let (error, took) = task.await.unwrap();
        let error = error.unwrap_err();
        assert_eq!(error.outcomes()[0].as_str(), "refused", "{error}");
        assert_eq!(error.first().kind(), ErrorKind::Unavailable);
        assert!(error.first().is_retryable());
        assert!(
            took >= millis(within) && took < millis(within + 300),
            "{took:?}"
        );
        full += usize::from(error.to_string().contains("queue is full"));
    }
    assert!(full >= 20, "only {full} were refused for want of room");
    server.restart().await.unwrap();
    publisher.publish(&topic(), &[body], LONG).await.unwrap();
}

#[tokio::test]
async fn a_wait_that_is_longer_than_time_is_no_harm() {
    let server = server().await;
    let transport = open(&server, "");
    try_publish(&transport, &[Message::new("x")], Duration::MAX)
        .await
        .unwrap();
    // And none at all gives an answer, whatever it is.
    let _ = try_publish(&transport, &[Message::new("y")], Duration::ZERO).await;
    assert!(stored(&server).await.contains(&"x".to_owned()));
}
