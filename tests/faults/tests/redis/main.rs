//! What becomes of messages when Redis fails? Each case on a server of its own.
//!
//! Without `redis-server` the cases are shown as ignored; with `CONFORMANCE_REQUIRED=1` that is a
//! failure. Cases that only `make test-all` runs are shown as ignored without `POTLUCK_FULL=1`.

mod broker;
mod failover;
mod groups;
mod memory;
mod runtime;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use potluck_brokers::redis::{self, Persistence, RedisOptions};
use potluck_faults::network::Cut;
use potluck_faults::suite::{self, Case};
use potluck_faults::{network, reads, server, workers};

use broker::Redis;

/// How long a Redis command may go unanswered until its connection is given up.
const ANSWER: Duration = Duration::from_secs(2);
const WORKER: &str = env!("CARGO_BIN_EXE_faults-consumer");

/// The rows, numbered as the fault tests are.
const CASES: &[Case] = &[
    Case::starred("01_worker_killed", |run| {
        Box::pin(async {
            let redis = Redis::start().await?;
            let again = Duration::from_secs(3 + 2);
            workers::killed(run, &redis, Path::new(WORKER), again).await
        })
    }),
    Case::starred("01_worker_restarted", |run| {
        Box::pin(async { workers::restarted(run, &Redis::start().await?).await })
    }),
    Case::starred("05_read_ends_or_is_dropped", |run| {
        Box::pin(async { reads::end_of_read(run, &Redis::start().await?, "block=60ms").await })
    }),
    Case::starred("09_server_killed", |run| {
        Box::pin(async {
            let kept = RedisOptions::default().persistence(Persistence::AofEverysec);
            let redis = Redis::start_with(kept).await?;
            let (away, recovery) = (Duration::from_secs(3), Duration::from_secs(3));
            server::killed(run, &redis, away, recovery).await
        })
    }),
    Case::starred("12_connections_killed", |run| {
        Box::pin(async {
            network::connections_end(run, &Redis::start().await?, Cut::ByServer).await
        })
    }),
    Case::starred("12_connections_cut", |run| {
        Box::pin(async {
            network::connections_end(run, &Redis::start().await?, Cut::OnTheWay).await
        })
    }),
    Case::starred("13_half_open", |run| {
        Box::pin(async {
            let detection = 2 * ANSWER + Duration::from_secs(1);
            network::half_open(run, &Redis::start().await?, detection).await
        })
    }),
    Case::starred("14_silent_server", |run| {
        Box::pin(async {
            network::silent(run, &Redis::start().await?, Duration::from_secs(6)).await
        })
    }),
    Case::full("15_black_hole_at_handshake", |run| {
        Box::pin(async { network::black_hole_at_handshake(run, &Redis::start().await?).await })
    }),
    Case::starred("16_replies_lost", |run| {
        Box::pin(async { network::replies_lost(run, &Redis::start().await?).await })
    }),
    Case::full("17_server_stopped", |run| {
        Box::pin(async { server::stopped(run, &Redis::start().await?).await })
    }),
    Case::full("19_out_of_memory", |run| Box::pin(memory::full(run))),
    Case::starred("20_flushed", |run| Box::pin(groups::flushed(run))),
    Case::starred("20_topic_deleted", |run| Box::pin(groups::deleted(run))),
    Case::starred("20_group_destroyed", |run| Box::pin(groups::destroyed(run))),
    Case::full("21_demoted", |run| Box::pin(failover::demoted(run))),
    Case::full("21_failed_over_unreplicated", |run| {
        Box::pin(failover::with_min_replicas(run, 0))
    }),
    Case::full("21_failed_over_min_replicas", |run| {
        Box::pin(failover::with_min_replicas(run, 1))
    }),
];

fn main() -> ExitCode {
    let missing = (!redis::is_available()).then(|| {
        "redis-server is not installed (Debian, Ubuntu: apt-get install redis-server)".to_owned()
    });
    suite::main("redis", missing, &[CASES, runtime::CASES].concat())
}
