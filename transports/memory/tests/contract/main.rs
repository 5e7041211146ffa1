//! Does the transport keep each promise of the contract? One test for each, seen through
//! `Arc<dyn Transport>` as applications see it. Time is tokio's paused clock.

// Helpers are no tests in clippy's eyes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod bounds;
mod connect;
mod groups;
mod leases;
mod lifecycle;
mod publish;
mod settle;
mod threads;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::{
    Delivery, ErrorKind, Group, GroupStatus, Message, MessageId, Outcome, PublishError, Receipt,
    Result, Settled, Subscriber, Subscription, Topic, Transport,
};
use potluck_memory::Broker;

const SOON: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

fn topic() -> Topic {
    Topic::new("events").unwrap()
}

fn group(name: &str) -> Group {
    Group::new(name).unwrap()
}

fn to(name: &str) -> Subscription {
    Subscription::new(topic(), group(name))
}

fn some(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn id(n: u64) -> MessageId {
    MessageId::single(n)
}

fn connect() -> Arc<dyn Transport> {
    Broker::new().connect()
}

async fn member(transport: &Arc<dyn Transport>, name: &str) -> Arc<dyn Subscriber> {
    transport.subscriber(&to(name)).await.unwrap()
}

fn messages(bodies: &[&'static str]) -> Vec<Message> {
    bodies.iter().map(|body| Message::new(*body)).collect()
}

async fn try_publish(
    transport: &Arc<dyn Transport>,
    bodies: &[&'static str],
    within: Duration,
) -> Result<Vec<MessageId>, PublishError> {
    let publisher = transport.publisher().await.unwrap();
    publisher.publish(&topic(), &messages(bodies), within).await
}

async fn publish(transport: &Arc<dyn Transport>, bodies: &[&'static str]) -> Vec<MessageId> {
    try_publish(transport, bodies, Duration::ZERO)
        .await
        .unwrap()
}

/// What there is now.
async fn take(member: &Arc<dyn Subscriber>, max: usize) -> Vec<Delivery> {
    member.receive(some(max), Duration::ZERO).await.unwrap()
}

async fn take_one(member: &Arc<dyn Subscriber>) -> Delivery {
    let mut deliveries = take(member, 1).await;
    deliveries.pop().expect("a delivery")
}

fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|delivery| std::str::from_utf8(delivery.message.body()).unwrap())
        .collect()
}

fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

fn attempts(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries.iter().map(|delivery| delivery.attempt).collect()
}

fn words(outcomes: &[Outcome]) -> Vec<&str> {
    outcomes.iter().map(Outcome::as_str).collect()
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

fn nothing_stale() -> Settled {
    Settled::default()
}

fn stale(receipts: &[Receipt]) -> Settled {
    Settled {
        stale: receipts.to_vec(),
    }
}

/// Backlog, in flight, members.
async fn figures(transport: &Arc<dyn Transport>, name: &str) -> (u64, u64, u64) {
    let GroupStatus {
        backlog,
        in_flight,
        members,
        ..
    } = transport.status(&topic(), &group(name)).await.unwrap();
    (
        backlog.value().unwrap(),
        in_flight.value().unwrap(),
        members.value().unwrap(),
    )
}

/// Starts a receive that waits, and lets it come to waiting.
async fn waiting(
    member: &Arc<dyn Subscriber>,
    max: usize,
    wait: Duration,
) -> tokio::task::JoinHandle<Result<Vec<Delivery>>> {
    let member = member.clone();
    let task = tokio::spawn(async move { member.receive(some(max), wait).await });
    tokio::task::yield_now().await;
    task
}

/// Acknowledges, in time.
async fn ack(member: &Arc<dyn Subscriber>, receipts: &[Receipt]) {
    assert_eq!(member.ack(receipts).await.unwrap(), nothing_stale());
}

/// Gives back, in time.
async fn release(member: &Arc<dyn Subscriber>, receipts: &[Receipt]) {
    assert_eq!(member.release(receipts).await.unwrap(), nothing_stale());
}
