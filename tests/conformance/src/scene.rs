//! How does a case run consumers, and note what their handlers were given and did?

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use potluck_core::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck_core::{
    Delivery, Figure, Group, Headers, Message, Publisher, Receipt, Retention, Subscription,
};
use potluck_runtime::{Bus, ConsumerBuilder, Failure, RetryPolicy};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::case::{Broken, Verdict};
use crate::context::{Context, SOON, WITHIN};

/// The delay of the shortest lanes that cases wait for: just over what is waited for in process.
pub(crate) const LANE: Duration = Duration::from_millis(1200);
/// A lease that no case lives to see the end of.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// More than any case needs: whoever starts more tries again for ever, and at once.
const STARTS_MAX: usize = 500;
/// How the last messages of keys begin.
const LAST: &str = "the last of";
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a handler does with a try.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Succeed,
    Fail,
    Reject,
    Panic,
    Hang,
    /// Works this long, and succeeds.
    Work(Duration),
    /// Works until the scene's gate is open, and succeeds.
    Wait,
}

/// What the event of an id does at its n-th try.
pub(crate) type Plan = dyn Fn(&str, u32) -> Act + Send + Sync;

/// One start of a handler.
#[derive(Clone, Debug)]
pub(crate) struct Try {
    pub(crate) event: String,
    /// As the runtime tells the handler.
    pub(crate) number: u32,
    pub(crate) headers: Headers,
    pub(crate) began: Instant,
    /// The same where the clock does not stop when it is paused.
    pub(crate) wall: std::time::Instant,
    /// When the handler came to an end by itself, in success or failure.
    pub(crate) ended: Option<Instant>,
    pub(crate) succeeded: bool,
}

/// What the handlers of a group did, in order of their starts.
#[derive(Debug, Default)]
pub(crate) struct Diary(Mutex<Vec<Try>>);

impl Diary {
    fn book(&self) -> MutexGuard<'_, Vec<Try>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a start, and returns its place.
    pub(crate) fn begin(&self, event: &str, around: &potluck_runtime::Context) -> usize {
        let mut book = self.book();
        book.push(Try {
            event: event.to_owned(),
            number: around.tries(),
            headers: around.headers().clone(),
            began: Instant::now(),
            wall: std::time::Instant::now(),
            ended: None,
            succeeded: false,
        });
        book.len() - 1
    }

    pub(crate) fn end(&self, place: usize, succeeded: bool) {
        if let Some(one) = self.book().get_mut(place) {
            one.ended = Some(Instant::now());
            one.succeeded = succeeded;
        }
    }

    pub(crate) fn all(&self) -> Vec<Try> {
        self.book().clone()
    }

    /// The starts of one event's handler.
    pub(crate) fn of(&self, event: &str) -> Vec<Try> {
        let mut all = self.all();
        all.retain(|one| one.event == event);
        all
    }

    /// The numbers of an event's tries, as its handler was told.
    pub(crate) fn numbers(&self, event: &str) -> Vec<u32> {
        self.of(event).iter().map(|one| one.number).collect()
    }

    /// How many handlers have succeeded.
    pub(crate) fn successes(&self) -> usize {
        self.book().iter().filter(|one| one.succeeded).count()
    }

    /// How many handlers were started.
    pub(crate) fn starts(&self) -> usize {
        self.book().len()
    }
}

/// A topic, a group of it, and the lanes and dead letters that belong to both.
pub(crate) struct Scene<'a> {
    pub(crate) context: &'a Context,
    pub(crate) to: Subscription,
    pub(crate) diary: Arc<Diary>,
    publisher: Arc<dyn Publisher>,
    /// The ordering keys in use: what follows a message is shown per key.
    keys: Arc<Mutex<BTreeSet<String>>>,
    gate: Arc<watch::Sender<bool>>,
}

impl<'a> Scene<'a> {
    /// A topic of the case's own, declared with one group.
    pub(crate) async fn open(context: &'a Context) -> Result<Self, Broken> {
        let scene = Self {
            context,
            to: context.declared().await?,
            diary: Arc::default(),
            publisher: context.transport().publisher().await?,
            keys: Arc::default(),
            gate: Arc::new(watch::Sender::new(false)),
        };
        scene.will_delete_derived()?;
        Ok(scene)
    }

