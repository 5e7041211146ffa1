//! Do counts, status, looks and readers show what is so, and change nothing?

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::capabilities::{Peek, Starts};
use potluck_core::{Figure, GroupStatus, Message, MessageId, Peeked, Reader, Start, Topic};
use tokio::time::Instant;

use super::settle::NO_LEASE;
use super::{claimed, core};
use crate::case::{Broken, Case, Verdict};
use crate::context::{Context, SOON, WITHIN};
use crate::holds;
use crate::ledger::Ledger;
use crate::member::receipts;

pub(super) const CASES: &[Case] = &[
    core(
        "stats_match_ledger",
        "A connection's counts are what happened over it, exactly.",
        |context| stats_match_ledger(context).boxed(),
    ),
    core(
        "status_matches_ledger",
        "A group's status is what happened to it, or says that it is an estimate.",
        |context| status_matches_ledger(context).boxed(),
    ),
    claimed(
        "peek_as_claimed",
        "A look at a group shows what it has to do, in pages, and changes nothing or is counted.",
        |context| peek_as_claimed(context).boxed(),
    ),
    claimed(
        "reader_starts_as_asked",
        "A reader begins at the earliest message or at the next one, and has a place of its own.",
        |context| reader_starts_as_asked(context).boxed(),
    ),
    core(
        "reader_leaves_nothing",
        "A reader settles nothing, joins nothing, and leaves nothing behind.",
        |context| reader_leaves_nothing(context).boxed(),
    ),
    core(
        "reader_cancel_safe",
        "A read that is dropped loses nothing: the next goes on behind what was last returned.",
        |context| reader_cancel_safe(context).boxed(),
    ),
];

async fn stats_match_ledger(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let connection = context.connect().await?;
    let publisher = connection.publisher().await?;
    context.publish(&*publisher, &to.topic, 20).await?;
    let large = Message::new(vec![0; context.claims().max_message + 1]);
    let refused = publisher
        .publish(&to.topic, &[Message::new("x"), large], WITHIN)
        .await;
    holds!(refused.is_err(), "a message over the limit was stored");
    let member = context.join_over(&connection, &to).await?;
    let all = member.take(20).await?;
    member.ack(&all[..12]).await?;
    member.release(&all[12..17]).await?;
    let _ = member.subscriber.ack(&receipts(&all[..3])).await?;
    let again = member.take(5).await?;
    member.ack(&again).await?;
    let stats = connection.stats();
    let counts = [
        ("published", stats.published, 20),
        ("refused", stats.refused, 2),
        ("unknown", stats.unknown, 0),
        ("delivered", stats.delivered, 25),
        ("acked", stats.acked, 17),
        ("released", stats.released, 5),
        ("stale", stats.stale, 3),
        ("reconnects", stats.reconnects, 0),
        ("groups_recreated", stats.groups_recreated, 0),
        ("lost_by_trim", stats.lost_by_trim, 0),
    ];
    let wrong: Vec<_> = counts
        .iter()
        .filter(|(_, came, expected)| came != expected)
        .collect();
    holds!(wrong.is_empty(), "counted and expected differ: {wrong:?}");
    let other = context.transport().stats();
    let foreign = other.published + other.delivered + other.acked;
    holds!(
        foreign == 0,
        "what another connection did was counted here: {other:?}"
    );
    Ok(())
}

/// Whether a figure that claims to be exact is.
fn agrees(figure: Figure<u64>, expected: u64) -> bool {
    !matches!(figure, Figure::Exact(value) if value != expected)
}

