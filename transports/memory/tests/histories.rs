//! Does any history lose a message, settle a stranger's delivery, or miscount an attempt?
//!
//! Random histories run against the transport and against a model that is as plain as can be: a
//! list of messages for each group, searched from its beginning each time.

// Helpers are no tests in clippy's eyes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::{
    Delivery, Group, Message, MessageId, Receipt, Settled, Subscriber, Subscription, Topic,
    Transport,
};
use potluck_memory::Broker;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::time::Instant;

const GROUPS: usize = 2;
const MEMBERS: usize = 3;
const LEASE: Duration = Duration::from_millis(100);
const MAX_HELD: usize = 4;

/// One step of a history. A member is one of all groups' members.
#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Receive(usize, usize),
    Ack(usize, Vec<Index>),
    Release(usize, Vec<Index>),
    Extend(usize, Vec<Index>),
    /// Leaves, and another joins in its place.
    Close(usize),
    /// Crashes, and another joins in its place.
    Drop(usize),
    Cut,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let member = 0..GROUPS * MEMBERS;
    let picks = || prop::collection::vec(any::<Index>(), 1..4);
    let step = prop_oneof![
        3 => (1..4_usize).prop_map(Step::Publish),
        8 => (member.clone(), 1..4_usize).prop_map(|(who, max)| Step::Receive(who, max)),
        4 => (member.clone(), picks()).prop_map(|(who, which)| Step::Ack(who, which)),
        3 => (member.clone(), picks()).prop_map(|(who, which)| Step::Release(who, which)),
        2 => (member.clone(), picks()).prop_map(|(who, which)| Step::Extend(who, which)),
        1 => member.clone().prop_map(Step::Close),
        1 => member.prop_map(Step::Drop),
        1 => Just(Step::Cut),
        4 => (1..80_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..80)
}

/// A message as a group of the model sees it.
#[derive(Clone, Copy, Default)]
struct Seen {
    attempts: u32,
    acked: bool,
    /// The member that has the last hand-over, its receipt, and when its lease ends.
    holder: Option<(usize, Receipt, Instant)>,
}

impl Seen {
    fn held_by(&self, who: usize, now: Instant) -> bool {
        self.holder
            .is_some_and(|(member, _, ends)| member == who && ends > now)
    }

    fn comes_again(&self, now: Instant) -> bool {
        let free = self.holder.is_none_or(|(_, _, ends)| ends <= now);
        self.attempts > 0 && !self.acked && free
    }
}

struct World {
    broker: Broker,
    transport: Arc<dyn Transport>,
    members: Vec<Arc<dyn Subscriber>>,
    /// Every receipt that a member's place ever got.
    receipts: Vec<Vec<Receipt>>,
    model: [Vec<Seen>; GROUPS],
}

fn topic() -> Topic {
    Topic::new("events").unwrap()
}

fn group(which: usize) -> Group {
    Group::new(["a", "b"][which]).unwrap()
}

