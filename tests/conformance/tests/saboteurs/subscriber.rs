//! How does receiving, leaving and vanishing break?

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::subscription::LEASE_DEFAULT;
use potluck_core::{
    Delivery, ErrorKind, Headers, Message, Receipt, Result, Settled, Subscriber, Subscription,
};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::sabotage::Sabotage;
use crate::transport::Link;
use crate::world::{TICK, error, lock};

/// As long as an answer takes that a client with a short patience gives up on.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct BrokenSubscriber {
    pub(crate) link: Arc<Link>,
    pub(crate) to: Subscription,
    inner: Mutex<Option<Arc<dyn Subscriber>>>,
    /// What it holds, by slot.
    pub(crate) held: Mutex<BTreeMap<u64, Delivery>>,
    /// All that it was ever handed, by receipt.
    pub(crate) given: Mutex<Vec<Delivery>>,
    /// What it was given back and keeps for itself.
    pub(crate) parked: Mutex<Vec<Delivery>>,
    /// Settles that were answered and not sent.
    pub(crate) unsent: Mutex<Vec<Receipt>>,
    pub(crate) turn: tokio::sync::Mutex<()>,
    closing: Notify,
    closed: AtomicBool,
    /// Something has broken it for good.
    dead: AtomicBool,
    /// Receives that were over without a delivery.
    idle: AtomicBool,
    /// How many cuts and freezes there were when it joined, and as it last received.
    joined_at: (u64, u64),
    cuts: AtomicU64,
    /// How many more receives are spoilt by the last cut.
    spoilt: AtomicU64,
}

impl BrokenSubscriber {
    pub(crate) async fn join(link: Arc<Link>, to: Subscription) -> Result<Self> {
        if link.is(Sabotage::StartUnsupported) && to.start == potluck_core::Start::New {
            return Err(error(ErrorKind::Unsupported, "subscribe"));
        }
        let inner = match link.is(Sabotage::StartAtFirstReceive) {
            true => None,
            false => Some(link.inner.subscriber(&to).await?),
        };
        let joined_at = (link.world.cuts(), link.world.freezes());
        Ok(Self {
            link,
            to,
            inner: Mutex::new(inner),
            held: Mutex::default(),
            given: Mutex::default(),
            parked: Mutex::default(),
            unsent: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            closing: Notify::new(),
            closed: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            joined_at,
            cuts: AtomicU64::new(joined_at.0),
            spoilt: AtomicU64::new(0),
        })
    }