/// Waits until the status agrees, for a broker may count a little later, and a driver may have read
/// ahead for a member that has joined.
async fn status_becomes(
    context: &Context,
    to: &potluck_core::Subscription,
    [backlog, in_flight, members]: [u64; 3],
) -> Result<GroupStatus, Broken> {
    let deadline = Instant::now() + SOON;
    loop {
        let status = context.transport().status(&to.topic, &to.group).await?;
        let ahead = match status.in_flight {
            Figure::Exact(came) if members > 0 => came.saturating_sub(in_flight),
            _ => 0,
        };
        let right = ahead <= backlog
            && agrees(status.backlog, backlog - ahead)
            && agrees(status.in_flight, in_flight + ahead)
            && agrees(status.members, members);
        if right {
            return Ok(status);
        }
        holds!(
            Instant::now() < deadline,
            "{status:?}, where the backlog is {backlog}, in flight {in_flight}, members {members}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn status_matches_ledger(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let status = status_becomes(context, &to, [0, 0, 0]).await?;
    holds!(
        agrees(status.oldest_ms, 0),
        "of nothing the oldest is {:?}",
        status.oldest_ms
    );
    let publisher = context.transport().publisher().await?;
    let began = Instant::now();
    context.publish(&*publisher, &to.topic, 10).await?;
    status_becomes(context, &to, [10, 0, 0]).await?;
    let member = context.join(&to).await?;
    status_becomes(context, &to, [10, 0, 1]).await?;
    let all = member.take(4).await?;
    status_becomes(context, &to, [6, 4, 1]).await?;
    member.ack(&all[1..2]).await?;
    member.release(&all[2..3]).await?;
    // What was given back is in flight until it is acknowledged.
    let status = status_becomes(context, &to, [6, 3, 1]).await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let later = status_becomes(context, &to, [6, 3, 1]).await?;
    if let (Figure::Exact(before), Figure::Exact(after)) = (status.oldest_ms, later.oldest_ms) {
        // A broker's clock is not ours, but both go on.
        let most = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) + 5_000;
        holds!(
            before < after && after <= most,
            "the oldest is {before} ms old, then {after} ms"
        );
    }
    member.ack(&[all[0].clone(), all[3].clone()]).await?;
    let rest = member.take(7).await?;
    member.ack(&rest).await?;
    let status = status_becomes(context, &to, [0, 0, 1]).await?;
    holds!(
        agrees(status.oldest_ms, 0),
        "of nothing the oldest is {:?}",
        status.oldest_ms
    );
    member.subscriber.close().await?;
    status_becomes(context, &to, [0, 0, 0]).await?;
    Ok(())
}

/// The numbers that a look at the group shows, page after page of up to `max`.
async fn look(
    context: &Context,
    to: &potluck_core::Subscription,
    max: usize,
) -> Result<Vec<u64>, Broken> {
    let mut after: Option<MessageId> = None;
    let mut shown = Vec::new();
    for _ in 0..20 {
        let page = context
            .transport()
            .peek(&to.topic, &to.group, after, max)
            .await?;
        let count = page.messages.len();
        holds!(count <= max, "a page of up to {max} has {count}");
        shown.extend(
            page.messages
                .iter()
                .filter_map(|one| Ledger::number(&one.message)),
        );
        after = page.next;
        if after.is_none() {
            return Ok(shown);
        }
        holds!(count > 0, "an empty page says that there are more");
    }
    crate::broken!("a look is not over after 20 pages: {shown:?}")
}

async fn peek_as_claimed(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let nothing = look(context, &to, 4).await?;
    holds!(nothing.is_empty(), "a look shows {nothing:?} of nothing");
    context.publish(&*publisher, &to.topic, 7).await?;
    let none = context
        .transport()
        .peek(&to.topic, &to.group, None, 0)
        .await?;
    holds!(
        none.messages.is_empty(),
        "a page of none has {}",
        none.messages.len()
    );
    for max in [100, 3, 7, 1] {
        let shown = look(context, &to, max).await?;
        let expected: Vec<u64> = (0..7).collect();
        holds!(
            shown == expected,
            "in pages of {max} it shows {shown:?} of {expected:?}"
        );
    }
    let member = context.join(&to).await?;
    let all = member.take(7).await?;
    let clean = context.claims().peek == Peek::Clean;
    if clean {
        let attempts: Vec<_> = all.iter().map(|one| one.attempt).collect();
        holds!(
            attempts == [1; 7],
            "after looks the first hand-overs are {attempts:?}"
        );
    }
    member.ack(&all[2..5]).await?;
    let shown: BTreeSet<u64> = look(context, &to, 3).await?.into_iter().collect();
    let left = BTreeSet::from([0, 1, 5, 6]);
    // What is in a member's hands is shown by a clean look only, what is settled by none.
    let right = if clean {
        shown == left
    } else {
        shown.is_subset(&left)
    };
    holds!(
        right,
        "three of seven acknowledged, it shows {shown:?} of {left:?}"
    );
    let held = [&all[..2], &all[5..]].concat();
    member.release(&held).await?;
    let again = member.take(4).await?;
    let attempts: Vec<_> = again.iter().map(|one| one.attempt).collect();
    holds!(
        !clean || attempts == [2; 4],
        "after looks the second hand-overs are {attempts:?}"
    );
    member.ack(&again).await?;
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    holds!(
        before.is_empty(),
        "{} came again, that a look had shown",
        before.len()
    );
    Ok(())
}

/// Reads until there are `count` messages, or fails.
async fn read(reader: &dyn Reader, count: usize) -> Result<Vec<Peeked>, Broken> {
    let deadline = Instant::now() + SOON;
    let mut all = Vec::new();
    while let Some(most) = NonZeroUsize::new(count - all.len()) {
        holds!(
            Instant::now() < deadline,
            "a reader had {} of {count}",
            all.len()
        );
        let some = reader
            .receive(most.min(NonZeroUsize::MIN.saturating_add(6)), SOON / 20)
            .await?;
        holds!(
            some.len() <= most.get().min(7),
            "{} came, more than asked for",
            some.len()
        );
        all.extend(some);
    }
    Ok(all)
}

/// The numbers that a new reader finds until nothing comes for a moment and `least` have come.
pub(super) async fn read_all(
    context: &Context,
    topic: &Topic,
    start: Start,
    least: usize,
) -> Result<Vec<u64>, Broken> {
    let reader = context.transport().reader(topic, start).await?;
    let mut all = read(&*reader, least).await?;
    let most = NonZeroUsize::new(1_000).unwrap_or(NonZeroUsize::MIN);
    all.extend(reader.receive(most, SOON / 50).await?);
    reader.close().await?;
    Ok(all
        .iter()
        .filter_map(|one| Ledger::number(&one.message))
        .collect())
}

async fn reader_starts_as_asked(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 5).await?;
    let early = context
        .transport()
        .reader(&to.topic, Start::Earliest)
        .await?;
    let late = context.transport().reader(&to.topic, Start::New).await?;
    let second = context.transport().reader(&to.topic, Start::New).await?;
    context.publish(&*publisher, &to.topic, 15).await?;
    let earliest = match context.claims().starts {
        Starts::EarliestAndNew => 0..20,
        _ => 5..20,
    };
    for (reader, expected) in [(&early, earliest), (&late, 5..20), (&second, 5..20)] {
        let expected: Vec<u64> = expected.collect();
        let came = read(&**reader, expected.len()).await?;
        let came: Vec<u64> = came
            .iter()
            .filter_map(|one| Ledger::number(&one.message))
            .collect();
        holds!(
            came == expected,
            "a reader had {came:?} instead of {expected:?}"
        );
        // And waits, and wakes for what is new.
        let began = Instant::now();
        let none = reader
            .receive(NonZeroUsize::MIN, Duration::from_millis(400))
            .await?;
        let took = began.elapsed();
        let in_time = took > Duration::from_millis(200) && took < Duration::from_secs(3);
        holds!(
            none.is_empty() && in_time,
            "a read of nothing took {took:?} and had {}",
            none.len()
        );
    }
    context.publish(&*publisher, &to.topic, 1).await?;
    for reader in [&early, &late, &second] {
        read(&**reader, 1).await?;
        reader.close().await?;
    }
    Ok(())
}

