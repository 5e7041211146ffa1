//! Do the histories hold on a real server too, whose clock nobody can hold?
//!
//! Histories run side by side, each in a topic of its own. `CONFORMANCE_SEED` makes those of an
//! earlier run again; what fails is shrunk here, as far as a minute goes.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_brokers::skip::or_skip;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::check::check;
use crate::history::{Step, histories};

/// Histories at once.
const PARALLEL: usize = 12;
/// Short, because every history waits out a few.
const LEASE: Duration = Duration::from_millis(400);
/// The server counts idle time in milliseconds, by a clock of its own.
const SLACK: Duration = Duration::from_millis(20);
const SHRINK_MAX: Duration = Duration::from_secs(60);

fn seed() -> u64 {
    let given = std::env::var("CONFORMANCE_SEED").map(|text| text.parse());
    given.map_or_else(|_| fastrand::u64(..), |seed| seed.expect("a whole number"))
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config::default(), rng)
}

async fn on_redis(url: &str, history: &[Step]) -> Result<(), String> {
    let connect = || async { potluck_redis::connect(url) };
    check(history, connect, LEASE, SLACK).await
}

/// The smallest history found in time that fails, and why it does.
async fn shrunk(
    url: &str,
    mut tree: impl ValueTree<Value = Vec<Step>>,
    mut why: String,
) -> (Vec<Step>, String) {
    let (began, mut least) = (Instant::now(), tree.current());
    let mut goes_on = tree.simplify();
    while goes_on && began.elapsed() < SHRINK_MAX {
        let history = tree.current();
        goes_on = match on_redis(url, &history).await {
            Ok(()) => tree.complicate(),
            Err(reason) => {
                (least, why) = (history, reason);
                tree.simplify()
            }
        };
    }
    (least, why)
}

#[test]
fn histories_hold_on_redis() {
    let full = std::env::var_os("POTLUCK_FULL").is_some_and(|value| value == "1");
    let (seed, count) = (seed(), if full { 600 } else { 36 });
    println!("{count} histories on redis, CONFORMANCE_SEED={seed}");
    let mut runner = runner(seed);
    let trees = (0..count).map(|_| histories().new_tree(&mut runner).unwrap());
    let trees: Vec<_> = trees.collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let started = RedisServer::start(RedisOptions::default()).await;
        let Some(server) = or_skip(started).unwrap() else {
            return;
        };
        let url = &server.url();
        let runs = stream::iter(trees).map(|tree| async move {
            let verdict = on_redis(url, &tree.current()).await;
            verdict.err().map(|why| (tree, why))
        });
        let failed: Vec<_> = runs
            .buffer_unordered(PARALLEL)
            .filter_map(|failed| async { failed })
            .collect()
            .await;
        let failures = failed.len();
        if let Some((tree, why)) = failed.into_iter().next() {
            let (history, why) = shrunk(url, tree, why).await;
            let seeded = format!("CONFORMANCE_SEED={seed}");
            panic!("{seeded}: {failures} of {count} histories fail, as {history:?}\n{why}");
        }
    });
}
