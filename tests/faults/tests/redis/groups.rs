//! What if the group vanishes while its members wait for messages?

use std::time::Duration;

use potluck_brokers::wait;
use potluck_faults::Result;
use potluck_faults::load::{Load, Members};
use potluck_faults::scene::Scene;
use potluck_faults::suite::Run;
use tokio::time::Instant;

use crate::broker::Redis;

/// How long until the group is there again.
const AGAIN: Duration = Duration::from_secs(1);
/// Errors that one such fault may log.
const ERRORS_MAX: usize = 5;

/// Case 20, everything deleted.
pub(crate) async fn flushed(run: &Run) -> Result {
    vanished(run, |_| "FLUSHALL".to_owned()).await
}

/// Case 20, the stream deleted.
pub(crate) async fn deleted(run: &Run) -> Result {
    vanished(run, |topic| format!("DEL {topic}")).await
}

/// Case 20, only the group deleted: here nothing at all may be lost, also not under load.
pub(crate) async fn destroyed(run: &Run) -> Result {
    let destroy = |topic: &str| format!("XGROUP DESTROY {topic} workers");
    vanished(run, destroy).await?;
    let redis = Redis::start().await?;
    let scene = Scene::open(run, &redis, "").await?;
    let consuming = scene.consume(&Members::new(2)).await?;
    let publishing = scene.publish(Load::new(2000, 1000, run.seed)).await?;
    scene.warm(500).await?;
    scene.busy(16).await;
    redis.tell(&destroy(scene.to.topic.as_str())).await?;
    scene.end(publishing, consuming).await?;
    Ok(())
}

/// The members wait, the group vanishes, and at once more is published: all of it is handled.
async fn vanished(run: &Run, fault: impl Fn(&str) -> String) -> Result {
    let redis = Redis::start().await?;
    let scene = Scene::open(run, &redis, "").await?;
    let consuming = scene.consume(&Members::new(2)).await?;
    let messages = run.count(2000, 500);
    scene
        .publish(Load::new(messages, 2000, run.seed))
        .await?
        .finish()
        .await?;
    let mut all = messages as usize;
    for round in 1..=run.count(3, 2) {
        all_handled(&scene).await?;
        let errors = run.logs.errors();
        redis.tell(&fault(scene.to.topic.as_str())).await?;
        let vanished = Instant::now();
        let publishing = scene.publish(Load::new(messages, 2000, run.seed)).await?;
        all += messages as usize;
        let groups = ["XINFO", "GROUPS", scene.to.topic.as_str()];
        let is_there = async || {
            let answer = redis.0.cli(&groups).await;
            answer.is_ok_and(|groups| groups.items().is_some_and(|groups| !groups.is_empty()))
        };
        let there = wait::until(AGAIN * 5, "the group", is_there).await;
        let took = there.is_ok().then(|| vanished.elapsed());
        run.findings()
            .within(&format!("group again {round}"), took, run.limit(AGAIN));
        publishing.finish().await?;
        all_handled(&scene).await?;
        let logged = run.logs.errors() - errors;
        run.findings().at_most("errors logged", logged, ERRORS_MAX);
    }
    scene.drain().await?;
    consuming.stop().await?;
    let counts = scene.close().await?;
    run.findings().exactly("handled", counts.handled, all);
    Ok(())
}

/// Waits until all that is acknowledged is handled.
async fn all_handled(scene: &Scene<'_>) -> Result {
    let now = Instant::now();
    let is_done = async || scene.ledger.waiting_since(now) == 0;
    wait::until(Duration::from_secs(20), "all to be handled", is_done).await?;
    Ok(())
}
