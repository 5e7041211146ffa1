//! What if the network fails and the broker does not? Cuts, half-open connections, a peer that
//! never answers, and replies that never arrive.

use std::time::Duration;

use potluck_brokers::silent::SilentServer;
use potluck_brokers::wait;
use potluck_core::{ErrorKind, State};
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::load::{Load, Members};
use crate::scene::{Scene, Server};
use crate::suite::Run;

/// Who ends the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The broker, because an operator says so.
    ByServer,
    /// Something on the way, by resets.
    OnTheWay,
}

/// Case 12: every connection ends, five times, two seconds apart.
///
/// # Errors
///
/// When the case breaks off.
pub async fn connections_end(run: &Run, server: &dyn Server, by: Cut) -> Result {
    let scene = Scene::open(run, server, "").await?;
    let members = Members::new(2);
    let consuming = scene.consume(&members).await?;
    let times = run.count(5, 3);
    let load = Load::new(run.count(10_000, 3000), 1000, run.seed);
    let window = load.window as usize;
    let publishing = scene.publish(load).await?;
    scene.warm(500).await?;
    for number in 1..=times {
        let next = Instant::now() + Duration::from_secs(2);
        scene.busy(16).await;
        scene.ledger.mark();
        match by {
            Cut::ByServer => server.end_connections().await?,
            Cut::OnTheWay => scene.proxy.cut(),
        }
        scene
            .recovered(&format!("cut {number}"), Duration::from_secs(2))
            .await?;
        tokio::time::sleep_until(next).await;
    }
    let counts = scene.end(publishing, consuming).await?;
    let mut findings = run.findings();
    findings.at_most("twice", counts.duplicated, times * members.window());
    findings.at_most("stale", counts.stale, times * members.window());
    findings.at_most("unknown", counts.unknown, times * window);
    Ok(())
}

/// Case 13: the existing connections go silent for ever; new ones work. `detection` is how long it
/// may take until a new one is tried; what is published then goes over that.
///
/// # Errors
///
/// When the case breaks off.
pub async fn half_open(run: &Run, server: &dyn Server, detection: Duration) -> Result {
    let scene = Scene::open(run, server, "").await?;
    let consuming = scene.consume(&Members::new(2)).await?;
    let load = Load::new(run.count(10_000, 3000), 500, run.seed);
    let publishing = scene.publish(load).await?;
    scene.warm(500).await?;
    let (connections, accepted) = (scene.proxy.connections(), scene.proxy.accepted());
    scene.busy(8).await;
    scene.ledger.mark();
    let frozen = Instant::now();
    scene.proxy.freeze_existing();
    let limit = run.limit(detection);
    let redialled = async || scene.proxy.accepted() > accepted;
    let _ = wait::until(limit * 2, "a new connection", redialled).await;
    let detected = (scene.proxy.accepted() > accepted).then(|| frozen.elapsed());
    run.findings().within("detected", detected, limit);
    scene.recovered("frozen", Duration::from_secs(15)).await?;
    // What was not written when the connection froze must not wait for what was.
    let publish = scene.ledger.recovery().publish;
    let limit = limit + Duration::from_secs(2);
    run.findings().within("queued publishes", publish, limit);
    let same = async || scene.proxy.connections() == connections;
    let _ = wait::until(
        Duration::from_secs(60),
        "frozen connections to be closed",
        same,
    )
    .await;
    let left = scene.proxy.connections();
    run.findings().exactly("connections", left, connections);
    scene.end(publishing, consuming).await?;
    Ok(())
}

