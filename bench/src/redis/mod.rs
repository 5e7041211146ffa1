//! What do the Redis transport and the runtime over it cost beside raw redis-rs, on one server, in
//! one run?

mod driver;
mod raw;
mod runtime;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_core::{Group, Message, Publisher, Subscription, Topic, Transport};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};

use crate::process;
use crate::rounds::{Contender, Line, Report, Result, Sample, Target, turns};

const ROUNDS: usize = 5;
const WITHIN: Duration = Duration::from_secs(30);
/// A typical event is this large.
const BODY: usize = 450;
/// How much more CPU than the raw client a message may cost.
const DRIVER_CPU: f64 = 1.25;
const RUNTIME_CPU: f64 = 2.0;

pub(crate) fn run(current_thread: bool) -> Result<Report> {
    let runtime = if current_thread {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?
    };
    runtime.block_on(async {
        let server = RedisServer::start(RedisOptions::default()).await?;
        let bench = Bench {
            transport: potluck_redis::connect(&server.url())?,
            client: Client::open(server.url())?,
            body: runtime::event(0).to_json()?.into(),
        };
        let mut report = Report::default();
        for work in Work::ALL {
            let line = work.line();
            let mut samples = vec![Vec::new(); line.contenders.len()];
            for round in 0..=ROUNDS {
                for at in turns(round, samples.len()) {
                    bench.clear().await?;
                    let sample = match at {
                        0 => bench.raw(*work).await?,
                        1 => bench.driver(*work).await?,
                        _ => bench.runtime(*work).await?,
                    };
                    if round > 0 {
                        samples[at].push(sample);
                    }
                }
            }
            report.add(line, samples);
        }
        report.note(bench.backlog().await?);
        report.note(bench.backlog_through_consumer().await?);
        Ok(report)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    PublishOne,
    PublishInFlight,
    PublishSlices,
    Consume,
    EndToEnd,
}

impl Work {
    const ALL: &[Self] = &[
        Self::PublishOne,
        Self::PublishInFlight,
        Self::PublishSlices,
        Self::Consume,
        Self::EndToEnd,
    ];

    fn line(self) -> Line {
        let held = |name, target| Contender::held(name, target, Some(DRIVER_CPU));
        let runtime = |name, target| Contender::held(name, target, Some(RUNTIME_CPU));
        let (name, contenders) = match self {
            Self::PublishOne => (
                "publish, one awaited at a time",
                vec![
                    Contender::free("redis-rs XADD"),
                    held("potluck publish of one", Target::AtLeast(0.9)),
                    runtime("bus publish of an event", Target::AtLeast(0.9)),
                ],
            ),
            Self::PublishInFlight => (
                "publish, 256 in flight",
                vec![
                    Contender::free("redis-rs XADD, multiplexed"),
                    held("potluck publish of one", Target::AtLeast(1.3)),
                    runtime("bus publish of an event", Target::AtLeast(1.2)),
                ],
            ),
            Self::PublishSlices => (
                "publish, slices of 100",
                vec![
                    Contender::free("redis-rs pipeline of 100 XADD"),
                    held("potluck publish of 100", Target::AtLeast(0.95)),
                ],
            ),
            Self::Consume => (
                "consume and acknowledge, 1000 at a time",
                vec![
                    Contender::free("redis-rs COUNT 1000, read ahead"),
                    held("potluck receive and ack", Target::AtLeast(0.9)),
                    runtime("consumer: decode, handle, ack", Target::AtLeast(0.7)),
                ],
            ),
            Self::EndToEnd => (
                "end to end at 1,000/s, p50",
                vec![
                    Contender::free("redis-rs XADD, XREADGROUP, XACK"),
                    held("potluck publish, receive, ack", Target::AtMost(1.15)),
                    runtime("bus publish, consumer", Target::AtMost(1.3)),
                ],
            ),
        };
        let unit = if self == Self::EndToEnd {
            "µs"
        } else {
            "messages/s"
        };
        Line {
            name,
            unit,
            contenders,
        }
    }

    fn messages(self) -> usize {
        match self {
            Self::PublishOne => 20_000,
            Self::PublishInFlight | Self::PublishSlices | Self::Consume => 200_000,
            Self::EndToEnd => 2_000,
        }
    }
}

struct Bench {
    transport: Arc<dyn Transport>,
    client: Client,
    body: Bytes,
}

const TOPIC: &str = "bench";
const GROUP: &str = "group";

impl Bench {
    async fn connection(&self) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        Ok(self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    async fn clear(&self) -> Result<()> {
        redis::cmd("FLUSHALL")
            .exec_async(&mut self.connection().await?)
            .await?;
        Ok(())
    }

    fn to(&self) -> Result<Subscription> {
        let to = Subscription::new(Topic::new(TOPIC)?, Group::new(GROUP)?);
        Ok(to.max_held(NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN)))
    }

    fn message(&self) -> Message {
        Message::new(self.body.clone())
    }

    async fn fill(&self, publisher: &dyn Publisher, count: usize) -> Result<()> {
        let slice: Vec<_> = (0..1000).map(|_| self.message()).collect();
        for _ in 0..count / 1000 {
            publisher
                .publish(&Topic::new(TOPIC)?, &slice, WITHIN)
                .await?;
        }
        Ok(())
    }
}

/// Keeps `width` calls in flight until `count` are done.
async fn in_flight<F, T, E>(width: usize, count: usize, mut send: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<T, E>>,
    E: std::error::Error + 'static,
{
    let mut calls = FuturesUnordered::new();
    for _ in 0..count {
        if calls.len() == width
            && let Some(done) = calls.next().await
        {
            done?;
        }
        calls.push(send());
    }
    while let Some(done) = calls.next().await {
        done?;
    }
    Ok(())
}

/// Times a run.
struct Meter {
    started: Instant,
    cpu: Option<Duration>,
    count: usize,
}

impl Meter {
    fn start(count: usize) -> Self {
        Self {
            started: Instant::now(),
            cpu: process::cpu(),
            count,
        }
    }

    fn cpu_per_100k(&self) -> Option<f64> {
        let used = process::cpu()?.checked_sub(self.cpu?)?;
        Some(used.as_secs_f64() * 100_000.0 / self.count as f64)
    }

    fn rate(&self) -> Sample {
        let figure = self.count as f64 / self.started.elapsed().as_secs_f64();
        Sample {
            figure,
            cpu: self.cpu_per_100k(),
        }
    }

    fn median(&self, mut latencies: Vec<Duration>) -> Sample {
        latencies.sort_unstable();
        let median = latencies
            .get(latencies.len() / 2)
            .copied()
            .unwrap_or_default();
        Sample {
            figure: median.as_secs_f64() * 1e6,
            cpu: self.cpu_per_100k(),
        }
    }
}

/// A body that begins with the time since `epoch`.
fn stamped(epoch: Instant) -> Vec<u8> {
    let mut body = vec![b'x'; BODY];
    body[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
    body
}

fn age(epoch: Instant, body: &[u8]) -> Duration {
    let stamp = body
        .first_chunk::<8>()
        .map_or(0, |stamp| u64::from_le_bytes(*stamp));
    epoch.elapsed().saturating_sub(Duration::from_nanos(stamp))
}
