//! What do close, drop and a cut connection do?

use super::*;
use potluck_core::{Start, State};

#[tokio::test(start_paused = true)]
async fn closing_a_member_gives_back_at_once_what_it_held() {
    let transport = connect();
    let (one, other) = (member(&transport, "g").await, member(&transport, "g").await);
    publish(&transport, &["1", "2"]).await;
    let got = take(&one, 9).await;
    ack(&one, &[got[0].receipt]).await;
    let task = waiting(&other, 9, LONG).await;
    let started = tokio::time::Instant::now();
    one.close().await.unwrap();
    let again = task.await.unwrap().unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!((bodies(&again), attempts(&again)), (vec!["2"], vec![2]));
    assert_eq!(figures(&transport, "g").await, (0, 1, 1));
    assert_eq!(transport.stats().released, 1);
}

#[tokio::test(start_paused = true)]
async fn closing_a_member_wakes_its_receives_and_every_later_call_is_closed() {
    let transport = connect();
    let member = member(&transport, "g").await;
    let runs = waiting(&member, 1, LONG).await;
    let in_line = waiting(&member, 1, LONG).await;
    let started = tokio::time::Instant::now();
    member.close().await.unwrap();
    assert_eq!(kind(runs.await.unwrap()), ErrorKind::Closed);
    assert_eq!(kind(in_line.await.unwrap()), ErrorKind::Closed);
    assert_eq!(started.elapsed(), Duration::ZERO);
    let receipt = Receipt { epoch: 1, slot: 1 };
    assert_eq!(kind(member.receive(some(1), SOON).await), ErrorKind::Closed);
    assert_eq!(kind(member.ack(&[receipt]).await), ErrorKind::Closed);
    assert_eq!(kind(member.release(&[receipt]).await), ErrorKind::Closed);
    assert_eq!(kind(member.extend(&[receipt]).await), ErrorKind::Closed);
    member.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_a_transport_closes_all_that_came_from_it_and_nothing_else() {
    let broker = Broker::new();
    let (one, other) = (broker.connect(), broker.connect());
    publish(&one, &["1"]).await;
    let mine = member(&one, "g").await;
    let theirs = member(&other, "g").await;
    let reader = one.reader(&topic(), Start::New).await.unwrap();
    take(&mine, 1).await;
    let blocked = waiting(&mine, 1, LONG).await;
    let reading = tokio::spawn({
        let reader = reader.clone();
        async move { reader.receive(some(1), LONG).await }
    });
    let taken = waiting(&theirs, 1, LONG).await;

    let started = tokio::time::Instant::now();
    one.close().await.unwrap();
    one.close().await.unwrap();
    assert_eq!(kind(blocked.await.unwrap()), ErrorKind::Closed);
    assert_eq!(kind(reading.await.unwrap()), ErrorKind::Closed);
    assert_eq!(bodies(&taken.await.unwrap().unwrap()), ["1"]);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(one.state(), State::Closed);
    assert_eq!(figures(&other, "g").await, (0, 1, 1));

    let (topic, group, to) = (topic(), group("g"), to("g"));
    assert_eq!(kind(one.publisher().await), ErrorKind::Closed);
    assert_eq!(kind(one.subscriber(&to).await), ErrorKind::Closed);
    assert_eq!(kind(one.declare(&to).await), ErrorKind::Closed);
    assert_eq!(kind(one.status(&topic, &group).await), ErrorKind::Closed);
    assert_eq!(
        kind(one.peek(&topic, &group, None, 1).await),
        ErrorKind::Closed
    );
    assert_eq!(
        kind(one.delete_group(&topic, &group).await),
        ErrorKind::Closed
    );
    assert_eq!(kind(one.delete_topic(&topic, &[]).await), ErrorKind::Closed);
    assert_eq!(
        kind(one.reader(&topic, Start::New).await),
        ErrorKind::Closed
    );
    assert_eq!(kind(one.describe().await), ErrorKind::Closed);
    mine.close().await.unwrap();
    assert_eq!(one.stats().released, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_ready_until_it_is_closed() {
    let transport = connect();
    assert_eq!(transport.state(), State::Ready);
    assert_eq!(transport.changed(State::Connecting).await, State::Ready);
    let task = tokio::spawn({
        let transport = transport.clone();
        async move { transport.changed(State::Ready).await }
    });
    tokio::task::yield_now().await;
    transport.close().await.unwrap();
    assert_eq!(task.await.unwrap(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_receive_loses_nothing() {
    let transport = connect();
    let member = member(&transport, "g").await;
    for round in 0..100 {
        let receive = member.receive(some(1), LONG);
        // Dropped while it waits, and in every other round just after the message came.
        let mut receive = Box::pin(receive);
        let _ = tokio::time::timeout(Duration::ZERO, &mut receive).await;
        if round % 2 == 0 {
            drop(receive);
            publish(&transport, &["x"]).await;
        } else {
            publish(&transport, &["x"]).await;
            drop(receive);
        }
        let got = take(&member, 9).await;
        assert_eq!(attempts(&got), [1], "round {round}");
        ack(&member, &receipts(&got)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn members_that_come_and_go_leave_nothing_behind() {
    let transport = connect();
    let stays = member(&transport, "g").await;
    for round in 0..200 {
        let member = member(&transport, "g").await;
        if round % 2 == 0 {
            member.close().await.unwrap();
        }
    }
    assert_eq!(figures(&transport, "g").await, (0, 0, 1));
    publish(&transport, &["1"]).await;
    assert_eq!(take(&stays, 9).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_epochs_and_members_join_again_by_themselves() {
    let broker = Broker::new();
    let transport = broker.connect();
    let (holds, waits) = (member(&transport, "g").await, member(&transport, "g").await);
    publish(&transport, &["1", "2"]).await;
    let got = take(&holds, 1).await;
    take(&waits, 1).await;
    let task = waiting(&waits, 9, LONG).await;
    let started = tokio::time::Instant::now();
    broker.cut();
    let again = task.await.unwrap().unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(bodies(&again), ["1", "2"]);
    assert_eq!(attempts(&again), [2, 2]);
    let late = receipts(&got);
    assert_eq!(holds.ack(&late).await.unwrap(), stale(&late));
    assert!(take(&holds, 9).await.is_empty());
    assert_eq!(holds.ack(&late).await.unwrap(), stale(&late));
    ack(&waits, &receipts(&again)).await;
    assert_eq!(figures(&transport, "g").await, (0, 0, 2));
    assert_eq!(transport.stats().reconnects, 2);
}
