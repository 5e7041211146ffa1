//! Do ack, release and extend do what they promise, and name what came too late?

use potluck_core::{Receipt, Retention};

use crate::support::*;

#[tokio::test]
async fn a_release_comes_back_at_once_also_to_the_same_member() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..1)).await;
    for attempt in 1..=3 {
        let (taken, took) = timed(take(&subscriber, 1)).await;
        assert_eq!(taken[0].attempt, attempt);
        assert!(took < millis(1000), "{took:?}");
        assert_eq!(
            subscriber.release(&receipts(&taken)).await.unwrap().stale,
            []
        );
        assert_eq!(
            subscriber.ack(&receipts(&taken)).await.unwrap().stale,
            receipts(&taken)
        );
    }
    assert_eq!(transport.stats().released, 3);
}

#[tokio::test]
async fn a_released_slice_comes_to_a_member_that_waits_and_the_rest_stays() {
    let server = server().await;
    let transport = open(&server, "");
    let first = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..20)).await;
    let taken = take(&first, 20).await;
    let second = transport.subscriber(&to()).await.unwrap();
    let waiting = tokio::spawn(async move {
        let again = take(&second, 10).await;
        (again, second)
    });
    let mut slice = receipts(&taken[5..15]);
    slice.reverse();
    assert_eq!(first.release(&slice).await.unwrap().stale, []);
    let ((again, second), took) = timed(async { waiting.await.unwrap() }).await;
    assert!(took < millis(1000), "{took:?}");
    assert_eq!(bodies(&again), numbers(5..15));
    ack(&first, &taken[..5]).await;
    ack(&first, &taken[15..]).await;
    ack(&second, &again).await;
    assert!(pending(&server).await.is_empty());
}

#[tokio::test]
async fn extending_keeps_a_lease_against_another_member() {
    let server = server().await;
    let transport = open(&server, "lease=400ms");
    let holder = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..3)).await;
    let held = take(&holder, 3).await;
    let thief = transport.subscriber(&to()).await.unwrap();
    let extending = async {
        for _ in 0..16 {
            assert_eq!(holder.extend(&receipts(&held)).await.unwrap().stale, []);
            tokio::time::sleep(millis(100)).await;
        }
    };
    let (stolen, ()) = tokio::join!(thief.receive(many(10), millis(1600)), extending);
    assert!(stolen.unwrap().is_empty());
    assert!(
        pending(&server)
            .await
            .iter()
            .all(|(_, _, count)| *count == 1)
    );
    ack(&holder, &held).await;
    // Not extended, the same comes to the other after a lease, and counts.
    publish(&transport, numbers(3..4)).await;
    take(&holder, 1).await;
    assert_eq!(attempts(&take(&thief, 1).await), [2]);
}

#[tokio::test]
async fn settles_after_another_member_took_over_are_stale_and_do_it_no_harm() {
    let server = server().await;
    let transport = open(&server, "lease=300ms");
    let late = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..3)).await;
    let held = take(&late, 3).await;
    let owner = transport.subscriber(&to()).await.unwrap();
    let taken = take(&owner, 3).await;
    // Each by another verb: what was named once is forgotten.
    let given = receipts(&held);
    assert_eq!(late.extend(&given[..1]).await.unwrap().stale, given[..1]);
    assert_eq!(late.release(&given[1..2]).await.unwrap().stale, given[1..2]);
    assert_eq!(late.ack(&given[2..]).await.unwrap().stale, given[2..]);
    assert_eq!(late.ack(&given).await.unwrap().stale, given);
    assert_eq!(transport.stats().stale, 6);
    assert_eq!(pending(&server).await.len(), 3);
    assert!(
        pending(&server)
            .await
            .iter()
            .all(|(_, _, count)| *count == 2)
    );
    ack(&owner, &taken).await;
    assert!(pending(&server).await.is_empty());
}