/// Case 14: a server that accepts and never answers. `dial` is how long one attempt may take.
///
/// # Errors
///
/// When the case breaks off.
pub async fn silent(run: &Run, server: &dyn Server, dial: Duration) -> Result {
    let silence = SilentServer::start().await?;
    let transport = server.connect(silence.addr(), "timeout=2s")?;
    for attempt in 1..=2 {
        let is_dialled = async || silence.connections() == 1 && silence.accepted() == attempt;
        wait::until(run.limit(dial), "an attempt to connect", is_dialled).await?;
        let begun = Instant::now();
        let is_over = async || silence.connections() == 0 || silence.accepted() > attempt;
        let over = wait::until(run.limit(dial) * 2, "its end", is_over).await;
        let took = over.is_ok().then(|| begun.elapsed());
        run.findings()
            .within(&format!("attempt {attempt}"), took, run.limit(dial));
    }
    let begun = Instant::now();
    let opened = transport.publisher().await;
    let took = begun.elapsed();
    let kind = opened.err().map(|error| error.kind());
    let limit = run.limit(Duration::from_millis(2100));
    run.findings().within("a call", Some(took), limit);
    run.findings().holds(
        kind == Some(ErrorKind::Unavailable),
        format!("a call ended as {kind:?}"),
    );
    // Close it in the middle of an attempt, with a call that waits.
    let is_dialled = async || silence.connections() > 0;
    wait::until(Duration::from_secs(10), "another attempt", is_dialled).await?;
    let waiting = transport.clone();
    let call = tokio::spawn(async move { waiting.publisher().await.map(|_| ()) });
    tokio::task::yield_now().await;
    let begun = Instant::now();
    transport.close().await?;
    let ended = call.await?;
    let took = begun.elapsed();
    let limit = run.limit(Duration::from_secs(2));
    run.findings().within("close", Some(took), limit);
    run.findings().holds(
        ended.is_err() && transport.state() == State::Closed,
        format!("a call over a closed transport: {ended:?}"),
    );
    let is_left = async || silence.connections() == 0;
    let left = wait::until(limit, "its connections to end", is_left).await;
    run.findings()
        .holds(left.is_ok(), "a connection outlived the close");
    Ok(())
}

/// Case 15: connections end, and what is dialled then goes into a black hole for 30 s.
///
/// # Errors
///
/// When the case breaks off.
pub async fn black_hole_at_handshake(run: &Run, server: &dyn Server) -> Result {
    let scene = Scene::open(run, server, "").await?;
    let consuming = scene.consume(&Members::new(2)).await?;
    let load = Load::new(run.count(10_000, 3000), 500, run.seed);
    let publishing = scene.publish(load.within(Duration::from_secs(3))).await?;
    scene.warm(500).await?;
    scene.busy(8).await;
    // The order matters: what is accepted after the cut is never passed on.
    scene.proxy.cut();
    scene.proxy.black_hole();
    let hole = Duration::from_secs(run.count(30, 10)) + jitter(run);
    sleep(hole).await;
    scene.proxy.pass();
    scene.ledger.mark();
    scene.recovered("heal", Duration::from_secs(8)).await?;
    scene.end(publishing, consuming).await?;
    Ok(())
}

/// Case 16: what the broker answers is lost for 3 s, what it is told is not.
///
/// # Errors
///
/// When the case breaks off.
pub async fn replies_lost(run: &Run, server: &dyn Server) -> Result {
    let scene = Scene::open(run, server, "").await?;
    let consuming = scene.consume(&Members::new(2)).await?;
    let load = Load::new(run.count(10_000, 3000), 1000, run.seed).tries(3);
    let publishing = scene.publish(load).await?;
    scene.warm(500).await?;
    scene.busy(16).await;
    scene.proxy.black_hole_replies();
    sleep(Duration::from_secs(3)).await;
    scene.proxy.pass();
    scene.ledger.mark();
    scene.recovered("heal", Duration::from_secs(15)).await?;
    publishing.finish().await?;
    scene.drain().await?;
    consuming.stop().await?;
    stored_as_tried(&scene).await?;
    let counts = scene.close().await?;
    run.findings().at_most("refused", counts.refused, 0);
    Ok(())
}

/// Compares the topic with the ledger: no message oftener than it was published, each acknowledged
/// one at least once, no refused one.
///
/// # Errors
///
/// When the topic cannot be read.
pub async fn stored_as_tried(scene: &Scene<'_>) -> Result {
    let stored = scene.ledger.compare(&scene.stored().await?);
    let mut findings = scene.run.findings();
    findings.say(format!("stored copies {}", stored.copies));
    findings.at_most("stored oftener than tried", stored.beyond_tries, 0);
    findings.at_most("acked and not stored", stored.acked_missing, 0);
    findings.at_most("refused and stored", stored.refused_present, 0);
    Ok(())
}

/// Up to a second by chance, so that a fault ends at any moment of a back-off.
fn jitter(run: &Run) -> Duration {
    Duration::from_millis(run.chance().u64(0..1000))
}
