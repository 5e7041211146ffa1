//! What if a topic vanishes, is emptied, or has records of strangers?

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use potluck_core::{Delivery, ErrorKind, Member, Receipt, Subscriber, Subscription};
use tokio::time::Instant;

use super::fault;
use super::faults::without_hook;
use super::faults_flow::{LEASE, drain, note};
use crate::case::{Broken, Case, Hook, Verdict};
use crate::context::{Context, SOON};
use crate::ledger::Ledger;
use crate::{broken, holds};

pub(super) const CASES: &[Case] = &[
    without_hook(
        "topic_deleted_or_flushed",
        "Members of a topic that is deleted are told, or go on alone, and all they had is stale.",
        |context| topic_deleted_or_flushed(context).boxed(),
    ),
    fault(
        "trimmed_pending",
        "Messages that retention takes before their acknowledgement are counted, and stop nothing.",
        Hook::Trim,
        |context| trimmed_pending(context).boxed(),
    ),
    fault(
        "foreign_record",
        "A record that is no message is delivered with its defect, and good ones around it flow.",
        Hook::Inject,
        |context| foreign_record(context).boxed(),
    ),
];

const MANY: NonZeroUsize = NonZeroUsize::new(50).unwrap();

fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

async fn topic_deleted_or_flushed(context: &Context) -> Verdict {
    let to = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("only")?);
    let publisher = context.transport().publisher().await?;
    let mut subscriber = context.transport().subscriber(&to).await?;
    context.publish(&*publisher, &to.topic, 10).await?;
    let held = context.take(&*subscriber, &to, 5, SOON).await?;
    let other = context.connect().await?;
    other
        .delete_topic(&to.topic, std::slice::from_ref(&to.group))
        .await?;

    stale_or_gone(&*subscriber, &held).await?;
    let told = hears_of_deletion(context, &*subscriber).await?;
    context.transport().declare(&to).await?;
    if told {
        subscriber = context.transport().subscriber(&to).await?;
    }
    let deleted: Vec<_> = (0..10).collect();
    context.publish(&*publisher, &to.topic, 5).await?;
    let new = context.take(&*subscriber, &to, 5, SOON).await?;
    context.ack(&*subscriber, &to, &new).await?;
    let more = context.sentinel(&*publisher, &*subscriber, &to).await?;
    for delivery in new.iter().chain(&more) {
        let ghost = Ledger::number(&delivery.message).is_none_or(|n| deleted.contains(&n));
        holds!(!ghost, "what was deleted with its topic was delivered");
    }
    holds!(
        more.is_empty(),
        "{} came after they were acknowledged",
        more.len()
    );
    Ok(())
}

/// Receives until the member is told (true), or goes on in a group that is there again, which is
/// counted (false).
async fn hears_of_deletion(context: &Context, subscriber: &dyn Subscriber) -> Result<bool, Broken> {
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        match subscriber.receive(MANY, Duration::from_secs(1)).await {
            // What the member had taken from the broker before may still come.
            Ok(late) if !late.is_empty() => stale_or_gone(subscriber, &late).await?,
            Ok(_) if context.transport().stats().groups_recreated > 0 => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    broken!("the member noticed nothing, and nothing was counted")
}

/// Fails if deliveries of a group that is gone can be acknowledged.
async fn stale_or_gone(subscriber: &dyn Subscriber, deliveries: &[Delivery]) -> Verdict {
    match subscriber.ack(&receipts(deliveries)).await {
        Ok(settled) => {
            let (stale, all) = (settled.stale.len(), deliveries.len());
            holds!(
                stale == all,
                "of {all} acknowledgements after a deletion {stale} were stale"
            );
        }
        Err(error) => holds!(
            error.kind() == ErrorKind::NotFound,
            "acknowledging failed: {error}"
        ),
    }
    Ok(())
}

async fn trimmed_pending(context: &Context) -> Verdict {
    let victim = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("victim")?);
    let heir = victim.clone().member(Member::new("heir")?);
    let publisher = context.transport().publisher().await?;
    let dying = context.transport().subscriber(&victim).await?;
    context.publish(&*publisher, &victim.topic, 20).await?;
    context.take(&*dying, &victim, 10, SOON).await?;
    context.faults()?.trim(&victim.topic).await;
    drop(dying);
    let living = context.transport().subscriber(&heir).await?;
    let started = Instant::now();
    let lost = || context.transport().stats().lost_by_trim;
    let limit = context.redelivered_within(LEASE);
    while started.elapsed() < 2 * LEASE || lost() < 10 && started.elapsed() < limit {
        let none = living.receive(MANY, Duration::from_secs(1)).await?;
        holds!(
            none.is_empty(),
            "{} deliveries of what retention took",
            none.len()
        );
    }
    let lost = lost();
    // What was never handed over a broker need not count.
    holds!(
        (10..=20).contains(&lost),
        "{lost} messages were counted as lost, of 10 held and 10 more"
    );
    context.publish(&*publisher, &heir.topic, 5).await?;
    let new = context.take(&*living, &heir, 5, SOON).await?;
    context.ack(&*living, &heir, &new).await?;
    context.sentinel(&*publisher, &*living, &heir).await?;
    let again = context.transport().stats().lost_by_trim;
    holds!(
        again == lost,
        "{lost} messages were lost, and later {again}"
    );
    Ok(())
}

