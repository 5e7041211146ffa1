//! What a case works with: connections, names of its own, numbered messages, a seed.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use potluck_core::{
    Capabilities, Delivery, Group, Message, Outcome, Publisher, Receipt, Result, Subscriber,
    Subscription, Topic, Transport,
};
use tokio::time::Instant;

use crate::case::{Broken, Verdict};
use crate::ledger::Ledger;
use crate::member::{Joined, take_among};
use crate::target::{Faults, Target};

/// Long enough for anything that should happen on a broker that is well.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long a publish may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);

/// What a case works with. Topics made here are deleted when the case is over.
pub struct Context {
    target: Target,
    transport: Arc<dyn Transport>,
    /// Begins every name of this case.
    prefix: String,
    seed: u64,
    made: Mutex<Vec<(Topic, Vec<Group>)>>,
    opened: Mutex<Vec<Arc<dyn Transport>>>,
    names: AtomicUsize,
    /// Whether long cases run at full length.
    pub full: bool,
    /// What happened.
    pub ledger: Ledger,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("prefix", &self.prefix)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) async fn open(
        target: &Target,
        prefix: String,
        seed: u64,
        full: bool,
    ) -> Result<Self> {
        let transport = target.connect().await?;
        Ok(Self {
            target: target.clone(),
            transport,
            prefix,
            seed,
            made: Mutex::default(),
            opened: Mutex::default(),
            names: AtomicUsize::new(0),
            full,
            ledger: Ledger::default(),
        })
    }

    /// The case's connection.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// What the transport claims.
    #[must_use]
    pub fn claims(&self) -> Capabilities {
        self.transport.capabilities()
    }

    /// Another connection, closed when the case is over.
    ///
    /// # Errors
    ///
    /// Whatever connecting gives.
    pub async fn connect(&self) -> Result<Arc<dyn Transport>> {
        let transport = self.target.connect().await?;
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(transport.clone());
        Ok(transport)
    }

    /// Another connection that nobody keeps: it is gone when its last handle is dropped, without a
    /// word, as a process goes that is killed.
    ///
    /// # Errors
    ///
    /// Whatever connecting gives.
    pub async fn connect_apart(&self) -> Result<Arc<dyn Transport>> {
        self.target.connect().await
    }

    /// A connection to where nothing listens. Only cases that need
    /// [`Hook::Nowhere`](crate::Hook::Nowhere) may ask.
    ///
    /// # Errors
    ///
    /// When the target offers none, or whatever connecting gives.
    pub(crate) async fn connect_nowhere(&self) -> Result<Arc<dyn Transport>, Broken> {
        let Some(connecting) = self.target.connect_nowhere() else {
            return Err(Broken("the target offers no such place".to_owned()));
        };
        let transport = connecting.await?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push(transport.clone());
        Ok(transport)
    }

    /// What of the target can be broken. Only cases that say so in [`Case::needs`](crate::Case)
    /// may ask.
    ///
    /// # Errors
    ///
    /// When the target offers nothing.
    pub fn faults(&self) -> Result<&Arc<dyn Faults>, Broken> {
        self.target
            .faults()
            .ok_or_else(|| Broken("the target offers no faults".to_owned()))
    }

    /// How long it may take until what a vanished member held comes again, for members with this
    /// lease.
    #[must_use]
    pub fn redelivered_within(&self, lease: Duration) -> Duration {
        match self.claims().redelivery {
            potluck_core::capabilities::Redelivery::AfterLease => lease + Duration::from_secs(5),
            _ => self.target.redelivery_limit(),
        }
    }

    /// A generator that gives the same each time for a seed.
    #[must_use]
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// A subscription to a topic of the case's own, which exists when this returns.
    ///
    /// # Errors
    ///
    /// Whatever declaring gives.
    pub async fn declared(&self) -> Result<Subscription> {
        let to = self.fresh()?;
        self.transport.declare(&to).await?;
        Ok(to)
    }

    /// A subscription to a topic of the case's own that does not exist yet.
    ///
    /// # Errors
    ///
    /// None in practice: the names are good.
    pub fn fresh(&self) -> Result<Subscription> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let topic = Topic::new(&format!("{}-{number}", self.prefix))?;
        let group = Group::new("one")?;
        self.will_delete(&topic, &group);
        Ok(Subscription::new(topic, group))
    }

    /// The same topic seen by another group.
    ///
    /// # Errors
    ///
    /// When the name is no group's.
    pub fn group_of(&self, to: &Subscription, name: &str) -> Result<Subscription> {
        let group = Group::new(name)?;
        self.will_delete(&to.topic, &group);
        Ok(Subscription::new(to.topic.clone(), group))
    }

    /// Notes that a topic and a group of it are the case's own.
    pub fn will_delete(&self, topic: &Topic, group: &Group) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match made.iter_mut().find(|(known, _)| known == topic) {
            Some((_, groups)) if groups.contains(group) => {}
            Some((_, groups)) => groups.push(group.clone()),
            None => made.push((topic.clone(), vec![group.clone()])),
        }
    }

    /// Publishes `count` numbered messages, in slices of up to 100, and notes what came of each.
    ///
    /// # Errors
    ///
    /// When one is not stored.
    pub async fn publish(&self, publisher: &dyn Publisher, to: &Topic, count: usize) -> Verdict {
        let messages: Vec<_> = (0..count).map(|_| self.ledger.message()).collect();
        for slice in messages.chunks(100) {
            self.publish_slice(publisher, to, slice).await?;
        }
        Ok(())
    }

    /// Publishes these messages in one call and notes what came of each.
    ///
    /// # Errors
    ///
    /// When one is not stored.
    pub async fn publish_slice(
        &self,
        publisher: &dyn Publisher,
        to: &Topic,
        slice: &[Message],
    ) -> Verdict {
        match publisher.publish(to, slice, WITHIN).await {
            Ok(ids) => {
                if ids.len() != slice.len() {
                    return Err(Broken(format!(
                        "{} ids for {} messages",
                        ids.len(),
                        slice.len()
                    )));
                }
                for (message, id) in slice.iter().zip(ids) {
                    self.ledger.published(message, &Outcome::Stored(id));
                }
                Ok(())
            }
            Err(error) => {
                for (message, outcome) in slice.iter().zip(error.outcomes()) {
                    self.ledger.published(message, outcome);
                }
                Err(error.into())
            }
        }
    }

    /// Receives until there are `count` deliveries, and notes them; fails when they do not come
    /// within `limit`.
    ///
    /// # Errors
    ///
    /// When fewer come.
    pub async fn take(
        &self,
        subscriber: &dyn Subscriber,
        to: &Subscription,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<Delivery>, Broken> {
        let deadline = Instant::now() + limit;
        let mut taken = Vec::with_capacity(count);
        while let Some(most) = NonZeroUsize::new(count - taken.len()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let deliveries = subscriber
                .receive(most, left.min(Duration::from_secs(1)))
                .await?;
            if deliveries.len() > most.get() {
                return Err(Broken(format!(
                    "{} deliveries where {most} were asked for",
                    deliveries.len()
                )));
            }
            for delivery in &deliveries {
                self.ledger
                    .delivered(to.group.as_str(), to.member.as_str(), delivery);
            }
            let none = deliveries.is_empty();
            taken.extend(deliveries);
            if none && left.is_zero() {
                return Err(Broken(format!(
                    "{} of {count} messages came within {limit:?}",
                    taken.len()
                )));
            }
        }
        Ok(taken)
    }

    /// Acknowledges deliveries, none of which may be stale, and notes it.
    ///
    /// # Errors
    ///
    /// When one is stale.
    pub async fn ack(
        &self,
        subscriber: &dyn Subscriber,
        to: &Subscription,
        deliveries: &[Delivery],
    ) -> Verdict {
        let receipts: Vec<Receipt> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        let settled = subscriber.ack(&receipts).await?;
        if !settled.stale.is_empty() {
            let (stale, all) = (settled.stale.len(), receipts.len());
            return Err(Broken(format!(
                "{stale} of {all} acknowledgements were stale"
            )));
        }
        for delivery in deliveries {
            self.ledger.acked(to.group.as_str(), delivery);
        }
        Ok(())
    }

    /// Shows that nothing else is delivered, without waiting to hope: publishes one more message
    /// and takes until it comes. What came before it is returned. It has the ordering key of all
    /// numbered messages that have none of their own, so that it comes behind them also where order
    /// is per key; for others, see `sentinels`.
    ///
    /// # Errors
    ///
    /// When the last message does not come.
    pub async fn sentinel(
        &self,
        publisher: &dyn Publisher,
        subscriber: &dyn Subscriber,
        to: &Subscription,
    ) -> Result<Vec<Delivery>, Broken> {
        let last = self.ledger.message();
        let number = Ledger::number(&last);
        self.publish_slice(publisher, &to.topic, std::slice::from_ref(&last))
            .await?;
        let mut before = Vec::new();
        loop {
            let next = self.take(subscriber, to, 1, SOON).await?;
            let came = next
                .iter()
                .any(|delivery| Ledger::number(&delivery.message) == number);
            if came {
                self.ack(subscriber, to, &next).await?;
                return Ok(before);
            }
            before.extend(next);
        }
    }

    /// The same for a group whose messages have these ordering keys and come to any of `members`:
    /// one last message per key.
    pub(crate) async fn sentinels(
        &self,
        publisher: &dyn Publisher,
        members: &[&Joined<'_>],
        keys: impl IntoIterator<Item = String>,
    ) -> Result<Vec<Delivery>, Broken> {
        let last: Result<Vec<_>> = keys
            .into_iter()
            .map(|key| self.ledger.keyed(&key))
            .collect();
        let last = last?;
        let Some(first) = members.first() else {
            return Ok(Vec::new());
        };
        self.publish_slice(publisher, &first.to.topic, &last)
            .await?;
        let mut awaited: HashSet<_> = last.iter().filter_map(Ledger::number).collect();
        let mut before = Vec::new();
        while !awaited.is_empty() {
            let next = take_among(members, 1, SOON).await?;
            for (place, delivery) in next {
                let member = members.get(place).unwrap_or(first);
                if Ledger::number(&delivery.message).is_some_and(|n| awaited.remove(&n)) {
                    member.ack(std::slice::from_ref(&delivery)).await?;
                } else {
                    before.push(delivery);
                }
            }
        }
        Ok(before)
    }

    /// Deletes what the case has made and closes what it has opened.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let opened =
            std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for transport in opened {
            // It may be broken on purpose.
            let _ = transport.close().await;
        }
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let mut result = Ok(());
        // The case may have closed its own connection, so another one cleans up.
        let janitor = self.target.connect().await?;
        for (topic, groups) in made {
            result = result.and(janitor.delete_topic(&topic, &groups).await);
        }
        let _ = janitor.close().await;
        let _ = self.transport.close().await;
        result
    }
}
