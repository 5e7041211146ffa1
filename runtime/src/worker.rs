//! How one delivery is handled, from its decoding to what becomes of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::envelope::{Payload, Timestamp};
use potluck_core::{Error, ErrorKind};
use tokio::time::timeout;

use crate::copies::{self, Origin};
use crate::dead_letter::Reason;
use crate::dedup::Known;
use crate::engine::{Engine, Gathered, Job, Next};
use crate::failure::Failure;
use crate::handler::{Call, Context, Erased, Route};
use crate::intake::{self, Unfit};
use crate::policy::Unhandled;
use crate::retry::{self, IN_PROCESS_MAX};
use crate::shown::Shown;

/// What came of one try.
enum Tried {
    Done(Timestamp),
    Failed(Failure),
    Unfit(Unfit),
}

impl Engine {
    /// Handles what there is, one after the other, until the consumer stops.
    pub(crate) async fn work(self: Arc<Self>) {
        while let Some(next) = self.next().await {
            match next {
                Next::Job(job) => self.handle(job).await,
                Next::Batch(route, all) => self.handle_batch(&route, all).await,
            }
            // A handler that never waits would keep the receiver and the settler from running.
            tokio::task::consume_budget().await;
        }
    }

    async fn handle(self: &Arc<Self>, job: Job) {
        if !job.item.source.is_ours(job.item.hold).await {
            self.recorder.counters.stale.add(1);
            job.item.source.forget(job.item.hold);
            self.free(job.key.as_ref());
            return;
        }
        let found = intake::route(&job.item.delivery, &self.routes, self.settings.other_major);
        let (route, payload) = match found {
            Ok(found) => found,
            Err(unfit) => return self.refuse(job, None, unfit),
        };
        // Holding the head of a lane, a drain and a neighbour's crash hand over too, so lanes are
        // not judged by this count.
        let deliveries = job.item.delivery.attempt;
        if job.item.source.lane.is_none() && deliveries > self.settings.max_deliveries.get() {
            let error = format!("handed over {deliveries} times and never settled");
            return self.dead_letter(job, None, Reason::CrashLoop, error);
        }
        let Some(job) = self.first_of_its_id(job, &payload) else {
            return;
        };
        match &route.call {
            Call::One(_) => self.handle_one(job, &route, payload).await,
            Call::Batch { size, decode, .. } => match decode(&payload) {
                Ok(decoded) => {
                    let one = Gathered {
                        job,
                        payload,
                        event: decoded.call,
                        published_at: decoded.published_at,
                    };
                    if let Some(all) = self.gather(&route, size.get(), one) {
                        self.handle_batch(&route, all).await;
                    }
                }
                Err(invalid) => {
                    let unfit = Unfit::new(Reason::Invalid, invalid);
                    self.refuse(job, Some(&payload), unfit);
                }
            },
        }
    }

    /// The job, unless an event of its id was handled or is being handled.
    fn first_of_its_id(self: &Arc<Self>, job: Job, payload: &Payload) -> Option<Job> {
        let Some(id) = self.settings.deduplicate.and(payload.event_id()) else {
            return Some(job);
        };
        match self.dedup(|dedup| dedup.begin(&id, job))? {
            Known::No(job) => Some(job),
            Known::Done(job) => {
                self.recorder.counters.duplicates.add(1);
                job.item.source.finish(job.item.hold);
                self.free(job.key.as_ref());
                None
            }
            Known::Running => None,
        }
    }

    fn end_of_its_id(&self, payload: &Payload, success: bool) {
        let id = self.settings.deduplicate.and(payload.event_id());
        self.end_dedup(id.as_deref(), success);
    }

    async fn handle_one(self: &Arc<Self>, mut job: Job, route: &Route, payload: Payload) {
        loop {
            let context = self.context(&job);
            let tried = self.limited(self.try_one(route, &payload, context)).await;
            match tried {
                Tried::Done(published_at) => return self.succeed(&job, &payload, published_at),
                Tried::Unfit(unfit) => return self.refuse(job, Some(&payload), unfit),
                Tried::Failed(failure) => match self.fail_try(job, &payload, &failure) {
                    Some(again) => job = again,
                    None => return,
                },
            }
        }
    }

