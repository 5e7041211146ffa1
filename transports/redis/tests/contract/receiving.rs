//! Does receive keep its bounds, end by its wait, and lose nothing when it is dropped?

use std::collections::BTreeMap;
use std::time::Duration;

use potluck_brokers::proxy::Proxy;
use potluck_core::{ErrorKind, Retention};

use crate::support::*;

#[tokio::test]
async fn no_more_than_max_held_is_out_and_it_goes_on_after_a_settle() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to().max_held(many(5))).await.unwrap();
    publish(&transport, numbers(0..20)).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.extend(subscriber.receive(many(3), millis(150)).await.unwrap());
    }
    assert_eq!(bodies(&held), numbers(0..5));
    assert_eq!(
        pending(&server).await.len(),
        5,
        "more was read than may be held"
    );
    // A receive that waits for room gets it from a settle.
    let receiving = subscriber.clone();
    let waiting = tokio::spawn(async move { take(&receiving, 2).await });
    tokio::task::yield_now().await;
    let ((), took) = timed(async {
        ack(&subscriber, &held[1..3]).await;
        assert_eq!(bodies(&waiting.await.unwrap()), ["5", "6"]);
    })
    .await;
    assert!(took < millis(500), "{took:?}");
    assert_eq!(pending(&server).await.len(), 5);
}

#[tokio::test]
async fn a_full_member_that_abandons_its_deliveries_receives_again() {
    let server = server().await;
    let transport = open(&server, "lease=300ms");
    let subscriber = transport.subscriber(&to().max_held(many(4))).await.unwrap();
    publish(&transport, numbers(0..4)).await;
    take(&subscriber, 4).await;
    // Nobody else takes them: they come again, and never more than four at a time.
    let again = take(&subscriber, 4).await;
    assert_eq!(
        (bodies(&again), attempts(&again)),
        (numbers(0..4), vec![2; 4])
    );
    // Somebody else takes and acknowledges them: they make room.
    let other = transport.subscriber(&to()).await.unwrap();
    let taken = take(&other, 4).await;
    ack(&other, &taken).await;
    other.close().await.unwrap();
    publish(&transport, numbers(4..8)).await;
    assert_eq!(bodies(&take(&subscriber, 4).await), numbers(4..8));
    assert_eq!(
        subscriber.ack(&receipts(&again)).await.unwrap().stale,
        receipts(&again)
    );
}

#[tokio::test]
async fn receive_ends_by_its_wait_and_without_one_takes_what_is_there() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    for wait in [0, 1, 30, 700] {
        let (taken, took) = timed(subscriber.receive(many(1), millis(wait))).await;
        assert!(taken.unwrap().is_empty());
        assert!(
            took >= millis(wait) && took < millis(wait + 250),
            "{took:?} for {wait}"
        );
    }
    publish(&transport, numbers(0..5)).await;
    let mut all = Vec::new();
    until("what is there", async || {
        all.extend(subscriber.receive(many(100), Duration::ZERO).await.unwrap());
        all.len() == 5
    })
    .await;
    assert_eq!(bodies(&all), numbers(0..5));
    // A fresh member's first look as well.
    let fresh = transport.subscriber(&to_group("fresh")).await.unwrap();
    let first = fresh.receive(many(100), Duration::ZERO).await.unwrap();
    assert_eq!(bodies(&first), numbers(0..5));
    // It returns what there is and does not wait for more, and one more than anybody can wait for.
    publish(&transport, numbers(5..6)).await;
    let (taken, took) = timed(fresh.receive(many(usize::MAX), Duration::MAX)).await;
    assert_eq!(taken.unwrap().len(), 1);
    assert!(took < millis(300), "{took:?}");
}

#[tokio::test]
async fn one_receive_at_a_time_and_another_waits_within_its_own_wait() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let receiving = subscriber.clone();
    let first = tokio::spawn(async move { take(&receiving, 1).await });
    until("a blocked client", async || {
        info(&server, "blocked_clients").await == 1
    })
    .await;
    let (second, took) = timed(subscriber.receive(many(1), millis(200))).await;
    assert!(second.unwrap().is_empty());
    assert!(took < millis(400), "{took:?}");
    publish(&transport, numbers(0..1)).await;
    assert_eq!(bodies(&first.await.unwrap()), ["0"]);
}

