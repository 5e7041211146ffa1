//! What if the server is demoted, or dies and its replica takes over?

use std::time::Duration;

use potluck_brokers::proxy::Proxy;
use potluck_brokers::redis::RedisOptions;
use potluck_brokers::wait;
use potluck_faults::Result;
use potluck_faults::load::{Load, Members};
use potluck_faults::scene::{Scene, Server};
use potluck_faults::suite::Run;
use tokio::time::{Instant, sleep};

use crate::broker::Redis;

/// How long the replica receives nothing; longer than the driver waits for it.
const BEHIND: Duration = Duration::from_millis(2500);

/// A replica of whatever listens on this port.
async fn replica_of(port: u16) -> Result<Redis> {
    let follow = RedisOptions::default().config(format!("replicaof 127.0.0.1 {port}"));
    let replica = Redis::start_with(follow).await?;
    let follows = async || {
        let answer = replica.0.cli(&["INFO", "replication"]).await;
        let text = answer.ok().and_then(|answer| answer.text());
        text.is_some_and(|text| text.contains("master_link_status:up"))
    };
    wait::until(Duration::from_secs(20), "the replica to follow", follows).await?;
    Ok(replica)
}

/// Case 21: the primary becomes a replica of its replica, and clients are led to the new primary.
/// Only what had not been replicated may be lost.
pub(crate) async fn demoted(run: &Run) -> Result {
    let primary = Redis::start().await?;
    let replica = replica_of(primary.0.port()).await?;
    let scene = Scene::open(run, &primary, "").await?;
    let consuming = scene.consume(&Members::new(2)).await?;
    let load = Load::new(run.count(10_000, 3000), 500, run.seed);
    let publishing = scene.publish(load.within(Duration::from_secs(3))).await?;
    scene.warm(500).await?;
    scene.busy(8).await;

    let accepted = scene.proxy.accepted();
    let demote = format!("REPLICAOF 127.0.0.1 {}", replica.0.port());
    primary.tell(&demote).await?;
    let demoted = Instant::now();
    let limit = run.limit(Duration::from_secs(3));
    let is_seen = async || scene.proxy.accepted() > accepted;
    let seen = wait::until(limit * 2, "READONLY to be seen", is_seen).await;
    let took = seen.is_ok().then(|| demoted.elapsed());
    run.findings().within("READONLY seen", took, limit);
    sleep(Duration::from_millis(run.chance().u64(0..2000))).await;

    replica.tell("REPLICAOF NO ONE").await?;
    scene.proxy.retarget(replica.addr());
    scene.ledger.mark();
    scene
        .recovered("address switched,", Duration::from_secs(5))
        .await?;
    publishing.finish().await?;
    scene.drain().await?;
    consuming.stop().await?;
    unreplicated_only(&scene).await
}

/// Case 21: a replica falls behind, the primary dies, the replica takes over. What it had received
/// is not lost; and with `min_replicas=1` nothing that was acknowledged is.
pub(crate) async fn with_min_replicas(run: &Run, replicas: u64) -> Result {
    let primary = Redis::start().await?;
    let lag = Proxy::start(primary.addr()).await?;
    let replica = replica_of(lag.port()).await?;
    let scene = Scene::open(run, &primary, &format!("min_replicas={replicas}")).await?;
    let load = Load::new(1000, 1000, run.seed).within(Duration::from_secs(3));
    let publishing = scene.publish(load).await?;
    let is_acked = async || scene.ledger.acked() >= 1000;
    wait::until(Duration::from_secs(30), "1,000 acknowledged", is_acked).await?;

    lag.black_hole();
    let acked = scene.ledger.acked();
    sleep(BEHIND).await;
    let behind = scene.ledger.acked() - acked;
    primary.0.kill().await?;
    replica.tell("REPLICAOF NO ONE").await?;
    scene.proxy.retarget(replica.addr());
    publishing.finish().await?;
    // Only now, so that nothing counts as handled that the new primary does not have.
    let consuming = scene.consume(&Members::new(2)).await?;
    scene.drain().await?;
    consuming.stop().await?;
    run.findings()
        .say(format!("acked while the replica was behind {behind}"));
    if replicas > 0 {
        scene.close().await?;
        return Ok(());
    }
    // Shows that the case would see a loss.
    let lost = scene.ledger.lost().len();
    run.findings()
        .holds(lost > 0, "nothing was lost, so this proves nothing");
    unreplicated_only(&scene).await
}

/// Nothing is lost that the new primary has.
async fn unreplicated_only(scene: &Scene<'_>) -> Result {
    let there = scene.ledger.compare(&scene.stored().await?).ids;
    let lost = scene.ledger.lost();
    let though_there = lost.intersection(&there).count();
    scene.run.findings().say(format!(
        "lost because unreplicated {}",
        lost.len() - though_there
    ));
    scene
        .run
        .findings()
        .exactly("lost though replicated", though_there, 0);
    scene.close_losing(lost.len()).await?;
    Ok(())
}
