//! How does settling break?

use std::sync::Arc;

use potluck_core::{ErrorKind, Receipt, Result, Retention, Settled};

use crate::sabotage::Sabotage;
use crate::subscriber::BrokenSubscriber;
use crate::world::{error, lock};

impl BrokenSubscriber {
    /// Answers as if it were done: names what is not held, and lets go of the rest.
    pub(crate) fn pretend(&self, receipts: &[Receipt]) -> Settled {
        let mut held = lock(&self.held);
        let unknown = |receipt: &&Receipt| held.remove(&receipt.slot).is_none();
        Settled {
            stale: receipts.iter().filter(unknown).copied().collect(),
        }
    }

    fn let_go(&self, receipts: &[Receipt]) {
        let _ = self.pretend(receipts);
    }

    /// Sends the settles that were answered before.
    pub(crate) async fn flush(&self) -> Result<()> {
        let unsent = std::mem::take(&mut *lock(&self.unsent));
        if !unsent.is_empty() {
            let _ = self.inner().await?.ack(&unsent).await?;
        }
        Ok(())
    }

    /// What is wrong with both verbs that settle. `None` when nothing is.
    async fn wrong(&self, receipts: &[Receipt]) -> Option<Result<Settled>> {
        let known = {
            let held = lock(&self.held);
            receipts
                .iter()
                .all(|receipt| held.contains_key(&receipt.slot))
        };
        match self.link.world.sabotage() {
            Sabotage::CutEndsSettling if self.was_cut() => {
                Some(Err(error(ErrorKind::Unavailable, "settle")))
            }
            Sabotage::SettledTwiceErrors if !known => {
                Some(Err(error(ErrorKind::Unexpected, "settle")))
            }
            Sabotage::OneStaleSpoilsAll if !known => Some(Ok(Settled {
                stale: receipts.to_vec(),
            })),
            Sabotage::SettleNothingErrors if receipts.is_empty() => {
                Some(Err(error(ErrorKind::Invalid, "settle")))
            }
            Sabotage::StrangersAccepted => Some(
                self.settle_for_others(receipts, |other, mine| other.receipt == *mine)
                    .await,
            ),
            Sabotage::StaleSettlesHolder => {
                let given = lock(&self.given).clone();
                let same = move |other: &potluck_core::Delivery, mine: &Receipt| {
                    given
                        .iter()
                        .any(|old| old.receipt == *mine && old.id == other.id)
                };
                Some(self.settle_for_others(receipts, same).await)
            }
            _ => None,
        }
    }

    /// Settles what another member of any group holds.
    async fn settle_for_others(
        &self,
        receipts: &[Receipt],
        same: impl Fn(&potluck_core::Delivery, &Receipt) -> bool,
    ) -> Result<Settled> {
        let mut settled = self.inner().await?.ack(receipts).await?;
        let mut left = Vec::new();
        let topic = |member: &Arc<Self>| member.to.topic == self.to.topic;
        let members: Vec<_> = self
            .link
            .world
            .members(None)
            .into_iter()
            .filter(topic)
            .collect();
        for receipt in settled.stale.drain(..) {
            let mut taken = None;
            for member in &members {
                let held = lock(&member.held).clone();
                let theirs = held.values().find(|held| same(held, &receipt));
                if let Some(theirs) = theirs {
                    taken = Some((member.clone(), theirs.receipt));
                }
            }
            match taken {
                Some((member, theirs)) => {
                    let _ = member.inner().await?.ack(&[theirs]).await?;
                }
                None => left.push(receipt),
            }
        }
        Ok(Settled { stale: left })
    }

    pub(crate) async fn settle_ack(&self, receipts: &[Receipt]) -> Result<Settled> {
        if let Some(wrong) = self.wrong(receipts).await {
            return wrong;
        }
        let withheld = self.withheld(receipts).await;
        if !withheld.is_empty() {
            let mut settled = self.pretend(&withheld);
            let mut rest = receipts.to_vec();
            rest.retain(|receipt| !withheld.contains(receipt));
            settled
                .stale
                .extend(self.inner().await?.ack(&rest).await?.stale);
            self.let_go(&rest);
            return Ok(settled);
        }
        let inner = self.inner().await?;
        match self.link.world.sabotage() {
            Sabotage::AckDoesNothing => return Ok(self.pretend(receipts)),
            Sabotage::AckedAtHandOver => {
                // It was done before.
                return Ok(self.pretend(receipts));
            }
            Sabotage::AckSentLater => {
                let settled = self.pretend(receipts);
                let good = receipts
                    .iter()
                    .filter(|receipt| !settled.stale.contains(receipt));
                lock(&self.unsent).extend(good);
                return Ok(settled);
            }
            Sabotage::AckFirstOnly if !receipts.is_empty() => {
                let _ = inner.ack(&receipts[..1]).await?;
                return Ok(self.pretend(receipts));
            }
            Sabotage::AckCumulative => {
                let highest = receipts
                    .iter()
                    .map(|receipt| receipt.slot)
                    .max()
                    .unwrap_or(0);
                let below: Vec<_> = lock(&self.held)
                    .range(..highest)
                    .map(|(_, d)| d.receipt)
                    .collect();
                let settled = inner.ack(receipts).await?;
                let _ = inner.ack(&below).await?;
                return Ok(settled);
            }
            _ => {}
        }
        let settled = inner.ack(receipts).await?;
        self.let_go(receipts);
        let unnamed =
            self.is(Sabotage::StaleUnnamed) || self.is(Sabotage::CutAckIsOk) && self.was_cut();
        Ok(if unnamed { Settled::default() } else { settled })
    }