#[tokio::test]
async fn order_is_kept_with_one_member() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let publishing = transport.clone();
    let publisher = tokio::spawn(async move {
        for slice in numbers(0..2000).chunks(9) {
            publish(&publishing, slice.to_vec()).await;
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 2000 {
        let taken = subscriber.receive(many(16), LONG).await.unwrap();
        ack(&subscriber, &taken).await;
        seen.extend(bodies(&taken));
    }
    publisher.await.unwrap();
    assert_eq!(seen, numbers(0..2000));
}

/// Receives are dropped at all sorts of moments while messages flow: none is lost, none comes twice
/// within its lease.
#[tokio::test]
async fn dropped_receives_lose_nothing_and_repeat_nothing() {
    const COUNT: usize = 1500;
    let server = server().await;
    let transport = open(&server, "block=50ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let publishing = transport.clone();
    let publisher = tokio::spawn(async move {
        for slice in numbers(0..COUNT).chunks(3) {
            publish(&publishing, slice.to_vec()).await;
            tokio::time::sleep(millis(1)).await;
        }
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut random, mut dropped) = (42_u64, 0);
    while counts.len() < COUNT {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let patience = Duration::from_micros(random >> 52);
        let max = many(1 + (random >> 33) as usize % 20);
        let receive = subscriber.receive(max, LONG);
        let Ok(taken) = tokio::time::timeout(patience, receive).await else {
            dropped += 1;
            continue;
        };
        let taken = taken.unwrap();
        assert!(taken.iter().all(|delivery| delivery.attempt == 1));
        ack(&subscriber, &taken).await;
        for body in bodies(&taken) {
            *counts.entry(body).or_default() += 1;
        }
    }
    publisher.await.unwrap();
    assert!(dropped > 50, "only {dropped} were dropped");
    assert!(counts.values().all(|count| *count == 1));
    nothing(&subscriber).await;
    assert!(pending(&server).await.is_empty());
}

/// What was read ahead waits for longer than its lease, and is looked for at the same time: by then
/// it may have been handed out and settled.
#[tokio::test]
async fn what_waited_beyond_its_lease_is_not_handed_out_after_its_ack() {
    let server = server().await;
    let transport = open(&server, "lease=100ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let mut acked = Vec::new();
    for round in 0..6 {
        publish(&transport, (0..40).map(|i| format!("{round}:{i}"))).await;
        let held = take(&subscriber, 20).await;
        ack(&subscriber, &held).await;
        acked.extend(bodies(&held));
        tokio::time::sleep(millis(120)).await;
        while acked.len() < (round + 1) * 40 {
            let taken = subscriber.receive(many(5), LONG).await.unwrap();
            let again = bodies(&taken);
            assert!(again.iter().all(|body| !acked.contains(body)), "{again:?}");
            let stale = subscriber.ack(&receipts(&taken)).await.unwrap().stale;
            let done = taken.iter().filter(|d| !stale.contains(&d.receipt));
            acked.extend(bodies(&done.cloned().collect::<Vec<_>>()));
        }
    }
    nothing(&subscriber).await;
    assert!(pending(&server).await.is_empty());
}

/// Connections are cut while messages flow: what a lost answer held is found with its count.
#[tokio::test]
async fn cut_connections_lose_nothing_and_strand_nothing() {
    const COUNT: usize = 2000;
    let server = server().await;
    let direct = open(&server, "");
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let transport =
        potluck_redis::connect(&format!("redis://{}?block=50ms", proxy.addr())).unwrap();
    let subscription = to().retention(Retention::Keep);
    let subscriber = transport.subscriber(&subscription).await.unwrap();
    let publisher = tokio::spawn(async move {
        for slice in numbers(0..COUNT).chunks(10) {
            publish(&direct, slice.to_vec()).await;
            tokio::time::sleep(millis(2)).await;
        }
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut cuts = 0;
    while counts.len() < COUNT {
        // Not more often: each time it is dialled after a longer pause.
        if counts.len() > (cuts + 1) * COUNT / 6 && cuts < 5 {
            cuts += 1;
            proxy.cut_replies_after(cuts as u64 * 777);
        }
        let taken = subscriber.receive(many(20), LONG).await.unwrap();
        for body in bodies(&taken) {
            *counts.entry(body).or_default() += 1;
        }
        let settled = subscriber.ack(&receipts(&taken)).await.unwrap();
        assert_eq!(settled.stale, []);
    }
    publisher.await.unwrap();
    assert!(transport.stats().reconnects >= 5, "{:?}", transport.stats());
    // With a lease of a minute nothing could have come back by its end.
    assert!(counts.values().all(|count| *count == 1));
    assert!(pending(&server).await.is_empty());
}

#[tokio::test]
async fn a_lost_connection_is_a_quiet_time() {
    let server = server().await;
    let transport = open(&server, "timeout=300ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..1)).await;
    let held = take(&subscriber, 1).await;
    server.stop().await.unwrap();
    let (taken, took) = timed(subscriber.receive(many(1), millis(700))).await;
    assert!(taken.unwrap().is_empty());
    assert!(took >= millis(700) && took < millis(900), "{took:?}");
    let (error, took) = timed(subscriber.ack(&receipts(&held))).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(took < millis(500), "{took:?}");
    let (closed, took) = timed(subscriber.close()).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(subscriber.close().await.is_ok());
}