async fn reader_leaves_nothing(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let before = status_becomes(context, &to, [0, 0, 0]).await?;
    let (reader, dropped) = (
        context.transport().reader(&to.topic, Start::New).await?,
        context.transport().reader(&to.topic, Start::New).await?,
    );
    context.publish(&*publisher, &to.topic, 10).await?;
    read(&*reader, 10).await?;
    read(&*dropped, 5).await?;
    let while_read = status_becomes(context, &to, [10, 0, 0]).await?;
    drop(dropped);
    reader.close().await?;
    let after = status_becomes(context, &to, [10, 0, 0]).await?;
    let members = [before, while_read, after].map(|status| status.members.value());
    let same = members.iter().all(|count| *count == members[0]);
    holds!(same, "readers count as members: {members:?}");
    let member = context.join(&to).await?;
    let all = member.take(10).await?;
    let raised = all.iter().filter(|one| one.attempt != 1).count();
    holds!(
        raised == 0,
        "{raised} of 10 that were read come as a later attempt"
    );
    member.ack(&all).await?;
    context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    context.ledger.exactly_once([member.name()])
}

async fn reader_cancel_safe(context: &Context) -> Verdict {
    const COUNT: usize = 100;
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let reader = context.transport().reader(&to.topic, Start::New).await?;
    let publishing = async {
        for _ in 0..COUNT / 5 {
            context.publish(&*publisher, &to.topic, 5).await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok::<(), Broken>(())
    };
    let reading = async {
        let mut random = context.random();
        let deadline = Instant::now() + SOON * 2;
        let mut came = Vec::new();
        while came.len() < COUNT {
            let late = Instant::now() > deadline;
            holds!(
                !late,
                "{} of {COUNT} were read, between dropped reads",
                came.len()
            );
            let max = NonZeroUsize::new(random.usize(1..10)).unwrap_or(NonZeroUsize::MIN);
            let reading = reader.receive(max, Duration::from_secs(1));
            let read = match random.u64(0..20) {
                0 => reading.now_or_never(),
                ms @ 1..5 => tokio::time::timeout(Duration::from_micros(ms * 400), reading)
                    .await
                    .ok(),
                ms => tokio::time::timeout(Duration::from_millis(ms * 5), reading)
                    .await
                    .ok(),
            };
            if let Some(read) = read {
                came.extend(read?.iter().filter_map(|one| Ledger::number(&one.message)));
            }
            tokio::task::yield_now().await;
        }
        Ok(came)
    };
    let (came, ()) = tokio::try_join!(reading, publishing)?;
    let expected: Vec<u64> = (0..COUNT as u64).collect();
    let wrong = came
        .iter()
        .zip(&expected)
        .find(|(came, expected)| came != expected);
    holds!(
        wrong.is_none(),
        "between dropped reads, came and expected differ at {wrong:?}"
    );
    Ok(())
}