    pub(crate) async fn settle_release(&self, receipts: &[Receipt]) -> Result<Settled> {
        if let Some(wrong) = self.wrong(receipts).await {
            return wrong;
        }
        if let Some(kept) = self.keeps_released(receipts) {
            return Ok(kept);
        }
        let inner = self.inner().await?;
        match self.link.world.sabotage() {
            Sabotage::ReleaseDoesNothing => return Ok(self.pretend(receipts)),
            Sabotage::ReleaseAcks => {
                let settled = inner.ack(receipts).await?;
                self.let_go(receipts);
                return Ok(settled);
            }
            Sabotage::ReleaseFirstOnly if !receipts.is_empty() => {
                let _ = inner.release(&receipts[..1]).await?;
                return Ok(self.pretend(receipts));
            }
            Sabotage::ReleaseDeletes if self.to.retention == Retention::UntilAcked => {
                let settled = inner.ack(receipts).await?;
                self.let_go(receipts);
                return Ok(settled);
            }
            Sabotage::ReleaseToSelf => return Ok(self.park(receipts)),
            Sabotage::ReleaseRepublishes => return self.republish(receipts).await,
            _ => {}
        }
        let settled = inner.release(receipts).await?;
        self.let_go(receipts);
        Ok(if self.is(Sabotage::StaleUnnamed) {
            Settled::default()
        } else {
            settled
        })
    }

    /// Keeps what is given back for its own next receive.
    fn park(&self, receipts: &[Receipt]) -> Settled {
        let (mut held, mut settled) = (lock(&self.held), Settled::default());
        for receipt in receipts {
            match held.remove(&receipt.slot) {
                Some(mut delivery) => {
                    delivery.attempt += 1;
                    lock(&self.parked).push(delivery);
                }
                None => settled.stale.push(*receipt),
            }
        }
        settled
    }

    /// Gives back by publishing a copy.
    async fn republish(&self, receipts: &[Receipt]) -> Result<Settled> {
        let held = lock(&self.held).clone();
        let copies = receipts
            .iter()
            .filter_map(|receipt| held.get(&receipt.slot));
        let copies: Vec<_> = copies.map(|delivery| delivery.message.clone()).collect();
        let publisher = self.link.inner.publisher().await?;
        publisher
            .publish(&self.to.topic, &copies, std::time::Duration::from_secs(1))
            .await?;
        let settled = self.inner().await?.ack(receipts).await?;
        self.let_go(receipts);
        Ok(settled)
    }

    pub(crate) async fn settle_extend(&self, receipts: &[Receipt]) -> Result<Settled> {
        let held = lock(&self.held).clone();
        let unknown = |receipt: &&Receipt| !held.contains_key(&receipt.slot);
        match self.link.world.sabotage() {
            Sabotage::ExtendDoesNothing => Ok(Settled {
                stale: receipts.iter().filter(unknown).copied().collect(),
            }),
            Sabotage::ExtendAnswersOk => {
                let _ = self.inner().await?.extend(receipts).await?;
                Ok(Settled::default())
            }
            Sabotage::ExtendSteals => {
                let settled = self.inner().await?.extend(receipts).await?;
                for receipt in &settled.stale {
                    let given = lock(&self.given).clone();
                    let old = given.iter().find(|old| old.receipt == *receipt);
                    for member in self.link.world.members(Some(&self.to)) {
                        let held = lock(&member.held).clone();
                        let theirs = held
                            .values()
                            .find(|held| Some(held.id) == old.map(|o| o.id));
                        if let Some(theirs) = theirs {
                            let _ = member.inner().await?.release(&[theirs.receipt]).await?;
                        }
                    }
                }
                Ok(settled)
            }
            _ => {
                let extended = self.extended(receipts);
                self.inner().await?.extend(&extended).await
            }
        }
    }
}