async fn foreign_record(context: &Context) -> Verdict {
    let victim = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("victim")?);
    let heir = victim.clone().member(Member::new("heir")?);
    let publisher = context.transport().publisher().await?;
    let faults = context.faults()?;
    let foreign = Bytes::from_static(b"\xff\xfe not what the contract reads \x00");
    // One at the head, one in the middle, two side by side, one at the end.
    faults.inject(&victim.topic, foreign.clone()).await;
    for records in [1, 2, 1] {
        context.publish(&*publisher, &victim.topic, 5).await?;
        for _ in 0..records {
            faults.inject(&victim.topic, foreign.clone()).await;
        }
    }
    let dying = context.transport().subscriber(&victim).await?;
    let held = take_all(context, &dying, &victim, SOON).await?;
    drop(dying);
    // The same records once more, as a page of what the dead member held.
    let living = context.transport().subscriber(&heir).await?;
    let limit = context.redelivered_within(LEASE);
    let again = take_all(context, &living, &heir, limit).await?;
    for delivery in &again {
        let before = held.iter().find(|before| before.id == delivery.id);
        let same = before.is_some_and(|before| before.defect == delivery.defect);
        holds!(same, "a record has another defect when it comes again");
    }
    let settled = living.ack(&receipts(&again)).await?;
    holds!(
        settled.stale.is_empty(),
        "{} records could not be settled",
        settled.stale.len()
    );
    drain(context, &*publisher, &*living, &heir).await?;
    Ok(())
}

/// Takes 15 good messages and 5 records, and checks which is which.
async fn take_all(
    context: &Context,
    subscriber: &Arc<dyn Subscriber>,
    to: &Subscription,
    limit: Duration,
) -> Result<Vec<Delivery>, Broken> {
    let (mut taken, deadline) = (Vec::new(), Instant::now() + limit);
    while taken.len() < 20 {
        let left = deadline.saturating_duration_since(Instant::now());
        let deliveries = subscriber
            .receive(MANY, left.min(Duration::from_secs(1)))
            .await?;
        if deliveries.is_empty() && left.is_zero() {
            broken!("{} of 20 records came within {limit:?}", taken.len());
        }
        taken.extend(deliveries);
    }
    let (bad, good): (Vec<_>, Vec<_>) = taken
        .iter()
        .cloned()
        .partition(|delivery| Ledger::number(&delivery.message).is_none());
    note(context, to, &good);
    let told = bad
        .iter()
        .filter(|delivery| delivery.defect.is_some())
        .count();
    let spoilt = good
        .iter()
        .filter(|delivery| delivery.defect.is_some())
        .count();
    holds!(
        bad.len() == 5 && told == 5,
        "{told} of {} foreign records have a defect",
        bad.len()
    );
    holds!(
        good.len() == 15 && spoilt == 0,
        "{spoilt} of {} good messages have one",
        good.len()
    );
    Ok(taken)
}
