//! How does a publish break?

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::{Error, ErrorKind, Headers, Message, MessageId, PublishError, Publisher, Topic};
use tokio::time::sleep;

use crate::sabotage::Sabotage;
use crate::transport::Link;
use crate::world::{TICK, error, lock};

type Published = Result<Vec<MessageId>, PublishError>;

#[derive(Debug)]
pub(crate) struct BrokenPublisher {
    pub(crate) link: Arc<Link>,
    pub(crate) inner: Arc<dyn Publisher>,
    /// Slices that were answered and not sent.
    unsent: Mutex<Vec<(Topic, Vec<Message>)>>,
    turn: tokio::sync::Mutex<()>,
    wedged: AtomicBool,
    /// How many cuts it has seen.
    cuts: AtomicU64,
}

impl BrokenPublisher {
    pub(crate) fn new(link: Arc<Link>, inner: Arc<dyn Publisher>) -> Self {
        Self {
            cuts: AtomicU64::new(link.world.cuts()),
            link,
            inner,
            unsent: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            wedged: AtomicBool::new(false),
        }
    }

    fn is(&self, sabotage: Sabotage) -> bool {
        self.link.world.is(sabotage)
    }

    fn admits(&self, topic: &Topic, messages: &[Message]) -> bool {
        let limit = self.link.capabilities.max_message;
        potluck_core::publish::admit(topic, messages, limit).is_ok()
    }

    fn invented(&self, messages: &[Message]) -> Vec<MessageId> {
        messages
            .iter()
            .map(|_| self.link.world.invented_id())
            .collect()
    }

    /// What goes instead of the message.
    fn changed(&self, message: &Message) -> Message {
        let (mut body, mut headers) = (message.body().clone(), message.headers().clone());
        let mut key = message.key().cloned();
        if self.is(Sabotage::HeadersDropped) {
            headers = Headers::new();
        } else if self.is(Sabotage::HeaderNamesLowered) {
            let lower = |(name, value): (&str, &bytes::Bytes)| {
                (Cow::from(name.to_lowercase()), value.clone())
            };
            headers = Headers::from_unique(message.headers().iter().map(lower).collect());
        } else if self.is(Sabotage::KeyDropped) {
            key = None;
        } else if self.is(Sabotage::BodyCut) && body.len() > 64 * 1024 {
            body.truncate(64 * 1024);
        } else if self.is(Sabotage::BodyMangled) {
            body = String::from_utf8_lossy(&body).into_owned().into();
        } else {
            return message.clone();
        }
        // A copy may break limits, so what is refused is still found before.
        Message::copied(body, headers, key)
    }

    /// A slice that is in another order when it is stored.
    async fn shuffled(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
        order: impl Fn(&mut Vec<usize>),
    ) -> Published {
        let mut places: Vec<usize> = (0..messages.len()).collect();
        order(&mut places);
        let slice: Vec<_> = places.iter().map(|at| messages[*at].clone()).collect();
        let ids = self.inner.publish(topic, &slice, within).await?;
        let mut sorted: Vec<_> = places.into_iter().zip(ids).collect();
        sorted.sort_unstable_by_key(|(at, _)| *at);
        Ok(sorted.into_iter().map(|(_, id)| id).collect())
    }

    /// What a transport does that sends what it should have refused.
    async fn unchecked(&self, topic: &Topic, messages: &[Message], within: Duration) -> Published {
        let limit = self.link.capabilities.max_message;
        let admitted = potluck_core::publish::admit(topic, messages, limit);
        let too_large = |message: &Message| message.body().len() > limit;
        if self.is(Sabotage::RefusedPartlySent) {
            if admitted.is_err() {
                let good = |one: &&Message| {
                    potluck_core::publish::admit(topic, std::slice::from_ref(one), limit).is_ok()
                };
                let good: Vec<_> = messages.iter().take_while(good).cloned().collect();
                let _ = self.inner.publish(topic, &good, within).await;
            }
        } else if messages.iter().any(too_large) || self.is(Sabotage::IllegalSent) {
            let raw = |one: &Message| {
                Message::copied(
                    one.body().clone(),
                    one.headers().clone(),
                    one.key().cloned(),
                )
            };
            let raw: Vec<_> = messages.iter().map(raw).collect();
            return self.inner.publish(topic, &raw, within).await;
        }
        self.inner.publish(topic, messages, within).await
    }

