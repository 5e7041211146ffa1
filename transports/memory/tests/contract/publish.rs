//! What does a publish promise?

use super::*;
use potluck_core::{Headers, Start};

#[tokio::test(start_paused = true)]
async fn bytes_headers_and_key_arrive_as_they_were() {
    let transport = connect();
    let all: Vec<u8> = (0..=255).collect();
    let message = Message::new(all)
        .with_key(vec![0, 255])
        .unwrap()
        .with_header("ü \"x\"", vec![0, 10, 255])
        .unwrap()
        .with_header("empty", "")
        .unwrap();
    let sent = [message, Message::new("")];
    let publisher = transport.publisher().await.unwrap();
    publisher
        .publish(&topic(), &sent, Duration::ZERO)
        .await
        .unwrap();

    let got = take(&member(&transport, "g").await, 9).await;
    assert_eq!(got.len(), 2);
    for (got, sent) in got.iter().zip(&sent) {
        assert_eq!(got.message.body(), sent.body());
        assert_eq!(got.message.headers(), sent.headers());
        assert_eq!(got.message.key(), sent.key());
        assert_eq!(got.defect, None);
    }
}

#[tokio::test(start_paused = true)]
async fn ids_count_from_one_in_order() {
    let transport = connect();
    assert_eq!(publish(&transport, &["a", "b"]).await, [id(1), id(2)]);
    assert_eq!(publish(&transport, &["c"]).await, [id(3)]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_slice_is_ok_and_sends_nothing() {
    let broker = Broker::new();
    let transport = broker.connect();
    assert!(publish(&transport, &[]).await.is_empty());
    assert!(broker.topics().is_empty());
    let publisher = transport.publisher().await.unwrap();
    transport.close().await.unwrap();
    assert!(publisher.publish(&topic(), &[], SOON).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_breaks_a_rule_keeps_its_whole_slice_back() {
    let transport = connect();
    let limit = transport.capabilities().max_message;
    let publisher = transport.publisher().await.unwrap();
    let slice = [
        Message::new("a"),
        Message::new(vec![0; limit + 1]),
        Message::new("c"),
    ];
    let error = publisher.publish(&topic(), &slice, SOON).await.unwrap_err();
    let kinds: Vec<_> = error
        .outcomes()
        .iter()
        .map(|one| one.error().unwrap().kind())
        .collect();
    assert_eq!(words(error.outcomes()), ["refused"; 3]);
    assert_eq!(
        kinds,
        [ErrorKind::Invalid, ErrorKind::TooLarge, ErrorKind::Invalid]
    );
    assert_eq!(error.first().kind(), ErrorKind::TooLarge);
    assert_eq!(transport.stats().refused, 3);
    assert!(take(&member(&transport, "g").await, 9).await.is_empty());
    // The limit itself is within it.
    let largest = [Message::new(vec![0; limit])];
    publisher.publish(&topic(), &largest, SOON).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn derived_topics_take_copies_only_and_a_delivered_copy_is_checked_again() {
    let transport = connect();
    let dead = topic().dead_letter(&group("g")).unwrap();
    let publisher = transport.publisher().await.unwrap();
    let error = publisher
        .publish(&dead, &messages(&["x"]), SOON)
        .await
        .unwrap_err();
    assert_eq!(error.first().kind(), ErrorKind::Invalid);

    let mut headers = Headers::new();
    headers.set("potluck-reason", "exhausted");
    let copy = [Message::copied("x".into(), headers, None)];
    publisher.publish(&dead, &copy, SOON).await.unwrap();
    let to = Subscription::new(dead, Group::of_derived());
    let got = take_one(&transport.subscriber(&to).await.unwrap()).await;
    let error = publisher
        .publish(&topic(), &[got.message], SOON)
        .await
        .unwrap_err();
    assert_eq!(error.first().kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_subscribes_to_is_kept() {
    let transport = connect();
    publish(&transport, &["a"]).await;
    let new = transport
        .subscriber(&to("new").start(Start::New))
        .await
        .unwrap();
    assert_eq!(
        bodies(&take(&member(&transport, "g").await, 9).await),
        ["a"]
    );
    assert!(take(&new, 9).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn publishing_after_close_is_closed() {
    let broker = Broker::new();
    let transport = broker.connect();
    let publisher = transport.publisher().await.unwrap();
    transport.close().await.unwrap();
    let error = publisher
        .publish(&topic(), &messages(&["a", "b"]), SOON)
        .await
        .unwrap_err();
    assert_eq!(words(error.outcomes()), ["refused"; 2]);
    assert_eq!(error.first().kind(), ErrorKind::Closed);
    assert!(broker.topics().is_empty());
}

#[tokio::test(start_paused = true)]
async fn foreign_records_are_values_with_their_defect() {
    let broker = Broker::new();
    let transport = broker.connect();
    let defect = potluck_core::Defect::NoBody;
    let long_key = Message::received("raw".into(), Headers::new(), Some(vec![0; 2000].into()));
    broker.inject(&topic(), &long_key, None).unwrap();
    publish(&transport, &["good"]).await;
    broker
        .inject(&topic(), &Message::new(""), Some(defect.clone()))
        .unwrap();

    let got = take(&member(&transport, "g").await, 9).await;
    assert_eq!(bodies(&got), ["raw", "good", ""]);
    let defects: Vec<_> = got.into_iter().map(|one| one.defect).collect();
    let key = potluck_core::Defect::Key { bytes: 2000 };
    assert_eq!(defects, [Some(key), None, Some(defect)]);
    let page = transport
        .peek(&topic(), &group("g"), None, 9)
        .await
        .unwrap();
    assert!(page.messages[0].defect.is_some() && page.messages[1].defect.is_none());
}
