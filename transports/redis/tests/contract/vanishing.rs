//! Is a group that vanishes created again, at once, loudly, and without loss?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use potluck_core::{ErrorKind, Message};
use tracing::span;

use crate::support::*;

/// Counts what is logged as an error, on this thread.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR && metadata.target().starts_with("potluck")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// While a receive is blocked, and while none is.
async fn heals_after(commands: &[&str]) {
    // Somebody listens from the start. What one thread is the first to log while nobody does,
    // tracing may hide from another that begins to listen just then.
    let _ = tracing::subscriber::set_global_default(Errors::default());
    for blocked in [true, false] {
        let server = server().await;
        let transport = open(&server, "");
        let subscriber = transport.subscriber(&to()).await.unwrap();
        publish(&transport, ["held".to_owned()]).await;
        let held = take(&subscriber, 1).await;
        let errors = Errors::default();
        let _logging = tracing::subscriber::set_default(errors.clone());
        let receiving = subscriber.clone();
        let mut waiting = tokio::spawn(async move {
            let mut seen = Vec::new();
            while !seen.contains(&"b".to_owned()) {
                seen.extend(bodies(&receiving.receive(many(9), LONG).await.unwrap()));
            }
            seen
        });
        if blocked {
            until("a blocked client", async || {
                info(&server, "blocked_clients").await == 1
            })
            .await;
        } else {
            waiting.abort();
            let _ = waiting.await;
            waiting = tokio::spawn(std::future::ready(Vec::new()));
        }
        for command in commands {
            ask(&server, command).await;
        }
        let (seen, took) = timed(async {
            publish(&transport, ["a".to_owned(), "b".to_owned()]).await;
            let mut seen = waiting.await.unwrap();
            while !seen.contains(&"b".to_owned()) {
                seen.extend(bodies(&subscriber.receive(many(9), LONG).await.unwrap()));
            }
            seen
        })
        .await;
        assert!(took < millis(1000), "{took:?} after {commands:?}");
        assert_eq!(seen[seen.len() - 2..], ["a", "b"], "after {commands:?}");
        assert_eq!(transport.stats().groups_recreated, 1, "after {commands:?}");
        assert_eq!(errors.0.load(Ordering::Relaxed), 1, "after {commands:?}");
        assert_eq!(
            subscriber.ack(&receipts(&held)).await.unwrap().stale,
            receipts(&held)
        );
    }
}

#[tokio::test]
async fn heals_after_del() {
    heals_after(&["DEL events.test"]).await;
}

#[tokio::test]
async fn heals_after_flushall() {
    heals_after(&["FLUSHALL"]).await;
}

#[tokio::test]
async fn heals_after_the_group_alone_is_destroyed() {
    heals_after(&["XGROUP DESTROY events.test group"]).await;
}

#[tokio::test]
async fn heals_when_the_topic_is_another_one() {
    heals_after(&["DEL events.test", "XADD events.test * data other"]).await;
}

#[tokio::test]
async fn heals_after_a_restart_without_persistence() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..3)).await;
    let held = take(&subscriber, 3).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    publish(&transport, numbers(3..5)).await;
    assert_eq!(bodies(&take(&subscriber, 2).await), numbers(3..5));
    assert_eq!(
        subscriber.ack(&receipts(&held)).await.unwrap().stale,
        receipts(&held)
    );
    assert_eq!(transport.stats().groups_recreated, 1);
}

#[tokio::test]
async fn several_members_create_it_once_and_share_what_comes() {
    let server = server().await;
    let transport = open(&server, "");
    let mut members = Vec::new();
    for _ in 0..3 {
        let subscriber = transport.subscriber(&to()).await.unwrap();
        members.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Ok(taken) = subscriber.receive(many(5), SHORT).await {
                if taken.is_empty() && !seen.is_empty() {
                    break;
                }
                ack(&subscriber, &taken).await;
                seen.extend(bodies(&taken));
            }
            seen
        }));
    }
    until("blocked clients", async || {
        info(&server, "blocked_clients").await == 3
    })
    .await;
    ask(&server, "FLUSHALL").await;
    for i in 0..60 {
        publish(&transport, [i.to_string()]).await;
    }
    let mut all = Vec::new();
    for member in members {
        // One that got nothing waits on.
        match tokio::time::timeout(2 * SHORT, member).await {
            Ok(seen) => all.extend(seen.unwrap()),
            Err(_) => continue,
        }
    }
    all.sort_by_key(|body| body.parse::<usize>().unwrap());
    assert_eq!(all, numbers(0..60));
    assert_eq!(transport.stats().groups_recreated, 1);
}

#[tokio::test]
async fn deleting_is_idempotent_and_members_see_the_group_again() {
    let server = server().await;
    let transport = open(&server, "");
    let group = to().group;
    // Nothing there yet.
    transport.delete_topic(&topic(), &[]).await.unwrap();
    transport.delete_group(&topic(), &group).await.unwrap();
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..2)).await;
    let held = take(&subscriber, 2).await;
    for _ in 0..2 {
        transport.delete_group(&topic(), &group).await.unwrap();
        let error = transport.status(&topic(), &group).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    for stale in [
        subscriber.extend(&receipts(&held)).await,
        subscriber.release(&receipts(&held)).await,
        subscriber.ack(&receipts(&held)).await,
    ] {
        assert_eq!(stale.unwrap().stale, receipts(&held));
    }
    // From the earliest message kept: twice rather than never.
    assert_eq!(bodies(&take(&subscriber, 2).await), numbers(0..2));
    for _ in 0..2 {
        transport
            .delete_topic(&topic(), std::slice::from_ref(&group))
            .await
            .unwrap();
        assert_eq!(ask(&server, "EXISTS events.test").await.int(), Some(0));
    }
    subscriber.close().await.unwrap();
    assert_eq!(
        ask(&server, "EXISTS events.test").await.int(),
        Some(0),
        "closing created it"
    );
}

/// What was read ahead of a flush is of the group before.
#[tokio::test]
async fn what_waits_in_the_member_goes_with_the_group() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..8)).await;
    // Full, so that the next slice is under way already.
    take(&subscriber, 4).await;
    ask(&server, "FLUSHALL").await;
    try_publish(&transport, &[Message::new("new")], LONG)
        .await
        .unwrap();
    let mut seen = Vec::new();
    until("the new one", async || {
        let taken = subscriber.receive(many(4), millis(200)).await.unwrap();
        let _ = subscriber.ack(&receipts(&taken)).await.unwrap();
        seen.extend(bodies(&taken));
        seen.last().is_some_and(|body| body == "new")
    })
    .await;
    assert_eq!(seen.iter().filter(|body| *body == "new").count(), 1);
}
