//! A server of the test's own, and the few words that every test speaks.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_brokers::resp::Reply;
use potluck_core::{
    Delivery, Group, Message, MessageId, PublishError, Receipt, Subscriber, Subscription, Topic,
    Transport,
};
use tokio::time::Instant;

/// Long enough for anything that should happen.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// Long enough to show that nothing happens: a read, a look and their answers.
pub(crate) const SHORT: Duration = Duration::from_millis(700);

pub(crate) async fn server() -> RedisServer {
    server_with(RedisOptions::default()).await
}

pub(crate) async fn server_with(options: RedisOptions) -> RedisServer {
    RedisServer::start(options).await.unwrap()
}

pub(crate) fn open(server: &RedisServer, options: &str) -> Arc<dyn Transport> {
    potluck_redis::connect(&format!("{}?{options}", server.url())).unwrap()
}

pub(crate) fn topic() -> Topic {
    Topic::new("events.test").unwrap()
}

pub(crate) fn to() -> Subscription {
    to_group("group")
}

pub(crate) fn to_group(group: &str) -> Subscription {
    Subscription::new(topic(), Group::new(group).unwrap())
}

pub(crate) fn many(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

pub(crate) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| i.to_string()).collect()
}

pub(crate) async fn publish(
    transport: &Arc<dyn Transport>,
    bodies: impl IntoIterator<Item = String>,
) {
    let messages: Vec<_> = bodies.into_iter().map(Message::new).collect();
    try_publish(transport, &messages, LONG).await.unwrap();
}

pub(crate) async fn try_publish(
    transport: &Arc<dyn Transport>,
    messages: &[Message],
    within: Duration,
) -> Result<Vec<MessageId>, PublishError> {
    let publisher = transport.publisher().await.unwrap();
    publisher.publish(&topic(), messages, within).await
}

/// Receives until there are `count`; each one has to come within `LONG`.
pub(crate) async fn take(subscriber: &Arc<dyn Subscriber>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let left = many(count - taken.len());
        let deliveries = subscriber.receive(left, LONG).await.unwrap();
        assert!(
            !deliveries.is_empty(),
            "only {} of {count} came",
            taken.len()
        );
        taken.extend(deliveries);
    }
    taken
}

/// Shows that there is nothing to receive.
pub(crate) async fn nothing(subscriber: &Arc<dyn Subscriber>) {
    let more = subscriber.receive(many(10), SHORT).await.unwrap();
    assert_eq!(bodies(&more), Vec::<String>::new());
}

/// Acknowledges, and expects none to be stale.
pub(crate) async fn ack(subscriber: &Arc<dyn Subscriber>, deliveries: &[Delivery]) {
    assert_eq!(
        subscriber.ack(&receipts(deliveries)).await.unwrap().stale,
        []
    );
}

pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    let body = |delivery: &Delivery| String::from_utf8_lossy(delivery.message.body()).into_owned();
    deliveries.iter().map(body).collect()
}

pub(crate) fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

pub(crate) fn attempts(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries.iter().map(|delivery| delivery.attempt).collect()
}

/// Asks the server over a connection that has nothing to do with the transport.
pub(crate) async fn ask(server: &RedisServer, command: &str) -> Reply {
    let words: Vec<_> = command.split_whitespace().collect();
    server.cli(&words).await.unwrap()
}

/// What is pending with the group: id, owner and count of hand-overs.
pub(crate) async fn pending(server: &RedisServer) -> Vec<(String, String, i64)> {
    let rows = ask(server, "XPENDING events.test group - + 100000").await;
    let row = |row: &Reply| {
        let columns = row.items().unwrap();
        let text = |at: usize| columns[at].text().unwrap();
        (text(0), text(1), columns[3].int().unwrap())
    };
    rows.items().unwrap().iter().map(row).collect()
}

/// The group's consumers on the server, but for the one that keeps what was given back.
pub(crate) async fn consumers(server: &RedisServer) -> Vec<String> {
    let rows = ask(server, "XINFO CONSUMERS events.test group").await;
    let name = |row: &Reply| row.items().unwrap()[1].text().unwrap();
    let names = rows.items().unwrap().iter().map(name);
    names.filter(|name| name != ":released").collect()
}

/// A figure of `INFO`.
pub(crate) async fn info(server: &RedisServer, name: &str) -> u64 {
    let text = ask(server, "INFO everything").await.text().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap()
        .trim_start_matches(':')
        .trim()
        .parse()
        .unwrap()
}

/// Connections to the server, without the one that asks.
pub(crate) async fn connections(server: &RedisServer) -> usize {
    let list = ask(server, "CLIENT LIST TYPE normal").await.text().unwrap();
    list.lines().count() - 1
}

pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    potluck_brokers::wait::until(LONG, what, condition)
        .await
        .unwrap();
}

/// Runs a future and says how long it took.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let since = Instant::now();
    (future.await, since.elapsed())
}

/// The client's own task reads the end of a connection when it runs next. What is published before
/// that is sent into a dead connection, and nobody can know what became of it.
pub(crate) async fn let_the_client_see_it() {
    tokio::time::sleep(millis(20)).await;
}

/// Polls a future one time.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))
    })
    .await
}
