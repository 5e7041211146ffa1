//! How a consumer is set up, and started.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use potluck_core::backoff::Backoff;
use potluck_core::envelope::{Envelope, EventBody};
use potluck_core::{
    Error, ErrorKind, Group, Member, Result, Retention, Start, Subscriber, Subscription, Topic,
};
use tokio::time::sleep;

use crate::bus::Bus;
use crate::consumer::Consumer;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::handler::{Context, Identity, Route, Routes};
use crate::outlet::Outlet;
use crate::policy::{OtherMajor, Unhandled};
use crate::retry::RetryPolicy;
use crate::settings::Settings;
use crate::shutdown;
use crate::source::Source;
use crate::stats::ConsumerStats;

/// The most deliveries that are held of one retry lane.
const LANE_HELD_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Sets up a [`Consumer`]: handlers by type of event, and how they are run.
///
/// Everything but a handler has a default that suits most.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use potluck_core::envelope::FreeFoodEvent;
/// use potluck_core::{Group, Topic};
/// use potluck_runtime::{Bus, Context, Failure};
///
/// async fn mail(event: FreeFoodEvent, context: Context) -> Result<(), Failure> {
///     if event.body.location.is_none() {
///         return Err(Failure::reject("nobody could find it"));
///     }
///     println!("{} (try {})", event.body.title, context.tries());
///     Ok(())
/// }
///
/// let bus = Bus::new(potluck_memory::connect("memory:")?);
/// let (topic, mailer) = (Topic::new("events.free-food")?, Group::new("mailer")?);
/// let consumer = bus.consumer(&topic, &mailer).on(mail).start().await?;
/// let stats = consumer.stop(Duration::from_secs(5)).await?;
/// assert_eq!(stats.events_failed, 0);
/// # Ok(())
/// # }
/// ```
///
/// Middleware is a function around a handler:
///
/// ```
/// use std::pin::Pin;
///
/// use potluck_core::envelope::Envelope;
/// use potluck_runtime::{Context, Failure};
///
/// type Try = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;
///
/// /// Says how long each try took.
/// fn timed<B, H, F>(handler: H) -> impl Fn(Envelope<B>, Context) -> Try
/// where
///     H: Fn(Envelope<B>, Context) -> F,
///     F: Future<Output = Result<(), Failure>> + Send + 'static,
/// {
///     move |event, context| {
///         let (id, this_try) = (context.id(), handler(event, context));
///         Box::pin(async move {
///             let began = std::time::Instant::now();
///             let result = this_try.await;
///             println!("{id} took {:?}", began.elapsed());
///             result
///         })
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "a consumer does nothing until it is started"]
pub struct ConsumerBuilder {
    bus: Bus,
    topic: Topic,
    group: Group,
    routes: Routes,
    /// A type that was registered twice.
    twice: Option<&'static str>,
    settings: Settings,
}

impl ConsumerBuilder {
    pub(crate) fn new(bus: Bus, topic: Topic, group: Group) -> Self {
        Self {
            bus,
            topic,
            group,
            routes: Routes::new(),
            twice: None,
            settings: Settings::default(),
        }
    }

