//! Is what was acknowledged gone for good, does what was given back come again, and is each settle
//! good once, and for its own delivery only?

use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::capabilities::{Ack, Ordering, Redelivery, Release};
use potluck_core::{Delivery, Receipt, Subscription};
use tokio::time::Instant;

use super::groups::numbers;
use super::{claimed, core};
use crate::case::{Broken, Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::member::{Joined, receipts, settle_in, take_among};

pub(super) const CASES: &[Case] = &[
    core(
        "ack_final",
        "What was acknowledged does not come again, neither after leases nor on a new connection.",
        |context| ack_final(context).boxed(),
    ),
    claimed(
        "release_comes_back_promptly",
        "What is given back comes again long before its lease would end, to whom it is claimed to.",
        |context| release_comes_back_promptly(context).boxed(),
    ),
    core(
        "settle_twice_is_stale",
        "A second settle of a delivery is named stale and changes nothing.",
        |context| settle_twice_is_stale(context).boxed(),
    ),
    core(
        "stale_beside_good",
        "Stale receipts are named in the order given, and the others of the call are settled.",
        |context| stale_beside_good(context).boxed(),
    ),
    core(
        "settle_nothing",
        "Settling an empty slice is no error and settles nothing.",
        |context| settle_nothing(context).boxed(),
    ),
    core(
        "out_of_order_ack",
        "Acknowledging a later message acknowledges no earlier one.",
        |context| out_of_order_ack(context).boxed(),
    ),
    core(
        "strangers_receipts_are_stale",
        "A receipt settles nothing at a subscriber that did not give it.",
        |context| strangers_receipts_are_stale(context).boxed(),
    ),
    core(
        "overtaken_receipt_is_stale",
        "The receipt of a delivery that has come again settles nothing any more.",
        |context| overtaken_receipt_is_stale(context).boxed(),
    ),
];

/// Short, for leases that must run out.
pub(super) const LEASE: Duration = Duration::from_millis(1_500);
/// Long, for leases that must play no part.
pub(super) const NO_LEASE: Duration = Duration::from_secs(60);
/// How soon what was given back must come again.
const PROMPT: Duration = Duration::from_secs(5);

/// A second member of the same group.
pub(super) fn another(to: &Subscription) -> Subscription {
    to.clone().member(potluck_core::Member::unique())
}

async fn ack_final(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(LEASE);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 10).await?;
    let apart = context.connect_apart().await?;
    let first = context.join_over(&apart, &to).await?;
    let all = first.take(10).await?;
    first.ack(&all[..9]).await?;
    let name = first.name().to_owned();
    if context.claims().ack == Ack::Sent {
        // What was only sent may be lost with the connection; an orderly end sends it.
        first.subscriber.close().await?;
    }
    drop(first);
    drop(apart);
    // The one that was not acknowledged was handed out no earlier than the others: when it comes
    // again, so would they.
    let second = context.join(&another(&to)).await?;
    let again = second
        .take_within(1, context.redelivered_within(LEASE))
        .await?;
    let counts = || context.ledger.counts([name.as_str(), second.name()]);
    holds!(
        numbers(&again) == numbers(&all[9..]),
        "an acknowledged message came again: {}",
        counts()
    );
    second.ack(&again).await?;
    let before = context
        .sentinel(&*publisher, &*second.subscriber, &second.to)
        .await?;
    holds!(
        before.is_empty(),
        "{} came again: {}",
        before.len(),
        counts()
    );
    second.subscriber.close().await?;
    let connection = context.connect().await?;
    let third = context.join_over(&connection, &another(&to)).await?;
    let before = context
        .sentinel(&*publisher, &*third.subscriber, &third.to)
        .await?;
    holds!(
        before.is_empty(),
        "{} came again on a new connection",
        before.len()
    );
    let counts = counts();
    holds!(
        counts.resurrected == 0 && counts.duplicated == 1,
        "{counts}"
    );
    Ok(())
}

/// Two members of a group, of which the first holds `count` messages: `(holder, other, held)`.
pub(super) async fn holder_and_other<'a>(
    context: &'a Context,
    (to, other_to): (&Subscription, &Subscription),
    count: usize,
) -> Result<(Joined<'a>, Joined<'a>, Vec<Delivery>), Broken> {
    let publisher = context.transport().publisher().await?;
    let first = context.join(to).await?;
    if context.claims().ordering != Ordering::PerKey {
        // A member that is there already might be sent some of it, though it does not ask.
        context.publish(&*publisher, &to.topic, count).await?;
        let held = first.take(count).await?;
        return Ok((first, context.join(other_to).await?, held));
    }
    // Where keys belong to members, one that comes later would take some from the first.
    let second = context.join(other_to).await?;
    settle_in(context, &*publisher, &[&first, &second]).await?;
    context.publish(&*publisher, &to.topic, count).await?;
    let taken = take_among(&[&first, &second], count, SOON).await?;
    let by_first = taken.iter().all(|(place, _)| *place == 0);
    let held = taken.into_iter().map(|(_, delivery)| delivery).collect();
    Ok(if by_first {
        (first, second, held)
    } else {
        (second, first, held)
    })
}

