//! What happens when a lease ends?

use super::*;
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_secs(10);

async fn leased(transport: &Arc<dyn Transport>) -> Arc<dyn Subscriber> {
    transport.subscriber(&to("g").lease(LEASE)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_waiting_receive_wakes_when_anothers_lease_ends() {
    let transport = connect();
    let (one, other) = (leased(&transport).await, leased(&transport).await);
    publish(&transport, &["1"]).await;
    let first = take(&one, 1).await;
    let started = Instant::now();
    let again = other.receive(some(1), LONG).await.unwrap();
    assert_eq!(started.elapsed(), LEASE);
    assert_eq!((bodies(&again), attempts(&again)), (vec!["1"], vec![2]));
    // The first is too late, and takes nothing from the other.
    let late = receipts(&first);
    assert_eq!(one.ack(&late).await.unwrap(), stale(&late));
    assert_eq!(one.extend(&late).await.unwrap(), stale(&late));
    assert_eq!(one.release(&late).await.unwrap(), stale(&late));
    ack(&other, &receipts(&again)).await;
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_waited_before_the_hand_over_learns_of_the_lease() {
    let transport = connect();
    let (one, other) = (leased(&transport).await, leased(&transport).await);
    // Both wait; one of them takes it, and the other gets it when the lease ends.
    let (first, second) = (waiting(&one, 1, LONG).await, waiting(&other, 1, LONG).await);
    let started = Instant::now();
    publish(&transport, &["1"]).await;
    let both = (
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    );
    assert_eq!(attempts(&both.0)[0] + attempts(&both.1)[0], 3);
    assert_eq!(started.elapsed(), LEASE);
}

#[tokio::test(start_paused = true)]
async fn the_same_member_may_take_what_it_outlived_its_lease_on() {
    let transport = connect();
    let member = transport
        .subscriber(&to("g").lease(LEASE).max_held(some(1)))
        .await
        .unwrap();
    publish(&transport, &["1"]).await;
    let first = take(&member, 1).await;
    let again = member.receive(some(1), LONG).await.unwrap();
    assert_eq!(attempts(&again), [2]);
    let late = receipts(&first);
    assert_eq!(member.ack(&late).await.unwrap(), stale(&late));
    ack(&member, &receipts(&again)).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_ack_is_good_until_somebody_has_taken_the_message() {
    let transport = connect();
    let (one, other) = (leased(&transport).await, leased(&transport).await);
    publish(&transport, &["1"]).await;
    let got = take(&one, 1).await;
    sleep(LEASE * 2).await;
    ack(&one, &receipts(&got)).await;
    assert!(take(&other, 1).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn extending_keeps_a_delivery_from_others() {
    let transport = connect();
    let (one, other) = (leased(&transport).await, leased(&transport).await);
    publish(&transport, &["1"]).await;
    let got = receipts(&take(&one, 1).await);
    let task = waiting(&other, 1, LONG).await;
    let started = Instant::now();
    for _ in 0..5 {
        sleep(LEASE * 3 / 5).await;
        assert_eq!(one.extend(&got).await.unwrap(), nothing_stale());
    }
    assert!(!task.is_finished());
    // The last extension began the lease anew, and then it ends.
    let again = task.await.unwrap().unwrap();
    assert_eq!(started.elapsed(), LEASE * 4);
    assert_eq!(attempts(&again), [2]);
}

#[tokio::test(start_paused = true)]
async fn leases_of_members_differ() {
    let transport = connect();
    let short = leased(&transport).await;
    let long = transport
        .subscriber(&to("g").lease(Duration::MAX))
        .await
        .unwrap();
    publish(&transport, &["1", "2"]).await;
    take(&long, 1).await;
    take(&short, 1).await;
    sleep(LEASE).await;
    let again = take(&long, 9).await;
    assert_eq!(bodies(&again), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_member_is_gone_and_what_it_held_comes_when_the_lease_ends() {
    let transport = connect();
    let (crashes, stays) = (leased(&transport).await, leased(&transport).await);
    publish(&transport, &["1", "2", "3"]).await;
    take(&crashes, 2).await;
    drop(crashes);
    assert_eq!(figures(&transport, "g").await, (1, 2, 1));
    assert_eq!(bodies(&take(&stays, 9).await), ["3"]);
    let started = Instant::now();
    let again = stays.receive(some(9), LONG).await.unwrap();
    assert_eq!(started.elapsed(), LEASE);
    assert_eq!(bodies(&again), ["1", "2", "3"]);
    assert_eq!(transport.stats().released, 0);
}
