//! Does closing give back, wake and leave nothing, and is an idle member quiet?

use std::time::Duration;

use potluck_core::{ErrorKind, Message, Start, State};

use crate::support::*;

#[tokio::test]
async fn close_wakes_a_blocked_receive_and_is_final() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..1)).await;
    let held = take(&subscriber, 1).await;
    let receiving = subscriber.clone();
    let blocked = tokio::spawn(async move { receiving.receive(many(1), LONG).await });
    until("a blocked client", async || {
        info(&server, "blocked_clients").await == 1
    })
    .await;
    let closing = subscriber.clone();
    let closing = tokio::spawn(async move { closing.close().await });
    let (woken, took) = timed(async { blocked.await.unwrap() }).await;
    assert_eq!(woken.unwrap_err().kind(), ErrorKind::Closed);
    assert!(took < millis(200), "{took:?}");
    closing.await.unwrap().unwrap();
    subscriber.close().await.unwrap();
    for error in [
        subscriber.receive(many(1), LONG).await.map(|_| ()),
        subscriber.ack(&receipts(&held)).await.map(|_| ()),
        subscriber.release(&receipts(&held)).await.map(|_| ()),
        subscriber.extend(&[]).await.map(|_| ()),
    ] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert!(consumers(&server).await.is_empty());
    assert_eq!(transport.stats().released, 1);
}

/// A receive was dropped, its read goes on at the server and is handed messages.
#[tokio::test]
async fn close_gives_back_what_a_read_under_way_brings() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let _ = tokio::time::timeout(millis(100), subscriber.receive(many(10), LONG)).await;
    until("a blocked client", async || {
        info(&server, "blocked_clients").await == 1
    })
    .await;
    publish(&transport, numbers(0..3)).await;
    // The server wakes it for the first.
    until("an assignment", async || !pending(&server).await.is_empty()).await;
    subscriber.close().await.unwrap();
    assert!(consumers(&server).await.is_empty());
    let other = transport.subscriber(&to()).await.unwrap();
    let (taken, took) = timed(take(&other, 3)).await;
    assert_eq!(bodies(&taken), numbers(0..3));
    assert!(took < millis(500), "{took:?}");
}

