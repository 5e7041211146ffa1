//! What if a consumer's process is killed, under load or just between a copy and its ack, and what
//! if consumers leave in good order?

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use potluck_brokers::wait;
use potluck_core::Message;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::events::{self, event};
use super::process::Worker;
use super::stage::{self, Stage, hold};
use super::watched::Came;
use crate::Result;
use crate::load::Load;
use crate::scene::Server;
use crate::suite::Run;

/// How often a worker is killed under load.
const KILLS: usize = 3;
/// Handlers that are at work when it is. Those of a killed one count as such for ever.
const AT_WORK: usize = 8;
/// How long a killed worker of [`between_copy_and_ack`] keeps what it held.
const SHORT_LEASE: Duration = Duration::from_millis(400);
/// Messages of one of its rounds; one of them fails.
const ROUND: u64 = 20;

/// Cases 1, 2 and 3: a worker's process is killed three times under load. What it held is handled
/// by the next within `again`, after a lease where there are leases.
///
/// # Errors
///
/// When the case breaks off.
pub async fn killed(run: &Run, server: &dyn Server, program: &Path, again: Duration) -> Result {
    let stage = Stage::open(run, server.connect(server.addr(), "")?)?;
    let url = server.url(server.addr(), "");
    let worker = Worker::new(5..35, run.seed);
    let mut process = worker.start(program, &url, &stage)?;
    let load = Load::new(run.count(10_000, 3000), 600, run.seed).shaped(events::good);
    let publishing = stage.publish(load).await?;
    let mut chance = run.chance();
    for round in 1..=KILLS {
        stage.handled(200 * round).await?;
        sleep(Duration::from_millis(chance.u64(0..300))).await;
        let at_work = async || stage.journal.begun() >= stage.ledger.handled() + AT_WORK * round;
        wait::until(Duration::from_secs(10), "handlers at work", at_work).await?;
        process.kill()?;
        let killed = Instant::now();
        process = worker.start(program, &url, &stage)?;
        let is_done = async || stage.ledger.waiting_since(killed) == 0;
        let limit = run.limit(again);
        let done = wait::until(limit * 2, "what the killed worker held", is_done).await;
        let took = done.is_ok().then(|| killed.elapsed());
        let name = format!("kill {round}, all of before handled");
        run.findings().within(&name, took, limit);
    }
    publishing.finish().await?;
    stage.drain().await?;
    process.at_work().await?;
    process.terminate()?;
    let ended = process.ended(Duration::from_secs(20)).await?;
    let counts = stage.close().await?;
    let mut findings = run.findings();
    findings.holds(
        ended.status.success(),
        format!("the last worker: {ended:?}"),
    );
    let most = KILLS * worker.held;
    findings.at_most("handled more than once", counts.duplicated, most);
    let begun = stage.journal.begun_beyond(|_| 1);
    findings.at_most("begun more than once", begun, most);
    Ok(())
}

/// Five consumers, one after the other, are stopped in the midst of 2,000 messages, with handlers
/// at work: none may be stranded, and none come twice to a handler.
///
/// # Errors
///
/// When the case breaks off.
pub async fn restarted(run: &Run, server: &dyn Server) -> Result {
    let stage = Stage::open(run, server.connect(server.addr(), "")?)?;
    let messages: usize = 2000;
    let load = Load::new(messages as u64, 1000, run.seed).shaped(events::good);
    let publishing = stage.publish(load).await?;
    let finishing = tokio::spawn(publishing.finish());
    let mut given_back = 0;
    for restart in 1..=6 {
        let hold = hold(run.seed + restart as u64, 0..20);
        let consumer = stage.consumer(hold).start().await?;
        stage.handled(restart * messages / 6).await?;
        given_back += stage::stop(consumer).await?.given_back;
    }
    finishing.await??;
    // All was handled, so nothing is left to wait for.
    let counts = stage.close().await?;
    let mut findings = run.findings();
    findings.say(format!("given back in hand {given_back}"));
    findings.holds(given_back > 0, "no stop met any delivery in hand");
    findings.exactly("handled", counts.handled, messages);
    findings.exactly("twice", stage.journal.begun_beyond(|_| 1), 0);
    Ok(())
}

