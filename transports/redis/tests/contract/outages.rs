//! Are a server that is away, late, full, a replica or unwilling told apart, and outlived?

use std::time::Duration;

use potluck_brokers::proxy::Proxy;
use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_brokers::silent::SilentServer;
use potluck_core::{ErrorKind, Message, State};

use crate::support::*;

#[tokio::test]
async fn wrong_credentials_are_denied_at_once() {
    let server = server_with(RedisOptions::default().password("canary-right")).await;
    let addr = server.addr();
    for url in [
        format!("redis://:canary-wrong@{addr}"),
        format!("redis://nobody:canary-wrong@{addr}"),
        format!("redis://{addr}"),
    ] {
        let transport = potluck_redis::connect(&url).unwrap();
        for _ in 0..2 {
            let (error, took) = timed(transport.declare(&to())).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            assert!(!error.is_retryable() && took < millis(1000), "{took:?}");
            assert!(!format!("{error} {error:?} {transport:?}").contains("canary"));
        }
        assert_eq!(
            transport.subscriber(&to()).await.unwrap_err().kind(),
            ErrorKind::Denied
        );
        assert_eq!(
            transport.publisher().await.unwrap_err().kind(),
            ErrorKind::Denied
        );
        let (closed, took) = timed(transport.close()).await;
        closed.unwrap();
        assert!(took < millis(100));
    }
    // A password where none is wanted, and a database that is not there.
    let open_server = server_with(RedisOptions::default()).await;
    let url = format!("redis://:canary@{}", open_server.addr());
    let error = potluck_redis::connect(&url)
        .unwrap()
        .declare(&to())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let url = format!("redis://{}/99", open_server.addr());
    let error = potluck_redis::connect(&url)
        .unwrap()
        .declare(&to())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn credentials_that_are_withdrawn_and_granted_again_are_noticed() {
    let server = server_with(RedisOptions::default()).await;
    ask(&server, "ACL SETUSER worker on >canary allkeys allcommands").await;
    let url = format!("redis://worker:canary@{}?block=50ms", server.addr());
    let transport = potluck_redis::connect(&url).unwrap();
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..1)).await;
    take(&subscriber, 1).await;
    ask(&server, "ACL SETUSER worker off").await;
    ask(&server, "CLIENT KILL USER worker").await;
    let denied = async || match subscriber.receive(many(1), millis(100)).await {
        Err(error) => error.kind() == ErrorKind::Denied,
        Ok(_) => false,
    };
    until("a denied receive", denied).await;
    let error = try_within(&transport).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Denied);
    ask(&server, "ACL SETUSER worker on").await;
    until("a granted one", async || {
        subscriber.receive(many(1), millis(100)).await.is_ok()
    })
    .await;
    // One command that is forbidden is denied by itself.
    ask(&server, "ACL SETUSER worker -xadd").await;
    let error = try_publish(&transport, &[Message::new("x")], LONG)
        .await
        .unwrap_err();
    assert_eq!(
        (error.first().kind(), error.outcomes()[0].as_str()),
        (ErrorKind::Denied, "refused")
    );
    ask(&server, "ACL SETUSER worker -xreadgroup").await;
    until("a denied read", denied).await;
}

async fn try_within(
    transport: &std::sync::Arc<dyn potluck_core::Transport>,
) -> potluck_core::Result<()> {
    transport.declare(&to()).await
}

#[tokio::test]
async fn no_server_is_unavailable_after_the_timeout_and_one_that_comes_late_is_picked_up() {
    let server = server().await;
    server.stop().await.unwrap();
    let transport = open(&server, "timeout=300ms");
    let group = to().group;
    for _ in 0..2 {
        let (error, took) = timed(transport.declare(&to())).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable());
        assert!(took >= millis(300) && took < millis(600), "{took:?}");
    }
    let topic = topic();
    let (publisher, status, description, deleted) = tokio::join!(
        timed(transport.publisher()),
        timed(transport.status(&topic, &group)),
        timed(transport.describe()),
        timed(transport.delete_group(&topic, &group)),
    );
    let slowest = [publisher.1, status.1, description.1, deleted.1]
        .into_iter()
        .max()
        .unwrap();
    assert!(slowest < millis(600), "{slowest:?}");
    assert_eq!(publisher.0.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(transport.state(), State::Connecting);
    server.restart().await.unwrap();
    let state = tokio::time::timeout(LONG, transport.changed(State::Connecting)).await;
    assert_eq!(state.unwrap(), State::Ready);
    transport.declare(&to()).await.unwrap();
}

/// It accepts, and never answers.
#[tokio::test]
async fn a_silent_server_is_unavailable_after_the_timeout() {
    let silent = SilentServer::start().await.unwrap();
    let url = format!("redis://{}?timeout=400ms", silent.addr());
    let transport = potluck_redis::connect(&url).unwrap();
    let (error, took) = timed(transport.declare(&to())).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(took >= millis(400) && took < millis(700), "{took:?}");
}