    pub(crate) fn is(&self, sabotage: Sabotage) -> bool {
        self.link.is(sabotage)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Whether connections were cut since it joined.
    pub(crate) fn was_cut(&self) -> bool {
        self.link.world.cuts() > self.joined_at.0
    }

    pub(crate) async fn inner(&self) -> Result<Arc<dyn Subscriber>> {
        if let Some(inner) = lock(&self.inner).clone() {
            return Ok(inner);
        }
        let inner = self.link.inner.subscriber(&self.to).await?;
        *lock(&self.inner) = Some(inner.clone());
        Ok(inner)
    }

    /// Joins once more.
    pub(crate) async fn rejoin(&self) {
        if self.is_closed() {
            return;
        }
        let inner = self.link.inner.subscriber(&self.to).await.ok();
        *lock(&self.inner) = inner;
        lock(&self.held).clear();
    }

    pub(crate) fn held_receipts(&self) -> Vec<Receipt> {
        lock(&self.held)
            .values()
            .map(|delivery| delivery.receipt)
            .collect()
    }

    /// Settles what it holds as done.
    pub(crate) async fn ack_held(&self) {
        let receipts = self.held_receipts();
        if let Ok(inner) = self.inner().await {
            let _ = inner.ack(&receipts).await;
        }
    }

    /// Gives back what it holds, though nobody asked for that.
    pub(crate) async fn give_back_held(&self) {
        let receipts = self.held_receipts();
        if let Ok(inner) = self.inner().await {
            let _ = inner.release(&receipts).await;
        }
    }

    /// What a lost connection breaks. `None` when nothing is broken.
    async fn after_cut(&self, wait: Duration) -> Option<Result<Vec<Delivery>>> {
        let frozen = self.link.world.freezes() > self.joined_at.1;
        let deaf = self.was_cut() && self.is(Sabotage::CutDeafens)
            || frozen && self.is(Sabotage::FreezeUnnoticed);
        if deaf {
            return Some(self.hear_nothing(wait).await);
        }
        if self.was_cut() && self.is(Sabotage::CutErrorsForEver) {
            sleep(TICK).await;
            return Some(Err(error(ErrorKind::Unavailable, "receive")));
        }
        let cuts = self.link.world.cuts();
        if self.cuts.swap(cuts, Relaxed) != cuts {
            self.spoilt.store(3, Relaxed);
        }
        None
    }

    async fn hear_nothing(&self, wait: Duration) -> Result<Vec<Delivery>> {
        tokio::select! {
            () = self.closing.notified() => Err(error(ErrorKind::Closed, "receive")),
            () = sleep(wait.max(TICK)) => Ok(Vec::new()),
        }
    }

    /// Takes from the broker, for as long and as much as it should not.
    async fn take(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Delivery>> {
        let inner = self.inner().await?;
        let (max, wait) = match self.link.world.sabotage() {
            Sabotage::MoreThanMax => (max.saturating_add(1), wait),
            Sabotage::DeadlineIgnored => (max, wait + Duration::from_secs(30)),
            Sabotage::NeverWaits => (max, Duration::ZERO),
            _ => (max, wait),
        };
        if self.is(Sabotage::IdleStrandsNext) && self.idle.swap(false, Relaxed) {
            // Answers a request that is not waited for any more.
            let _ = inner.receive(NonZeroUsize::MIN, wait).await?;
        }
        let taken = tokio::select! {
            biased;
            () = self.closing.notified() => return Err(error(ErrorKind::Closed, "receive")),
            taken = inner.receive(max, wait) => taken,
        };
        let taken = match taken {
            Err(gone)
                if gone.kind() == ErrorKind::NotFound && self.is(Sabotage::DeletedUnnoticed) =>
            {
                return self.hear_nothing(wait).await;
            }
            taken => taken?,
        };
        if taken.is_empty() {
            self.idle.store(wait >= PATIENCE, Relaxed);
            match self.link.world.sabotage() {
                Sabotage::EmptyIsError => return Err(error(ErrorKind::Unavailable, "receive")),
                Sabotage::IdleErrors if wait >= PATIENCE => {
                    return Err(error(ErrorKind::Unavailable, "receive"));
                }
                _ => {}
            }
        }
        self.fill(taken, max, wait).await
    }

    /// Waits for more though there is something.
    async fn fill(
        &self,
        mut taken: Vec<Delivery>,
        max: NonZeroUsize,
        wait: Duration,
    ) -> Result<Vec<Delivery>> {
        let left = NonZeroUsize::new(max.get().saturating_sub(taken.len()));
        if let Some(left) = left.filter(|_| self.is(Sabotage::WaitsForFull) && !taken.is_empty()) {
            sleep(wait).await;
            taken.extend(self.inner().await?.receive(left, Duration::ZERO).await?);
        }
        Ok(taken)
    }

    fn counted(&self, delivery: &mut Delivery) {
        let key = (self.to.topic.clone(), self.to.group.clone(), delivery.id);
        let mut attempts = lock(&self.link.world.attempts);
        let (last, at_cut) = attempts.entry(key).or_insert((0, 0));
        *last = delivery.attempt;
        match self.link.world.sabotage() {
            Sabotage::AttemptAlwaysOne => delivery.attempt = 1,
            Sabotage::AttemptFlagOnly => delivery.attempt = delivery.attempt.min(2),
            Sabotage::AttemptJumpsBack => delivery.attempt = (delivery.attempt - 1) % 2 + 1,
            Sabotage::AttemptResetsAtCut => delivery.attempt -= (*at_cut).min(delivery.attempt - 1),
            _ => {}
        }
    }

    /// Spoils what was taken.
    async fn spoil(&self, mut taken: Vec<Delivery>) -> Result<Vec<Delivery>> {
        for delivery in &mut taken {
            self.counted(delivery);
            if delivery.attempt > 1 && self.is(Sabotage::RedeliveredBare) {
                let (body, key) = (delivery.message.body(), delivery.message.key());
                delivery.message = Message::received(body.clone(), Headers::new(), key.cloned());
            }
        }
        let bad = taken.iter().any(|delivery| delivery.defect.is_some());
        if bad && self.is(Sabotage::DefectEndsStream) {
            self.dead.store(true, Relaxed);
        }
        if bad && self.is(Sabotage::DefectSwallowed) {
            let (lost, good): (Vec<_>, Vec<_>) = taken
                .into_iter()
                .partition(|delivery| delivery.defect.is_some());
            let receipts: Vec<Receipt> = lost.iter().map(|delivery| delivery.receipt).collect();
            let _ = self.inner().await?.ack(&receipts).await?;
            taken = good;
        }
        if self.is(Sabotage::TrimEndsStream) && self.link.inner.stats().lost_by_trim > 0 {
            self.dead.store(true, Relaxed);
        }
        if self.is(Sabotage::CutReorders) && self.spoilt.load(Relaxed) > 0 && !taken.is_empty() {
            self.spoilt.fetch_sub(1, Relaxed);
            taken.reverse();
        }
        if self.is(Sabotage::AckedAtHandOver) {
            let receipts: Vec<Receipt> = taken.iter().map(|delivery| delivery.receipt).collect();
            let _ = self.inner().await?.ack(&receipts).await?;
        }
        if self.is(Sabotage::DroppedReceiveLoses) && !taken.is_empty() {
            sleep(TICK).await;
        }
        Ok(taken)
    }

    fn is_dead(&self) -> Result<()> {
        match self.dead.load(Relaxed) {
            true => Err(error(ErrorKind::Unexpected, "receive")),
            false => Ok(()),
        }
    }

    /// What stays with this member for ever though it is gone.
    fn hoarded(&self) -> Vec<Receipt> {
        let held = lock(&self.held);
        let hoarded: Vec<&Delivery> = match self.link.world.sabotage() {
            Sabotage::ReclaimsOnePage => held.values().skip(100).collect(),
            Sabotage::ReclaimStopsAtDefect => held
                .values()
                .skip_while(|delivery| delivery.defect.is_none())
                .collect(),
            Sabotage::NameKeepsLease => held.values().collect(),
            _ => Vec::new(),
        };
        hoarded
            .into_iter()
            .map(|delivery| delivery.receipt)
            .collect()
    }

    async fn leave(&self, inner: &Arc<dyn Subscriber>) -> Result<()> {
        match self.link.world.sabotage() {
            Sabotage::CloseLoses => self.ack_held().await,
            Sabotage::CloseDeletesName => {
                for member in self.link.world.members(Some(&self.to)) {
                    if member.to.member == self.to.member && !std::ptr::eq(&*member, self) {
                        member.ack_held().await;
                    }
                }
            }
            Sabotage::CloseStrands | Sabotage::ReleaseLate => return Ok(()),
            Sabotage::CloseLeavesMember => {
                self.give_back_held().await;
                lock(&self.link.world.leaked).push(inner.clone());
                return Ok(());
            }
            _ => {}
        }
        inner.close().await
    }
}

#[async_trait]
impl Subscriber for BrokenSubscriber {
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Delivery>> {
        if self.is_closed() {
            return Err(error(ErrorKind::Closed, "receive"));
        }
        self.is_dead()?;
        sleep(TICK).await;
        let alone = self.is(Sabotage::AckWaits)
            || self.is(Sabotage::CloseWaits)
            || self.is(Sabotage::SecondReceiveErrors);
        let _turn = match alone {
            true if self.is(Sabotage::SecondReceiveErrors) => Some(
                self.turn
                    .try_lock()
                    .map_err(|_| error(ErrorKind::Invalid, "receive"))?,
            ),
            true => Some(self.turn.lock().await),
            false => None,
        };
        if let Some(broken) = self.after_cut(wait).await {
            return broken;
        }
        self.flush().await?;
        if self.is_stuck() {
            return self.hear_nothing(wait).await;
        }
        let mut max = max;
        if self.is(Sabotage::OneAtATime) && !self.to.topic.is_derived() {
            max = NonZeroUsize::MIN;
            if !self.has_settled_all(wait).await {
                return Ok(Vec::new());
            }
        }
        let held = lock(&self.held).len();
        if self.is(Sabotage::SaturationSticks) && held >= self.to.max_held.get() {
            self.idle.store(true, Relaxed);
        }
        if self.is(Sabotage::SaturationSticks) && self.idle.load(Relaxed) && held > 0 {
            return self.hear_nothing(wait).await;
        }
        let mut parked = std::mem::take(&mut *lock(&self.parked));
        if parked.is_empty() {
            let taken = self.take(max, wait).await?;
            parked = self.meddle(self.spoil(taken).await?).await?;
            self.is_dead()?;
        } else {
            let rest = parked.split_off(parked.len().min(max.get()));
            lock(&self.parked).extend(rest);
        }
        let mut held = lock(&self.held);
        held.extend(
            parked
                .iter()
                .map(|delivery| (delivery.receipt.slot, delivery.clone())),
        );
        lock(&self.given).extend(parked.iter().cloned());
        Ok(parked)
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<Settled> {
        let _turn = if self.is(Sabotage::AckWaits) {
            Some(self.turn.lock().await)
        } else {
            None
        };
        self.settle_ack(receipts).await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.settle_release(receipts).await
    }

    fn lease(&self) -> Option<Duration> {
        let lease = self.to.lease.unwrap_or(LEASE_DEFAULT);
        match self.link.world.sabotage() {
            Sabotage::LeaseUntold => None,
            // It is told as it was asked for.
            Sabotage::LeaseCutShort => Some(lease * 10),
            _ => Some(lease),
        }
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.settle_extend(receipts).await
    }

    async fn close(&self) -> Result<()> {
        let _turn = if self.is(Sabotage::CloseWaits) {
            Some(self.turn.lock().await)
        } else {
            None
        };
        if self.closed.swap(true, Relaxed) {
            return match self.is(Sabotage::SecondCloseErrors) {
                true => Err(error(ErrorKind::Closed, "close")),
                false => Ok(()),
            };
        }
        let inner = self.inner().await?;
        let left = self.leave(&inner).await;
        self.closing.notify_waiters();
        left
    }
}

impl Drop for BrokenSubscriber {
    fn drop(&mut self) {
        let (hoarded, inner) = (self.hoarded(), lock(&self.inner).clone());
        let (false, Some(inner)) = (self.is_closed() || hoarded.is_empty(), inner) else {
            return;
        };
        let (link, to) = (self.link.clone(), self.to.clone());
        let lease = to.lease.unwrap_or(LEASE_DEFAULT);
        tokio::spawn(async move {
            loop {
                sleep(lease / 3).await;
                let _ = inner.extend(&hoarded).await;
                let same = link.world.members(Some(&to));
                let named = same.iter().any(|member| member.to.member == to.member);
                if link.is(Sabotage::NameKeepsLease) && !named {
                    break;
                }
            }
        });
    }
}