/// The last of each round fails: by turns for good, and once.
fn one_fails(_: u64, id: u64, message: Message) -> Message {
    let script = match (id % ROUND == ROUND - 1, id / ROUND % 2) {
        (false, _) => "",
        (true, 0) => "r",
        (true, _) => "f",
    };
    event(script, &message)
}

/// Case 8: a worker dies just when a copy is stored, and before the message that it is of is
/// acknowledged; or just before the copy is sent, when nothing may be acknowledged either. By turns
/// among the dead letters and in a retry lane.
///
/// # Errors
///
/// When the case breaks off.
pub async fn between_copy_and_ack(run: &Run, server: &dyn Server, program: &Path) -> Result {
    let stage = Stage::open(run, server.connect(server.addr(), "")?)?;
    let url = server.url(server.addr(), "");
    let lives = Worker {
        lease: SHORT_LEASE,
        held: 64,
        ..Worker::new(0..2, run.seed)
    };
    let rounds: usize = run.count(50, 8);
    let mut killed = 0;
    for round in 0..rounds {
        // By turns for each of the two kinds of copies.
        let dies = Worker {
            dies: Some([Came::Stored, Came::Before][round / 2 % 2]),
            ..lives.clone()
        };
        let load = Load {
            window: 1,
            ..Load::new(ROUND, 100_000, run.seed).shaped(one_fails)
        };
        stage.publish_all(load).await?;
        let victim = dies.start(program, &url, &stage)?;
        let ended = victim.ended(Duration::from_secs(20)).await?;
        killed += usize::from(ended.status.signal() == Some(Signal::KILL.as_raw()));
        let mut next = lives.start(program, &url, &stage)?;
        stage.drain().await?;
        if next.at_work().await.is_err() {
            run.findings()
                .holds(false, "the next worker found nothing to do");
            next.kill()?;
            continue;
        }
        next.terminate()?;
        let ended = next.ended(Duration::from_secs(20)).await?;
        run.findings().holds(
            ended.status.success(),
            format!("the next worker: {ended:?}"),
        );
    }
    let mut copies: HashMap<String, usize> = HashMap::new();
    for title in stage.titles(&stage.dead()?).await? {
        *copies.entry(title).or_default() += 1;
    }
    let most = copies.values().copied().max().unwrap_or(0);
    let counts = stage.close().await?;
    let failing = |id: u64| id % ROUND == ROUND - 1;
    let for_good = |id: u64| failing(id) && (id / ROUND).is_multiple_of(2);
    let ids = 0..rounds as u64 * ROUND;
    let dead = ids.clone().filter(|id| for_good(*id)).count();
    let retried = ids.clone().filter(|id| failing(*id) && !for_good(*id));
    let retries: Vec<_> = retried.map(|id| stage.journal.of(id)).collect();
    let mut findings = run.findings();
    findings.exactly("killed at the fail point", killed, rounds);
    findings.exactly("handled", counts.handled, ids.count() - dead);
    findings.exactly("messages among the dead letters", copies.len(), dead);
    findings.at_most("copies of a dead letter", most, 2);
    // A broker keeps nothing of a lane that was handled, so its copies are counted by the handlers
    // that they came to: the first try, its repetition after the crash, one for each of two copies.
    let begun = retries.iter().map(|page| page.begun).max().unwrap_or(0);
    findings.at_most("tries of a retried message", begun as usize, 4);
    let ended = retries.iter().map(|page| page.ended).max().unwrap_or(0);
    findings.at_most("successes of a retried message", ended as usize, 2);
    Ok(())
}