/// One that falls silent later is given up in time as well.
#[tokio::test]
async fn a_frozen_server_does_not_hold_calls_beyond_the_timeout() {
    let server = server().await;
    let transport = open(&server, "timeout=500ms");
    let publisher = transport.publisher().await.unwrap();
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..1)).await;
    let held = take(&subscriber, 1).await;
    server.freeze().await.unwrap();
    let group = to().group;
    let (error, took) = timed(transport.status(&topic(), &group)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(took < millis(900), "{took:?}");
    let (error, took) = timed(subscriber.ack(&receipts(&held))).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(took < millis(900), "{took:?}");
    // It was written, so nobody knows.
    let (error, took) = timed(publisher.publish(&topic(), &[Message::new("x")], millis(300))).await;
    assert_eq!(error.unwrap_err().outcomes()[0].as_str(), "unknown");
    assert!(took >= millis(300) && took < millis(600), "{took:?}");
    server.thaw().unwrap();
    publisher
        .publish(&topic(), &[Message::new("y")], LONG)
        .await
        .unwrap();
    // The ack has arrived after all; nothing comes again, and what follows does.
    let mut seen = Vec::new();
    while !seen.contains(&"y".to_owned()) {
        seen.extend(bodies(&subscriber.receive(many(9), LONG).await.unwrap()));
    }
    assert!(!seen.contains(&"0".to_owned()));
}

#[tokio::test]
async fn a_publish_while_the_server_is_away_is_refused_at_its_deadline() {
    let server = server().await;
    let transport = open(&server, "");
    let publisher = transport.publisher().await.unwrap();
    publish(&transport, numbers(0..1)).await;
    server.kill().await.unwrap();
    let_the_client_see_it().await;
    // Before anybody has looked at the connection, and after.
    for within in [400, 400, 50, 900] {
        let slice = [Message::new("a"), Message::new("b")];
        let (error, took) = timed(publisher.publish(&topic(), &slice, millis(within))).await;
        let error = error.unwrap_err();
        let words: Vec<_> = error
            .outcomes()
            .iter()
            .map(|outcome| outcome.as_str())
            .collect();
        assert_eq!(words, ["refused", "refused"], "{error}");
        assert_eq!(error.first().kind(), ErrorKind::Unavailable);
        assert!(error.first().is_retryable());
        assert!(
            took >= millis(within) && took < millis(within + 300),
            "{took:?} of {within}"
        );
    }
    // One whose time is not over goes through.
    let waiting = publisher.clone();
    let waiting =
        tokio::spawn(async move { waiting.publish(&topic(), &[Message::new("c")], LONG).await });
    server.restart().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(ask(&server, "XLEN events.test").await.int(), Some(1));
    assert_eq!(transport.stats().refused, 8);
}

/// The answers are lost, not the messages.
#[tokio::test]
async fn lost_answers_are_unknown_and_lost_connections_are_dialled_again() {
    let server = server().await;
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let transport = potluck_redis::connect(&format!("redis://{}", proxy.addr())).unwrap();
    let publisher = transport.publisher().await.unwrap();
    publish(&transport, numbers(0..1)).await;
    proxy.black_hole_replies();
    let (error, took) = timed(publisher.publish(&topic(), &[Message::new("1")], millis(300))).await;
    assert_eq!(error.unwrap_err().outcomes()[0].as_str(), "unknown");
    assert!(took >= millis(300) && took < millis(600), "{took:?}");
    assert_eq!(ask(&server, "XLEN events.test").await.int(), Some(2));
    assert_eq!(transport.stats().unknown, 1);
    proxy.pass();
    // Until the old connection is given up, publishes go into it.
    let ((), took) = timed(until("an answer", async || {
        publisher
            .publish(&topic(), &[Message::new("2")], millis(300))
            .await
            .is_ok()
    }))
    .await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(transport.stats().reconnects >= 1);
}

