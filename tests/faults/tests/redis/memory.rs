//! What if the server has no memory left, and evicts nothing?

use std::time::Duration;

use potluck_core::{ErrorKind, Message, Outcome};
use potluck_faults::Result;
use potluck_faults::load::{Load, Members};
use potluck_faults::scene::Scene;
use potluck_faults::suite::Run;
use tokio::time::{Instant, sleep};

use crate::broker::Redis;

/// How long the server is full.
const FULL_FOR: Duration = Duration::from_secs(10);
/// Acknowledgements that must arrive meanwhile; about half of what arrives otherwise.
const ACKS_MIN: usize = 1500;

/// Case 19: publishes are refused as unavailable, what is there is consumed and acknowledged.
pub(crate) async fn full(run: &Run) -> Result {
    let redis = Redis::start().await?;
    let scene = Scene::open(run, &redis, "").await?;
    let within = Duration::from_secs(3);
    let publishing = scene
        .publish(Load::new(5000, 1000, run.seed).within(within))
        .await?;
    // Slower than the publishers, so that there is something left to consume.
    let members = Members::new(2).hold(Duration::from_millis(200));
    let consuming = scene.consume(&members).await?;
    let is_backlog = async || scene.ledger.acked() > 4500;
    potluck_brokers::wait::until(Duration::from_secs(30), "a backlog", is_backlog).await?;

    redis.tell("CONFIG SET maxmemory 100kb").await?;
    let (acks, full) = (scene.ledger.acks(), Instant::now());
    let publisher = scene.transport.publisher().await?;
    let mut probes = 0;
    while full.elapsed() < FULL_FOR {
        let probe = [Message::new("0 0 probe")];
        let error = publisher
            .publish(&scene.to.topic, &probe, within)
            .await
            .err();
        let outcome = error.and_then(|error| error.into_outcomes().pop());
        let as_it_must = matches!(
            &outcome,
            Some(Outcome::Refused(why))
                if why.kind() == ErrorKind::Unavailable && why.is_retryable()
        );
        run.findings()
            .holds(as_it_must, format!("a publish while full: {outcome:?}"));
        probes += 1;
        sleep(Duration::from_millis(500)).await;
    }
    let meanwhile = scene.ledger.acks() - acks;
    redis.tell("CONFIG SET maxmemory 0").await?;
    scene.ledger.mark();
    {
        let mut findings = run.findings();
        findings.say(format!(
            "full for {:.1?}, {probes} probes refused",
            full.elapsed()
        ));
        findings.say(format!("acks while full {meanwhile} (at least {ACKS_MIN})"));
        findings.holds(
            meanwhile >= ACKS_MIN,
            format!("acks while full: {meanwhile}"),
        );
    }
    publish_again(&scene).await?;
    scene.end(publishing, consuming).await?;
    Ok(())
}

/// The server has room again: publishes go through at once.
async fn publish_again(scene: &Scene<'_>) -> Result {
    let is_back = async || scene.ledger.recovery().publish.is_some();
    let limit = scene.run.limit(Duration::from_secs(2));
    let _ = potluck_brokers::wait::until(limit * 2, "publishes to go on", is_back).await;
    let recovery = scene.ledger.recovery().publish;
    scene
        .run
        .findings()
        .within("room again, publish", recovery, limit);
    Ok(())
}