    /// The same topic as another group sees it, declared.
    pub(crate) async fn group(&self, name: &str) -> Result<Self, Broken> {
        let to = self.context.group_of(&self.to, name)?;
        self.context.transport().declare(&to).await?;
        let scene = Self {
            context: self.context,
            to,
            diary: Arc::default(),
            publisher: self.publisher.clone(),
            keys: self.keys.clone(),
            gate: self.gate.clone(),
        };
        scene.will_delete_derived()?;
        Ok(scene)
    }

    /// Every lane that cases use, whether or not this one does.
    fn will_delete_derived(&self) -> Result<(), Broken> {
        let (topic, group) = (&self.to.topic, &self.to.group);
        let derived = Group::of_derived();
        let lanes = [LANE, LONG].map(|delay| topic.retry_lane(group, delay));
        for lane in lanes {
            self.context.will_delete(&lane?, &derived);
        }
        self.context
            .will_delete(&topic.dead_letter(group)?, &derived);
        Ok(())
    }

    /// The dead letters, for whoever reads them.
    pub(crate) fn dead(&self) -> Result<Subscription, Broken> {
        let dead = self.to.topic.dead_letter(&self.to.group)?;
        Ok(Subscription::new(dead, Group::of_derived()).retention(Retention::UntilAcked))
    }

    /// A message with a valid event of this id.
    pub(crate) fn event(&self, id: &str, key: &str) -> Result<Message, Broken> {
        let body = FreeFood::new(Text::new("soup")?);
        let event = FreeFoodEvent::builder(body).event_id(id)?.build();
        self.keyed(event.to_message()?, key)
    }