#[tokio::test]
async fn a_full_server_refuses_publishes_and_is_consumed_on() {
    let server = server().await;
    let transport = open(&server, "lease=400ms");
    let publisher = transport.publisher().await.unwrap();
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..20)).await;
    let held = take(&subscriber, 6).await;
    ask(&server, "CONFIG SET maxmemory 1").await;
    let (error, took) = timed(publisher.publish(&topic(), &[Message::new("x")], LONG)).await;
    let error = error.unwrap_err();
    assert_eq!(error.outcomes()[0].as_str(), "refused");
    assert_eq!(error.first().kind(), ErrorKind::Unavailable);
    assert!(
        error.first().is_retryable() && error.to_string().contains("maxmemory"),
        "{error}"
    );
    assert!(took < millis(500), "{took:?}");
    // Plain settles and, after the lease, guarded ones; reading, reclaiming, leaving.
    ack(&subscriber, &held[..1]).await;
    assert_eq!(
        subscriber
            .extend(&receipts(&held[1..]))
            .await
            .unwrap()
            .stale,
        []
    );
    tokio::time::sleep(millis(450)).await;
    ack(&subscriber, &held[1..3]).await;
    assert_eq!(
        subscriber
            .release(&receipts(&held[3..4]))
            .await
            .unwrap()
            .stale,
        []
    );
    let mut left = 17;
    while left > 0 {
        let taken = subscriber.receive(many(5), LONG).await.unwrap();
        assert!(!taken.is_empty(), "{left} are missing");
        ack(&subscriber, &taken).await;
        left -= taken.len();
    }
    subscriber.close().await.unwrap();
    assert!(pending(&server).await.is_empty() && consumers(&server).await.is_empty());
    ask(&server, "CONFIG SET maxmemory 0").await;
    publisher
        .publish(&topic(), &[Message::new("x")], LONG)
        .await
        .unwrap();
}

#[tokio::test]
async fn publishes_and_members_outlive_a_demotion() {
    let server = server().await;
    let transport = open(&server, "timeout=500ms");
    let publisher = transport.publisher().await.unwrap();
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..2)).await;
    let held = take(&subscriber, 2).await;
    let receiving = subscriber.clone();
    let receiving = tokio::spawn(async move { take(&receiving, 3).await });
    until("a blocked client", async || {
        info(&server, "blocked_clients").await == 1
    })
    .await;
    // A replica of nobody that is there.
    ask(&server, "REPLICAOF 127.0.0.1 1").await;
    let (error, took) = timed(publisher.publish(&topic(), &[Message::new("x")], millis(400))).await;
    assert_eq!(error.unwrap_err().outcomes()[0].as_str(), "refused");
    assert!(took >= millis(400) && took < millis(700), "{took:?}");
    let (error, took) = timed(transport.declare(&to_group("other"))).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(took < millis(900), "{took:?}");
    let waiting: Vec<_> = (2..5)
        .map(|i| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                publisher
                    .publish(&topic(), &[Message::new(i.to_string())], LONG)
                    .await
            })
        })
        .collect();
    tokio::time::sleep(millis(300)).await;
    ask(&server, "REPLICAOF NO ONE").await;
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    let mut taken = bodies(&receiving.await.unwrap());
    taken.sort_unstable();
    assert_eq!(taken, numbers(2..5));
    // The group is the one it was, and so are its receipts.
    ack(&subscriber, &held).await;
    assert_eq!(transport.stats().groups_recreated, 0);
}

async fn replica_of(primary: &RedisServer) -> RedisServer {
    let line = format!("replicaof 127.0.0.1 {}", primary.port());
    let replica = server_with(RedisOptions::default().config(line)).await;
    until("the replica", async || {
        info(primary, "connected_slaves").await == 1
            && ask(&replica, "INFO replication")
                .await
                .text()
                .unwrap()
                .contains("master_link_status:up")
    })
    .await;
    replica
}

#[tokio::test]
async fn without_enough_replicas_a_message_is_unknown() {
    let server = server().await;
    let transport = open(&server, "min_replicas=1");
    let error = try_publish(&transport, &[Message::new("alone")], LONG)
        .await
        .unwrap_err();
    assert_eq!(error.outcomes()[0].as_str(), "unknown", "{error}");
    assert!(error.to_string().contains("min_replicas"), "{error}");
    let replica = replica_of(&server).await;
    let slice = [Message::new("a"), Message::new("b")];
    let ids = try_publish(&transport, &slice, LONG).await.unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(ask(&replica, "XLEN events.test").await.int(), Some(3));
}

/// What anybody could print of anything holds no password.
#[tokio::test]
async fn passwords_show_nowhere() {
    let password = "canary p@ss/w:rd%";
    let server = server_with(RedisOptions::default().password(password)).await;
    let transport = potluck_redis::connect(&server.url()).unwrap();
    let publisher = transport.publisher().await.unwrap();
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..3)).await;
    let held = take(&subscriber, 1).await;
    let reader = transport
        .reader(&topic(), potluck_core::Start::Earliest)
        .await
        .unwrap();
    let description = transport.describe().await.unwrap();
    server.kill().await.unwrap();
    let refused = publisher
        .publish(&topic(), &[Message::new("x")], millis(50))
        .await
        .unwrap_err();
    let shown = format!(
        "{transport:?} {publisher:?} {subscriber:?} {reader:?} {held:?} {description:?} {refused:?} {refused}"
    );
    for part in ["canary", "p@ss", "p%40ss", "w:rd"] {
        assert!(!shown.contains(part), "{part} is in {shown}");
    }
}
