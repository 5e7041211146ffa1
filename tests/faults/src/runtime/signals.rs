//! What if consumers are told to stop by SIGTERM while there is work?

use std::path::Path;
use std::time::Duration;

use potluck_brokers::wait;
use potluck_core::Message;
use tokio::time::{Instant, sleep};

use super::events::{self, event};
use super::process::{Ended, Worker};
use super::stage::{self, Stage, many};
use crate::Result;
use crate::load::Load;
use crate::scene::Server;
use crate::suite::Run;

/// How long a worker may take to end once it is told to: its drain, and a second.
const EXIT: Duration = Duration::from_secs(6);
/// How soon what it had not begun is another's.
const AVAILABLE: Duration = Duration::from_secs(1);
/// Messages of one round.
const ROUND: u64 = 120;

/// Case 27: a worker whose handlers take up to 3 s is told to stop, again and again. What it has
/// begun it finishes, and what it has not another has within a second.
///
/// # Errors
///
/// When the case breaks off.
pub async fn terminated(run: &Run, server: &dyn Server, program: &Path) -> Result {
    let mut chance = run.chance();
    let mut rounds = Rounds::default();
    let number: u64 = run.count(20, 5);
    for round in 0..number {
        let wait = Duration::from_millis(chance.u64(200..1200));
        let worker = Worker {
            held: 64,
            ..Worker::new(0..3000, run.seed * 1000 + round)
        };
        one(run, server, program, (&worker, wait), &mut rounds).await?;
    }
    let mut findings = run.findings();
    findings.say(format!("{number} times"));
    findings.within("slowest exit", Some(rounds.exit), run.limit(EXIT));
    let slowest = "slowest to be another's";
    findings.within(slowest, Some(rounds.available), run.limit(AVAILABLE));
    findings.exactly("finished and begun again", rounds.again, 0);
    findings.say(format!(
        "finished after the signal {}",
        rounds.finished_late
    ));
    findings.holds(rounds.finished_late > 0, "no signal met a handler at work");
    Ok(())
}

/// What came of all rounds.
#[derive(Debug, Default)]
struct Rounds {
    exit: Duration,
    available: Duration,
    again: usize,
    finished_late: usize,
}

async fn one(
    run: &Run,
    server: &dyn Server,
    program: &Path,
    (worker, wait): (&Worker, Duration),
    rounds: &mut Rounds,
) -> Result {
    let stage = Stage::open(run, server.connect(server.addr(), "")?)?;
    let load = Load::new(ROUND, 10_000, run.seed).shaped(events::good);
    stage.publish_all(load).await?;
    let mut first = worker.start(program, &server.url(server.addr(), ""), &stage)?;
    let is_on = async || stage.journal.begun() >= worker.concurrency;
    wait::until(Duration::from_secs(20), "handlers at work", is_on).await?;
    sleep(wait).await;

    let told = Instant::now();
    let ended_before = stage.ledger.handled();
    first.terminate()?;
    let next = stage.consumer(|| Duration::ZERO).concurrency(many());
    let next = next.start().await?;
    let there = stage.ledger.acked_before(told);
    let are_begun = async || stage.journal.unbegun(&there) == 0;
    let limit = run.limit(AVAILABLE);
    let begun = wait::until(limit * 5, "all to be begun", are_begun).await;
    rounds.available = rounds.available.max(told.elapsed());
    run.findings()
        .holds(begun.is_ok(), "what was not begun never came to another");

    let Ended { status, errors, .. } = first.ended(EXIT * 3).await?;
    rounds.exit = rounds.exit.max(told.elapsed());
    run.findings().holds(
        status.code() == Some(0),
        format!("the worker ended with {status}: {errors:?}"),
    );
    let by_next = next.stats().events_processed;
    stage.drain().await?;
    stage::stop(next).await?;
    let counts = stage.close().await?;
    let ended = counts.handled - ended_before;
    rounds.finished_late += ended - usize::try_from(by_next)?.min(ended);
    rounds.again += stage.journal.begun_beyond(|_| 1) + counts.duplicated;
    Ok(())
}

/// One in ten fails once, one in fifty for good.
fn mixed(seed: u64, id: u64, message: Message) -> Message {
    event(script(seed, id), &message)
}

fn script(seed: u64, id: u64) -> &'static str {
    let mut chance = fastrand::Rng::with_seed(seed ^ (id << 20));
    match chance.u32(0..50) {
        0 => "r",
        1..=5 => "f",
        _ => "",
    }
}

/// SIGTERM under load as a whole: two workers at all times, one of which is told to stop, again
/// and again, while messages are retried and dead-lettered. Each is finished once, or is among the
/// dead letters once.
///
/// # Errors
///
/// When the case breaks off.
pub async fn terminated_as_a_whole(run: &Run, server: &dyn Server, program: &Path) -> Result {
    let stage = Stage::open(run, server.connect(server.addr(), "")?)?;
    let url = server.url(server.addr(), "");
    // Almost as much as both can do, so that deliveries wait in each.
    let (rate, stops) = (800, run.count(16, 5));
    let messages: u64 = run.count(10_000, 2000);
    let publishing = stage
        .publish(Load::new(messages, rate, run.seed).shaped(mixed))
        .await?;
    let finishing = tokio::spawn(publishing.finish());
    let worker = |number: usize| Worker::new(10..60, run.seed * 1000 + number as u64);
    let mut old = worker(0).start(program, &url, &stage)?;
    let mut young = worker(1).start(program, &url, &stage)?;
    let mut slowest = Duration::ZERO;
    let mut chance = run.chance();
    for stop in 1..=stops {
        let part = usize::try_from(messages)? * stop / (stops + 1);
        let is_on = async || stage.ledger.handled() >= part;
        wait::until(Duration::from_secs(60), "the load to go on", is_on).await?;
        sleep(Duration::from_millis(chance.u64(0..100))).await;
        old.at_work().await?;
        old.terminate()?;
        let next = worker(stop + 1).start(program, &url, &stage)?;
        let ended = old.ended(EXIT * 3).await?;
        slowest = slowest.max(ended.took);
        let well = ended.status.code() == Some(0);
        run.findings().holds(well, format!("a worker: {ended:?}"));
        (old, young) = (young, next);
    }
    finishing.await??;
    stage.drain().await?;
    for mut worker in [old, young] {
        worker.at_work().await?;
        worker.terminate()?;
        let ended = worker.ended(EXIT * 3).await?;
        let well = ended.status.code() == Some(0);
        run.findings()
            .holds(well, format!("a last worker: {ended:?}"));
    }
    let counts = stage.close().await?;
    let tries = |id| if script(run.seed, id) == "f" { 2 } else { 1 };
    let dead = (0..messages)
        .filter(|id| script(run.seed, *id) == "r")
        .count();
    let mut findings = run.findings();
    findings.say(format!("{stops} stops under load"));
    findings.within("slowest exit", Some(slowest), run.limit(EXIT));
    findings.exactly("handled", counts.handled, usize::try_from(messages)? - dead);
    findings.exactly("dead", counts.dead, dead);
    findings.exactly("handled twice", counts.duplicated, 0);
    findings.exactly("dead twice", counts.dead_twice, 0);
    let beyond = stage.journal.begun_beyond(tries);
    findings.exactly("begun beyond its tries", beyond, 0);
    Ok(())
}
