//! What if a consumer's process is killed, and what if its members leave in good order?

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use potluck_brokers::wait;
use potluck_core::{Member, Subscriber};
use tokio::time::{Instant, sleep, timeout};

use crate::Result;
use crate::ledger::Ledger;
use crate::load::{Load, Members};
use crate::scene::{Scene, Server};
use crate::suite::Run;

/// How long a killed worker keeps what it held.
const LEASE: Duration = Duration::from_secs(3);
/// How long it handles a slice, so that it is killed in the midst of one.
const HOLD: Duration = Duration::from_millis(14);
/// How often a worker is killed.
const KILLS: usize = 3;

/// A consumer in a process of its own, which names each message before it acknowledges it.
#[derive(Debug)]
struct Worker {
    process: Child,
    /// Writes down what the worker names, until its end.
    reading: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts it. It leaves in good order when its standard input ends.
    fn start(program: &Path, url: &str, scene: &Scene<'_>, ledger: Arc<Ledger>) -> Result<Self> {
        let mut process = Command::new(program)
            .arg(url)
            .arg(scene.to.topic.as_str())
            .arg(scene.to.group.as_str())
            .arg(LEASE.as_millis().to_string())
            .arg(HOLD.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("the worker has no output")?;
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if let Some(id) = ledger.started(&line) {
                    ledger.finished(id);
                }
            }
        });
        Ok(Self {
            process,
            reading: Some(reading),
        })
    }

    /// Ends it by SIGKILL, and waits until all that it has said is written down.
    fn kill(&mut self) -> Result {
        self.process.kill()?;
        self.join()
    }

    /// Lets it leave in good order.
    fn stop(mut self) -> Result {
        drop(self.process.stdin.take());
        self.join()
    }

    fn join(&mut self) -> Result {
        self.process.wait()?;
        if let Some(reading) = self.reading.take() {
            reading.join().map_err(|_| "the worker's reader panicked")?;
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Cases 1, 2 and 3: a worker's process is killed three times under load. What it held comes to
/// the next within `again`, after a lease where there are leases.
///
/// # Errors
///
/// When the case breaks off.
pub async fn killed(run: &Run, server: &dyn Server, program: &Path, again: Duration) -> Result {
    let scene = Scene::open(run, server, "").await?;
    let url = server.url(server.addr(), "");
    let start = || Worker::start(program, &url, &scene, scene.ledger.clone());
    let mut worker = start()?;
    let load = Load::new(run.count(20_000, 5000), 2000, run.seed);
    let publishing = scene.publish(load).await?;
    scene.warm(500).await?;
    let mut chance = run.chance();
    for number in 1..=KILLS {
        sleep(Duration::from_millis(chance.u64(200..700))).await;
        worker.kill()?;
        let killed = Instant::now();
        worker = start()?;
        let is_done = async || scene.ledger.waiting_since(killed) == 0;
        let limit = run.limit(again);
        let done = wait::until(limit * 2, "what the killed worker held", is_done).await;
        let took = done.is_ok().then(|| killed.elapsed());
        run.findings().within(
            &format!("kill {number}, all of before handled"),
            took,
            limit,
        );
    }
    publishing.finish().await?;
    scene.drain().await?;
    worker.stop()?;
    let counts = scene.close().await?;
    let window = Members::new(1).window();
    run.findings()
        .at_most("twice", counts.duplicated, KILLS * window);
    Ok(())
}

/// Five members, one after the other, leave in the midst of 2,000 messages, each with deliveries
/// in hand: none may be stranded, and none come twice to a handler.
///
/// # Errors
///
/// When the case breaks off.
pub async fn restarted(run: &Run, server: &dyn Server) -> Result {
    let scene = Scene::open(run, server, "").await?;
    let messages: usize = 2000;
    let publishing = scene
        .publish(Load::new(messages as u64, 500, run.seed))
        .await?;
    let finishing = tokio::spawn(publishing.finish());
    let mut chance = run.chance();
    let mut unhandled = 0;
    for restart in 1..=6 {
        let next = scene.to.clone().member(Member::unique());
        let subscriber = scene.transport.subscriber(&next).await?;
        let until = if restart == 6 {
            messages
        } else {
            restart * messages / 6
        };
        let end = Instant::now() + Duration::from_secs(30);
        while scene.ledger.handled() < until && Instant::now() < end {
            handle(&scene, &subscriber).await?;
        }
        if restart < 6 {
            // With deliveries in hand, and out of a read that is dropped.
            let slice = Members::new(1).slice;
            let taken = subscriber.receive(slice, Duration::from_secs(1)).await?;
            unhandled += taken.len();
            let wait = Duration::from_millis(chance.u64(0..50));
            if let Ok(also) = timeout(wait, subscriber.receive(slice, LEASE)).await {
                unhandled += also?.len();
            }
        }
        subscriber.close().await?;
    }
    finishing.await??;
    let status = scene
        .transport
        .status(&scene.to.topic, &scene.to.group)
        .await?;
    let counts = scene.close().await?;
    let mut findings = run.findings();
    findings.say(format!("given back in hand {unhandled}"));
    findings.exactly("handled", counts.handled, messages);
    findings.exactly("twice", counts.duplicated, 0);
    let left = status.in_flight.value().unwrap_or(0) + status.backlog.value().unwrap_or(0);
    findings.exactly("left with the group", usize::try_from(left)?, 0);
    Ok(())
}

/// Receives a slice, handles it and acknowledges it.
async fn handle(scene: &Scene<'_>, subscriber: &Arc<dyn Subscriber>) -> Result {
    let slice = Members::new(1).slice;
    let deliveries = subscriber
        .receive(slice, Duration::from_millis(200))
        .await?;
    let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
    for delivery in &deliveries {
        if let Some(id) = scene.ledger.started(delivery.message.body()) {
            scene.ledger.finished(id);
        }
    }
    let settled = subscriber.ack(&receipts).await?;
    let stale = settled.stale.len();
    scene.ledger.settled(receipts.len() - stale, stale);
    Ok(())
}
