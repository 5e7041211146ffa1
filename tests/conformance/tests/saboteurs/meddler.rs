//! How does a transport look below a runtime that gets it wrong? The runtime is the real one, and
//! who stands between it and the broker spoils its copies, settles and receives.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use potluck_core::headers::RESERVED_PREFIX;
use potluck_core::{
    Delivery, ErrorKind, Headers, Message, MessageId, PublishError, Receipt, Result, Settled,
    Subscription, Topic,
};
use potluck_runtime::copies;
use tokio::time::{Instant, sleep};

use crate::publisher::BrokenPublisher;
use crate::sabotage::Sabotage;
use crate::subscriber::BrokenSubscriber;
use crate::world::{TICK, World, error, lock};

type Published = std::result::Result<Vec<MessageId>, PublishError>;

/// Longer than any case waits.
const TOO_LATE: Duration = Duration::from_secs(12);

/// What a saboteur of the runtime remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Topics, ids and origins of what was copied.
    copied: Vec<(Topic, MessageId, String)>,
    /// Copies that were seen: whether dead letters, and of what.
    copies: Vec<(bool, String)>,
    /// Members that have joined, by topic.
    joined: Vec<Topic>,
    /// Receipts that were extended.
    extended: Vec<Receipt>,
    /// Groups and event ids that were handed over.
    handed: Vec<(String, String)>,
    /// Handlers' places that are taken for ever.
    taken: usize,
}

