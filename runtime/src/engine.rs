//! The state that the tasks of a consumer share: what waits, what is copied, what was counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use potluck_core::envelope::{Payload, Timestamp};
use potluck_core::{Delivery, Error};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::copies::History;
use crate::dedup::Dedup;
use crate::handler::{Erased, Identity, Route, Routes};
use crate::outlet::Outlet;
use crate::run_queue::{RunQueue, Taken};
use crate::settings::Settings;
use crate::source::{Hold, Source};
use crate::stats::{ConsumerStats, Recorder};
use crate::throttle::Throttle;

/// A delivery on its way through a consumer.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) source: Arc<Source>,
    pub(crate) hold: Hold,
    pub(crate) delivery: Delivery,
    pub(crate) history: History,
}

/// An item that a worker has taken, and with it its key.
pub(crate) type Job = Taken<Item>;

/// A job that waits to be handled with others of its type.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) job: Job,
    pub(crate) payload: Payload,
    pub(crate) event: Erased,
    pub(crate) published_at: Timestamp,
}

/// What a worker does next.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // A job is the common case; a box for each would cost more.
pub(crate) enum Next {
    Job(Job),
    Batch(Arc<Route>, Vec<Gathered>),
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    pub(crate) identity: Arc<Identity>,
    pub(crate) routes: Routes,
    /// The topic's subscription, then those of the lanes.
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) dead_letters: Outlet,
    pub(crate) lanes: BTreeMap<Duration, Outlet>,
    pub(crate) recorder: Recorder,
    pub(crate) failures: Throttle,
    /// A receive has failed, and none has succeeded since.
    pub(crate) deaf: AtomicBool,
    waiting: Mutex<Waiting>,
    /// There is work for one more worker.
    work: Notify,
    /// There is another that falls due first.
    parked: Notify,
    /// Nothing more is received.
    stopping: AtomicBool,
    /// It is so from now on.
    stopped: Notify,
    /// Why the consumer ends by itself.
    failed: watch::Sender<Option<Error>>,
    /// Writers of copies.
    copying: Mutex<JoinSet<()>>,
}

/// All that waits for something.
#[derive(Debug)]
struct Waiting {
    queue: RunQueue<Item>,
    /// For batch handlers, by route.
    gathered: Vec<(Arc<Route>, Vec<Gathered>)>,
    /// For their next try, by when that is.
    parked: BTreeMap<(Instant, u64), Job>,
    parkings: u64,
    dedup: Option<Dedup<Job>>,
    /// Nothing more is begun.
    stopping: bool,
}