    /// Copies over the limit, of which the broker decides.
    async fn with_copies(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Published {
        let limit = self.link.capabilities.max_message;
        if !self.admits(topic, messages) {
            return self.inner.publish(topic, messages, within).await;
        }
        let fits = |one: &&Message| one.body().len() <= limit;
        let good: Vec<_> = messages.iter().filter(fits).cloned().collect();
        if good.len() < messages.len() && self.is(Sabotage::CopySpoilsSlice) {
            return refused(messages, &error(ErrorKind::TooLarge, "publish"));
        }
        let mut ids = self.inner.publish(topic, &good, within).await?.into_iter();
        let id = |one: &Message| fits(&one).then(|| ids.next()).flatten();
        let known: Vec<_> = messages.iter().map(id).collect();
        Ok(known
            .into_iter()
            .map(|id| id.unwrap_or_else(|| self.link.world.invented_id()))
            .collect())
    }

    /// Sends with the next call what it answers with this one.
    async fn late(&self, topic: &Topic, messages: &[Message], within: Duration) -> Published {
        if !self.admits(topic, messages) {
            return self.inner.publish(topic, messages, within).await;
        }
        let before = std::mem::take(&mut *lock(&self.unsent));
        for (topic, messages) in before {
            self.inner.publish(&topic, &messages, within).await?;
        }
        lock(&self.unsent).push((topic.clone(), messages.to_vec()));
        Ok(self.invented(messages))
    }

    /// What is not the same when the call is dropped.
    async fn droppable(&self, topic: &Topic, messages: &[Message], within: Duration) -> Published {
        if self.is(Sabotage::DroppedPublishDoubles) {
            let mut again = Again(Some((self.inner.clone(), topic.clone(), messages.to_vec())));
            let published = self.inner.publish(topic, messages, within).await;
            sleep(TICK).await;
            again.0 = None;
            return published;
        }
        let _turn = self.turn.lock().await;
        if self.wedged.swap(true, Relaxed) {
            return refused(messages, &error(ErrorKind::Unavailable, "publish"));
        }
        sleep(TICK).await;
        let published = self.inner.publish(topic, messages, within).await;
        self.wedged.store(false, Relaxed);
        published
    }

    /// What goes wrong as connections are lost. `None` when nothing does.
    fn after_cut(&self, messages: &[Message]) -> Option<Published> {
        let cuts = self.link.world.cuts();
        if cuts == self.cuts.load(Relaxed) {
            return None;
        }
        if self.is(Sabotage::PublisherDiesAtCut) {
            return Some(refused(messages, &error(ErrorKind::Unavailable, "publish")));
        }
        self.cuts.store(cuts, Relaxed);
        self.is(Sabotage::CutLosesPublished)
            .then(|| Ok(self.invented(messages)))
    }

    /// A topic that is not what the transport takes it for. `None` when it is.
    fn unknown_topic(&self, topic: &Topic, messages: &[Message]) -> Option<Published> {
        let known = lock(&self.link.world.groups).contains_key(topic);
        if known {
            return None;
        }
        if self.is(Sabotage::UndeclaredRefused) {
            return Some(refused(messages, &error(ErrorKind::NotFound, "publish")));
        }
        self.is(Sabotage::UnroutedDropped)
            .then(|| Ok(self.invented(messages)))
    }

    async fn closing(&self, topic: &Topic, messages: &[Message], within: Duration) -> Published {
        if self.is(Sabotage::CloseDropsPublishes) && !self.link.is_closed() {
            sleep(5 * TICK).await;
            if self.link.is_closed() {
                return Ok(self.invented(messages));
            }
        }
        if self.is(Sabotage::PublishAfterClose) && self.link.is_closed() {
            return Ok(self.invented(messages));
        }
        self.inner.publish(topic, messages, within).await
    }
}

/// Publishes once more unless it is taken back.
struct Again(Option<(Arc<dyn Publisher>, Topic, Vec<Message>)>);

impl Drop for Again {
    fn drop(&mut self) {
        if let Some((publisher, topic, messages)) = self.0.take() {
            tokio::spawn(async move {
                let _ = publisher
                    .publish(&topic, &messages, Duration::from_secs(1))
                    .await;
            });
        }
    }
}

fn refused(messages: &[Message], error: &Error) -> Published {
    Err(PublishError::refused(messages.len(), error))
}

#[async_trait]
impl Publisher for BrokenPublisher {
    async fn publish(&self, topic: &Topic, messages: &[Message], within: Duration) -> Published {
        use Sabotage as S;
        let topic = &self.link.topic(topic);
        if messages.is_empty() && self.is(S::EmptySliceErrors) {
            return refused(messages, &error(ErrorKind::Invalid, "publish"));
        }
        sleep(TICK).await;
        if let Some(wrong) = self.after_cut(messages) {
            return wrong;
        }
        if let Some(wrong) = self.unknown_topic(topic, messages) {
            return wrong;
        }
        if let Some(meddled) = self.meddle(topic, messages, within).await {
            return meddled;
        }
        match self.link.world.sabotage() {
            S::HeadersDropped
            | S::HeaderNamesLowered
            | S::KeyDropped
            | S::BodyCut
            | S::BodyMangled => {
                let changed: Vec<_> = match self.admits(topic, messages) {
                    true => messages.iter().map(|one| self.changed(one)).collect(),
                    false => messages.to_vec(),
                };
                self.inner.publish(topic, &changed, within).await
            }
            S::EmptyBodySkipped if messages.iter().all(|one| one.body().is_empty()) => {
                Ok(self.invented(messages))
            }
            S::SliceReversed => {
                self.shuffled(topic, messages, within, |all| all.reverse())
                    .await
            }
            S::OrderPerKeyOnly => {
                let by_key = |all: &mut Vec<usize>| {
                    all.sort_by_key(|at| match messages[*at].key() {
                        Some(key) => key.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 2,
                        None => at % 2,
                    });
                };
                self.shuffled(topic, messages, within, by_key).await
            }
            S::FirstDoubled => {
                let _ = self
                    .inner
                    .publish(topic, &messages[..messages.len().min(1)], within)
                    .await;
                self.inner.publish(topic, messages, within).await
            }
            S::TailLost => {
                let most = messages.len().min(50);
                let mut ids = self.inner.publish(topic, &messages[..most], within).await?;
                ids.extend(self.invented(&messages[most..]));
                Ok(ids)
            }
            S::RefusedPartlySent | S::OversizeSent | S::IllegalSent => {
                self.unchecked(topic, messages, within).await
            }
            S::ReceiptBeforeDurable => self.late(topic, messages, within).await,
            S::DroppedPublishWedges | S::DroppedPublishDoubles => {
                self.droppable(topic, messages, within).await
            }
            S::PublishLingers => {
                sleep(Duration::from_secs(1)).await;
                self.inner.publish(topic, messages, within).await
            }
            S::CopySpoilsSlice | S::CopyLost => self.with_copies(topic, messages, within).await,
            _ => self.closing(topic, messages, within).await,
        }
    }
}