async fn release_comes_back_promptly(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let (holder, other, all) = holder_and_other(context, (&to, &another(&to)), 5).await?;
    let began = Instant::now();
    holder.release(&all).await?;
    let again = if context.claims().release == Release::ToHolder {
        holder.take_within(5, PROMPT).await
    } else {
        // To any member means that one which did not hold it receives some of it, while the holder
        // does not ask; what the holder was sent nevertheless, it has to ask for.
        let first = other.receive(5, PROMPT).await?;
        holds!(
            !first.is_empty(),
            "none of 5 came to another member in {:?}",
            began.elapsed()
        );
        let rest = take_among(&[&other, &holder], 5 - first.len(), PROMPT).await;
        rest.map(|rest| {
            first
                .into_iter()
                .chain(rest.into_iter().map(|(_, one)| one))
                .collect()
        })
    };
    let took = began.elapsed();
    let Ok(again) = again else {
        let counts = context.ledger.counts([holder.name(), other.name()]);
        crate::broken!("not all of 5 came again in {took:?}: {counts}");
    };
    holds!(
        numbers(&again) == numbers(&all),
        "other messages came again than were given back"
    );
    let raised = again.iter().filter(|delivery| delivery.attempt > 1).count();
    holds!(
        raised == 5,
        "{} of 5 came again as a first attempt",
        5 - raised
    );
    for member in [&holder, &other] {
        // It settles those that are its own.
        let _ = member.subscriber.ack(&receipts(&again)).await?;
    }
    again
        .iter()
        .for_each(|one| context.ledger.acked(to.group.as_str(), one));
    let publisher = context.transport().publisher().await?;
    let both = [&holder, &other];
    let more = context
        .sentinels(&*publisher, &both, ["k".to_owned()])
        .await?;
    holds!(
        more.is_empty(),
        "{} came once more than they were given back",
        more.len()
    );
    Ok(())
}

/// Fails unless exactly these receipts were named stale.
fn stale_are(what: &str, settled: &potluck_core::Settled, expected: &[Receipt]) -> Verdict {
    let (came, expected_count) = (settled.stale.len(), expected.len());
    holds!(
        settled.stale == expected,
        "{what}: {came} receipts were named stale, {expected_count} are, or in another order"
    );
    Ok(())
}

async fn settle_twice_is_stale(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    context.publish(&*publisher, &to.topic, 4).await?;
    let all = member.take(4).await?;
    let receipts = receipts(&all);
    let subscriber = &member.subscriber;
    member.ack(&all[..2]).await?;
    stale_are(
        "ack after ack",
        &subscriber.ack(&receipts[..1]).await?,
        &receipts[..1],
    )?;
    stale_are(
        "release after ack",
        &subscriber.release(&receipts[1..2]).await?,
        &receipts[1..2],
    )?;
    stale_are(
        "extend after ack",
        &subscriber.extend(&receipts[..2]).await?,
        &receipts[..2],
    )?;
    member.release(&all[2..]).await?;
    stale_are(
        "ack after release",
        &subscriber.ack(&receipts[2..3]).await?,
        &receipts[2..3],
    )?;
    stale_are(
        "release after release",
        &subscriber.release(&receipts[3..]).await?,
        &receipts[3..],
    )?;
    let again = member.take(2).await?;
    holds!(
        numbers(&again) == numbers(&all[2..]),
        "what was acknowledged came again, or what was given back did not"
    );
    stale_are(
        "ack after it came again",
        &subscriber.ack(&receipts[2..]).await?,
        &receipts[2..],
    )?;
    member.ack(&again).await?;
    let before = context.sentinel(&*publisher, &**subscriber, &to).await?;
    let counts = context.ledger.counts([member.name()]);
    holds!(
        before.is_empty() && counts.duplicated == 2,
        "{} more came: {counts}",
        before.len()
    );
    Ok(())
}

async fn stale_beside_good(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    context.publish(&*publisher, &to.topic, 6).await?;
    let all = member.take(6).await?;
    let receipts = receipts(&all);
    let (good, bad) = (
        [receipts[1], receipts[3], receipts[5]],
        [receipts[4], receipts[0]],
    );
    member.ack(&[all[0].clone(), all[4].clone()]).await?;
    let mixed = [good[0], bad[0], good[1], bad[1], good[2]];
    stale_are(
        "a call with two stale receipts",
        &member.subscriber.ack(&mixed).await?,
        &bad,
    )?;
    for place in [1, 3, 5] {
        context.ledger.acked(to.group.as_str(), &all[place]);
    }
    let left = member.subscriber.release(&[bad[0], receipts[2]]).await?;
    stale_are("a release with one stale receipt", &left, &bad[..1])?;
    let again = member.take(1).await?;
    holds!(
        numbers(&again) == numbers(&all[2..3]),
        "the good receipts were not settled"
    );
    member.ack(&again).await?;
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    let counts = context.ledger.counts([member.name()]);
    holds!(before.is_empty(), "{} came again: {counts}", before.len());
    Ok(())
}