    /// A message with this key, which is noted.
    pub(crate) fn keyed(&self, message: Message, key: &str) -> Result<Message, Broken> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned());
        Ok(message.with_key(key.to_owned())?)
    }

    /// Publishes messages in one slice.
    pub(crate) async fn send(&self, messages: &[Message]) -> Result<Vec<String>, Broken> {
        let topic = &self.to.topic;
        let ids = self.publisher.publish(topic, messages, WITHIN).await?;
        Ok(ids.iter().map(ToString::to_string).collect())
    }

    /// Publishes an event for each of these ids, whose key it is too.
    pub(crate) async fn publish(&self, ids: &[&str]) -> Verdict {
        let events: Result<Vec<_>, _> = ids.iter().map(|id| self.event(id, id)).collect();
        self.send(&events?).await.map(drop)
    }

    /// The same while connections are lost: until each is stored, so that some may be there twice.
    pub(crate) async fn publish_through(&self, ids: &[&str]) -> Verdict {
        let deadline = Instant::now() + SOON;
        for id in ids {
            let event = self.event(id, id)?;
            while let Err(error) = self.send(std::slice::from_ref(&event)).await {
                if Instant::now() > deadline {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A consumer over a connection of its own, which ends with the case at the latest. Its lease
    /// outlasts the case, so what is to come again must be given back.
    pub(crate) async fn consumer(
        &self,
        plan: impl Fn(&str, u32) -> Act + Send + Sync + 'static,
    ) -> Result<ConsumerBuilder, Broken> {
        let bus = Bus::new(self.context.connect().await?);
        Ok(self.consumer_over(&bus, plan))
    }

    /// A consumer over this bus. It tries once and has no lane, unless the case gives it others:
    /// those of the default policy nobody would delete.
    pub(crate) fn consumer_over(
        &self,
        bus: &Bus,
        plan: impl Fn(&str, u32) -> Act + Send + Sync + 'static,
    ) -> ConsumerBuilder {
        let consumer = bus.consumer(&self.to.topic, &self.to.group).lease(LONG);
        let consumer = consumer.retry(RetryPolicy::never());
        consumer.on(self.handler(Arc::new(plan)))
    }

    fn handler(
        &self,
        plan: Arc<Plan>,
    ) -> impl Fn(FreeFoodEvent, potluck_runtime::Context) -> BoxFuture<'static, Result<(), Failure>>
    + use<> {
        let (diary, gate) = (self.diary.clone(), self.gate.clone());
        move |event, around| {
            let place = diary.begin(&event.event_id, &around);
            let act = plan(&event.event_id, around.tries());
            let (diary, gate) = (diary.clone(), gate.clone());
            async move {
                let result = perform(act, &gate).await;
                diary.end(place, result.is_ok());
                result
            }
            .boxed()
        }
    }

    /// Lets all handlers go on that wait, now and later.
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Waits for a condition, which must hold soon.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) -> Verdict {
        self.until_within(what, SOON, holds).await
    }

    /// The same with another limit.
    pub(crate) async fn until_within(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn() -> bool,
    ) -> Verdict {
        let deadline = Instant::now() + limit;
        while !holds() {
            let starts = self.diary.starts();
            if starts > STARTS_MAX {
                return Err(Broken(format!(
                    "handlers were started {starts} times, and it is not so yet: {what}"
                )));
            }
            if Instant::now() > deadline {
                return Err(Broken(format!(
                    "not so after {limit:?}: {what}; handlers were started {starts} times"
                )));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// All that the group of this subscription has left, which is taken: what comes before a last
    /// message of each key, and whatever else the broker counts. Nobody else may be receiving.
    pub(crate) async fn rest_of(&self, to: &Subscription) -> Result<Vec<Delivery>, Broken> {
        let transport = self.context.transport();
        let member = transport.subscriber(to).await?;
        let mut awaited = self.last_of_keys(to).await?;
        let (mut rest, deadline) = (Vec::new(), Instant::now() + SOON);
        loop {
            let most = NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN);
            let wait = Duration::from_millis(if awaited.is_empty() { 50 } else { 1000 });
            let came = member.receive(most, wait).await?;
            let receipts: Vec<Receipt> = came.iter().map(|one| one.receipt).collect();
            let stale = member.ack(&receipts).await?.stale;
            if !stale.is_empty() {
                return Err(Broken("what was just received was stale".to_owned()));
            }
            rest.extend(came.into_iter().filter(|one| {
                let body: &[u8] = one.message.body();
                // The last messages of an earlier look at the topic are no news either.
                !awaited.remove(body) && !body.starts_with(LAST.as_bytes())
            }));
            let left = if awaited.is_empty() {
                let status = transport.status(&to.topic, &to.group).await?;
                exact(status.backlog) + exact(status.in_flight)
            } else {
                1
            };
            if left == 0 {
                member.close().await?;
                return Ok(rest);
            }
            if Instant::now() > deadline {
                let (topic, came) = (&to.topic, rest.len());
                return Err(Broken(format!(
                    "{came} came of {topic}, and {left} more are kept from its group"
                )));
            }
        }
    }

    fn all_keys(&self) -> BTreeSet<String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// Publishes a last message of each key, as the runtime would a copy, so that it may go into
    /// any topic. Returns their bodies.
    async fn last_of_keys(&self, to: &Subscription) -> Result<BTreeSet<Bytes>, Broken> {
        let look = uuid::Uuid::new_v4();
        let keys = self.all_keys();
        let last = keys.into_iter().map(|key| {
            let body = Bytes::from(format!("{LAST} {key}, {look}"));
            Message::copied(body, Headers::new(), Some(key.into()))
        });
        let last: Vec<_> = last.collect();
        self.publisher.publish(&to.topic, &last, WITHIN).await?;
        Ok(last.iter().map(|one| one.body().clone()).collect())
    }

    /// What was dead-lettered, once no consumer writes any more.
    pub(crate) async fn dead_letters(&self) -> Result<Vec<Message>, Broken> {
        let dead = self.rest_of(&self.dead()?).await?;
        Ok(dead.into_iter().map(|one| one.message).collect())
    }

    /// Fails if the group has anything left, once no consumer of it runs any more.
    pub(crate) async fn nothing_left(&self) -> Verdict {
        let left = self.rest_of(&self.to).await?.len();
        match left {
            0 => Ok(()),
            _ => Err(Broken(format!("{left} came to the group once more"))),
        }
    }
}

async fn perform(act: Act, gate: &watch::Sender<bool>) -> Result<(), Failure> {
    match act {
        Act::Succeed => {}
        Act::Fail => return Err(Failure::retry("out of soup")),
        Act::Reject => return Err(Failure::reject("no soup")),
        // Without the hook that prints.
        Act::Panic => std::panic::resume_unwind(Box::new("dropped the soup")),
        Act::Hang => std::future::pending().await,
        Act::Work(time) => sleep(time).await,
        Act::Wait => {
            let _ = gate.subscribe().wait_for(|open| *open).await;
        }
    }
    Ok(())
}

/// A figure to insist on: what is estimated, or cannot be told, is not.
fn exact(figure: Figure<u64>) -> u64 {
    match figure {
        Figure::Exact(value) => value,
        _ => 0,
    }
}

/// A header's text.
pub(crate) fn text(message: &Message, name: &str) -> String {
    let value = message.headers().get(name);
    value.map_or_else(String::new, |value| {
        String::from_utf8_lossy(value).into_owned()
    })
}

/// The id of the event in a message, which the envelope also writes beside the body.
pub(crate) fn event_id(message: &Message) -> String {
    text(message, "message-id")
}
