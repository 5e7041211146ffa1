//! Which broker does a URL name?

use super::*;

#[tokio::test(start_paused = true)]
async fn a_named_broker_is_one_in_the_process_and_outlives_its_connections() {
    let first = potluck_memory::connect("memory://outlives?max_messages=10").unwrap();
    publish(&first, &["1"]).await;
    first.close().await.unwrap();
    drop(first);
    let again = potluck_memory::connect("memory://outlives").unwrap();
    assert_eq!(bodies(&take(&member(&again, "g").await, 9).await), ["1"]);
    let same = potluck_memory::connect("memory://Outlives?max_messages=10");
    assert!(same.is_ok());
    let other = potluck_memory::connect("memory://outlives?max_messages=11");
    assert_eq!(kind(other), ErrorKind::Config);
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_a_name_is_private() {
    let one = potluck_memory::connect("memory:").unwrap();
    let other = potluck_memory::connect("memory://").unwrap();
    publish(&one, &["1"]).await;
    assert!(take(&member(&other, "g").await, 9).await.is_empty());
    assert_eq!(take(&member(&one, "g").await, 9).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn bounds_come_from_the_url_and_unknown_options_are_refused() {
    let transport = potluck_memory::connect("memory:?max_messages=1&max_bytes=100").unwrap();
    assert_eq!(transport.capabilities().max_message, 100);
    let error = try_publish(&transport, &["1", "2"], Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(words(error.outcomes()), ["stored", "refused"]);
    let error = potluck_memory::connect("memory:?max_message=1").unwrap_err();
    assert!(error.to_string().contains("max_bytes, max_messages"));
}
