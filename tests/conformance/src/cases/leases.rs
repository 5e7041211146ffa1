//! Does what is unsettled come again when its holder is gone, the same and counted, and no sooner?

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::capabilities::{Attempts, Ordering, Redelivery, Starts};
use potluck_core::{Delivery, Retention, Start};
use tokio::time::{Instant, sleep};

use super::groups::numbers;
use super::observe::read_all;
use super::publish::same_headers;
use super::refusals::{copy_of, declared_dead_letters};
use super::settle::{LEASE, NO_LEASE, another, holder_and_other};
use super::{claimed, core};
use crate::case::{Case, Verdict};
use crate::context::{Context, SOON, WITHIN};
use crate::holds;
use crate::ledger::Ledger;
use crate::member::receipts;

pub(super) const CASES: &[Case] = &[
    core(
        "unsettled_drop_returns",
        "What a vanished member held comes again, all of it.",
        |context| unsettled_drop_returns(context).boxed(),
    ),
    core(
        "same_member_name_returns",
        "A member that vanishes and comes back by the same name strands nothing.",
        |context| same_member_name_returns(context).boxed(),
    ),
    claimed(
        "extend_keeps_lease",
        "An extended delivery stays with its member where leases end; elsewhere nothing changes.",
        |context| extend_keeps_lease(context).boxed(),
    ),
    claimed(
        "attempts_as_claimed",
        "Hand-overs of a message are counted, or its first is told from later ones, as claimed.",
        |context| attempts_as_claimed(context).boxed(),
    ),
    core(
        "redelivery_identity",
        "At every attempt a message has the same id, body, headers and key.",
        |context| redelivery_identity(context).boxed(),
    ),
    core(
        "in_flight_bound",
        "A member is handed no more than it may hold, and what is beyond that goes to others.",
        |context| in_flight_bound(context).boxed(),
    ),
    core(
        "resume_after_saturation",
        "A member that holds all it may goes on as soon as it settles, also when it waits already.",
        |context| resume_after_saturation(context).boxed(),
    ),
    core(
        "until_acked_removes_on_ack",
        "Where messages are kept until acknowledged, an ack removes them and a release does not.",
        |context| until_acked_removes_on_ack(context).boxed(),
    ),
];

async fn unsettled_drop_returns(context: &Context) -> Verdict {
    // More than one page of whatever a driver pages through.
    const HELD: usize = 300;
    const ALL: usize = 310;
    let to = context.declared().await?.lease(LEASE);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, ALL).await?;
    let apart = context.connect_apart().await?;
    let first = context.join_over(&apart, &to).await?;
    let held = first.take(HELD).await?;
    let name = first.name().to_owned();
    drop(first);
    drop(apart);
    let second = context.join(&another(&to)).await?;
    let came = second
        .take_and_ack(ALL, context.redelivered_within(LEASE))
        .await?;
    let held = numbers(&held);
    let again = came
        .iter()
        .filter(|one| Ledger::number(&one.message).is_some_and(|number| held.contains(&number)));
    let uncounted = again.filter(|one| one.attempt < 2).count();
    holds!(
        uncounted == 0,
        "{uncounted} that were held before came as a first attempt"
    );
    let more = context
        .sentinel(&*publisher, &*second.subscriber, &second.to)
        .await?;
    let counts = context.ledger.counts([name.as_str(), second.name()]);
    holds!(
        more.is_empty(),
        "{} came more than once again: {counts}",
        more.len()
    );
    Ok(())
}

async fn same_member_name_returns(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(LEASE);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 10).await?;
    for held in [4, 6] {
        let apart = context.connect_apart().await?;
        let member = context.join_over(&apart, &to).await?;
        member
            .take_within(held, context.redelivered_within(LEASE))
            .await?;
    }
    let member = context.join(&to).await?;
    // The ledger knows all three by one name.
    let mut came = BTreeSet::new();
    let deadline = Instant::now() + context.redelivered_within(LEASE);
    while came.len() < 10 {
        let late = Instant::now() > deadline;
        holds!(
            !late,
            "{} of 10 came to the third member of a name",
            came.len()
        );
        let some = member.receive(10, LEASE / 5).await?;
        member.ack(&some).await?;
        came.extend(numbers(&some));
    }
    let more = context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    holds!(more.is_empty(), "{} came once more", more.len());
    Ok(())
}

