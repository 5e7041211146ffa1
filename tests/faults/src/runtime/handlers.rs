//! What if handlers panic, hang and fail?

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use potluck_brokers::wait;
use potluck_core::envelope::FreeFoodEvent;
use potluck_core::{Message, Transport};
use potluck_runtime::{Consumer, Context, RetryPolicy};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::LANE;
use super::events::{self, Fate, event, fate};
use super::journal::script;
use super::stage::{self, Stage, number};
use crate::Result;
use crate::load::Load;
use crate::suite::Run;

/// Handlers at once.
const CONCURRENCY: usize = 16;
/// How long a good handler works, and how long any may.
const WORK: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_millis(500);
/// How many good messages the rate is taken of.
const ALONE: u64 = 1500;
/// Tries in all: two at once, one out of the lane.
const ATTEMPTS: u32 = 3;
/// Asks its handler to wait for as many others as may be at work at once.
const TOGETHER: &str = "together";
/// The least that is left of the rate at which messages are handled. Tries that hang take a
/// quarter of the handlers' time here, and nothing else ought to cost; the rest is for machines
/// that are busy.
const RATE_MIN: f64 = 0.5;

/// What each try of a message comes to: of 100 five panic, one hangs, and 20 fail.
fn chances(seed: u64, id: u64) -> String {
    let mut chance = fastrand::Rng::with_seed(seed ^ (id << 20));
    let letter = |draw| match draw {
        0..5 => 'p',
        5 => 'h',
        6..26 => 'f',
        _ => 'o',
    };
    (0..ATTEMPTS).map(|_| letter(chance.u32(0..100))).collect()
}

fn misbehaving(seed: u64, id: u64, message: Message) -> Message {
    event(&chances(seed, id), &message)
}

fn together(_: u64, _: u64, message: Message) -> Message {
    event(TOGETHER, &message)
}

/// How many tries a message takes, and whether the last one succeeds.
fn course(seed: u64, id: u64) -> (u32, bool) {
    let script = chances(seed, id);
    let succeeds = |tries: &u32| fate(&script, *tries) == Fate::Succeed;
    match (1..=ATTEMPTS).find(succeeds) {
        Some(tries) => (tries, true),
        None => (ATTEMPTS, false),
    }
}

/// How many handlers are at work, and the most that ever were.
#[derive(Clone, Copy, Debug, Default)]
struct Crowd {
    now: usize,
    most: usize,
}

/// One handler that is at work, until it is dropped: also when its try is.
struct AtWork(Arc<watch::Sender<Crowd>>);