    /// Registers the handler for the events of type `B`, which the handler's argument names.
    ///
    /// It runs again for the same event after a failure, a crash or a lost connection: it must be
    /// idempotent. Its future is dropped when its time limit is over, and when a stop's deadline
    /// is.
    pub fn on<B, H, F>(self, handler: H) -> Self
    where
        B: EventBody,
        H: Fn(Envelope<B>, Context) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.register(B::TYPE, Route::one(handler))
    }

    /// Registers a handler of up to `size` events of type `B` at once, for those who write to a
    /// database in slices. It is given what is there and waits for no more; of one ordering key
    /// there is one event in a slice at most.
    ///
    /// When it fails for several events, that is nobody's failure in particular: each is tried
    /// again for itself, at once, and a failure of one alone is what counts.
    pub fn on_batch<B, H, F>(self, size: NonZeroUsize, handler: H) -> Self
    where
        B: EventBody,
        H: Fn(Vec<(Envelope<B>, Context)>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.register(B::TYPE, Route::batch(size, handler))
    }

    fn register(mut self, kind: &'static str, route: Route) -> Self {
        if self.routes.insert(kind, Arc::new(route)).is_some() {
            self.twice = Some(kind);
        }
        self
    }

    /// The member's name; unique by default, which suits replicas and restarts.
    pub fn member(mut self, member: Member) -> Self {
        self.settings.member = member;
        self
    }

    /// Where the group begins if it does not exist yet; at the earliest message by default.
    pub fn begin_at(mut self, start: Start) -> Self {
        self.settings.start = start;
        self
    }

    /// How long this member may be silent before others take what it holds, where leases end. By
    /// default as the transport's URL says, or 60 s. Leases are kept while handlers run, so this is
    /// no limit of theirs.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = Some(lease);
        self
    }

    /// The most handlers at once; 16 by default.
    pub fn concurrency(mut self, handlers: NonZeroUsize) -> Self {
        self.settings.concurrency = handlers;
        self
    }

    /// The most deliveries of the topic that are held: being handled, waiting for a handler or for
    /// a try, being settled; 1,024 by default. Of each retry lane as many more are held, but 64 at
    /// most.
    pub fn max_held(mut self, deliveries: NonZeroUsize) -> Self {
        self.settings.max_held = deliveries;
        self
    }

    /// The most deliveries of one receive; by default as many as there is room for.
    pub fn count(mut self, deliveries: NonZeroUsize) -> Self {
        self.settings.count = deliveries;
        self
    }

    /// How long one receive waits when there is nothing; 5 s by default. A stop does not wait for
    /// it.
    pub fn block(mut self, wait: Duration) -> Self {
        self.settings.block = wait;
        self
    }

    /// How long one try may take before it counts as failed and its future is dropped; 5 min by
    /// default.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// How often a failed event is tried again, and when; [`RetryPolicy::default`] by default.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// Events of one ordering key, and those without a key together, are finished in order: while
    /// one waits for its next try, those behind it wait too. Without it a failed event is
    /// overtaken.
    ///
    /// Delays are then waited for in this process, and failures before a restart are forgotten. The
    /// order is that in which this member receives: where a group has several members, it is the
    /// broker's order per key only if
    /// [`Capabilities::ordering`](potluck_core::Capabilities::ordering) says so.
    pub fn strict_order(mut self) -> Self {
        self.settings.strict_order = true;
        self
    }

    /// What becomes of messages that are malformed, too large, invalid or of no version;
    /// dead-lettered by default.
    pub fn malformed(mut self, policy: Unhandled) -> Self {
        self.settings.malformed = policy;
        self
    }

    /// What becomes of events of a type without a handler; dead-lettered by default.
    pub fn unregistered(mut self, policy: Unhandled) -> Self {
        self.settings.unregistered = policy;
        self
    }

    /// What becomes of events of another major schema version; handled with a warning by default.
    pub fn other_major(mut self, policy: OtherMajor) -> Self {
        self.settings.other_major = policy;
        self
    }

    /// How many times the broker may hand a message over before it is dead-lettered as
    /// `crash_loop`, without its handler being started; 20 by default. It counts what was never
    /// settled, also what merely waited beside a message whose handler ends the process.
    pub fn max_deliveries(mut self, deliveries: NonZeroU32) -> Self {
        self.settings.max_deliveries = deliveries;
        self
    }

    /// Acknowledges events whose id is among the last `ids` that this consumer has handled with
    /// success, without handling them. It lives in this process: a restart forgets, and members do
    /// not know of each other's.
    pub fn deduplicate(mut self, ids: NonZeroUsize) -> Self {
        self.settings.deduplicate = Some(ids);
        self
    }

    /// How long [`run`](Self::run) waits for handlers once it is told to stop; 25 s by default.
    pub fn drain_within(mut self, deadline: Duration) -> Self {
        self.settings.drain_within = deadline;
        self
    }

    /// Declares the topic, the group, its retry lanes and its dead-letter topic, joins, and begins.
    ///
    /// While the broker is away it waits and tries on. **Dropped**, it has at most declared.
    ///
    /// # Errors
    ///
    /// `Config` when no handler is registered, or two are for one type, the topic is itself a lane
    /// or dead-letter topic, or a retry's delay is one that no lane can have; and whatever
    /// declaring and joining fail with, but `Unavailable`.
    pub async fn start(self) -> Result<Consumer> {
        self.check()?;
        let Self {
            bus,
            topic,
            group,
            routes,
            settings,
            ..
        } = self;
        let mut lanes = BTreeMap::new();
        if !settings.strict_order {
            for delay in settings.retry.lanes() {
                lanes.insert(delay, Outlet::new(topic.retry_lane(&group, delay)?));
            }
        }
        let dead_letters = Outlet::new(topic.dead_letter(&group)?);
        for outlet in lanes.values().chain([&dead_letters]) {
            let to = outlet.subscription();
            patiently(|| bus.transport().declare(to)).await?;
        }
        let mut to = Subscription::new(topic.clone(), group.clone())
            .member(settings.member.clone())
            .start(settings.start)
            .max_held(settings.max_held);
        to.lease = settings.lease;
        let mut sources = vec![subscribe(&bus, &to, None).await?];
        for (delay, outlet) in &lanes {
            let lane = outlet.subscription();
            let mut to = Subscription::new(lane.topic.clone(), lane.group.clone())
                .max_held(settings.max_held.min(LANE_HELD_MAX))
                .retention(Retention::UntilAcked);
            to.lease = settings.lease;
            match subscribe(&bus, &to, Some(*delay)).await {
                Ok(source) => sources.push(source),
                Err(error) => {
                    close(&sources).await;
                    return Err(error);
                }
            }
        }
        let identity = Arc::new(Identity { bus, topic, group });
        let engine = Engine::new(settings, identity, routes, sources, dead_letters, lanes);
        Ok(Consumer::begin(Arc::new(engine)))
    }

    /// Starts, runs until SIGINT or SIGTERM, and stops: handlers finish, within the deadline that
    /// [`drain_within`](Self::drain_within) sets. A second signal ends that at once.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start) and [`Consumer::stop`]; and why the consumer ended by itself.
    pub async fn run(self) -> Result<ConsumerStats> {
        let within = self.settings.drain_within;
        let mut signals = shutdown::Signals::listen()?;
        let consumer = tokio::select! {
            started = self.start() => started?,
            // It has read nothing yet, so there is nothing to drain.
            () = signals.next() => return Ok(ConsumerStats::default()),
        };
        tokio::select! {
            _ = consumer.ended() => {}
            () = signals.next() => {}
        }
        let within = async {
            tokio::select! {
                () = sleep(within) => {}
                () = signals.next() => {}
            }
        };
        consumer.stop_when(within).await
    }

    fn check(&self) -> Result<()> {
        let config = |say| Err(Error::new(ErrorKind::Config, "start consumer", say));
        if self.routes.is_empty() {
            return config("register a handler first");
        }
        if let Some(kind) = self.twice {
            let say = "two handlers are registered for one type of event; keep one";
            return Err(Error::new(ErrorKind::Config, "start consumer", say).with("type", kind));
        }
        if self.topic.is_derived() {
            return config(
                "a consumer is of a topic that applications publish to; read retry lanes and dead letters with a subscriber",
            );
        }
        self.settings.retry.check()
    }
}

async fn subscribe(bus: &Bus, to: &Subscription, lane: Option<Duration>) -> Result<Arc<Source>> {
    let subscriber: Arc<dyn Subscriber> = patiently(|| bus.transport().subscriber(to)).await?;
    Ok(Arc::new(Source::new(subscriber, lane, to.max_held)))
}

async fn close(sources: &[Arc<Source>]) {
    for source in sources {
        if let Err(error) = source.subscriber.close().await {
            tracing::debug!(%error, "closing after a failed start");
        }
    }
}

/// Tries on while the broker is away.
async fn patiently<T, F: Future<Output = Result<T>>>(attempt: impl Fn() -> F) -> Result<T> {
    let mut backoff = Backoff::dialling();
    let mut told = false;
    loop {
        match attempt().await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(%error, "the broker is away; a consumer waits for it");
                }
                sleep(backoff.pause()).await;
            }
            done => return done,
        }
    }
}