async fn extend_keeps_lease(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(LEASE);
    let (first, second, all) = holder_and_other(context, (&to, &another(&to)), 3).await?;
    let (kept, left, done) = (&all[..1], &all[1..2], &all[2..]);
    first.ack(done).await?;
    let leased = context.claims().redelivery == Redelivery::AfterLease;
    let (told, claimed) = (first.subscriber.lease(), leased.then_some(LEASE));
    holds!(
        told == claimed,
        "the member says that its lease is {told:?}, where {claimed:?} is claimed and asked for"
    );
    let deadline = Instant::now() + context.redelivered_within(LEASE);
    let settled = first
        .subscriber
        .extend(&receipts(&[kept[0].clone(), done[0].clone()]))
        .await?;
    holds!(
        settled.stale == receipts(done),
        "extending a held and an acknowledged one named {} stale instead of 1",
        settled.stale.len()
    );
    let mut came: Vec<Delivery> = Vec::new();
    // The one that is not extended shows when leases end; where none ends it never comes.
    let quiet = Instant::now() + LEASE * 2;
    while if leased {
        came.is_empty()
    } else {
        Instant::now() < quiet
    } {
        holds!(
            Instant::now() < deadline,
            "what was not extended did not come to another member"
        );
        let some = second.receive(10, LEASE / 5).await?;
        second.ack(&some).await?;
        came.extend(some);
        let settled = first.subscriber.extend(&receipts(kept)).await?;
        holds!(
            settled.stale.is_empty(),
            "an extended delivery was stale before its lease was over"
        );
    }
    let some = second.receive(10, LEASE / 5).await?;
    second.ack(&some).await?;
    came.extend(some);
    let expected = if leased { numbers(left) } else { numbers(&[]) };
    holds!(
        numbers(&came) == expected,
        "{:?} went to another member, of which {:?} was extended in time",
        numbers(&came),
        numbers(kept)
    );
    first.ack(kept).await?;
    if leased {
        Ok(())
    } else {
        first.ack(left).await
    }
}

async fn attempts_as_claimed(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(LEASE);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 1).await?;
    let apart = context.connect_apart().await?;
    let first = context.join_over(&apart, &to).await?;
    let mut attempts = Vec::new();
    for round in 0..4 {
        let one = first.take_one().await?;
        attempts.push(one.attempt);
        if round < 3 {
            first.release(&[one]).await?;
        }
    }
    let counted = context.claims().attempts == Attempts::Counted;
    let right = match attempts.as_slice() {
        [1, 2, 3, 4] => true,
        [1, later @ ..] => !counted && later.iter().all(|attempt| *attempt > 1),
        _ => false,
    };
    holds!(
        right,
        "released three times, it came as attempts {attempts:?}"
    );
    // It vanishes with the last of them.
    drop(first);
    drop(apart);
    let second = context.join(&another(&to)).await?;
    let again = second
        .take_within(1, context.redelivered_within(LEASE))
        .await?;
    attempts.extend(again.iter().map(|one| one.attempt));
    let least = if counted { 5 } else { 2 };
    holds!(
        attempts.last().is_some_and(|last| *last >= least),
        "after its member vanished it came with a lower count: {attempts:?}"
    );
    // And it leaves in order with this one.
    second.subscriber.close().await?;
    let connection = context.connect().await?;
    let third = context.join_over(&connection, &another(&to)).await?;
    let one = third.take_one().await?;
    attempts.push(one.attempt);
    let least = if counted { 6 } else { 2 };
    holds!(
        one.attempt >= least,
        "after its member had closed: {attempts:?}"
    );
    third.ack(&[one]).await
}

async fn redelivery_identity(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(LEASE);
    let publisher = context.transport().publisher().await?;
    let sent = context
        .ledger
        .keyed("identity")?
        .with_header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )?
        .with_header("bytes", vec![0, 0xff, b'\n'])?;
    context
        .publish_slice(&*publisher, &to.topic, std::slice::from_ref(&sent))
        .await?;
    let apart = context.connect_apart().await?;
    let first = context.join_over(&apart, &to).await?;
    let mut attempts = Vec::new();
    for round in 0..3 {
        let one = first.take_one().await?;
        if round < 2 {
            first.release(std::slice::from_ref(&one)).await?;
        }
        attempts.push(one);
    }
    drop(first);
    drop(apart);
    let second = context.join(&another(&to)).await?;
    attempts.extend(
        second
            .take_within(1, context.redelivered_within(LEASE))
            .await?,
    );
    for (round, came) in attempts.iter().enumerate() {
        let attempt = round + 1;
        let (id, first) = (came.id, attempts[0].id);
        holds!(
            id == first,
            "hand-over {attempt} has the id {id}, the first had {first}"
        );
        holds!(
            came.message.body() == sent.body(),
            "hand-over {attempt} has another body"
        );
        holds!(
            came.message.key() == sent.key(),
            "hand-over {attempt} has another key"
        );
        holds!(
            came.defect.is_none(),
            "hand-over {attempt} has the defect {:?}",
            came.defect
        );
        same_headers(sent.headers(), came.message.headers())?;
    }
    second.ack(&attempts[3..]).await
}