impl AtWork {
    fn begin(crowd: &Arc<watch::Sender<Crowd>>) -> Self {
        crowd.send_modify(|crowd| {
            crowd.now += 1;
            crowd.most = crowd.most.max(crowd.now);
        });
        Self(crowd.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.send_modify(|crowd| crowd.now -= 1);
    }
}

async fn start(stage: &Stage<'_>, crowd: &Arc<watch::Sender<Crowd>>) -> Result<Consumer> {
    let (journal, crowd) = (stage.journal.clone(), crowd.clone());
    let handler = move |event: FreeFoodEvent, context: Context| {
        let (journal, crowd) = (journal.clone(), crowd.clone());
        async move {
            let _at_work = AtWork::begin(&crowd);
            journal.handle(&event, &context, work(&event, &crowd)).await
        }
    };
    let builder = stage.builder().on(handler).time_limit(LIMIT);
    let builder = builder.concurrency(number(CONCURRENCY));
    let policy = RetryPolicy::immediate(1).then_after([LANE]);
    Ok(builder.retry(policy).start().await?)
}

async fn work(event: &FreeFoodEvent, crowd: &watch::Sender<Crowd>) {
    if script(event) == TOGETHER {
        let mut crowd = crowd.subscribe();
        // A try that is alone for too long fails, and is none of those that are waited for.
        let _ = crowd.wait_for(|crowd| crowd.most >= CONCURRENCY).await;
    } else {
        sleep(WORK).await;
    }
}

/// Case 26: every message is handled or dead-lettered after exactly the tries that it takes, good
/// ones go on meanwhile, and afterwards as many handlers as ever work at once.
///
/// # Errors
///
/// When the case breaks off.
pub async fn misbehave<C>(run: &Run, connect: C) -> Result
where
    C: AsyncFn() -> Result<Arc<dyn Transport>>,
{
    let messages: u64 = run.count(10_000, 2000);
    let alone = Stage::open(run, connect().await?)?;
    let load = Load::new(ALONE, 100_000, run.seed).shaped(events::good);
    let hall = all_good(&alone, load, &(0..ALONE).collect()).await?;
    let rate_alone = hall.rate;
    alone.drain().await?;
    stage::stop(hall.consumer).await?;
    alone.close().await?;

    let stage = Stage::open(run, connect().await?)?;
    let load = Load::new(messages, 100_000, run.seed).shaped(misbehaving);
    let is_good = |id: &u64| course(run.seed, *id) == (1, true);
    let good: HashSet<_> = (0..messages).filter(is_good).collect();
    let Hall {
        consumer,
        crowd,
        rate,
    } = all_good(&stage, load, &good).await?;
    stage.drain().await?;
    let most = most_at_once(&stage, &crowd).await?;
    let stats = stage::stop(consumer).await?;
    let counts = stage.close().await?;

    let seed = run.seed;
    let dead = (0..messages).filter(|id| !course(seed, *id).1).count();
    let astray = |id: &u64| {
        let (page, (tries, succeeds)) = (stage.journal.of(*id), course(seed, *id));
        page.begun != tries || page.ended != u32::from(succeeds)
    };
    let rate = rate / rate_alone;
    let mut findings = run.findings();
    findings.exactly("dead", counts.dead, dead);
    findings.exactly(
        "handled or dead",
        counts.handled + counts.dead,
        counts.published,
    );
    findings.exactly(
        "with other tries than they take",
        (0..messages).filter(astray).count(),
        0,
    );
    let beyond = stage.journal.begun_beyond(|_| ATTEMPTS);
    findings.exactly("tries beyond three", beyond, 0);
    findings.exactly("handlers at once afterwards", most, CONCURRENCY);
    findings.exactly("given up", usize::try_from(stats.events_failed)?, dead);
    findings.say(format!(
        "handled at {:.0} % of the rate of good ones alone, {rate_alone:.0} a second",
        rate * 100.0
    ));
    findings.holds(
        rate >= RATE_MIN,
        format!("handled at {rate:.2} of the rate of good ones alone"),
    );
    Ok(())
}

/// A consumer at work, and how many messages a second it handled until the last of the good ones.
struct Hall {
    consumer: Consumer,
    crowd: Arc<watch::Sender<Crowd>>,
    rate: f64,
}

/// Publishes a load and lets it be handled, until the good ones are.
async fn all_good(stage: &Stage<'_>, load: Load, good: &HashSet<u64>) -> Result<Hall> {
    stage.publish_all(load).await?;
    let crowd = Arc::new(watch::Sender::new(Crowd::default()));
    let begun = Instant::now();
    let consumer = start(stage, &crowd).await?;
    let are_done = async || good.iter().all(|id| stage.journal.of(*id).ended > 0);
    wait::until(Duration::from_secs(90), "the good ones", are_done).await?;
    let ends = good.iter().filter_map(|id| stage.journal.of(*id).ended_at);
    let took = ends.max().ok_or("there are no good ones")? - begun;
    let handled = stage.ledger.handled();
    Ok(Hall {
        consumer,
        crowd,
        rate: handled as f64 / took.as_secs_f64(),
    })
}

/// The most handlers at once, of messages each of which waits for as many as may be.
async fn most_at_once(stage: &Stage<'_>, crowd: &watch::Sender<Crowd>) -> Result<usize> {
    crowd.send_modify(|crowd| crowd.most = crowd.now);
    let load = Load::new(4 * CONCURRENCY as u64, 100_000, stage.run.seed);
    stage.publish_all(load.shaped(together)).await?;
    stage.drain().await?;
    Ok(crowd.borrow().most)
}
