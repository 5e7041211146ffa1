//! What happens when a topic is full?

use super::*;
use potluck_core::Start;
use potluck_memory::Bounds;

fn small(max_messages: usize) -> Arc<dyn Transport> {
    Broker::with_bounds(Bounds::default().max_messages(some(max_messages))).connect()
}

#[tokio::test(start_paused = true)]
async fn at_its_bound_a_topic_drops_the_oldest_that_all_groups_have_acked() {
    let transport = small(3);
    let (a, b) = (member(&transport, "a").await, member(&transport, "b").await);
    publish(&transport, &["1", "2", "3"]).await;
    ack(&a, &receipts(&take(&a, 9).await)).await;
    assert!(
        try_publish(&transport, &["4"], Duration::ZERO)
            .await
            .is_err()
    );
    let got = take(&b, 9).await;
    ack(&b, &receipts(&got[..2])).await;
    publish(&transport, &["4"]).await;

    let reader = transport.reader(&topic(), Start::Earliest).await.unwrap();
    let kept = reader.receive(some(9), Duration::ZERO).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|one| one.id).collect();
    assert_eq!(kept, [id(2), id(3), id(4)]);
    assert_eq!(transport.stats().lost_by_trim, 0);
}

#[tokio::test(start_paused = true)]
async fn a_publish_waits_for_room_until_its_deadline_and_the_rest_is_refused() {
    let transport = small(2);
    let started = tokio::time::Instant::now();
    let error = try_publish(&transport, &["1", "2", "3", "4"], SOON)
        .await
        .unwrap_err();
    assert_eq!(started.elapsed(), SOON);
    assert_eq!(
        words(error.outcomes()),
        ["stored", "stored", "refused", "refused"]
    );
    let why = error.first();
    assert!(why.kind() == ErrorKind::Unavailable && why.is_retryable());
    let stats = transport.stats();
    assert_eq!((stats.published, stats.refused), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_ack_lets_a_waiting_publish_go_on_in_order() {
    let transport = small(2);
    let member = member(&transport, "g").await;
    let publisher = transport.clone();
    let task =
        tokio::spawn(
            async move { try_publish(&publisher, &["1", "2", "3", "4", "5"], LONG).await },
        );
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let got = member.receive(some(1), LONG).await.unwrap();
        seen.extend(bodies(&got).into_iter().map(str::to_owned));
        ack(&member, &receipts(&got)).await;
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5"]);
    assert_eq!(task.await.unwrap().unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn deleting_a_group_or_the_topic_or_declaring_a_first_group_makes_room() {
    for way in ["delete group", "delete topic", "declare"] {
        let transport = small(1);
        if way != "declare" {
            transport.declare(&to("g")).await.unwrap();
            transport
                .declare(&to("new").start(Start::New))
                .await
                .unwrap();
        }
        publish(&transport, &["1"]).await;
        if way == "delete group" {
            let new = transport.subscriber(&to("new")).await.unwrap();
            ack(&new, &receipts(&take(&new, 1).await)).await;
        }
        let publisher = transport.clone();
        let task = tokio::spawn(async move { try_publish(&publisher, &["2"], LONG).await });
        tokio::time::sleep(SOON).await;
        assert!(!task.is_finished(), "{way}");
        match way {
            "delete group" => transport.delete_group(&topic(), &group("g")).await,
            "delete topic" => transport.delete_topic(&topic(), &[]).await,
            _ => transport.declare(&to("g").start(Start::New)).await,
        }
        .unwrap();
        let started = tokio::time::Instant::now();
        task.await.unwrap().unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO, "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_publishes_take_turns_in_the_order_of_their_coming() {
    let transport = small(1);
    let member = member(&transport, "g").await;
    let mut tasks = Vec::new();
    for slice in [["1", "2", "3"], ["4", "5", "6"], ["7", "8", "9"]] {
        let publisher = transport.clone();
        tasks.push(tokio::spawn(async move {
            try_publish(&publisher, &slice, LONG).await
        }));
        tokio::task::yield_now().await;
    }
    for expected in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        let got = member.receive(some(1), SOON).await.unwrap();
        assert_eq!(bodies(&got), [expected]);
        ack(&member, &receipts(&got)).await;
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_publish_stores_each_message_once_or_not_at_all() {
    let transport = small(2);
    let member = member(&transport, "g").await;
    let publisher = transport.publisher().await.unwrap();
    let slice = messages(&["1", "2", "3", "4"]);
    let cut_short = tokio::time::timeout(SOON, publisher.publish(&topic(), &slice, LONG)).await;
    assert!(cut_short.is_err());
    assert_eq!(transport.stats().published, 2);
    let got = take(&member, 9).await;
    assert_eq!(bodies(&got), ["1", "2"]);
    ack(&member, &receipts(&got)).await;
    // The publisher goes on, and the turn of the dropped one is over.
    publisher
        .publish(&topic(), &messages(&["5"]), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(bodies(&take(&member, 9).await), ["5"]);
}

#[tokio::test(start_paused = true)]
async fn what_never_fits_is_refused_at_once_and_alone() {
    let bounds = Bounds::default().max_bytes(some(10));
    let broker = Broker::with_bounds(bounds);
    let transport = broker.connect();
    assert_eq!(transport.capabilities().max_message, 10);
    let keyed = Message::new("nine bytes").with_key("k").unwrap();
    let slice = [Message::new("a"), keyed.clone(), Message::new("b")];
    let publisher = transport.publisher().await.unwrap();
    let started = tokio::time::Instant::now();
    let error = publisher.publish(&topic(), &slice, LONG).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(words(error.outcomes()), ["stored", "refused", "stored"]);
    assert_eq!(error.first().kind(), ErrorKind::TooLarge);
    let injected = broker.inject(&topic(), &keyed, None);
    assert_eq!(kind(injected), ErrorKind::TooLarge);
    let injected = broker.inject(&topic(), &Message::new("ten bytes!"), None);
    assert_eq!(kind(injected), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn closing_a_connection_answers_its_waiting_publishes_only() {
    let broker = Broker::with_bounds(Bounds::default().max_messages(some(1)));
    let (first, second) = (broker.connect(), broker.connect());
    let publish = |transport: Arc<dyn Transport>, bodies: [&'static str; 2]| {
        tokio::spawn(async move { try_publish(&transport, &bodies, LONG).await })
    };
    let one = publish(first.clone(), ["1", "2"]);
    tokio::task::yield_now().await;
    let two = publish(second.clone(), ["3", "4"]);
    tokio::time::sleep(SOON).await;
    let started = tokio::time::Instant::now();
    second.close().await.unwrap();
    let error = two.await.unwrap().unwrap_err();
    assert_eq!(error.first().kind(), ErrorKind::Closed);
    assert_eq!(words(error.outcomes()), ["refused"; 2]);
    assert!(!one.is_finished());
    first.close().await.unwrap();
    let error = one.await.unwrap().unwrap_err();
    assert_eq!(words(error.outcomes()), ["stored", "refused"]);
    assert_eq!(started.elapsed(), Duration::ZERO);
}