#[tokio::test]
async fn stale_receipts_are_named_in_order_and_the_others_are_settled() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    let other = transport.subscriber(&to_group("other")).await.unwrap();
    publish(&transport, numbers(0..3)).await;
    let mine = receipts(&take(&subscriber, 3).await);
    let theirs = receipts(&take(&other, 1).await);
    let invented = Receipt {
        epoch: 0,
        slot: u64::MAX,
    };
    let given = [
        invented, mine[2], mine[0], mine[2], theirs[0], mine[1], mine[0],
    ];
    let stale = [invented, mine[2], theirs[0], mine[0]];
    assert_eq!(subscriber.extend(&given).await.unwrap().stale, stale);
    assert_eq!(subscriber.ack(&given).await.unwrap().stale, stale);
    assert_eq!(subscriber.ack(&given).await.unwrap().stale, given);
    assert!(pending(&server).await.is_empty());
    // The other group's is untouched.
    assert_eq!(other.ack(&theirs).await.unwrap().stale, []);
    for nothing in [
        subscriber.ack(&[]),
        subscriber.release(&[]),
        subscriber.extend(&[]),
    ] {
        assert_eq!(nothing.await.unwrap().stale, []);
    }
}

#[tokio::test]
async fn an_ack_out_of_order_settles_no_other() {
    let server = server().await;
    let transport = open(&server, "lease=300ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..5)).await;
    let taken = take(&subscriber, 5).await;
    for at in [4, 1] {
        ack(&subscriber, &taken[at..=at]).await;
    }
    drop((subscriber, transport));
    let transport = open(&server, "lease=300ms");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    assert_eq!(bodies(&take(&subscriber, 3).await), ["0", "2", "3"]);
}

#[tokio::test]
async fn an_ack_does_not_wait_behind_a_blocked_receive() {
    let server = server().await;
    let transport = open(&server, "");
    let subscriber = transport.subscriber(&to()).await.unwrap();
    publish(&transport, numbers(0..3)).await;
    let taken = take(&subscriber, 3).await;
    let receiving = subscriber.clone();
    let blocked = tokio::spawn(async move { receiving.receive(many(1), LONG).await });
    until("a blocked client", async || {
        info(&server, "blocked_clients").await == 1
    })
    .await;
    for delivery in &taken {
        let (settled, took) = timed(subscriber.ack(&[delivery.receipt])).await;
        assert_eq!(settled.unwrap().stale, []);
        assert!(took < millis(100), "{took:?}");
    }
    assert!(!blocked.is_finished());
    blocked.abort();
}

#[tokio::test]
async fn until_acked_deletes_on_ack_and_never_on_release() {
    let server = server().await;
    let transport = open(&server, "lease=300ms");
    // Each has a member name of its own.
    let subscription = || to().retention(Retention::UntilAcked);
    let subscriber = transport.subscriber(&subscription()).await.unwrap();
    publish(&transport, numbers(0..4)).await;
    let taken = take(&subscriber, 4).await;
    ack(&subscriber, &taken[..2]).await;
    assert_eq!(ask(&server, "XLEN events.test").await.int(), Some(2));
    assert_eq!(
        subscriber
            .release(&receipts(&taken[2..]))
            .await
            .unwrap()
            .stale,
        []
    );
    assert_eq!(ask(&server, "XLEN events.test").await.int(), Some(2));
    let late = take(&subscriber, 2).await;
    let other = transport.subscriber(&subscription()).await.unwrap();
    let owned = take(&other, 2).await;
    // A stale ack deletes nothing either.
    assert_eq!(
        subscriber.ack(&receipts(&late)).await.unwrap().stale,
        receipts(&late)
    );
    assert_eq!(ask(&server, "XLEN events.test").await.int(), Some(2));
    ack(&other, &owned).await;
    assert_eq!(ask(&server, "XLEN events.test").await.int(), Some(0));
    assert!(pending(&server).await.is_empty());
}

#[tokio::test]
async fn slices_of_many_thousands_are_settled() {
    let server = server().await;
    let transport = open(&server, "");
    let subscription = to().max_held(many(5000));
    let subscriber = transport.subscriber(&subscription).await.unwrap();
    publish(&transport, numbers(0..5000)).await;
    let mut taken = take(&subscriber, 5000).await;
    mix_up(&mut taken);
    assert_eq!(
        subscriber.extend(&receipts(&taken)).await.unwrap().stale,
        []
    );
    ack(&subscriber, &taken[..2500]).await;
    assert_eq!(pending(&server).await.len(), 2500);
    subscriber.close().await.unwrap();
    assert!(
        pending(&server)
            .await
            .iter()
            .all(|(_, owner, _)| owner == ":released")
    );
    assert!(consumers(&server).await.is_empty());
}

/// Some other order, always the same.
fn mix_up<T>(items: &mut [T]) {
    let count = items.len();
    for at in 0..count {
        items.swap(at, (at * 7919 + 13) % count);
    }
}
