//! Who receives what, from where on, and in which order?

use super::*;
use potluck_core::Start;

#[tokio::test(start_paused = true)]
async fn each_group_sees_all_and_members_share() {
    let transport = connect();
    let (a1, a2) = (member(&transport, "a").await, member(&transport, "a").await);
    let b = member(&transport, "b").await;
    publish(&transport, &["1", "2", "3", "4"]).await;
    assert_eq!(bodies(&take(&a1, 2).await), ["1", "2"]);
    assert_eq!(bodies(&take(&a2, 9).await), ["3", "4"]);
    assert!(take(&a1, 9).await.is_empty());
    assert_eq!(bodies(&take(&b, 9).await), ["1", "2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn topics_do_not_mix() {
    let transport = connect();
    let other = Topic::new("other").unwrap();
    publish(&transport, &["1"]).await;
    let there = Subscription::new(other, group("g"));
    let there = transport.subscriber(&there).await.unwrap();
    assert!(take(&there, 9).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn start_is_fixed_when_declared_and_never_again() {
    let transport = connect();
    publish(&transport, &["before"]).await;
    for (name, start) in [("new", Start::New), ("earliest", Start::Earliest)] {
        transport.declare(&to(name).start(start)).await.unwrap();
    }
    assert_eq!(figures(&transport, "new").await, (0, 0, 0));
    assert_eq!(figures(&transport, "earliest").await, (1, 0, 0));
    publish(&transport, &["after"]).await;
    // Another start changes nothing about what exists.
    transport
        .declare(&to("new").start(Start::Earliest))
        .await
        .unwrap();
    let new = member(&transport, "new").await;
    assert_eq!(bodies(&take(&new, 9).await), ["after"]);
    let earliest = transport
        .subscriber(&to("earliest").start(Start::New))
        .await
        .unwrap();
    assert_eq!(bodies(&take(&earliest, 9).await), ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn declare_joins_nobody_and_reads_nothing() {
    let transport = connect();
    transport.declare(&to("g")).await.unwrap();
    publish(&transport, &["1"]).await;
    transport.declare(&to("g")).await.unwrap();
    assert_eq!(figures(&transport, "g").await, (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_where_it_was_over_another_connection() {
    let broker = Broker::new();
    let first = broker.connect();
    publish(&first, &["1", "2", "3", "4"]).await;
    let member = first.subscriber(&to("g")).await.unwrap();
    let got = take(&member, 3).await;
    // Out of order: acking a later one settles no earlier one.
    ack(&member, &[got[2].receipt, got[0].receipt]).await;
    first.close().await.unwrap();

    let again = broker.connect().subscriber(&to("g")).await.unwrap();
    let got = take(&again, 9).await;
    assert_eq!(bodies(&got), ["2", "4"]);
    assert_eq!(attempts(&got), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_member_holds_no_more_than_its_bound_and_goes_on_when_it_settles() {
    let transport = connect();
    let member = transport
        .subscriber(&to("g").max_held(some(2)))
        .await
        .unwrap();
    publish(&transport, &["1", "2", "3", "4"]).await;
    let got = take(&member, 9).await;
    assert_eq!(bodies(&got), ["1", "2"]);
    assert!(member.receive(some(9), SOON).await.unwrap().is_empty());
    // A receive that waits at the bound goes on with the ack, not with its deadline.
    let task = waiting(&member, 9, LONG).await;
    let started = tokio::time::Instant::now();
    ack(&member, &[got[1].receipt]).await;
    assert_eq!(bodies(&task.await.unwrap().unwrap()), ["3"]);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn receive_returns_what_there_is_and_waits_for_the_first_only() {
    let transport = connect();
    let member = member(&transport, "g").await;
    let started = tokio::time::Instant::now();
    assert!(member.receive(some(9), SOON).await.unwrap().is_empty());
    assert_eq!(started.elapsed(), SOON);

    let task = waiting(&member, 9, LONG).await;
    publish(&transport, &["1"]).await;
    assert_eq!(bodies(&task.await.unwrap().unwrap()), ["1"]);
    assert_eq!(started.elapsed(), SOON);
    // The longest wait that can be asked for is one.
    let task = waiting(&member, usize::MAX, Duration::MAX).await;
    publish(&transport, &["2"]).await;
    assert_eq!(bodies(&task.await.unwrap().unwrap()), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn one_receive_runs_at_a_time_and_another_waits_within_its_own_wait() {
    let transport = connect();
    let member = member(&transport, "g").await;
    let first = waiting(&member, 1, LONG).await;
    let started = tokio::time::Instant::now();
    assert!(member.receive(some(1), SOON).await.unwrap().is_empty());
    assert_eq!(started.elapsed(), SOON);
    let second = waiting(&member, 1, LONG).await;
    publish(&transport, &["1", "2"]).await;
    assert_eq!(bodies(&first.await.unwrap().unwrap()), ["1"]);
    assert_eq!(bodies(&second.await.unwrap().unwrap()), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn ack_does_not_wait_behind_a_blocked_receive() {
    let transport = connect();
    let member = member(&transport, "g").await;
    publish(&transport, &["1"]).await;
    let got = take(&member, 1).await;
    let task = waiting(&member, 1, LONG).await;
    let started = tokio::time::Instant::now();
    ack(&member, &receipts(&got)).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(!task.is_finished());
    task.abort();
}
