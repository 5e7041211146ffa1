//! What if the broker is away when a consumer starts?

use std::path::Path;
use std::time::Duration;

use potluck_brokers::proxy::Proxy;
use potluck_brokers::wait;
use tokio::time::{Instant, sleep};

use super::events;
use super::process::Worker;
use super::stage::Stage;
use crate::Result;
use crate::load::Load;
use crate::scene::Server;
use crate::suite::Run;

/// How often a second a broker that is away may be dialled.
const DIALS_PER_SECOND: u64 = 2;
/// Dials before the pauses have grown; each is twice the one before, from 50 ms on.
const DIALS_AT_FIRST: u64 = 5;
/// How soon after the broker is there the consumer must be at work.
const CONNECT: Duration = Duration::from_secs(6);
/// How soon a consumer that waits for its broker must end when it is told to.
const EXIT: Duration = Duration::from_secs(2);

/// How soon one must end that has a group to leave, and cannot tell the broker.
const LEAVE: Duration = Duration::from_secs(5);

/// Case 28: two workers start while the broker is away. One is told to stop meanwhile, as is one
/// that had been at work; the other waits, dials seldom, and is at work soon after the broker is
/// back. It is away for longer than a driver's call waits.
///
/// # Errors
///
/// When the case breaks off.
pub async fn at_start(run: &Run, server: &dyn Server, program: &Path) -> Result {
    let stage = Stage::open(run, server.connect(server.addr(), "")?)?;
    let url = server.url(server.addr(), "");
    let worker = Worker::new(0..2, run.seed);
    let mut works = worker.start(program, &url, &stage)?;
    stage
        .publish_all(Load::new(100, 1000, run.seed).shaped(events::good))
        .await?;
    stage.drain().await?;
    server.kill().await?;
    // It accepts, and closes when nobody is behind it: so dials can be counted.
    let way = Proxy::start(server.addr()).await?;
    let away = Instant::now();
    let mut stays = worker.start(program, &server.url(way.addr(), ""), &stage)?;
    let other_way = Proxy::start(server.addr()).await?;
    let mut leaves = worker.start(program, &server.url(other_way.addr(), ""), &stage)?;
    // It listens for signals before it dials.
    let are_dialling = async || way.accepted() > 0 && other_way.accepted() > 0;
    wait::until(Duration::from_secs(10), "a dial", are_dialling).await?;
    sleep(Duration::from_millis(run.chance().u64(500..2000))).await;
    leaves.terminate()?;
    works.terminate()?;
    let left = leaves.ended(EXIT * 5).await?;
    let worked = works.ended(EXIT * 5).await?;
    let whole = run.count(Duration::from_secs(60), Duration::from_secs(13));
    sleep(whole.saturating_sub(away.elapsed())).await;
    let (dials, away_for) = (way.accepted(), away.elapsed());

    server.restart().await?;
    let open = Instant::now();
    let load = Load::new(100, 1000, run.seed).shaped(events::good);
    stage.publish_all(load).await?;
    let is_handled = async || stage.ledger.handled() > 100;
    let limit = run.limit(CONNECT);
    let handled = wait::until(limit * 3, "the first to be handled", is_handled).await;
    let took = handled.is_ok().then(|| open.elapsed());
    {
        let mut findings = run.findings();
        findings.say(format!("away for {away_for:.1?}"));
        let most = DIALS_AT_FIRST + DIALS_PER_SECOND * away_for.as_secs();
        findings.at_most("dials", usize::try_from(dials)?, usize::try_from(most)?);
        findings.within("exit meanwhile", Some(left.took), run.limit(EXIT));
        let well = left.status.code() == Some(0);
        findings.holds(well, format!("the one that was told to stop: {left:?}"));
        let late = "exit meanwhile of one that had been at work";
        findings.within(late, Some(worked.took), run.limit(LEAVE));
        findings.within("broker there, first handled", took, limit);
    }
    stage.drain().await?;
    stays.terminate()?;
    let ended = stays.ended(EXIT * 5).await?;
    let counts = stage.close().await?;
    let mut findings = run.findings();
    let well = ended.status.code() == Some(0);
    findings.holds(well, format!("the one that stayed: {ended:?}"));
    findings.exactly("handled", counts.handled, counts.published);
    Ok(())
}
