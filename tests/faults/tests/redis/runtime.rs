//! What becomes of events when Redis, a worker or a handler fails under a `Consumer`?

use std::path::Path;
use std::time::Duration;

use potluck_faults::runtime::{absent, crashes, full, handlers, hostile, signals};
use potluck_faults::scene::Server;
use potluck_faults::suite::Case;

use crate::broker::Redis;

const WORKER: &str = env!("CARGO_BIN_EXE_faults-worker");

/// The rows, numbered as the fault tests are.
pub(crate) const CASES: &[Case] = &[
    Case::starred("runtime_01_worker_killed", |run| {
        Box::pin(async {
            let again = Duration::from_secs(3 + 2);
            crashes::killed(run, &Redis::start().await?, Path::new(WORKER), again).await
        })
    }),
    Case::starred("runtime_01_restarted", |run| {
        Box::pin(async { crashes::restarted(run, &Redis::start().await?).await })
    }),
    Case::starred("runtime_07_dead_letters_refused", |run| {
        Box::pin(async { full::dead_letters_refused(run, &Redis::start().await?).await })
    }),
    Case::starred("runtime_07_retries_refused", |run| {
        Box::pin(async { full::retries_refused(run, &Redis::start().await?).await })
    }),
    Case::starred("runtime_08_killed_between_copy_and_ack", |run| {
        Box::pin(async {
            crashes::between_copy_and_ack(run, &Redis::start().await?, Path::new(WORKER)).await
        })
    }),
    Case::starred("runtime_26_handlers_misbehave", |run| {
        Box::pin(async {
            let redis = Redis::start().await?;
            handlers::misbehave(run, async || redis.connect(redis.addr(), "")).await
        })
    }),
    Case::starred("runtime_27_terminated", |run| {
        Box::pin(async {
            signals::terminated(run, &Redis::start().await?, Path::new(WORKER)).await
        })
    }),
    Case::starred("runtime_27_terminated_as_a_whole", |run| {
        Box::pin(async {
            signals::terminated_as_a_whole(run, &Redis::start().await?, Path::new(WORKER)).await
        })
    }),
    Case::starred("runtime_28_broker_down_at_start", |run| {
        Box::pin(async { absent::at_start(run, &Redis::start().await?, Path::new(WORKER)).await })
    }),
    Case::starred("runtime_29_hostile_inputs", |run| {
        Box::pin(async { hostile::inputs(run, &Redis::start().await?).await })
    }),
];
