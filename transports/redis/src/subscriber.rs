//! A member of a group: receives over a connection of its own, settles over the shared one.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::backoff::Backoff;
use potluck_core::{
    Delivery, Error, ErrorKind, Receipt, Result, Retention, Settled, Subscriber, Subscription,
};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::error::Remedy;
use crate::fetch::{Fetched, Step};
use crate::link::{ANSWER_MAX, Link, Reports, deadline};
use crate::settle::{Settler, Verb};
use crate::table::Table;
use crate::transport::Shared;

/// How often to look for what others left, or released, at least. A consumer that stops needs half
/// a second to be sure of what it was handed; what it then gives back is another's within one.
const LOOK_EVERY: Duration = Duration::from_millis(350);
/// The most entries of one read, whatever the caller takes: they come in one answer.
const READ_MAX: usize = 1000;
/// How long to wait at least after a failure that a new connection does not mend.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// A settle may take this long to arrive; a lease that ends sooner is not surely alive.
const MARGIN_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct RedisSubscriber {
    shared: Arc<Shared>,
    to: Subscription,
    lease: Duration,
    link: Arc<Link>,
    table: Mutex<Table>,
    reading: tokio::sync::Mutex<Reading>,
    /// A settle made room.
    room: Notify,
    closed: AtomicBool,
    closing: Notify,
    /// Whether leaving was tried to the end.
    left: tokio::sync::Mutex<bool>,
}