async fn settle_nothing(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    context.publish(&*publisher, &to.topic, 3).await?;
    let all = member.take(3).await?;
    stale_are("an empty ack", &member.subscriber.ack(&[]).await?, &[])?;
    stale_are(
        "an empty release",
        &member.subscriber.release(&[]).await?,
        &[],
    )?;
    stale_are(
        "an empty extend",
        &member.subscriber.extend(&[]).await?,
        &[],
    )?;
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    holds!(
        before.is_empty(),
        "an empty settle gave {} back",
        before.len()
    );
    member.ack(&all).await
}

async fn out_of_order_ack(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 10).await?;
    let connection = context.connect().await?;
    let first = context.join_over(&connection, &to).await?;
    let all = first.take(10).await?;
    let (late, early): (Vec<_>, Vec<_>) = all
        .iter()
        .cloned()
        .enumerate()
        .partition(|(place, _)| [2, 5, 9].contains(place));
    let bare =
        |some: Vec<(usize, Delivery)>| some.into_iter().map(|(_, one)| one).collect::<Vec<_>>();
    let (late, early) = (bare(late), bare(early));
    for one in late.iter().rev() {
        first.ack(std::slice::from_ref(one)).await?;
    }
    first.subscriber.close().await?;
    connection.close().await?;
    let second = context.join(&another(&to)).await?;
    let before = context
        .sentinel(&*publisher, &*second.subscriber, &second.to)
        .await?;
    let (came, expected) = (numbers(&before), numbers(&early));
    holds!(
        came == expected,
        "the last and two others of ten were acknowledged, then came {came:?}, not {expected:?}"
    );
    let counts = context.ledger.counts([first.name(), second.name()]);
    holds!(counts.lost + counts.resurrected == 0, "{counts}");
    Ok(())
}

async fn strangers_receipts_are_stale(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let elsewhere = context.group_of(&to, "elsewhere")?.lease(NO_LEASE);
    let connection = context.connect().await?;
    // A member of another group that holds the same messages, of which tables could agree.
    let stranger = context.join_over(&connection, &elsewhere).await?;
    let (holder, other, all) = holder_and_other(context, (&to, &another(&to)), 4).await?;
    let own = stranger.take(4).await?;
    let receipts = receipts(&all);
    for (what, subscriber) in [
        ("another member", &other.subscriber),
        ("another group", &stranger.subscriber),
    ] {
        stale_are(
            &format!("ack by {what}"),
            &subscriber.ack(&receipts).await?,
            &receipts,
        )?;
        stale_are(
            &format!("release by {what}"),
            &subscriber.release(&receipts).await?,
            &receipts,
        )?;
        stale_are(
            &format!("extend by {what}"),
            &subscriber.extend(&receipts).await?,
            &receipts,
        )?;
    }
    // Everything is as it was.
    holder.ack(&all).await?;
    stranger.ack(&own).await?;
    let publisher = context.transport().publisher().await?;
    let before = context
        .sentinels(&*publisher, &[&holder, &other], ["k".to_owned()])
        .await?;
    holds!(
        before.is_empty(),
        "{} came again after a stranger's settle",
        before.len()
    );
    Ok(())
}

async fn overtaken_receipt_is_stale(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(LEASE);
    let (holder, other, all) = holder_and_other(context, (&to, &another(&to)), 3).await?;
    // With leases the first member sits on it for too long, without them it gives it back.
    let again: Vec<_> = if context.claims().redelivery == Redelivery::AfterLease {
        let again = other
            .take_within(3, context.redelivered_within(LEASE))
            .await?;
        again.into_iter().map(|one| (1, one)).collect()
    } else {
        holder.release(&all).await?;
        take_among(&[&holder, &other], 3, SOON).await?
    };
    let old = receipts(&all);
    let subscriber = &holder.subscriber;
    stale_are("a late extend", &subscriber.extend(&old).await?, &old)?;
    stale_are("a late release", &subscriber.release(&old).await?, &old)?;
    stale_are("a late ack", &subscriber.ack(&old).await?, &old)?;
    for (place, one) in &again {
        let member = if *place == 0 { &holder } else { &other };
        // The late settles have taken nothing from whom it belongs to now.
        member.ack(std::slice::from_ref(one)).await?;
    }
    let publisher = context.transport().publisher().await?;
    let both = [&holder, &other];
    let more = context
        .sentinels(&*publisher, &both, ["k".to_owned()])
        .await?;
    let counts = context.ledger.counts([holder.name(), other.name()]);
    holds!(
        more.is_empty() && counts.duplicated == 3,
        "{} more came: {counts}",
        more.len()
    );
    Ok(())
}