impl Engine {
    pub(crate) fn new(
        settings: Settings,
        identity: Arc<Identity>,
        routes: Routes,
        sources: Vec<Arc<Source>>,
        dead_letters: Outlet,
        lanes: BTreeMap<Duration, Outlet>,
    ) -> Self {
        let waiting = Waiting {
            queue: RunQueue::default(),
            gathered: Vec::new(),
            parked: BTreeMap::new(),
            parkings: 0,
            dedup: settings.deduplicate.map(Dedup::new),
            stopping: false,
        };
        Self {
            settings,
            identity,
            routes,
            sources,
            dead_letters,
            lanes,
            recorder: Recorder::start(),
            failures: Throttle::default(),
            deaf: AtomicBool::new(false),
            waiting: Mutex::new(waiting),
            work: Notify::new(),
            parked: Notify::new(),
            stopping: AtomicBool::new(false),
            stopped: Notify::new(),
            failed: watch::Sender::new(None),
            copying: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether fewer deliveries wait than could be handled at once.
    pub(crate) fn is_hungry(&self) -> bool {
        self.waiting().queue.len() < self.settings.concurrency.get()
    }

    /// The key that orders a delivery. In strict order what has no key is in order as well.
    fn key(&self, delivery: &Delivery) -> Option<Bytes> {
        let key = delivery.message.key().cloned();
        if self.settings.strict_order {
            Some(key.unwrap_or_default())
        } else {
            key
        }
    }

    /// Lines deliveries up for their handlers. Once the consumer stops they come back.
    pub(crate) fn line_up(&self, items: Vec<Item>) -> Result<(), Vec<Item>> {
        let mut waiting = self.waiting();
        if waiting.stopping {
            return Err(items);
        }
        for item in items {
            let key = self.key(&item.delivery);
            waiting.queue.push(key, item);
        }
        drop(waiting);
        self.work.notify_one();
        Ok(())
    }

    /// The next thing to do; `None` once the consumer stops.
    pub(crate) async fn next(&self) -> Option<Next> {
        loop {
            // Before looking, so that no wake-up is missed between looking and waiting.
            let news = self.work.notified();
            if let Some(next) = self.look()? {
                return Some(next);
            }
            news.await;
        }
    }

    /// `None` once the consumer stops, `Some(None)` when there is nothing.
    fn look(&self) -> Option<Option<Next>> {
        let mut waiting = self.waiting();
        if waiting.stopping {
            return None;
        }
        let next = match waiting.queue.pop() {
            Some(job) => Some(Next::Job(job)),
            None => waiting
                .gathered
                .pop()
                .map(|(route, all)| Next::Batch(route, all)),
        };
        // Each worker that finds work wakes the next while there is more.
        if waiting.queue.has_ready() || !waiting.gathered.is_empty() {
            self.work.notify_one();
        }
        if waiting.queue.len() < self.settings.concurrency.get()
            && let Some(topic) = self.sources.first()
        {
            topic.look_again();
        }
        Some(next)
    }

    /// Adds a job to those that are handled with others of its type, and returns them all if there
    /// are enough. Whoever next finds nothing else to do takes them, so none waits for a batch to
    /// fill.
    pub(crate) fn gather(
        &self,
        route: &Arc<Route>,
        size: usize,
        one: Gathered,
    ) -> Option<Vec<Gathered>> {
        let mut waiting = self.waiting();
        let known = waiting
            .gathered
            .iter()
            .position(|(of, _)| Arc::ptr_eq(of, route));
        let place = known.unwrap_or_else(|| {
            waiting.gathered.push((route.clone(), Vec::new()));
            waiting.gathered.len() - 1
        });
        waiting.gathered[place].1.push(one);
        (waiting.gathered[place].1.len() >= size).then(|| waiting.gathered.swap_remove(place).1)
    }

    /// The key of a job that is done, or that waits elsewhere, is free.
    pub(crate) fn free(&self, key: Option<&Bytes>) {
        let Some(key) = key else { return };
        let mut waiting = self.waiting();
        waiting.queue.done(key);
        drop(waiting);
        self.work.notify_one();
    }

    /// Keeps a job until it is to be tried again.
    pub(crate) fn park(self: &Arc<Self>, job: Job, delay: Duration) {
        if !self.settings.strict_order {
            self.free(job.key.as_ref());
        }
        let mut waiting = self.waiting();
        if waiting.stopping {
            drop(waiting);
            let engine = self.clone();
            self.spawn(async move { engine.give_back(vec![job.item]).await });
            return;
        }
        waiting.parkings += 1;
        let at = (Instant::now() + delay, waiting.parkings);
        waiting.parked.insert(at, job);
        drop(waiting);
        self.parked.notify_one();
    }

    /// Lines parked jobs up as they fall due, for ever.
    pub(crate) async fn wake_parked(&self) {
        loop {
            let news = self.parked.notified();
            let next = {
                let mut waiting = self.waiting();
                let now = (Instant::now(), u64::MAX);
                let later = waiting.parked.split_off(&now);
                let due = std::mem::replace(&mut waiting.parked, later);
                for (_, job) in due {
                    if self.settings.strict_order {
                        waiting.queue.put_back(job);
                    } else {
                        waiting.queue.push(job.key, job.item);
                    }
                    self.work.notify_one();
                }
                waiting.parked.first_key_value().map(|((at, _), _)| *at)
            };
            match next {
                // Either way there is something to look at.
                Some(at) => drop(timeout_at(at, news).await),
                None => news.await,
            }
        }
    }

    /// Changes what is known of event ids, if that is asked for.
    pub(crate) fn dedup<T>(&self, ask: impl FnOnce(&mut Dedup<Job>) -> T) -> Option<T> {
        self.settings.deduplicate?;
        self.waiting().dedup.as_mut().map(ask)
    }

    /// An event of this id was handled or was not: what waited for that goes on.
    pub(crate) fn end_dedup(&self, id: Option<&str>, success: bool) {
        let Some(id) = id else { return };
        let waited = self
            .dedup(|dedup| dedup.end(id, success))
            .unwrap_or_default();
        if waited.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        for job in waited {
            waiting.queue.put_back(job);
        }
        drop(waiting);
        self.work.notify_one();
    }

    /// Runs a writer of a copy, of which there are never more than deliveries are held.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        while copying.try_join_next().is_some() {}
        copying.spawn(task);
    }

    /// Takes the writers, to wait for them.
    pub(crate) fn take_copying(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.copying.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on nothing new is begun. Returns what was not begun.
    pub(crate) fn stop(&self) -> Vec<Item> {
        self.stopping.store(true, Relaxed);
        let mut waiting = self.waiting();
        waiting.stopping = true;
        let mut items = waiting.queue.drain();
        let gathered = std::mem::take(&mut waiting.gathered);
        let gathered = gathered.into_iter().flat_map(|(_, all)| all);
        items.extend(gathered.map(|one| one.job.item));
        items.extend(
            std::mem::take(&mut waiting.parked)
                .into_values()
                .map(|job| job.item),
        );
        let known = waiting.dedup.as_mut();
        items.extend(
            known
                .map(Dedup::drain)
                .into_iter()
                .flatten()
                .map(|job| job.item),
        );
        drop(waiting);
        self.work.notify_waiters();
        self.stopped.notify_waiters();
        items
    }

    /// Waits until the consumer stops.
    pub(crate) async fn stopped(&self) {
        // Before looking, so that no wake-up is missed between looking and waiting.
        let news = self.stopped.notified();
        if !self.is_stopping() {
            news.await;
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// The consumer cannot go on: nothing more is received, and whoever waits for its end hears
    /// why.
    pub(crate) fn fail(&self, error: Error) {
        self.stopping.store(true, Relaxed);
        self.stopped.notify_waiters();
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(error);
            first
        });
    }

    /// Waits until the consumer cannot go on, and tells why.
    pub(crate) async fn failed(&self) -> Error {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(error) = failed.borrow_and_update().clone() {
                return error;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Why the consumer cannot go on, if that is so.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.borrow().clone()
    }

    /// Gives deliveries back, a slice for each source.
    pub(crate) async fn give_back(&self, items: Vec<Item>) {
        for source in &self.sources {
            let of = items
                .iter()
                .filter(|item| Arc::ptr_eq(&item.source, source));
            let holds: Vec<_> = of.map(|item| item.hold).collect();
            if holds.is_empty() {
                continue;
            }
            if let Err(error) = source.give_back(&holds, &self.recorder.counters).await {
                tracing::debug!(%error, "deliveries are given back by the close instead");
            }
        }
    }

    pub(crate) fn stats(&self) -> ConsumerStats {
        let held = self.sources.iter().map(|source| source.count()).sum();
        self.recorder.snapshot(held)
    }

    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf.load(Relaxed)
    }
}
