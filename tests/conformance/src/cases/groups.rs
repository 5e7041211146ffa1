//! Do members share, do groups all see everything, and does a group begin where it should?

use std::collections::BTreeSet;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use potluck_core::capabilities::Starts;
use potluck_core::{Delivery, Message, Start};

use super::{claimed, core};
use crate::case::{Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::ledger::Ledger;
use crate::member::settle_in;

pub(super) const CASES: &[Case] = &[
    core(
        "group_members_share_exclusively",
        "Of three members of a group each message goes to one, and the work is shared.",
        |context| group_members_share_exclusively(context).boxed(),
    ),
    core(
        "groups_fan_out",
        "Each group receives every message, once.",
        |context| groups_fan_out(context).boxed(),
    ),
    core(
        "settles_stay_in_their_group",
        "What one group acknowledges or gives back changes nothing for another.",
        |context| settles_stay_in_their_group(context).boxed(),
    ),
    core(
        "declared_group_keeps_earlier",
        "What is published after a group was declared waits for its first member.",
        |context| declared_group_keeps_earlier(context).boxed(),
    ),
    claimed(
        "start_position_as_claimed",
        "A new group begins at the earliest message or at the next one, as claimed and asked.",
        |context| start_position_as_claimed(context).boxed(),
    ),
    core(
        "declare_moves_nothing",
        "Declaring or joining what exists, also with another start, moves no position.",
        |context| declare_moves_nothing(context).boxed(),
    ),
    core(
        "resume_same_group",
        "A group that comes back on a new connection gets exactly what it has not acknowledged.",
        |context| resume_same_group(context).boxed(),
    ),
];

/// `count` messages over `keys` ordering keys, in turn.
pub(super) fn keyed(
    context: &Context,
    count: usize,
    keys: usize,
) -> potluck_core::Result<Vec<Message>> {
    (0..count)
        .map(|at| context.ledger.keyed(&format!("key-{}", at % keys)))
        .collect()
}

/// The numbers of these deliveries.
pub(super) fn numbers(deliveries: &[Delivery]) -> BTreeSet<u64> {
    deliveries
        .iter()
        .filter_map(|delivery| Ledger::number(&delivery.message))
        .collect()
}

async fn group_members_share_exclusively(context: &Context) -> Verdict {
    const COUNT: usize = 600;
    const KEYS: usize = 64;
    let to = context.declared().await?;
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        let to = to.clone().member(potluck_core::Member::new(name)?);
        members.push(context.join(&to).await?);
    }
    let publisher = context.transport().publisher().await?;
    let all: Vec<_> = members.iter().collect();
    settle_in(context, &*publisher, &all).await?;
    let messages = keyed(context, COUNT, KEYS)?;
    let publishing = async {
        for slice in messages.chunks(50) {
            context.publish_slice(&*publisher, &to.topic, slice).await?;
        }
        Ok(())
    };
    let everyone: Vec<&str> = members.iter().map(|member| member.name()).collect();
    let draining = try_join_all(
        members
            .iter()
            .map(|member| member.drain(&everyone, COUNT, SOON * 2)),
    );
    let (_, ()): (Vec<()>, ()) = tokio::try_join!(draining, publishing)?;
    let keys = (0..KEYS).map(|key| format!("key-{key}"));
    context.sentinels(&*publisher, &all, keys).await?;
    context.ledger.exactly_once(everyone.iter().copied())?;
    let shares: Vec<_> = everyone
        .iter()
        .map(|name| context.ledger.handed_to(name))
        .collect();
    let working = shares.iter().filter(|share| **share > 0).count();
    holds!(
        working >= 2,
        "the work was not shared: {shares:?} of {COUNT}"
    );
    Ok(())
}

async fn groups_fan_out(context: &Context) -> Verdict {
    let one = context
        .declared()
        .await?
        .member(potluck_core::Member::new("in-one")?);
    let two = context
        .group_of(&one, "two")?
        .member(potluck_core::Member::new("in-two")?);
    let (first, second) = (context.join(&one).await?, context.join(&two).await?);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &one.topic, 200).await?;
    for member in [&first, &second] {
        let all = member.take(200).await?;
        member.ack(&all).await?;
    }
    context
        .sentinel(&*publisher, &*first.subscriber, &one)
        .await?;
    // The same message is the last of the other group.
    let last = second.take(1).await?;
    second.ack(&last).await?;
    for member in [&first, &second] {
        context.ledger.exactly_once([member.name()])?;
    }
    Ok(())
}

