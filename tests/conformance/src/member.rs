//! How does a case take part in a group, so that the ledger notes all of it?

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::capabilities::Ordering;
use potluck_core::{Delivery, Message, Publisher, Receipt, Subscriber, Subscription, Transport};
use tokio::time::Instant;

use crate::case::{Broken, Verdict};
use crate::context::{Context, SOON, WITHIN};

/// How long one look at a member lasts while several are looked at in turn.
const LOOK: Duration = Duration::from_millis(20);

/// A member of a group whose hand-overs and settles the ledger notes, under the member's name.
pub(crate) struct Joined<'a> {
    context: &'a Context,
    pub(crate) to: Subscription,
    pub(crate) subscriber: Arc<dyn Subscriber>,
}

impl Context {
    /// Joins a group over the case's connection.
    pub(crate) async fn join(&self, to: &Subscription) -> Result<Joined<'_>, Broken> {
        self.join_over(self.transport(), to).await
    }

    /// Joins a group over this connection.
    pub(crate) async fn join_over(
        &self,
        transport: &Arc<dyn Transport>,
        to: &Subscription,
    ) -> Result<Joined<'_>, Broken> {
        let (to, subscriber) = (to.clone(), transport.subscriber(to).await?);
        Ok(Joined {
            context: self,
            to,
            subscriber,
        })
    }
}

impl Joined<'_> {
    /// The member's name, which is also the ledger's for it.
    pub(crate) fn name(&self) -> &str {
        self.to.member.as_str()
    }

    /// One receive.
    pub(crate) async fn receive(
        &self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Broken> {
        let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        let came = self.subscriber.receive(max, wait).await?;
        for delivery in &came {
            let (group, member) = (self.to.group.as_str(), self.name());
            self.context.ledger.delivered(group, member, delivery);
        }
        if came.len() > max.get() {
            let came = came.len();
            return Err(Broken(format!(
                "{came} deliveries where {max} were asked for"
            )));
        }
        Ok(came)
    }

    /// Receives exactly so many, soon.
    pub(crate) async fn take(&self, count: usize) -> Result<Vec<Delivery>, Broken> {
        self.take_within(count, SOON).await
    }

    /// Receives exactly so many, within `limit`.
    pub(crate) async fn take_within(
        &self,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<Delivery>, Broken> {
        let subscriber = &*self.subscriber;
        self.context.take(subscriber, &self.to, count, limit).await
    }

    /// Receives and acknowledges as it comes, so that no lease ends over it, until there were so
    /// many different messages.
    pub(crate) async fn take_and_ack(
        &self,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<Delivery>, Broken> {
        let deadline = Instant::now() + limit;
        let mut all = Vec::new();
        while self.context.ledger.distinct([self.name()]) < count {
            let counts = self.context.ledger.counts([self.name()]);
            if Instant::now() > deadline {
                let came = all.len();
                return Err(Broken(format!(
                    "{came} of {count} came within {limit:?}: {counts}"
                )));
            }
            let some = self.receive(count, LOOK * 10).await?;
            self.ack(&some).await?;
            all.extend(some);
        }
        Ok(all)
    }

    /// Receives one, soon.
    pub(crate) async fn take_one(&self) -> Result<Delivery, Broken> {
        let mut one = self.take(1).await?;
        one.pop()
            .ok_or_else(|| Broken("no delivery came".to_owned()))
    }

    /// Acknowledges; nothing may be stale.
    pub(crate) async fn ack(&self, deliveries: &[Delivery]) -> Verdict {
        self.context
            .ack(&*self.subscriber, &self.to, deliveries)
            .await
    }

    /// Gives back; nothing may be stale.
    pub(crate) async fn release(&self, deliveries: &[Delivery]) -> Verdict {
        let settled = self.subscriber.release(&receipts(deliveries)).await?;
        match settled.stale.len() {
            0 => Ok(()),
            stale => Err(Broken(format!(
                "{stale} of {} releases were stale",
                deliveries.len()
            ))),
        }
    }

    /// Receives and acknowledges until the members of `everyone` have had `total` different
    /// messages, or until `limit` is over.
    pub(crate) async fn drain(&self, everyone: &[&str], total: usize, limit: Duration) -> Verdict {
        let deadline = Instant::now() + limit;
        while self.context.ledger.distinct(everyone.iter().copied()) < total {
            if Instant::now() > deadline {
                let counts = self.context.ledger.counts(everyone.iter().copied());
                return Err(Broken(format!("not all came within {limit:?}: {counts}")));
            }
            let came = self.receive(10, LOOK * 5).await?;
            self.ack(&came).await?;
            // A transport that never has to wait would leave nothing to the others.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// The receipts of deliveries.
pub(crate) fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

/// Takes exactly so many from whichever of these members they come to, with the member's place.
pub(crate) async fn take_among(
    members: &[&Joined<'_>],
    count: usize,
    limit: Duration,
) -> Result<Vec<(usize, Delivery)>, Broken> {
    let deadline = Instant::now() + limit;
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        if Instant::now() > deadline {
            let came = taken.len();
            return Err(Broken(format!(
                "{came} of {count} messages came within {limit:?}"
            )));
        }
        for (place, member) in members.iter().enumerate() {
            if taken.len() < count {
                let came = member.receive(count - taken.len(), LOOK).await?;
                taken.extend(came.into_iter().map(|delivery| (place, delivery)));
            }
        }
    }
    Ok(taken)
}

/// Waits until the group's keys have found their members, where keys belong to members: until a
/// round of probes came without a stale receipt, and to all members. Where keys are too few for
/// that it gives up after a while, which is no failure.
pub(crate) async fn settle_in(
    context: &Context,
    publisher: &dyn Publisher,
    members: &[&Joined<'_>],
) -> Verdict {
    let Some(first) = members.first() else {
        return Ok(());
    };
    if context.claims().ordering != Ordering::PerKey {
        return Ok(());
    }
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        let probe = |at: u32| Message::new("probe").with_key(format!("key-{at}"));
        let probes: Result<Vec<_>, _> = (0..64).map(probe).collect();
        publisher.publish(&first.to.topic, &probes?, WITHIN).await?;
        let (mut left, mut working, mut calm) = (64, HashSet::new(), true);
        while left > 0 {
            for (place, member) in members.iter().enumerate() {
                let max = NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN);
                let came = member.subscriber.receive(max, LOOK).await?;
                let stale = member.subscriber.ack(&receipts(&came)).await?.stale.len();
                calm &= stale == 0;
                // More than were sent may come while members change.
                left = usize::saturating_sub(left, came.len() - stale);
                if !came.is_empty() {
                    working.insert(place);
                }
            }
            if Instant::now() > deadline + SOON {
                return Err(Broken(format!("{left} of 64 messages did not come")));
            }
        }
        if calm && working.len() == members.len() {
            break;
        }
    }
    Ok(())
}