#[tokio::test]
async fn a_close_that_was_dropped_is_gone_on_with_and_a_stuck_receive_does_not_hold_it_up() {
    let server = server().await;
    let transport = open(&server, "block=100ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..2)).await;
    take(&subscriber, 2).await;
    let mut close = Box::pin(subscriber.close());
    assert!(poll_once(&mut close).await.is_pending());
    drop(close);
    subscriber.close().await.unwrap();
    assert!(consumers(&server).await.is_empty());

    let subscriber = transport.subscriber(&to()).await.unwrap();
    take(&subscriber, 2).await;
    // Polled once, and never again.
    let mut stuck = Box::pin(subscriber.receive(many(1), LONG));
    assert!(poll_once(&mut stuck).await.is_pending());
    let (closed, took) = timed(subscriber.close()).await;
    closed.unwrap();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(
        pending(&server)
            .await
            .iter()
            .all(|(_, owner, _)| owner == ":released")
    );
    assert_eq!(stuck.await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn closing_the_transport_answers_everything_and_ends_every_connection() {
    let server = server().await;
    let transport = open(&server, "");
    let publisher = transport.publisher().await.unwrap();
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let reader = transport.reader(&topic(), Start::New).await.unwrap();
    publish(&transport, numbers(0..5)).await;
    take(&subscriber, 5).await;
    let reading = reader.clone();
    let reading = tokio::spawn(async move { reading.receive(many(9), LONG).await });
    reading.await.unwrap().unwrap();
    let (receiving, reading) = (subscriber.clone(), reader.clone());
    let receiving = tokio::spawn(async move { receiving.receive(many(1), LONG).await.map(|_| ()) });
    let reading = tokio::spawn(async move { reading.receive(many(1), LONG).await.map(|_| ()) });
    let publishing: Vec<_> = (0..200)
        .map(|_| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                publisher
                    .publish(&topic(), &[Message::new("x")], LONG)
                    .await
            })
        })
        .collect();
    let changed = transport.changed(State::Ready);
    let watching = async { assert_eq!(changed.await, State::Closed) };
    let (closed, ()) = tokio::join!(transport.close(), watching);
    closed.unwrap();
    for woken in [receiving, reading] {
        let error = woken.await.unwrap();
        assert!(error.is_ok() || error.unwrap_err().kind() == ErrorKind::Closed);
    }
    let mut stored = 0;
    for task in publishing {
        match task.await.unwrap() {
            Ok(_) => stored += 1,
            Err(error) => assert_eq!(error.first().kind(), ErrorKind::Closed, "{error}"),
        }
    }
    assert_eq!(
        ask(&server, "XLEN events.test").await.int(),
        Some(5 + stored)
    );
    // Handles are still held, connections are not.
    until("no connection", async || connections(&server).await == 0).await;
    assert!(consumers(&server).await.is_empty());
    assert_eq!(transport.state(), State::Closed);
    transport.close().await.unwrap();

    let group = to().group;
    for error in [
        transport.declare(&to()).await.unwrap_err(),
        transport.subscriber(&to()).await.unwrap_err(),
        transport.publisher().await.unwrap_err(),
        transport.reader(&topic(), Start::New).await.unwrap_err(),
        transport.status(&topic(), &group).await.unwrap_err(),
        transport.peek(&topic(), &group, None, 1).await.unwrap_err(),
        transport.delete_group(&topic(), &group).await.unwrap_err(),
        transport.delete_topic(&topic(), &[]).await.unwrap_err(),
        transport.describe().await.unwrap_err(),
        subscriber.receive(many(1), LONG).await.unwrap_err(),
        reader.receive(many(1), LONG).await.unwrap_err(),
        publisher
            .publish(&topic(), &[Message::new("x")], LONG)
            .await
            .unwrap_err()
            .first(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
}

#[tokio::test]
async fn closing_waits_for_a_server_that_is_away_no_longer_than_its_timeout() {
    let server = server().await;
    let transport = open(&server, "timeout=500ms");
    let publisher = transport.publisher().await.unwrap();
    let subscribers: Vec<_> = {
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(transport.subscriber(&to()).await.unwrap());
        }
        all
    };
    publish(&transport, numbers(0..4)).await;
    take(&subscribers[0], 4).await;
    server.kill().await.unwrap();
    let_the_client_see_it().await;
    let publishing = tokio::spawn(async move {
        publisher
            .publish(&topic(), &[Message::new("x")], LONG)
            .await
    });
    tokio::task::yield_now().await;
    let (closed, took) = timed(transport.close()).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let error = publishing.await.unwrap().unwrap_err();
    assert_eq!(error.outcomes()[0].as_str(), "refused", "{error}");
}

#[tokio::test]
async fn a_hundred_members_come_and_go_and_leave_nothing() {
    let server = server().await;
    let transport = open(&server, "");
    publish(&transport, numbers(0..10)).await;
    let mut handles = Vec::new();
    for round in 0..100 {
        let subscriber = transport.subscriber(&to()).await.unwrap();
        if round % 10 == 0 {
            take(&subscriber, 10).await;
        }
        subscriber.close().await.unwrap();
        // A handle that is kept keeps nothing else.
        handles.push(subscriber);
    }
    assert!(consumers(&server).await.is_empty());
    // One for commands, one for publishing.
    until("two connections", async || connections(&server).await == 2).await;
    let subscriber = transport.subscriber(&to()).await.unwrap();
    assert_eq!(take(&subscriber, 10).await.len(), 10);
}

#[tokio::test]
async fn members_that_come_and_go_under_load_lose_nothing() {
    const COUNT: usize = 1000;
    let server = server().await;
    let transport = open(&server, "");
    transport.declare(&to()).await.unwrap();
    let publishing = transport.clone();
    let publisher = tokio::spawn(async move {
        for slice in numbers(0..COUNT).chunks(5) {
            publish(&publishing, slice.to_vec()).await;
            tokio::time::sleep(millis(2)).await;
        }
    });
    let mut acked = Vec::new();
    while acked.len() < COUNT {
        let subscriber = transport.subscriber(&to()).await.unwrap();
        let held = subscriber.receive(many(7), LONG).await.unwrap();
        let taken = subscriber.receive(many(40), LONG).await.unwrap();
        ack(&subscriber, &taken).await;
        acked.extend(bodies(&taken));
        // What is held goes back with it.
        assert!(held.len() <= 7);
        subscriber.close().await.unwrap();
        if pending(&server).await.len() + acked.len() == COUNT {
            let last = transport.subscriber(&to()).await.unwrap();
            let rest = take(&last, COUNT - acked.len()).await;
            ack(&last, &rest).await;
            acked.extend(bodies(&rest));
            last.close().await.unwrap();
        }
    }
    publisher.await.unwrap();
    acked.sort_by_key(|body| body.parse::<usize>().unwrap());
    assert_eq!(acked, numbers(0..COUNT));
    assert!(pending(&server).await.is_empty() && consumers(&server).await.is_empty());
}

#[tokio::test]
async fn idling_is_quiet_and_the_next_message_is_prompt() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let _publisher = transport.publisher().await.unwrap();
    assert!(
        subscriber
            .receive(many(1), millis(100))
            .await
            .unwrap()
            .is_empty()
    );
    let before = info(&server, "total_commands_processed").await;
    for _ in 0..3 {
        assert!(
            subscriber
                .receive(many(1), millis(1000))
                .await
                .unwrap()
                .is_empty()
        );
    }
    let spent = info(&server, "total_commands_processed").await - before;
    assert!(spent <= 60, "{spent} commands in three idle seconds");
    let receiving = subscriber.clone();
    let waiting = tokio::spawn(async move { take(&receiving, 1).await });
    until("a blocked client", async || {
        info(&server, "blocked_clients").await == 1
    })
    .await;
    let ((), took) = timed(async {
        publish(&transport, numbers(0..1)).await;
        waiting.await.unwrap();
    })
    .await;
    assert!(took < millis(100), "{took:?}");
    assert_eq!(transport.stats().reconnects, 0);
}