fn text(message: &Message, name: &str) -> Option<String> {
    let value = message.headers().get(name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn is_lane(topic: &Topic) -> bool {
    topic.is_derived() && !is_dead(topic)
}

fn is_dead(topic: &Topic) -> bool {
    topic.as_str().ends_with(".dead")
}

/// The topic and group that a member consumes for, also through a lane.
fn consumed_for(to: &Subscription) -> String {
    match to.topic.as_str().rsplit_once(".retry-") {
        Some((of, _)) => of.to_owned(),
        None => format!("{}.{}", to.topic, to.group),
    }
}

/// A copy with other headers.
fn with_headers(copy: &Message, keep: impl Fn(&str) -> bool) -> Message {
    let kept = copy.headers().iter().filter(|(name, _)| keep(name));
    let kept = kept.map(|(name, value)| (Cow::from(name.to_owned()), value.clone()));
    let headers = Headers::from_unique(kept.collect());
    Message::copied(copy.body().clone(), headers, copy.key().cloned())
}

fn with_body(copy: &Message, body: impl Into<Bytes>) -> Message {
    Message::copied(body.into(), copy.headers().clone(), copy.key().cloned())
}

/// The delivery that a copy is of, and who holds it.
fn original(world: &World, copy: &Message) -> Option<(Arc<BrokenSubscriber>, Delivery)> {
    let (topic, id) = (
        text(copy, copies::ORIGIN_TOPIC)?,
        text(copy, copies::ORIGIN_ID)?,
    );
    let body = copy.headers().get("message-id");
    world.members(None).into_iter().find_map(|member| {
        let of_topic = member.to.topic.as_str() == topic;
        let of_lane = consumed_for(&member.to).starts_with(&format!("{topic}."));
        let same = |held: &&Delivery| {
            let theirs = text(&held.message, copies::ORIGIN_ID);
            let id = of_topic && held.id.to_string() == id || theirs.as_ref() == Some(&id);
            id && held.message.headers().get("message-id") == body
        };
        let held = lock(&member.held).values().find(same).cloned();
        let held = held.filter(|_| (of_topic || of_lane) && !is_dead(&member.to.topic))?;
        Some((member, held))
    })
}

impl BrokenPublisher {
    fn meddles(&self, sabotage: Sabotage) -> bool {
        self.link.world.is(sabotage)
    }

    /// What becomes of a runtime's publish. `None` when it goes its way.
    pub(crate) async fn meddle(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Option<Published> {
        if self.meddles(Sabotage::PublisherClosedFirst) && self.link.is_draining() {
            let closed = error(ErrorKind::Closed, "publish");
            return Some(Err(PublishError::refused(messages.len(), &closed)));
        }
        let [copy] = messages else { return None };
        let origin = text(copy, copies::ORIGIN_ID).filter(|_| topic.is_derived())?;
        let world = &self.link.world;
        let original = original(world, copy);
        if let Some((member, delivery)) = &original {
            let mut memory = lock(&world.memory);
            let copied = (member.to.topic.clone(), delivery.id, origin.clone());
            memory.copied.push(copied);
        }
        if let Some(instead) = self.instead(topic, copy, &origin, original.as_ref()) {
            return Some(self.inner.publish(topic, &[instead], within).await);
        }
        self.beside(topic, copy, &origin, original, within).await
    }

    /// The copy that is written instead of this one.
    fn instead(
        &self,
        topic: &Topic,
        copy: &Message,
        origin: &str,
        original: Option<&(Arc<BrokenSubscriber>, Delivery)>,
    ) -> Option<Message> {
        let without = |one: &str| Some(with_headers(copy, |name| name != one));
        match self.link.world.sabotage() {
            Sabotage::AttemptsForgotten if is_lane(topic) => without(copies::ATTEMPTS),
            Sabotage::LaneSkipsDelay if is_lane(topic) => without(copies::NOT_BEFORE),
            Sabotage::ReasonDropped => without(copies::REASON),
            Sabotage::OriginLost if is_dead(topic) => {
                let mut headers = copy.headers().clone();
                headers.set(copies::ORIGIN_ID, format!("{origin}0"));
                let (body, key) = (copy.body().clone(), copy.key().cloned());
                Some(Message::copied(body, headers, key))
            }
            Sabotage::HeadersDroppedOnCopy => Some(with_headers(copy, |name| {
                name.starts_with(RESERVED_PREFIX) || name == "message-id"
            })),
            Sabotage::KeyDroppedOnCopy => {
                let (body, headers) = (copy.body().clone(), copy.headers().clone());
                Some(Message::copied(body, headers, None))
            }
            Sabotage::DeadLetterReencoded if is_dead(topic) => {
                let value: serde_json::Value = serde_json::from_slice(copy.body()).ok()?;
                Some(with_body(copy, value.to_string()))
            }
            Sabotage::CopyUnpatched => {
                let (_, original) = original?;
                Some(with_body(copy, original.message.body().clone()))
            }
            _ => None,
        }
    }

    /// What else happens as a copy is written, or instead of that.
    async fn beside(
        &self,
        topic: &Topic,
        copy: &Message,
        origin: &str,
        original: Option<(Arc<BrokenSubscriber>, Delivery)>,
        within: Duration,
    ) -> Option<Published> {
        let world = &self.link.world;
        let slice = std::slice::from_ref(copy);
        let invented = || Some(Ok(vec![world.invented_id()]));
        let said = text(copy, copies::ERROR).unwrap_or_default();
        let malformed = text(copy, copies::REASON).is_some_and(|reason| reason == "malformed");
        match world.sabotage() {
            Sabotage::AcksBeforeCopy => {
                let (member, delivery) = original?;
                let _ = member.inner().await.ok()?.ack(&[delivery.receipt]).await;
            }
            Sabotage::CopyForgotten => {
                let seen = (is_dead(topic), origin.to_owned());
                let mut memory = lock(&world.memory);
                if memory.copies.contains(&seen) {
                    return invented();
                }
                memory.copies.push(seen);
            }
            Sabotage::LaneInTopic if is_lane(topic) => {
                let source = Topic::new(&text(copy, copies::ORIGIN_TOPIC)?).ok()?;
                return Some(self.inner.publish(&source, slice, within).await);
            }
            Sabotage::LaneLate if is_lane(topic) => {
                let (inner, topic, slice) = (self.inner.clone(), topic.clone(), slice.to_vec());
                tokio::spawn(async move {
                    sleep(Duration::from_secs(5)).await;
                    let _ = inner.publish(&topic, &slice, within).await;
                });
                return invented();
            }
            Sabotage::SecondDeadLetter if is_dead(topic) => {
                let _ = self.inner.publish(topic, slice, within).await;
            }
            Sabotage::DeadLetterTakesAll if is_dead(topic) => {
                let (member, delivery) = original?;
                self.take_from_all(&member.to, delivery.id).await;
            }
            Sabotage::BatchSharesFate if is_dead(topic) => {
                let (member, delivery) = original?;
                let given = lock(&member.given).clone();
                for other in given.iter().filter(|other| other.id != delivery.id) {
                    let (body, key) = (other.message.body().clone(), other.message.key().cloned());
                    let same = Message::copied(body, copy.headers().clone(), key);
                    let _ = self.inner.publish(topic, &[same], within).await;
                }
            }
            Sabotage::PanicKeepsSlot if is_dead(topic) && said.contains("panicked") => {
                lock(&world.memory).taken += 1;
            }
            Sabotage::HangKeepsSlot if is_dead(topic) && said.contains("longer than") => {
                lock(&world.memory).taken += 1;
            }
            Sabotage::PoisonStops if malformed => lock(&world.memory).taken += 2,
            Sabotage::MalformedSwallowed if malformed => return invented(),
            _ => {}
        }
        None
    }

    /// Takes a message from every group of a topic.
    async fn take_from_all(&self, to: &Subscription, id: MessageId) {
        let world = &self.link.world;
        let groups = lock(&world.groups).get(&to.topic).cloned();
        for group in groups.unwrap_or_default() {
            let of = Subscription::new(to.topic.clone(), group);
            let Ok(thief) = self.link.inner.subscriber(&of).await else {
                continue;
            };
            let most = NonZeroUsize::new(1000).unwrap();
            let taken = thief.receive(most, Duration::ZERO).await;
            let taken = taken.unwrap_or_default();
            let same = taken.iter().filter(|one| one.id == id);
            let same: Vec<Receipt> = same.map(|one| one.receipt).collect();
            let _ = thief.ack(&same).await;
            let _ = thief.close().await;
        }
    }
}

impl BrokenSubscriber {
    fn is_copied(&self, delivery: &Delivery) -> bool {
        let memory = lock(&self.link.world.memory);
        let same = |(topic, id, _): &(Topic, MessageId, String)| {
            *topic == self.to.topic && *id == delivery.id
        };
        memory.copied.iter().any(same)
    }

    /// Notes that it has joined.
    pub(crate) fn note_join(&self) {
        lock(&self.link.world.memory)
            .joined
            .push(self.to.topic.clone());
    }

    /// Whether a runtime's handlers are all stuck, so that it takes nothing.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.to.topic.is_derived() && lock(&self.link.world.memory).taken >= 2
    }

    /// Waits until all it holds is settled, as who handles one after the other. False if that
    /// takes too long.
    pub(crate) async fn has_settled_all(&self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        while !lock(&self.held).is_empty() {
            if Instant::now() >= deadline || self.is_closed() {
                return false;
            }
            sleep(TICK).await;
        }
        true
    }

    /// What a runtime makes of what it is handed.
    pub(crate) async fn meddle(&self, mut taken: Vec<Delivery>) -> Result<Vec<Delivery>> {
        let source = !self.to.topic.is_derived();
        match self.link.world.sabotage() {
            Sabotage::BackToFront if source => taken.reverse(),
            Sabotage::CrashGuardBlind => {
                for delivery in &mut taken {
                    let given = lock(&self.given);
                    let before = given.iter().filter(|old| old.id == delivery.id).count();
                    delivery.attempt = u32::try_from(before + 1).unwrap_or(u32::MAX);
                }
            }
            Sabotage::KeysForgotten if source => {
                for delivery in &mut taken {
                    let (body, headers) = (delivery.message.body(), delivery.message.headers());
                    delivery.message = Message::received(body.clone(), headers.clone(), None);
                }
            }
            Sabotage::AttemptsForgottenAtRestart if is_lane(&self.to.topic) => {
                let joined = lock(&self.link.world.memory).joined.clone();
                if joined.iter().filter(|one| **one == self.to.topic).count() > 1 {
                    for delivery in &mut taken {
                        let kept = with_headers(&delivery.message, |one| one != copies::ATTEMPTS);
                        let (headers, key) = (kept.headers().clone(), kept.key().cloned());
                        delivery.message = Message::received(kept.body().clone(), headers, key);
                    }
                }
            }
            Sabotage::SeenIsDone if !is_dead(&self.to.topic) => {
                let known = |delivery: &Delivery| {
                    let Some(id) = text(&delivery.message, "message-id") else {
                        return false;
                    };
                    let handed = (consumed_for(&self.to), id);
                    let mut memory = lock(&self.link.world.memory);
                    let known = memory.handed.contains(&handed);
                    memory.handed.push(handed);
                    known
                };
                let (known, new): (Vec<_>, Vec<_>) = taken.into_iter().partition(known);
                let known: Vec<_> = known.iter().map(|delivery| delivery.receipt).collect();
                let _ = self.inner().await?.ack(&known).await?;
                taken = new;
            }
            _ => {}
        }
        Ok(taken)
    }

    /// Which of these a runtime does not acknowledge though it should, or not yet.
    pub(crate) async fn withheld(&self, receipts: &[Receipt]) -> Vec<Receipt> {
        let world = &self.link.world;
        let held = lock(&self.held).clone();
        let copied = |receipt: &&Receipt| {
            let held = held.get(&receipt.slot);
            held.is_some_and(|delivery| self.is_copied(delivery))
        };
        let source = !self.to.topic.is_derived();
        match world.sabotage() {
            Sabotage::UnackedAfterSuccess if source => receipts
                .iter()
                .filter(|one| !copied(one))
                .copied()
                .collect(),
            Sabotage::UnackedAfterCopy if source => {
                receipts.iter().filter(copied).copied().collect()
            }
            Sabotage::RetryHoldsSlot if source && receipts.iter().any(|one| copied(&one)) => {
                sleep(TOO_LATE).await;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The receipts whose leases are begun anew.
    pub(crate) fn extended(&self, receipts: &[Receipt]) -> Vec<Receipt> {
        if !self.is(Sabotage::LeaseKeptOnce) {
            return receipts.to_vec();
        }
        let mut memory = lock(&self.link.world.memory);
        let mut first = receipts.to_vec();
        first.retain(|receipt| !memory.extended.contains(receipt));
        memory.extended.extend(&first);
        first
    }

    /// Answers a release that is not sent: the lease has to end.
    pub(crate) fn keeps_released(&self, receipts: &[Receipt]) -> Option<Settled> {
        self.link.drain();
        self.is(Sabotage::ReleaseLate)
            .then(|| self.pretend(receipts))
    }
}
