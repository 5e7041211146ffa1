//! What if the broker's process fails? Killed under load, or stopped where it stands.

use std::net::SocketAddr;
use std::time::Duration;

use potluck_brokers::wait;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::load::{Load, Members};
use crate::network::stored_as_tried;
use crate::scene::{Scene, Server};
use crate::suite::Run;

/// Cases 9, 10 and 11: killed under load and started again after `away`. Both sides must go on
/// within `recovery` of the port opening.
///
/// # Errors
///
/// When the case breaks off.
pub async fn killed(run: &Run, server: &dyn Server, away: Duration, recovery: Duration) -> Result {
    let scene = Scene::open(run, server, "").await?;
    let consuming = scene.consume(&Members::new(2)).await?;
    let messages = run.count(10_000, 3000);
    let load = Load::new(messages, 2000, run.seed).within(Duration::from_secs(2));
    let window = load.window as usize;
    let publishing = scene.publish(load).await?;
    scene.warm(usize::try_from(messages / 4)?).await?;
    scene.busy(16).await;
    server.kill().await?;
    sleep(away + Duration::from_millis(run.chance().u64(0..500))).await;
    let addr = server.addr();
    let (restarted, opened) = tokio::join!(server.restart(), open(addr));
    restarted?;
    opened?;
    scene.ledger.mark();
    scene.recovered("port open,", recovery).await?;
    let counts = scene.end(publishing, consuming).await?;
    run.findings().at_most("unknown", counts.unknown, window);
    Ok(())
}

/// Waits until a port is open.
async fn open(addr: SocketAddr) -> Result {
    let is_open = async || TcpStream::connect(addr).await.is_ok();
    wait::until(Duration::from_secs(60), "the port to open", is_open).await?;
    Ok(())
}

/// Case 17: stopped where it stands for 5 s. What was sent meanwhile is done afterwards, so a
/// publish that failed may be stored all the same, and never oftener than it was tried.
///
/// # Errors
///
/// When the case breaks off.
pub async fn stopped(run: &Run, server: &dyn Server) -> Result {
    let scene = Scene::open(run, server, "").await?;
    let members = Members::new(2).hold(Duration::from_millis(5));
    let consuming = scene.consume(&members).await?;
    let load = Load::new(run.count(10_000, 3000), 1000, run.seed).tries(3);
    let publishing = scene.publish(load).await?;
    scene.warm(500).await?;
    scene.busy(16).await;
    server.freeze().await?;
    let frozen = Instant::now();
    sleep(Duration::from_secs(5)).await;
    server.thaw()?;
    run.findings()
        .say(format!("stopped for {:.1?}", frozen.elapsed()));
    scene.ledger.mark();
    scene.recovered("thaw", Duration::from_secs(15)).await?;
    publishing.finish().await?;
    scene.drain().await?;
    consuming.stop().await?;
    stored_as_tried(&scene).await?;
    let counts = scene.close().await?;
    let mut findings = run.findings();
    // The lease, of a minute, is over for nobody.
    findings.at_most("handled by two at once", counts.parallel, 0);
    findings.at_most("refused", counts.refused, 0);
    Ok(())
}