async fn in_flight_bound(context: &Context) -> Verdict {
    const BOUND: usize = 10;
    const ALL: usize = 50;
    let max = NonZeroUsize::new(BOUND).unwrap_or(NonZeroUsize::MIN);
    let to = context.declared().await?.lease(NO_LEASE).max_held(max);
    let publisher = context.transport().publisher().await?;
    let first = context.join(&to).await?;
    context.publish(&*publisher, &to.topic, ALL).await?;
    let mut held = first.take(BOUND).await?;
    for max in [1, 100, 100] {
        held.extend(first.receive(max, Duration::from_millis(100)).await?);
        let count = held.len();
        holds!(
            count <= BOUND,
            "{count} unsettled were handed over where {BOUND} may be held"
        );
    }
    if context.claims().ordering == Ordering::PerKey {
        // Keys belong to members: the others wait for this one.
        for _ in 0..(ALL - BOUND) / BOUND {
            first.ack(&held).await?;
            held = first.take(BOUND).await?;
        }
        return first.ack(&held).await;
    }
    // All the others go to a member that works.
    let second = context.join(&another(&to)).await?;
    for _ in 0..(ALL - BOUND) / BOUND {
        let came = second.take(BOUND).await;
        let counts = context.ledger.counts([first.name(), second.name()]);
        let Ok(came) = came else {
            crate::broken!("a member that may hold {BOUND} keeps more from others: {counts}");
        };
        second.ack(&came).await?;
    }
    second.subscriber.close().await?;
    first.ack(&held).await?;
    let before = context
        .sentinel(&*publisher, &*first.subscriber, &first.to)
        .await?;
    holds!(before.is_empty(), "{} came twice", before.len());
    Ok(())
}

async fn resume_after_saturation(context: &Context) -> Verdict {
    const BOUND: usize = 20;
    let max = NonZeroUsize::new(BOUND).unwrap_or(NonZeroUsize::MIN);
    let to = context.declared().await?.lease(NO_LEASE).max_held(max);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    context.publish(&*publisher, &to.topic, 100).await?;
    let mut held = member.take(BOUND).await?;
    // A receive that waits while all is held goes on when some is acknowledged, and then when some
    // is given back.
    for round in 0..2 {
        let (done, rest) = held.split_at(5);
        let receiving = async {
            let began = Instant::now();
            let came = member.receive(100, SOON).await?;
            Ok::<_, crate::Broken>((came, began.elapsed()))
        };
        let settling = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if round == 0 {
                member.ack(done).await
            } else {
                member.release(done).await
            }
        };
        let ((came, took), ()) = tokio::try_join!(receiving, settling)?;
        holds!(
            !came.is_empty() && took < SOON / 2,
            "{} came in {took:?} to a receive that waited for a settle",
            came.len()
        );
        held = rest.iter().cloned().chain(came).collect();
    }
    let deadline = Instant::now() + SOON;
    while context.ledger.distinct([member.name()]) < 100 || !held.is_empty() {
        let counts = context.ledger.counts([member.name()]);
        holds!(Instant::now() < deadline, "the flow has stopped: {counts}");
        member.ack(&held).await?;
        held = member.receive(BOUND, Duration::from_millis(200)).await?;
    }
    let counts = context.ledger.counts([member.name()]);
    holds!(
        counts.lost == 0 && counts.duplicated == 5,
        "five were given back: {counts}"
    );
    Ok(())
}

async fn until_acked_removes_on_ack(context: &Context) -> Verdict {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
    let to = declared_dead_letters(context)
        .await?
        .retention(Retention::UntilAcked)
        .lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let sent: Vec<_> = (0..6).map(|_| context.ledger.message()).collect();
    let copies: Vec<_> = sent.iter().map(copy_of).collect();
    publisher.publish(&to.topic, &copies, WITHIN).await?;
    let all = member.take(6).await?;
    member.ack(&all[..3]).await?;
    member.release(&all[3..]).await?;
    let expected = numbers(&all[3..]);
    if context.claims().starts == Starts::EarliestAndNew {
        // The topic keeps what is not acknowledged, and no more; soon, if not at once.
        let deadline = Instant::now() + SOON;
        loop {
            let left = read_all(context, &to.topic, Start::Earliest, 3).await?;
            let left: BTreeSet<_> = left.into_iter().collect();
            if left == expected {
                break;
            }
            let late = Instant::now() > deadline;
            holds!(
                !late,
                "the topic keeps {left:?}, and {expected:?} are not acknowledged"
            );
            sleep(BETWEEN_LOOKS).await;
        }
    }
    let again = member.take(3).await?;
    holds!(
        numbers(&again) == expected,
        "{:?} came again",
        numbers(&again)
    );
    member.ack(&again).await?;
    publisher
        .publish(&to.topic, &[copy_of(&context.ledger.message())], WITHIN)
        .await?;
    let last = member.take(1).await?;
    holds!(last[0].attempt == 1, "an acknowledged message came again");
    member.ack(&last).await
}
