//! How deliveries come in: from the topic as there is room, from a retry lane as they fall due.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use potluck_core::backoff::Backoff;
use potluck_core::{Delivery, ErrorKind, Result};
use tokio::time::{Instant, sleep, sleep_until};

use crate::copies::{self, History};
use crate::engine::{Engine, Item};
use crate::source::Source;

/// How long to look, after a stop has cut a receive short, for what it had under way. A driver's
/// read of its own waits no longer.
const SWEEP: Duration = Duration::from_millis(500);

impl Engine {
    /// Receives from the topic until the consumer stops.
    pub(crate) async fn receive(self: Arc<Self>, source: Arc<Source>) {
        let mut backoff = Backoff::dialling();
        loop {
            let count = self.settings.count.get();
            let room = tokio::select! {
                biased;
                () = self.stopped() => return,
                room = source.room(count, || self.is_hungry()) => room,
            };
            let max = room.min(self.settings.count);
            let Some(received) = self.receive_slice(&source, max, self.settings.block).await else {
                return;
            };
            let Some(deliveries) = self.heard(received, &mut backoff).await else {
                continue;
            };
            let items = self.take(&source, deliveries, |_| History::default());
            if let Err(late) = self.line_up(items) {
                return self.give_back(late).await;
            }
        }
    }

    /// Receives from a retry lane until the consumer stops, and holds what is not due yet. Within a
    /// lane all wait equally long, so the first in is the first due.
    pub(crate) async fn receive_lane(self: Arc<Self>, source: Arc<Source>, delay: Duration) {
        let mut backoff = Backoff::dialling();
        let mut held: VecDeque<(Instant, Item)> = VecDeque::new();
        while !self.is_stopping() {
            let now = Instant::now();
            let due = held.iter().take_while(|(at, _)| *at <= now).count();
            let due = held.drain(..due).map(|(_, item)| item).collect();
            if let Err(late) = self.line_up(due) {
                self.give_back(late).await;
                break;
            }
            let next = held.front().map(|(at, _)| *at);
            let room = tokio::select! {
                biased;
                () = self.stopped() => break,
                room = source.room(1, || true) => room,
                () = until(next) => continue,
            };
            let block = self.settings.block;
            let wait = next.map_or(block, |at| at.duration_since(Instant::now()).min(block));
            let Some(received) = self.receive_slice(&source, room, wait).await else {
                break;
            };
            let Some(deliveries) = self.heard(received, &mut backoff).await else {
                continue;
            };
            let seen_at = Instant::now();
            let items = self.take(&source, deliveries, |delivery| {
                History::of_copy(delivery.message.headers())
            });
            held.extend(items.into_iter().map(|item| {
                let left = copies::left_to_wait(item.delivery.message.headers(), delay);
                (seen_at + left, item)
            }));
        }
        self.give_back(held.into_iter().map(|(_, item)| item).collect())
            .await;
    }

    /// One receive. When the consumer stops meanwhile, it is cut short, and what it had under way
    /// is given back; then there is nothing to go on with.
    async fn receive_slice(
        &self,
        source: &Arc<Source>,
        max: NonZeroUsize,
        wait: Duration,
    ) -> Option<Result<Vec<Delivery>>> {
        tokio::select! {
            biased;
            received = source.subscriber.receive(max, wait) => return Some(received),
            () = self.stopped() => {}
        }
        if let Ok(deliveries) = source.subscriber.receive(max, SWEEP).await {
            let items = self.take(source, deliveries, |_| History::default());
            self.give_back(items).await;
        }
        None
    }

    /// What a receive came to. After a failure it pauses, and the consumer is not ready until one
    /// succeeds; when the subscriber was closed beneath us, the consumer ends.
    async fn heard(
        &self,
        received: Result<Vec<Delivery>>,
        backoff: &mut Backoff,
    ) -> Option<Vec<Delivery>> {
        let error = match received {
            Ok(deliveries) => {
                if self.deaf.swap(false, Relaxed) {
                    tracing::info!(topic = %self.identity.topic, group = %self.identity.group, "receiving again");
                }
                backoff.reset();
                return Some(deliveries);
            }
            Err(error) => error,
        };
        if error.kind() == ErrorKind::Closed {
            self.fail(error);
            self.stopped().await;
            return None;
        }
        if !self.deaf.swap(true, Relaxed) {
            tracing::error!(topic = %self.identity.topic, group = %self.identity.group, %error, "cannot receive; trying on");
        }
        tokio::select! {
            biased;
            () = self.stopped() => {}
            () = sleep(backoff.pause()) => {}
        }
        None
    }

    fn take(
        &self,
        source: &Arc<Source>,
        deliveries: Vec<Delivery>,
        history: impl Fn(&Delivery) -> History,
    ) -> Vec<Item> {
        self.recorder.counters.received.add(deliveries.len());
        let holds = source.take(&deliveries, Instant::now());
        let pairs = holds.into_iter().zip(deliveries);
        let items = pairs.map(|(hold, delivery)| Item {
            source: source.clone(),
            hold,
            history: history(&delivery),
            delivery,
        });
        items.collect()
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