async fn settles_stay_in_their_group(context: &Context) -> Verdict {
    let one = context.declared().await?;
    let two = context.group_of(&one, "two")?;
    let (first, second) = (context.join(&one).await?, context.join(&two).await?);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &one.topic, 10).await?;
    let all = first.take(10).await?;
    first.ack(&all[..5]).await?;
    first.release(&all[5..]).await?;
    let others = second.take(10).await?;
    let raised = others
        .iter()
        .filter(|delivery| delivery.attempt != 1)
        .count();
    holds!(
        raised == 0,
        "{raised} of the other group's first hand-overs have a higher attempt"
    );
    second.ack(&others).await?;
    let again = first.take(5).await?;
    holds!(
        numbers(&again) == numbers(&all[5..]),
        "other messages came again than were given back"
    );
    first.ack(&again).await?;
    let before = context
        .sentinel(&*publisher, &*second.subscriber, &two)
        .await?;
    holds!(
        before.is_empty(),
        "{} came again to a group that gave none back",
        before.len()
    );
    context.ledger.exactly_once([second.name()])
}

async fn declared_group_keeps_earlier(context: &Context) -> Verdict {
    let to = context.fresh()?.start(Start::New);
    let declarer = context.connect().await?;
    declarer.declare(&to).await?;
    declarer.close().await?;
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 20).await?;
    let member = context.join(&to).await?;
    let came = member.take(20).await;
    let counts = context.ledger.counts([member.name()]);
    holds!(
        came.is_ok(),
        "published after the group was declared as new: {counts}"
    );
    context.ledger.exactly_once([member.name()])
}

async fn start_position_as_claimed(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    context.publish(&*publisher, &to.topic, 5).await?;
    let all = member.take(5).await?;
    member.ack(&all).await?;
    let early = context.group_of(&to, "early")?.start(Start::Earliest);
    let late = context.group_of(&to, "late")?.start(Start::New);
    for group in [&early, &late] {
        context.transport().declare(group).await?;
    }
    // The last is the sentinel of both.
    context.publish(&*publisher, &to.topic, 6).await?;
    // What the first group has acknowledged is kept for those that start at the earliest.
    let earliest = match context.claims().starts {
        Starts::EarliestAndNew => 0..11,
        _ => 5..11,
    };
    for (group, expected) in [(&early, earliest), (&late, 5..11)] {
        let member = context.join(group).await?;
        let expected: BTreeSet<u64> = expected.collect();
        let all = member.take(expected.len()).await;
        let came: BTreeSet<u64> = context.ledger.handed(member.name()).into_iter().collect();
        holds!(
            all.is_ok() && came == expected,
            "a group that starts at {:?} received {came:?} instead of {expected:?}",
            group.start
        );
    }
    Ok(())
}

async fn declare_moves_nothing(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 10).await?;
    let declare_all = || async {
        for start in [Start::New, Start::Earliest, Start::New] {
            context
                .transport()
                .declare(&to.clone().start(start))
                .await?;
        }
        Ok::<(), potluck_core::Error>(())
    };
    declare_all().await?;
    let member = context.join(&to.clone().start(Start::New)).await?;
    let all = member.take(10).await?;
    declare_all().await?;
    member.ack(&all[..5]).await?;
    member.subscriber.close().await?;
    declare_all().await?;
    let again = context
        .join(&to.clone().member(potluck_core::Member::unique()))
        .await?;
    let before = context
        .sentinel(&*publisher, &*again.subscriber, &again.to)
        .await?;
    let (came, left) = (numbers(&before), numbers(&all[5..]));
    holds!(
        came == left && before.len() == left.len(),
        "{came:?} came after declaring anew, instead of {left:?}"
    );
    Ok(())
}

async fn resume_same_group(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 40).await?;
    let connection = context.connect().await?;
    let first = context.join_over(&connection, &to).await?;
    let half = first.take(20).await?;
    first.ack(&half).await?;
    first.subscriber.close().await?;
    connection.close().await?;
    let connection = context.connect().await?;
    let to = to.member(potluck_core::Member::unique());
    let second = context.join_over(&connection, &to).await?;
    let rest = second.take(20).await?;
    second.ack(&rest).await?;
    let more = context
        .sentinel(&*publisher, &*second.subscriber, &second.to)
        .await?;
    let counts = context.ledger.counts([first.name(), second.name()]);
    holds!(
        more.is_empty(),
        "{} beyond the other half came: {counts}",
        more.len()
    );
    context.ledger.exactly_once([first.name(), second.name()])
}

/// Runs these at once and fails with the first that does.
pub(super) fn all_of<'a>(each: Vec<BoxFuture<'a, Verdict>>) -> BoxFuture<'a, Verdict> {
    async { try_join_all(each).await.map(|_| ()) }.boxed()
}
