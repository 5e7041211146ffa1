//! What if a topic holds what no producer of ours would write?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use potluck_brokers::wait;
use potluck_core::{Peeked, Start, Topic, Transport};
use potluck_runtime::copies;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Target;
use super::corpus::{self, Hostile};
use super::events;
use super::stage::{self, Stage, number};
use crate::Result;
use crate::load::Load;
use crate::suite::Run;

/// How many hostile records there are among the good ones.
const HOSTILE: usize = 1000;
/// How soon after it was written each must be among the dead letters.
const DEAD_WITHIN: Duration = Duration::from_secs(1);

/// A record as it was written: its id, what it is, and when.
type Written<'a> = (String, &'a Hostile, Instant);

/// Case 29: a thousand hostile records among good ones. Each comes to the dead letters with its
/// reason, byte for byte; the good ones are handled, and nothing of it all is in the logs.
///
/// # Errors
///
/// When the case breaks off.
pub async fn inputs(run: &Run, server: &dyn Target) -> Result {
    let stage = Stage::open(run, server.connect(server.addr(), "")?)?;
    // Logs are kept few, so the worst is written first.
    let mut corpus = corpus::beyond_limits();
    let mut samples = corpus::samples()?;
    let first = run.chance().usize(0..samples.len());
    samples.rotate_left(first);
    corpus.extend(samples);
    let consumer = stage.consumer(|| Duration::ZERO).start().await?;
    let reading = Reading::begin(&stage.transport, &stage.dead()?).await?;
    let good = Load::new(2000, 200, run.seed).shaped(events::good);
    let publishing = stage.publish(good).await?;
    let mut written = Vec::with_capacity(HOSTILE);
    for hostile in corpus.iter().cycle().take(HOSTILE) {
        let id = server.put(&stage.topic, &hostile.record).await?;
        written.push((id, hostile, Instant::now()));
    }
    publishing.finish().await?;
    let is_there = async || reading.found().len() >= HOSTILE;
    let there = wait::until(Duration::from_secs(20), "all dead letters", is_there).await;
    stage.drain().await?;
    let found = reading.end().await?;
    run.findings()
        .holds(there.is_ok(), format!("only {} dead letters", found.len()));
    judge(run, &written, found);
    let stats = stage::stop(consumer).await?;
    let given_up = usize::try_from(stats.events_failed)?;
    let left = stage.left().await?;
    stage.transport.close().await?;
    let counts = stage.ledger.counts();
    run.judge(&counts, 0);
    let mut findings = run.findings();
    findings.exactly("given up", given_up, HOSTILE);
    findings.exactly("good ones handled", counts.handled, counts.published);
    findings.exactly("handled twice", stage.journal.begun_beyond(|_| 1), 0);
    findings.exactly("left with the group", left, 0);
    let told = run.logs.with("a message was dead-lettered");
    findings.holds(told >= 20, format!("{told} dead letters are in the logs"));
    let shown = run.logs.with(corpus::CANARY);
    findings.exactly("payloads in the logs", shown, 0);
    Ok(())
}

/// Reads a topic as it grows.
#[derive(Debug)]
struct Reading {
    found: Arc<Mutex<Vec<(Peeked, Instant)>>>,
    task: JoinHandle<potluck_core::Result<()>>,
}

impl Reading {
    async fn begin(transport: &Arc<dyn Transport>, topic: &Topic) -> Result<Self> {
        let reader = transport.reader(topic, Start::Earliest).await?;
        let found: Arc<Mutex<Vec<(Peeked, Instant)>>> = Arc::default();
        let all = found.clone();
        let task = tokio::spawn(async move {
            loop {
                let some = reader.receive(number(100), Duration::from_secs(1)).await?;
                let now = Instant::now();
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend(some.into_iter().map(|one| (one, now)));
            }
        });
        Ok(Self { found, task })
    }

    fn found(&self) -> MutexGuard<'_, Vec<(Peeked, Instant)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn end(self) -> Result<Vec<(Peeked, Instant)>> {
        if self.task.is_finished() {
            self.task.await??;
            return Err("the reader ended".into());
        }
        self.task.abort();
        let found = std::mem::take(&mut *self.found());
        Ok(found)
    }
}

/// Each must be there once, with its reason and its bytes, soon enough.
fn judge(run: &Run, written: &[Written<'_>], found: Vec<(Peeked, Instant)>) {
    let mut by_id: HashMap<String, Vec<(Peeked, Instant)>> = HashMap::new();
    for (one, at) in found {
        let origin = one.message.headers().get(copies::ORIGIN_ID);
        let origin = String::from_utf8_lossy(origin.map_or(b"", |id| id)).into_owned();
        by_id.entry(origin).or_default().push((one, at));
    }
    let (mut missing, mut twice, mut changed) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    let mut reasons = Vec::new();
    for (id, hostile, at) in written {
        let of = by_id.remove(id).unwrap_or_default();
        missing += usize::from(of.is_empty());
        twice += of.len().saturating_sub(1);
        let Some((one, there)) = of.first() else {
            continue;
        };
        slowest = slowest.max(there.saturating_duration_since(*at));
        let body = hostile.record.body.as_deref().unwrap_or_default();
        changed += usize::from(one.message.body()[..] != *body);
        let reason = one.message.headers().get(copies::REASON);
        if reason.is_none_or(|reason| reason[..] != *hostile.reason.as_bytes()) {
            reasons.push(format!(
                "{}: {reason:?}, not {}",
                hostile.name, hostile.reason
            ));
        }
    }
    let mut findings = run.findings();
    findings.exactly("hostile", written.len(), HOSTILE);
    findings.exactly("missing among the dead letters", missing, 0);
    findings.exactly("there twice", twice, 0);
    findings.exactly("that nobody wrote", by_id.len(), 0);
    findings.exactly("with other bytes", changed, 0);
    findings.exactly("with another reason", reasons.len(), 0);
    reasons.truncate(5);
    findings.holds(reasons.is_empty(), reasons.join("; "));
    findings.within("slowest to be there", Some(slowest), run.limit(DEAD_WITHIN));
}
