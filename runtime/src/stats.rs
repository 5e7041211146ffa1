//! What a consumer counts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use potluck_core::envelope::Timestamp;
use potluck_core::stats::Counter;
use tokio::time::Instant;

/// The longest latency that is told apart: a day.
const LATENCY_MAX_MS: u64 = 24 * 60 * 60 * 1000;

macro_rules! counted {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a consumer has done since it was started. Each count is exact; together they are
        /// not a snapshot of one instant.
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
        #[non_exhaustive]
        pub struct ConsumerStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Deliveries held now: waiting, being handled, waiting to be tried again here, or
            /// being settled.
            pub in_flight: u64,
            /// Since the consumer was started.
            pub uptime_seconds: f64,
            /// `events_processed` over the uptime.
            pub events_per_second: f64,
            /// From an event's `published_at` until its handler succeeded, by the wall clock.
            pub latency: Latency,
        }

        /// The counters behind [`ConsumerStats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($(#[$doc])* pub(crate) $name: Counter,)* }

        impl Recorder {
            /// The counts now.
            pub(crate) fn snapshot(&self, in_flight: usize) -> ConsumerStats {
                let uptime_seconds = self.started.elapsed().as_secs_f64();
                let processed = self.counters.events_processed.get();
                ConsumerStats {
                    $($name: self.counters.$name.get(),)*
                    in_flight: in_flight as u64,
                    uptime_seconds,
                    events_per_second: rate(processed, uptime_seconds),
                    latency: self.latency(),
                }
            }
        }
    };
}

counted! {
    /// Deliveries received, each hand-over for itself.
    received,
    /// Events whose handler succeeded.
    events_processed,
    /// Events that were given up: each is in the dead-letter topic.
    events_failed,
    /// Tries that failed: the handler answered so, panicked, or took too long.
    failed_tries,
    /// Events that were copied into a retry lane.
    retried,
    /// Messages that a policy said to ignore.
    ignored,
    /// Events that were handled before, by their ids, and so were only acknowledged.
    duplicates,
    /// Deliveries given back without being handled.
    given_back,
    /// Settles that came too late: the event is handled twice.
    stale,
}

/// A spread of latencies in milliseconds: each percentile is exact to one in a hundred, and what is
/// over a day counts as a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50_ms: u64,
    /// Nine in ten.
    pub p90_ms: u64,
    /// Ninety-nine in a hundred.
    pub p99_ms: u64,
    /// All.
    pub max_ms: u64,
}

/// How many milliseconds ago an event was published, by the wall clock.
pub(crate) fn latency_of(published_at: Timestamp) -> u64 {
    // A producer's clock may be ahead of ours.
    let latency = (chrono::Utc::now() - published_at.get()).to_std();
    u64::try_from(latency.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}

/// Counters, latencies and the start of the clock.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) counters: Counters,
    started: Instant,
    /// `None` only if the histogram's bounds were wrong, which a test rules out.
    latencies: Option<Mutex<Histogram<u64>>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        Self {
            counters: Counters::default(),
            started: Instant::now(),
            latencies: Histogram::new_with_max(LATENCY_MAX_MS, 2)
                .ok()
                .map(Mutex::new),
        }
    }

    /// An event that was published then has been handled now.
    pub(crate) fn processed(&self, published_at: Timestamp) {
        self.counters.events_processed.add(1);
        let ms = latency_of(published_at);
        if let Some(latencies) = &self.latencies {
            let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.saturating_record(ms.min(LATENCY_MAX_MS));
        }
    }

    fn latency(&self) -> Latency {
        let Some(latencies) = &self.latencies else {
            return Latency::default();
        };
        let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
        // The histogram tells the upper end of a step, which may be beyond the longest.
        let at = |quantile| latencies.value_at_quantile(quantile).min(LATENCY_MAX_MS);
        Latency {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // A rate needs no more than 52 bits.
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rates_and_latencies_are_of_what_was_processed() {
        let recorder = Recorder::start();
        assert_eq!(recorder.snapshot(0).events_per_second, 0.0);
        tokio::time::advance(Duration::from_secs(2)).await;
        let ago = |ms| Timestamp::new(chrono::Utc::now() - Duration::from_millis(ms)).unwrap();
        for ms in [1000, 2000, 3000] {
            recorder.processed(ago(ms));
        }
        let stats = recorder.snapshot(7);
        assert_eq!((stats.events_processed, stats.in_flight), (3, 7));
        assert_eq!(stats.events_per_second, 1.5);
        assert!((1990..2040).contains(&stats.latency.p50_ms), "{stats:?}");
        assert!(stats.latency.max_ms >= 3000);
        // Neither a producer of the future nor one of long ago upsets it.
        recorder.processed(Timestamp::new(chrono::Utc::now() + Duration::from_secs(60)).unwrap());
        recorder.processed("0001-01-01T00:00:00Z".parse().unwrap());
        assert!(recorder.snapshot(0).latency.max_ms >= LATENCY_MAX_MS);
    }
}