/// What goes on from one receive to the next.
struct Reading {
    /// The step under way. It outlives a receive that was dropped or ran out of time.
    step: Option<Pin<Box<dyn Future<Output = Fetched> + Send>>>,
    look_at: Instant,
    cursor: String,
    generation: u64,
    /// When to look for what was assigned to us and never arrived. Twice after a loss: a read that
    /// was blocked on the server when its connection froze may take a message until it ends.
    reconcile_at: Vec<Instant>,
    backoff: Backoff,
    pause: Duration,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl RedisSubscriber {
    pub(crate) fn open(shared: Arc<Shared>, to: Subscription, lease: Duration) -> Result<Self> {
        let reports = Reports {
            state: None,
            counters: Some(shared.counters.clone()),
        };
        let link = Link::dial(&shared.config.connection, &shared.config.shown, reports)?;
        let table = Table::new(to.max_held.get(), shared.config.max_message);
        let reading = Reading {
            step: None,
            look_at: Instant::now(),
            cursor: "0-0".to_owned(),
            generation: 0,
            reconcile_at: Vec::new(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            pause: Duration::ZERO,
        };
        Ok(Self {
            shared,
            to,
            lease,
            link: Arc::new(link),
            table: Mutex::new(table),
            reading: tokio::sync::Mutex::new(reading),
            room: Notify::new(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            left: tokio::sync::Mutex::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            let say = "the subscriber is closed";
            return Err(Error::new(ErrorKind::Closed, operation, say));
        }
        self.shared.check_open(operation)
    }

    fn margin(&self) -> Duration {
        (self.lease / 4).min(MARGIN_MAX)
    }

    fn settler(&self) -> Settler<'_> {
        Settler {
            link: &self.shared.commands,
            topic: self.to.topic.as_str(),
            group: self.to.group.as_str(),
            member: self.to.member.as_str(),
            timeout: self.shared.config.timeout,
        }
    }

    /// Receives until there is something, or for ever: the caller has the deadline.
    async fn next(
        &self,
        reading: &mut Reading,
        max: usize,
        deadline: Instant,
    ) -> Result<Vec<Delivery>> {
        let mut looked = false;
        loop {
            self.check_open("receive")?;
            if let Some(deliveries) = self.hand_out(max).await? {
                self.shared.counters.delivered.add(deliveries.len());
                if deliveries.len() == max {
                    self.read_ahead(reading, max);
                }
                return Ok(deliveries);
            }
            if looked && Instant::now() >= deadline {
                return Ok(Vec::new());
            }
            if reading.step.is_none() {
                // Registered before looking, so that no settle is missed.
                let room = self.room.notified();
                match self.next_step(reading, max, Some(deadline)) {
                    Some(step) => reading.step = Some(Box::pin(step.run())),
                    None => {
                        let _ = timeout_at(reading.look_at, room).await;
                        continue;
                    }
                }
            }
            if let Some(step) = &mut reading.step {
                let fetched = step.as_mut().await;
                reading.step = None;
                self.absorb(reading, fetched)?;
                looked = true;
            }
        }
    }

    /// Hands out what waits; what waited for long is looked after first.
    async fn hand_out(&self, max: usize) -> Result<Option<Vec<Delivery>>> {
        let waited = self.table().waited(Instant::now(), self.lease, max);
        if !waited.is_empty() {
            let lease_until = Instant::now() + self.lease;
            let mut ids = waited;
            ids.sort_unstable();
            let gone = match self.settler().settle(Verb::Extend, &ids, true).await {
                Ok(gone) => gone,
                // A quiet time like any other.
                Err(error) if error.is_retryable() => return Ok(None),
                Err(error) => return Err(error),
            };
            let gone: Vec<_> = gone.into_iter().map(|place| ids[place]).collect();
            self.table().refreshed(&ids, &gone, lease_until);
        }
        let deliveries = self.table().hand_out(max);
        Ok((!deliveries.is_empty()).then_some(deliveries))
    }

    /// Sends the next read while the caller works on this slice. It was full, so there is more.
    fn read_ahead(&self, reading: &mut Reading, max: usize) {
        if reading.step.is_some() || self.table().free() < max {
            return;
        }
        if let Some(step) = self.next_step(reading, max, None) {
            let mut step: Pin<Box<dyn Future<Output = Fetched> + Send>> = Box::pin(step.run());
            // One poll sends it. Whoever receives next looks at the answer.
            let waker = std::task::Waker::noop();
            match step
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker))
            {
                std::task::Poll::Pending => reading.step = Some(step),
                std::task::Poll::Ready(fetched) => {
                    reading.step = Some(Box::pin(std::future::ready(fetched)));
                }
            }
        }
    }

    /// What to do next; `None` when there is no room for anything. Without a deadline it does not
    /// wait for messages.
    fn next_step(
        &self,
        reading: &mut Reading,
        max: usize,
        deadline: Option<Instant>,
    ) -> Option<Step> {
        let now = Instant::now();
        let looks = reading.look_at <= now;
        let (want, lapsed, reconcile) = {
            let table = self.table();
            let due = reading.reconcile_at.iter().any(|at| *at <= now);
            (
                table.free().min(max).min(READ_MAX),
                if looks { table.lapsed(now) } else { Vec::new() },
                due.then(|| table.ids()),
            )
        };
        if want == 0 && lapsed.is_empty() {
            // Not before the next look: until then nothing but a settle makes room.
            reading.look_at = reading.look_at.max(now + LOOK_EVERY / 5);
            return None;
        }
        if looks || reconcile.is_some() {
            self.table().look_again();
        }
        if looks {
            reading.look_at = now + LOOK_EVERY.min(self.lease / 4);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let block = left.filter(|left| !left.is_zero()).map(|left| {
            let until_look = reading.look_at.saturating_duration_since(now);
            left.min(until_look)
                .min(self.shared.config.block)
                .max(Duration::from_millis(1))
        });
        Some(Step {
            link: self.link.clone(),
            config: self.shared.config.clone(),
            to: self.to.clone(),
            lease: self.lease,
            want,
            lapsed,
            block,
            reconcile,
            reclaim: looks.then(|| reading.cursor.clone()),
            pause: std::mem::take(&mut reading.pause),
        })
    }

    /// Takes over what a step brought. It never waits, so that none of it can be lost.
    fn absorb(&self, reading: &mut Reading, fetched: Fetched) -> Result<()> {
        let now = Instant::now();
        {
            let mut table = self.table();
            table.drop_lapsed(&fetched.gone, now);
            if table.take_again(fetched.again) {
                reading.reconcile_at.push(now);
            }
            table.take_new(fetched.new);
        }
        self.shared.counters.lost_by_trim.add(fetched.trimmed);
        reading.cursor = match fetched.cursor {
            Some(cursor) => {
                // More pages are left: go on at the next step.
                reading.look_at = now;
                cursor
            }
            None => "0-0".to_owned(),
        };
        if fetched.reconciled {
            reading.reconcile_at.retain(|at| *at > now);
        }
        if fetched.generation > reading.generation {
            if reading.generation > 0 {
                self.reconcile_soon(reading);
            }
            reading.generation = fetched.generation;
        }
        if let Some(created) = fetched.regrouped {
            self.regrouped(created);
            reading.pause = reading.backoff.pause().max(PAUSE_MIN);
            return Ok(());
        }
        let Some(failure) = fetched.failure else {
            reading.backoff.reset();
            return Ok(());
        };
        // What the server did before it failed is not known.
        self.reconcile_soon(reading);
        if failure.remedy == Remedy::Redial {
            if failure.certain {
                reading.pause = reading.backoff.pause();
            }
            return Ok(());
        }
        reading.pause = reading.backoff.pause().max(PAUSE_MIN);
        if failure.error.is_retryable() {
            tracing::warn!(topic = %self.to.topic, group = %self.to.group, error = %failure.error, "receiving failed");
            Ok(())
        } else {
            Err(failure.error)
        }
    }

    fn reconcile_soon(&self, reading: &mut Reading) {
        let now = Instant::now();
        let late = now + 2 * self.shared.config.block + Duration::from_millis(500);
        reading.reconcile_at = vec![now, late];
    }

    /// The group is another one from now on: nothing of the one before can be settled.
    fn regrouped(&self, created: bool) {
        self.table().end_epoch();
        let (topic, group) = (&self.to.topic, &self.to.group);
        if created {
            self.shared.counters.groups_recreated.add(1);
            tracing::error!(%topic, %group, "the group vanished and was created again from the earliest message kept; expect messages again");
        } else {
            tracing::info!(%topic, %group, "the group vanished, and another member has created it again");
        }
    }

    async fn settle(
        &self,
        operation: &'static str,
        verb: Verb,
        receipts: &[Receipt],
    ) -> Result<Settled> {
        self.check_open(operation)?;
        if receipts.is_empty() {
            return Ok(Settled::default());
        }
        let found = self.table().find(receipts, self.margin());
        let ids: Vec<_> = found.live.iter().map(|(id, _)| *id).collect();
        let lease_until = Instant::now() + self.lease;
        let places = self
            .settler()
            .settle(verb, &ids, !found.surely_ours)
            .await?;
        let gone: Vec<_> = places.iter().map(|place| found.live[*place].1).collect();
        let done = found
            .live
            .iter()
            .copied()
            .filter(|(_, receipt)| !gone.contains(receipt));
        let counters = &self.shared.counters;
        let count = found.live.len() - gone.len();
        {
            let mut table = self.table();
            match verb {
                Verb::Extend => table.extend(done.map(|(_, receipt)| receipt), lease_until),
                Verb::Ack | Verb::AckAndDelete | Verb::Release => table.forget(done),
            }
            table.forget_stale(&gone);
            if found.surely_ours && !gone.is_empty() {
                // They were taken from us behind our back, so what waits may be gone as well.
                table.distrust_ready();
            }
        }
        match verb {
            Verb::Ack | Verb::AckAndDelete => counters.acked.add(count),
            Verb::Release => counters.released.add(count),
            Verb::Extend => {}
        }
        self.room.notify_one();
        Ok(self.named_stale(receipts, found.stale, gone))
    }

    /// Stale receipts in the order in which they were given.
    fn named_stale(&self, given: &[Receipt], unknown: Vec<Receipt>, gone: Vec<Receipt>) -> Settled {
        if unknown.is_empty() && gone.is_empty() {
            return Settled::default();
        }
        let mut left: Vec<_> = unknown.into_iter().chain(gone).collect();
        self.shared.counters.stale.add(left.len());
        // From behind, because of a receipt that is given twice the second is stale.
        let mut stale: Vec<_> = given
            .iter()
            .rev()
            .filter(|receipt| {
                let at = left.iter().position(|stale| stale == *receipt);
                at.map(|at| left.swap_remove(at)).is_some()
            })
            .copied()
            .collect();
        stale.reverse();
        Settled { stale }
    }

    /// Leaves the group: nothing stays with us, and the member goes unless something does.
    async fn leave(&self) -> Result<()> {
        let config = &self.shared.config;
        let until = Instant::now() + config.block + ANSWER_MAX.min(config.timeout);
        // A receive that nobody polls has the lock for ever.
        if let Ok(mut reading) = timeout_at(until, self.reading.lock()).await {
            if let Some(step) = &mut reading.step
                && let Ok(fetched) = timeout_at(until, step.as_mut()).await
            {
                // What it brings is ours, and has to be given back as well.
                let mut table = self.table();
                table.take_again(fetched.again);
                table.take_new(fetched.new);
            }
            reading.step = None;
        }
        let mut ids: Vec<_> = self.table().ids().into_iter().collect();
        ids.sort_unstable();
        let stale = self.settler().settle(Verb::Release, &ids, true).await?;
        self.table().end_epoch();
        self.shared.counters.released.add(ids.len() - stale.len());
        self.shared.remove_member(&self.to).await
    }
}

#[async_trait]
impl Subscriber for RedisSubscriber {
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Delivery>> {
        let deadline = deadline(wait);
        let closing = self.closing.notified();
        self.check_open("receive")?;
        let receive = async {
            let mut reading = self.reading.lock().await;
            self.next(&mut reading, max.get(), deadline).await
        };
        tokio::select! {
            biased;
            received = within(deadline, wait, receive) => received,
            () = closing => Err(Error::new(ErrorKind::Closed, "receive", "the subscriber is closed")),
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<Settled> {
        let verb = match self.to.retention {
            Retention::Keep => Verb::Ack,
            Retention::UntilAcked => Verb::AckAndDelete,
        };
        self.settle("ack", verb, receipts).await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.settle("release", Verb::Release, receipts).await
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.settle("extend", Verb::Extend, receipts).await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_waiters();
        // One that was dropped half way is gone on with.
        let mut left = self.left.lock().await;
        if *left {
            return Ok(());
        }
        let result = self.leave().await;
        self.link.close();
        *left = true;
        result
    }
}

/// Nothing in time is an empty slice. A read that does not wait still takes what is there, which
/// takes a round trip.
async fn within(
    deadline: Instant,
    wait: Duration,
    receive: impl Future<Output = Result<Vec<Delivery>>>,
) -> Result<Vec<Delivery>> {
    let deadline = if wait.is_zero() {
        Instant::now() + Duration::from_millis(100)
    } else {
        deadline
    };
    timeout_at(deadline, receive)
        .await
        .unwrap_or_else(|_| Ok(Vec::new()))
}