fn some(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

impl World {
    async fn new() -> Self {
        let broker = Broker::new();
        let transport = broker.connect();
        let mut members = Vec::new();
        for who in 0..GROUPS * MEMBERS {
            members.push(join(&transport, who).await);
        }
        Self {
            broker,
            transport,
            members,
            receipts: vec![Vec::new(); GROUPS * MEMBERS],
            model: Default::default(),
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Publish(count) => self.publish(*count).await,
            Step::Receive(who, max) => {
                self.receive(*who, *max).await;
            }
            Step::Ack(who, which) => {
                let picked = self.pick(*who, which);
                let settled = self.members[*who].ack(&picked).await.unwrap();
                self.settled(*who, &picked, settled, |seen| {
                    seen.acked = true;
                    seen.holder = None;
                });
            }
            Step::Release(who, which) => {
                let picked = self.pick(*who, which);
                let settled = self.members[*who].release(&picked).await.unwrap();
                self.settled(*who, &picked, settled, |seen| seen.holder = None);
            }
            Step::Extend(who, which) => {
                let picked = self.pick(*who, which);
                let settled = self.members[*who].extend(&picked).await.unwrap();
                let ends = Instant::now() + LEASE;
                self.settled(*who, &picked, settled, |seen| {
                    seen.holder = seen.holder.map(|(who, receipt, _)| (who, receipt, ends));
                });
            }
            Step::Close(who) => {
                self.members[*who].close().await.unwrap();
                self.lose(|holder| holder == *who);
                self.members[*who] = join(&self.transport, *who).await;
            }
            Step::Drop(who) => {
                self.members[*who] = join(&self.transport, *who).await;
                // Nobody has the receipts any more, but the leases run.
                for seen in &mut self.model[*who % GROUPS] {
                    if let Some((holder, _, _)) = &mut seen.holder
                        && *holder == *who
                    {
                        *holder = usize::MAX;
                    }
                }
            }
            Step::Cut => {
                self.broker.cut();
                self.lose(|_| true);
            }
            Step::Pass(ms) => tokio::time::advance(Duration::from_millis(*ms)).await,
        }
        self.figures_agree().await;
    }

    async fn publish(&mut self, count: usize) {
        let slice = vec![Message::new("x"); count];
        let publisher = self.transport.publisher().await.unwrap();
        let ids = publisher
            .publish(&topic(), &slice, Duration::ZERO)
            .await
            .unwrap();
        for id in ids {
            for group in &mut self.model {
                group.push(Seen::default());
                assert_eq!(id, MessageId::single(group.len() as u64));
            }
        }
    }

    async fn receive(&mut self, who: usize, max: usize) -> Vec<Delivery> {
        let now = Instant::now();
        let group = &mut self.model[who % GROUPS];
        let held = group.iter().filter(|seen| seen.held_by(who, now)).count();
        let again = (0..group.len()).filter(|at| group[*at].comes_again(now));
        let fresh = (0..group.len()).filter(|at| group[*at].attempts == 0);
        let expected: Vec<usize> = again
            .chain(fresh)
            .take(max.min(MAX_HELD.saturating_sub(held)))
            .collect();

        let got = self.members[who]
            .receive(some(max), Duration::ZERO)
            .await
            .unwrap();
        let ids: Vec<usize> = got
            .iter()
            .map(|one| one.id.parts().0 as usize - 1)
            .collect();
        assert_eq!(ids, expected, "member {who}");
        for one in &got {
            let seen = &mut group[one.id.parts().0 as usize - 1];
            seen.attempts += 1;
            assert_eq!(one.attempt, seen.attempts);
            assert!(
                !self
                    .receipts
                    .iter()
                    .flatten()
                    .any(|old| *old == one.receipt)
            );
            seen.holder = Some((who, one.receipt, now + LEASE));
            self.receipts[who].push(one.receipt);
        }
        got
    }

    /// Any receipts that the place ever got, stale ones and doubles included.
    fn pick(&self, who: usize, which: &[Index]) -> Vec<Receipt> {
        let all = &self.receipts[who];
        if all.is_empty() {
            return Vec::new();
        }
        // The latest are the likeliest to be good.
        let latest = &all[all.len().saturating_sub(6)..];
        which.iter().map(|index| *index.get(latest)).collect()
    }

    fn settled(
        &mut self,
        who: usize,
        picked: &[Receipt],
        settled: Settled,
        good: impl Fn(&mut Seen),
    ) {
        let mut stale = Vec::new();
        for receipt in picked {
            let is_holder = |seen: &&mut Seen| {
                seen.holder
                    .is_some_and(|(holder, held, _)| holder == who && held == *receipt)
            };
            match self.model[who % GROUPS].iter_mut().find(is_holder) {
                Some(seen) => good(seen),
                None => stale.push(*receipt),
            }
        }
        assert_eq!(settled.stale, stale, "member {who}");
    }

    /// What these held goes back to their groups.
    fn lose(&mut self, whose: impl Fn(usize) -> bool) {
        for seen in self.model.iter_mut().flatten() {
            // What a crashed member held is in nobody's hands that a cut could empty.
            let lost = |holder: usize| holder != usize::MAX && whose(holder);
            if seen.holder.is_some_and(|(holder, _, _)| lost(holder)) {
                seen.holder = None;
            }
        }
    }

    async fn figures_agree(&self) {
        for (which, model) in self.model.iter().enumerate() {
            let status = self.transport.status(&topic(), &group(which)).await;
            let status = status.unwrap();
            let fresh = model.iter().filter(|seen| seen.attempts == 0).count();
            let unacked = model.iter().filter(|seen| !seen.acked).count();
            assert_eq!(status.backlog.value(), Some(fresh as u64));
            assert_eq!(status.in_flight.value(), Some((unacked - fresh) as u64));
        }
    }

    /// After all, one member of each group receives what is left, each message in the end.
    async fn nothing_is_lost(&mut self) {
        tokio::time::advance(LEASE).await;
        for who in 0..GROUPS {
            loop {
                let got = self.receive(who, MAX_HELD).await;
                if got.is_empty() {
                    break;
                }
                let picked: Vec<Receipt> = got.iter().map(|one| one.receipt).collect();
                let settled = self.members[who].ack(&picked).await.unwrap();
                self.settled(who, &picked, settled, |seen| {
                    seen.acked = true;
                    seen.holder = None;
                });
            }
            assert!(self.model[who].iter().all(|seen| seen.acked));
            let page = self.transport.peek(&topic(), &group(who), None, 1).await;
            assert!(page.unwrap().messages.is_empty());
        }
    }
}

async fn join(transport: &Arc<dyn Transport>, who: usize) -> Arc<dyn Subscriber> {
    let to = Subscription::new(topic(), group(who % GROUPS))
        .lease(LEASE)
        .max_held(some(MAX_HELD));
    transport.subscriber(&to).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn histories_hold(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.step(step).await;
            }
            world.nothing_is_lost().await;
        });
    }
}