    async fn try_one(&self, route: &Route, payload: &Payload, context: Context) -> Tried {
        match &route.call {
            Call::One(call) => match call(payload, context) {
                Ok(decoded) => done(decoded.published_at, decoded.call.await),
                Err(invalid) => Tried::Unfit(Unfit::new(Reason::Invalid, invalid)),
            },
            Call::Batch { decode, call, .. } => match decode(payload) {
                Ok(decoded) => {
                    let alone = vec![(decoded.call, context)];
                    done(decoded.published_at, call(alone).await)
                }
                Err(invalid) => Tried::Unfit(Unfit::new(Reason::Invalid, invalid)),
            },
        }
    }

    /// Handles several events of a type. A failure is nobody's in particular, so each is then tried
    /// for itself, and what fails for itself is what counts.
    async fn handle_batch(self: &Arc<Self>, route: &Arc<Route>, all: Vec<Gathered>) {
        let Call::Batch { call, .. } = &route.call else {
            return;
        };
        let mut jobs = Vec::with_capacity(all.len());
        let mut events: Vec<(Erased, Context)> = Vec::with_capacity(all.len());
        for one in all {
            events.push((one.event, self.context(&one.job)));
            jobs.push((one.job, one.payload, one.published_at));
        }
        let first = jobs.first().map(|(_, _, published_at)| *published_at);
        let Some(first) = first else { return };
        let tried = self
            .limited(async { done(first, call(events).await) })
            .await;
        match tried {
            Tried::Done(_) => {
                for (job, payload, published_at) in &jobs {
                    self.succeed(job, payload, *published_at);
                }
            }
            Tried::Failed(failure) if jobs.len() == 1 => {
                if let Some((job, payload, _)) = jobs.pop()
                    && let Some(again) = self.fail_try(job, &payload, &failure)
                {
                    self.handle_one(again, route, payload).await;
                }
            }
            Tried::Failed(_) | Tried::Unfit(_) => {
                for (job, payload, _) in jobs {
                    self.handle_one(job, route, payload).await;
                }
            }
        }
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            topic: &self.identity.topic,
            max_message: self.identity.bus.transport().capabilities().max_message,
        }
    }

    fn context(&self, job: &Job) -> Context {
        Context {
            consumer: self.identity.clone(),
            message: job.item.delivery.message.clone(),
            id: job.item.delivery.id,
            tries: job.item.history.failures().saturating_add(1),
        }
    }

    /// A try within its time limit; neither its panic nor its silence goes further.
    async fn limited(&self, attempt: impl Future<Output = Tried>) -> Tried {
        let limit = self.settings.time_limit;
        match timeout(limit, AssertUnwindSafe(attempt).catch_unwind()).await {
            Ok(Ok(tried)) => tried,
            Ok(Err(panic)) => {
                let said = panic_text(&*panic).unwrap_or("something that is no text");
                Tried::Failed(Failure::Retry(format!("the handler panicked: {said}")))
            }
            Err(_) => Tried::Failed(Failure::Retry(format!(
                "the handler took longer than its limit of {limit:?}"
            ))),
        }
    }

    fn succeed(&self, job: &Job, payload: &Payload, published_at: Timestamp) {
        job.item.source.finish(job.item.hold);
        self.recorder.processed(published_at);
        self.end_of_its_id(payload, true);
        self.free(job.key.as_ref());
    }

    /// A try has failed. Returns the job if it is to be tried again at once.
    fn fail_try(
        self: &Arc<Self>,
        mut job: Job,
        payload: &Payload,
        failure: &Failure,
    ) -> Option<Job> {
        job.item.history.failed(failure.cause());
        self.recorder.counters.failed_tries.add(1);
        let failures = job.item.history.failures();
        if let Some(suppressed) = self.failures.admit() {
            tracing::warn!(
                topic = %self.identity.topic, group = %self.identity.group,
                id = %job.item.delivery.id, failures, suppressed,
                error = %Shown::failure(failure.cause()),
                "a handler failed"
            );
        }
        if let Failure::Reject(cause) = failure {
            self.dead_letter(job, Some(payload), Reason::Rejected, cause.clone());
            return None;
        }
        match self.settings.retry.after(failures) {
            retry::Next::Now => return Some(job),
            retry::Next::After(delay) => match self.lanes.get(&delay) {
                Some(_) if delay > IN_PROCESS_MAX => self.move_to_lane(job, payload, delay),
                _ => {
                    self.end_of_its_id(payload, false);
                    self.park(job, delay);
                }
            },
            retry::Next::GiveUp => {
                let cause = failure.cause().to_owned();
                self.dead_letter(job, Some(payload), Reason::Exhausted, cause);
            }
        }
        None
    }

    /// Copies the event into a retry lane, then acknowledges it. Nobody waits for that.
    fn move_to_lane(self: &Arc<Self>, job: Job, payload: &Payload, delay: Duration) {
        let (origin, item) = (self.origin(), &job.item);
        let copy = copies::for_lane(origin, &item.delivery, payload, &item.history, delay);
        self.end_of_its_id(payload, false);
        self.free(job.key.as_ref());
        let engine = self.clone();
        self.spawn(async move {
            if let Some(lane) = engine.lanes.get(&delay) {
                lane.store(&engine.identity.bus, &copy).await;
                engine.recorder.counters.retried.add(1);
                job.item.source.finish(job.item.hold);
            }
        });
    }

    /// Copies the message into the dead-letter topic, then acknowledges it. In strict order its key
    /// waits for that, otherwise nobody does.
    fn dead_letter(
        self: &Arc<Self>,
        job: Job,
        payload: Option<&Payload>,
        reason: Reason,
        error: String,
    ) {
        let (origin, item) = (self.origin(), &job.item);
        let why = (reason, &*error);
        let copy = copies::for_dead_letters(origin, &item.delivery, payload, &item.history, why);
        if let Some(payload) = payload {
            self.end_of_its_id(payload, false);
        }
        let strict = self.settings.strict_order;
        if !strict {
            self.free(job.key.as_ref());
        }
        let engine = self.clone();
        self.spawn(async move {
            engine.dead_letters.store(&engine.identity.bus, &copy).await;
            if let Some(suppressed) = engine.failures.admit() {
                tracing::error!(
                    topic = %engine.identity.topic, group = %engine.identity.group,
                    id = %job.item.delivery.id, %reason, error = %Shown::failure(&error),
                    suppressed,
                    "a message was dead-lettered"
                );
            }
            engine.recorder.counters.events_failed.add(1);
            job.item.source.finish(job.item.hold);
            if strict {
                engine.free(job.key.as_ref());
            }
        });
    }

    /// What becomes of a message that is for no handler.
    fn refuse(self: &Arc<Self>, job: Job, payload: Option<&Payload>, unfit: Unfit) {
        let policy = match unfit.reason {
            Reason::UnregisteredType => self.settings.unregistered,
            Reason::UnsupportedVersion => Unhandled::DeadLetter,
            _ => self.settings.malformed,
        };
        match policy {
            Unhandled::DeadLetter => self.dead_letter(job, payload, unfit.reason, unfit.error),
            Unhandled::Ignore => {
                if let Some(suppressed) = self.failures.admit() {
                    tracing::warn!(
                        topic = %self.identity.topic, group = %self.identity.group,
                        id = %job.item.delivery.id, reason = %unfit.reason,
                        error = %Shown::failure(&unfit.error), suppressed,
                        "a message is ignored"
                    );
                }
                self.recorder.counters.ignored.add(1);
                if let Some(payload) = payload {
                    self.end_of_its_id(payload, false);
                }
                job.item.source.finish(job.item.hold);
                self.free(job.key.as_ref());
            }
            Unhandled::Stop => {
                let what = "a message is for no handler, and the consumer is told to stop then";
                self.fail(
                    Error::new(ErrorKind::Invalid, "consume", what)
                        .with("topic", &self.identity.topic)
                        .with("id", job.item.delivery.id)
                        .with("reason", unfit.reason)
                        .with("error", unfit.error),
                );
                // Its key stays taken: what follows it in order is not handled before it.
                let engine = self.clone();
                self.spawn(async move { engine.give_back(vec![job.item]).await });
            }
        }
    }
}

fn done(published_at: Timestamp, result: Result<(), Failure>) -> Tried {
    match result {
        Ok(()) => Tried::Done(published_at),
        Err(failure) => Tried::Failed(failure),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied())
}
