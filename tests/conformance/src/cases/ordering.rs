//! Does order hold in the scope that is claimed, and does nothing get lost while members change?

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use potluck_core::Delivery;
use potluck_core::capabilities::Ordering;
use tokio::time::Instant;

use super::core;
use super::groups::{all_of, keyed};
use crate::case::{Broken, Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::member::{Joined, receipts, settle_in};

pub(super) const CASES: &[Case] = &[
    core(
        "order_single_member",
        "One member receives in the order of publishing, within and between calls, as claimed.",
        |context| order_single_member(context).boxed(),
    ),
    core(
        "order_per_key",
        "Messages of one key reach a member in order, from many publishers to many members.",
        |context| order_per_key(context).boxed(),
    ),
    core(
        "membership_churn",
        "While members come and go under load nothing is lost, and twice comes what was held only.",
        |context| membership_churn(context).boxed(),
    ),
];

/// Fails when order was broken in the scope that is claimed.
fn in_order(context: &Context, reader: &str) -> Verdict {
    let scope = context.claims().ordering;
    let overtaken = match scope {
        Ordering::PerTopic => context.ledger.overtaken(reader),
        Ordering::PerKey => usize::try_from(context.ledger.counts([reader]).reordered).unwrap_or(1),
        _ => 0,
    };
    let counts = context.ledger.counts([reader]);
    holds!(
        overtaken == 0,
        "{overtaken} out of order, in the claimed scope {scope:?}: {counts}"
    );
    Ok(())
}

async fn order_single_member(context: &Context) -> Verdict {
    const COUNT: usize = 500;
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let mut random = context.random();
    let messages = keyed(context, COUNT, 8)?;
    let mut left = &messages[..];
    while !left.is_empty() {
        let (slice, rest) = left.split_at(random.usize(1..=left.len().min(20)));
        context.publish_slice(&*publisher, &to.topic, slice).await?;
        left = rest;
    }
    let deadline = Instant::now() + SOON;
    while context.ledger.distinct([member.name()]) < COUNT {
        let counts = context.ledger.counts([member.name()]);
        holds!(
            Instant::now() < deadline,
            "not all came within {SOON:?}: {counts}"
        );
        let came = member
            .receive(random.usize(1..40), Duration::from_millis(500))
            .await?;
        member.ack(&came).await?;
    }
    context.ledger.exactly_once([member.name()])?;
    in_order(context, member.name())
}

async fn order_per_key(context: &Context) -> Verdict {
    const PUBLISHERS: usize = 8;
    const KEYS: usize = 8;
    const EACH: usize = 120;
    let to = context.declared().await?;
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        let to = to.clone().member(potluck_core::Member::new(name)?);
        members.push(context.join(&to).await?);
    }
    let publisher = context.transport().publisher().await?;
    settle_in(context, &*publisher, &members.iter().collect::<Vec<_>>()).await?;
    let everyone: Vec<&str> = members.iter().map(Joined::name).collect();
    let topic = &to.topic;
    // A key belongs to one publisher, so that the order of its messages is known.
    let publish = |of: usize| async move {
        let publisher = context.transport().publisher().await?;
        for at in (0..EACH).step_by(5) {
            let key = |at: usize| format!("{of}-{}", at % KEYS);
            let slice: potluck_core::Result<Vec<_>> = (at..at + 5)
                .map(|at| context.ledger.keyed(&key(at)))
                .collect();
            context.publish_slice(&*publisher, topic, &slice?).await?;
        }
        Ok(())
    };
    let total = PUBLISHERS * EACH;
    let mut work: Vec<BoxFuture<'_, Verdict>> =
        (0..PUBLISHERS).map(|of| publish(of).boxed()).collect();
    work.extend(
        members
            .iter()
            .map(|member| member.drain(&everyone, total, SOON * 2).boxed()),
    );
    all_of(work).await?;
    context.ledger.exactly_once(everyone.iter().copied())?;
    let counts = context.ledger.counts(everyone.iter().copied());
    let ordered = context.claims().ordering != Ordering::None;
    holds!(!ordered || counts.reordered == 0, "within keys: {counts}");
    Ok(())
}

