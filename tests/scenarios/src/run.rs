//! One scenario over one broker: publish, consume until all is settled, and read what came of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use potluck::envelope::{Envelope, Received};
use potluck::{Bus, Context, Group, Headers, Start, Topic};
use potluck_brokers::wait;

use crate::events::{self, PLACE, Work};
use crate::{Numbers, Result, Scenario};

/// How long a scenario may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a scenario on topics of its own, and says what came of each event, in order.
///
/// # Errors
///
/// When the broker fails, a message is not settled in time, or one ends twice or not at all.
pub async fn run(scenario: &Scenario, bus: &Bus, topic: &str) -> Result<Vec<Numbers>> {
    let (topic, group) = (Topic::new(topic)?, Group::new("scenarios")?);
    let seen = Arc::new(Mutex::new(vec![Numbers::default(); scenario.events.len()]));
    let (numbers, does) = (seen.clone(), scenario.events.clone());
    let handler = move |event: Envelope<Work>, context: Context| {
        let (numbers, place) = (numbers.clone(), event.body.place);
        let (does, tries) = (does[place].does, context.tries());
        at(&numbers, place, |one| one.tries += 1);
        async move {
            events::handle(does, tries).await?;
            at(&numbers, place, |one| {
                one.ends = end(&one.ends, "handled");
                one.retries = Some(event.retries);
                one.attempts = attempts(context.headers());
            });
            Ok(())
        }
    };
    let consumer = bus
        .consumer(&topic, &group)
        .on(handler)
        .retry(scenario.retry())
        .other_major(scenario.other_major())
        .time_limit(Duration::from_millis(scenario.time_limit_ms))
        .start()
        .await?;
    bus.send(&topic, &events::messages(scenario)?).await?;
    let settled = wait::until(DEADLINE, "all to be settled", async || {
        is_settled(scenario, bus, &topic, &group)
            .await
            .unwrap_or(false)
    });
    settled.await?;
    consumer.stop(Duration::from_secs(5)).await?;
    read_dead_letters(bus, &topic.dead_letter(&group)?, &seen).await?;
    let numbers = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(numbers.clone())
}

fn at(numbers: &Mutex<Vec<Numbers>>, place: usize, change: impl FnOnce(&mut Numbers)) {
    let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(one) = numbers.get_mut(place) {
        change(one);
    }
}

/// An end after another is shown beside it.
fn end(before: &str, now: &str) -> String {
    match before {
        "" => now.to_owned(),
        before => format!("{before} and {now}"),
    }
}

fn attempts(headers: &Headers) -> Option<u32> {
    let attempts = headers.get(potluck::copies::ATTEMPTS)?;
    std::str::from_utf8(attempts).ok()?.parse().ok()
}

async fn is_settled(scenario: &Scenario, bus: &Bus, topic: &Topic, group: &Group) -> Result<bool> {
    let mut all = vec![(topic.clone(), group.clone())];
    // A delay of more than a second is waited for in a lane.
    for delay in scenario.retry.delays_ms.iter().filter(|ms| **ms > 1000) {
        let lane = topic.retry_lane(group, Duration::from_millis(*delay))?;
        all.push((lane, Group::of_derived()));
    }
    for (topic, group) in all {
        let status = bus.transport().status(&topic, &group).await?;
        if (status.backlog.value(), status.in_flight.value()) != (Some(0), Some(0)) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn read_dead_letters(bus: &Bus, dead: &Topic, seen: &Mutex<Vec<Numbers>>) -> Result<()> {
    let reader = bus.transport().reader(dead, Start::Earliest).await?;
    loop {
        let page = reader
            .receive(100.try_into()?, Duration::from_millis(500))
            .await?;
        if page.is_empty() {
            return Ok(());
        }
        for one in page {
            let text = |name| {
                let value = one.message.headers().get(name)?;
                std::str::from_utf8(value).ok()
            };
            let place = text(PLACE).ok_or("a dead letter has lost its headers")?;
            let reason = text(potluck::copies::REASON).ok_or("a dead letter has no reason")?;
            let body = Received::<Work>::parse(one.message.body().clone()).ok();
            let retries = body.map(|received| received.event.retries);
            let retries = retries.or_else(|| retries_of(one.message.body()));
            at(seen, place.parse()?, |numbers| {
                numbers.ends = end(&numbers.ends, reason);
                numbers.retries = retries;
                numbers.attempts = attempts(one.message.headers());
            });
        }
    }
}

/// The field of an event of another type.
fn retries_of(body: &[u8]) -> Option<u32> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body.get("retries")?.as_u64()?.try_into().ok()
}
