//! What if copies cannot be written, because the broker refuses them for a while?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use potluck_brokers::wait;
use potluck_core::{Message, Topic};
use potluck_runtime::Consumer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Target;
use super::events::event;
use super::stage::{self, Stage, title};
use super::watched::{Came, Watched};
use crate::Result;
use crate::load::Load;
use crate::suite::Run;

/// Messages that fail.
const FAILING: u64 = 200;
/// Good ones for each of them.
const GOOD: u64 = 9;
/// How often a copy of one message may be tried in a second.
const TRIES_PER_SECOND: usize = 2;
/// How long after the broker has room again everything may take: the longest pause is 10 s.
const RECOVERY: Duration = Duration::from_secs(15);

fn fails(id: u64) -> bool {
    id.is_multiple_of(GOOD + 1)
}

fn poison(_: u64, id: u64, message: Message) -> Message {
    event(if fails(id) { "r" } else { "" }, &message)
}

fn fails_once(_: u64, id: u64, message: Message) -> Message {
    event(if fails(id) { "f" } else { "" }, &message)
}

/// How often a copy of each message was tried, and how often it was stored.
#[derive(Debug, Default)]
struct Copies(Mutex<HashMap<String, (usize, usize)>>);

impl Copies {
    fn tell(&self, topic: &Topic, message: &Message, came: Came) {
        let is_copy = topic.is_derived() && came != Came::Before;
        if let Some(title) = title(message).filter(|_| is_copy) {
            let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let of = copies.entry(title).or_default();
            *of = (of.0 + 1, of.1 + usize::from(came == Came::Stored));
        }
    }

    /// Tries in all, the most of one message, messages stored, and the most copies of one.
    fn sums(&self) -> [usize; 4] {
        let copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = || copies.values().map(|of| of.0);
        let stored = || copies.values().map(|of| of.1);
        [
            tries().sum(),
            tries().max().unwrap_or(0),
            stored().filter(|copies| *copies > 0).count(),
            stored().max().unwrap_or(0),
        ]
    }
}

/// A consumer whose messages fail while the broker refuses copies.
struct Outage<'a> {
    stage: Stage<'a>,
    copies: Arc<Copies>,
    consumer: Consumer,
}

impl<'a> Outage<'a> {
    /// Publishes 2,000 messages, 200 of which fail, has them begun while the broker refuses copies
    /// for a while, and judges what holds meanwhile.
    async fn open(
        run: &'a Run,
        server: &dyn Target,
        shape: fn(u64, u64, Message) -> Message,
    ) -> Result<Self> {
        let stage = Stage::open(run, server.connect(server.addr(), "")?)?;
        let copies = Arc::new(Copies::default());
        let tell = copies.clone();
        let transport = Watched::over(stage.transport.clone(), move |topic, message, came| {
            tell.tell(topic, message, came);
        });
        let gate = watch::Sender::new(false);
        let consumer = stage.gated(transport, &gate).start().await?;
        let messages = FAILING * (GOOD + 1);
        let load = Load::new(messages, 100_000, run.seed).shaped(shape);
        stage.publish_all(load).await?;

        server.refuse_copies(true).await?;
        let full = Instant::now();
        gate.send_replace(true);
        let good = usize::try_from(messages - FAILING)?;
        stage.handled(good).await?;
        let good_took = full.elapsed();
        let rest = run.count(Duration::from_secs(10), Duration::from_secs(5));
        sleep(rest.saturating_sub(full.elapsed())).await;
        let (full_for, left) = (full.elapsed(), unacknowledged(&stage).await?);
        let [tries, most, stored, _] = copies.sums();
        let is_ready = consumer.health().is_ready();
        server.refuse_copies(false).await?;

        let mut findings = run.findings();
        findings.say(format!("full for {full_for:.1?}, {tries} copies tried"));
        findings.say(format!("good ones handled after {good_took:.1?}"));
        findings.exactly("copies stored while full", stored, 0);
        findings.exactly(
            "failing and not acknowledged",
            left,
            usize::try_from(FAILING)?,
        );
        let seconds = usize::try_from(full_for.as_secs())?.max(1);
        findings.at_most("tries of one copy", most, TRIES_PER_SECOND * seconds);
        findings.holds(!is_ready, "ready, though copies cannot be written");
        drop(findings);
        Ok(Self {
            stage,
            copies,
            consumer,
        })
    }

    /// The broker has room again: everything goes on.
    async fn end(self) -> Result {
        let (stage, open) = (self.stage, Instant::now());
        let drained = stage.drain_within(RECOVERY * 3).await;
        let took = drained.is_ok().then(|| open.elapsed());
        let limit = stage.run.limit(RECOVERY);
        stage
            .run
            .findings()
            .within("room again, all done", took, limit);
        let is_ready = async || self.consumer.health().is_ready();
        let ready = wait::until(limit, "the consumer to be ready", is_ready).await;
        let stats = stage::stop(self.consumer).await?;
        let [_, _, stored, most] = self.copies.sums();
        let counts = stage.close().await?;
        let failing = usize::try_from(FAILING)?;
        let mut findings = stage.run.findings();
        findings.holds(ready.is_ok(), "never ready again");
        findings.exactly("messages copied", stored, failing);
        findings.at_most("copies of one", most, 1);
        findings.exactly(
            "handled or dead",
            counts.handled + counts.dead,
            counts.published,
        );
        findings.exactly("handled twice", counts.duplicated, 0);
        let copied = usize::try_from(stats.retried + stats.events_failed)?;
        findings.exactly("copies counted", copied, failing);
        Ok(())
    }
}

/// What the group has of its topic that is not acknowledged.
async fn unacknowledged(stage: &Stage<'_>) -> Result<usize> {
    let status = stage.transport.status(&stage.topic, &stage.group).await?;
    let left = status.backlog.value().zip(status.in_flight.value());
    let (backlog, in_flight) = left.ok_or("the broker cannot tell what is left")?;
    Ok(usize::try_from(backlog + in_flight)?)
}

/// Case 7: dead letters cannot be written for 10 s. No message that should be one is acknowledged
/// meanwhile, good ones go on, and all are there afterwards.
///
/// # Errors
///
/// When the case breaks off.
pub async fn dead_letters_refused(run: &Run, server: &dyn Target) -> Result {
    let outage = Outage::open(run, server, poison).await?;
    let (ledger, journal) = (outage.stage.ledger.clone(), outage.stage.journal.clone());
    outage.end().await?;
    let counts = ledger.counts();
    let mut findings = run.findings();
    findings.exactly("dead", counts.dead, usize::try_from(FAILING)?);
    findings.exactly("dead twice", counts.dead_twice, 0);
    findings.exactly("begun again", journal.begun_beyond(|_| 1), 0);
    Ok(())
}

/// Retry lanes cannot be written for 10 s while 200 messages fail into one: all are retried and
/// handled afterwards.
///
/// # Errors
///
/// When the case breaks off.
pub async fn retries_refused(run: &Run, server: &dyn Target) -> Result {
    let outage = Outage::open(run, server, fails_once).await?;
    let (ledger, journal) = (outage.stage.ledger.clone(), outage.stage.journal.clone());
    outage.end().await?;
    let counts = ledger.counts();
    let mut findings = run.findings();
    findings.exactly("handled", counts.handled, counts.published);
    let tries = |id| if fails(id) { 2 } else { 1 };
    findings.exactly("begun beyond its tries", journal.begun_beyond(tries), 0);
    Ok(())
}