/// Members that come and go, and what they hold.
struct Crowd<'a> {
    context: &'a Context,
    members: Vec<(Joined<'a>, Vec<Delivery>)>,
    names: Vec<String>,
    /// What may come twice: it was held when membership changed.
    at_hand_over: u64,
}

impl<'a> Crowd<'a> {
    async fn join(&mut self, to: &potluck_core::Subscription) -> Verdict {
        let to = to.clone().member(potluck_core::Member::unique());
        self.names.push(to.member.as_str().to_owned());
        self.members
            .push((self.context.join(&to).await?, Vec::new()));
        self.count_if_reassigned();
        Ok(())
    }

    async fn leave(&mut self, place: usize) -> Verdict {
        self.count_if_reassigned();
        let (member, held) = self.members.swap_remove(place);
        self.at_hand_over += held.len() as u64;
        Ok(member.subscriber.close().await?)
    }

    /// Where keys belong to members, a change takes them from members that stay, too.
    fn count_if_reassigned(&mut self) {
        if self.context.claims().ordering == Ordering::PerKey {
            self.at_hand_over += self
                .members
                .iter()
                .map(|(_, held)| held.len() as u64)
                .sum::<u64>();
        }
    }

    async fn work(&mut self, place: usize, random: &mut fastrand::Rng) -> Verdict {
        let reassigned = self.context.claims().ordering == Ordering::PerKey;
        let (member, held) = &mut self.members[place];
        held.extend(
            member
                .receive(random.usize(1..20), Duration::from_millis(20))
                .await?,
        );
        let rest = held.split_off(random.usize(0..=held.len()));
        let done = std::mem::replace(held, rest);
        let stale = member.subscriber.ack(&receipts(&done)).await?.stale;
        holds!(
            stale.is_empty() || reassigned,
            "{} stale, though nobody took them",
            stale.len()
        );
        for delivery in done
            .iter()
            .filter(|delivery| !stale.contains(&delivery.receipt))
        {
            self.context
                .ledger
                .acked(member.to.group.as_str(), delivery);
        }
        Ok(())
    }

    fn distinct(&self) -> usize {
        self.context
            .ledger
            .distinct(self.names.iter().map(String::as_str))
    }
}

async fn membership_churn(context: &Context) -> Verdict {
    const COUNT: usize = 600;
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let messages = keyed(context, COUNT, 16)?;
    let publishing = async {
        for slice in messages.chunks(10) {
            context.publish_slice(&*publisher, &to.topic, slice).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<(), Broken>(())
    };
    let churning = async {
        let mut random = context.random();
        let mut crowd = Crowd {
            context,
            members: Vec::new(),
            names: Vec::new(),
            at_hand_over: 0,
        };
        let deadline = Instant::now() + SOON * 2;
        let mut steps = 0;
        while steps < 150 || crowd.distinct() < COUNT {
            steps += 1;
            let late = Instant::now() > deadline;
            holds!(
                !late,
                "{} of {COUNT} came within {:?}",
                crowd.distinct(),
                SOON * 2
            );
            let count = crowd.members.len();
            match random.usize(0..10) {
                _ if count == 0 => crowd.join(&to).await?,
                0 if count < 4 => crowd.join(&to).await?,
                1 if count > 1 => crowd.leave(random.usize(0..count)).await?,
                _ => crowd.work(random.usize(0..count), &mut random).await?,
            }
        }
        while !crowd.members.is_empty() {
            crowd.leave(0).await?;
        }
        Ok(crowd)
    };
    let (mut crowd, ()) = tokio::try_join!(churning, publishing)?;
    // What was given back at the end comes to one more member; nothing that was acknowledged does.
    crowd.join(&to).await?;
    let Some((last, _)) = crowd.members.first() else {
        return Ok(());
    };
    let keys = (0..16).map(|key| format!("key-{key}"));
    context.sentinels(&*publisher, &[last], keys).await?;
    let counts = context
        .ledger
        .counts(crowd.names.iter().map(String::as_str));
    let most = crowd.at_hand_over;
    holds!(
        counts.lost + counts.resurrected + counts.phantom == 0 && counts.duplicated <= most,
        "with {} members in turn, that gave back {most}: {counts}",
        crowd.names.len()
    );
    Ok(())
}
