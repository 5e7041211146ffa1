//! What becomes of what a member holds when it dies, restarts, or takes long?

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::capabilities::{Attempts, Redelivery};
use potluck_core::{Delivery, Member, Receipt, Subscriber};
use tokio::time::{Instant, sleep};

use super::faults::without_hook;
use super::faults_flow::{LEASE, drain, note, take_and_ack};
use crate::case::{Broken, Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;

pub(super) const CASES: &[Case] = &[
    without_hook(
        "stale_ack_is_fenced",
        "Who lost a delivery to another member can neither settle it nor end the other's hold.",
        |context| stale_ack_is_fenced(context).boxed(),
    ),
    without_hook(
        "consumer_killed_reclaimed",
        "All that a dead member held comes to another one in time, more than a page of it too.",
        |context| consumer_killed_reclaimed(context).boxed(),
    ),
    without_hook(
        "same_identity_restart",
        "A member that restarts under its name, or overlaps with itself, strands nothing.",
        |context| same_identity_restart(context).boxed(),
    ),
    without_hook(
        "long_handler_not_stolen",
        "A delivery that is extended stays with its member for as long as that takes.",
        |context| long_handler_not_stolen(context).boxed(),
    ),
];

fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

async fn stale_ack_is_fenced(context: &Context) -> Verdict {
    let slow = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("slow")?);
    let quick = slow.clone().member(Member::new("quick")?);
    let publisher = context.transport().publisher().await?;
    let first = context.transport().subscriber(&slow).await?;
    context.publish(&*publisher, &slow.topic, 4).await?;
    let lost = context.take(&*first, &slow, 4, SOON).await?;
    if context.claims().redelivery != Redelivery::AfterLease {
        // Without leases there is one way only to lose a delivery and live.
        let settled = first.release(&receipts(&lost)).await?;
        holds!(settled.stale.is_empty(), "giving back failed");
    }
    // The slow one does not receive any more, so all go to the other.
    let second = context.transport().subscriber(&quick).await?;
    let limit = context.redelivered_within(LEASE);
    let taken = context.take(&*second, &quick, 4, limit).await?;
    for verb in ["extend", "release", "ack"] {
        let all = receipts(&lost);
        let settled = match verb {
            "extend" => first.extend(&all).await?,
            "release" => first.release(&all).await?,
            _ => first.ack(&all).await?,
        };
        let stale = settled.stale.len();
        holds!(
            stale == 4,
            "{verb} of 4 deliveries that another has taken named {stale} as stale"
        );
        let kept = second.extend(&receipts(&taken)).await?.stale.len();
        holds!(
            kept == 0,
            "a stranger's {verb} ended the hold on {kept} of 4 deliveries"
        );
    }
    let counted = context.transport().stats().stale;
    holds!(counted >= 4, "{counted} stale settles were counted");
    // Given back by who has them, they come again: nothing has settled them.
    let settled = second.release(&receipts(&taken)).await?;
    holds!(
        settled.stale.is_empty(),
        "{} were stale where they are held",
        settled.stale.len()
    );
    let again = context.take(&*second, &quick, 4, SOON).await?;
    context.ack(&*second, &quick, &again).await?;
    let more = context.sentinel(&*publisher, &*second, &quick).await?;
    holds!(
        more.is_empty(),
        "{} came after they were acknowledged",
        more.len()
    );
    Ok(())
}

async fn consumer_killed_reclaimed(context: &Context) -> Verdict {
    const HELD: usize = 250;
    let victim = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("victim")?);
    let heir = victim.clone().member(Member::new("heir")?);
    let publisher = context.transport().publisher().await?;
    let doomed = context.connect_apart().await?;
    let dying = doomed.subscriber(&victim).await?;
    context.publish(&*publisher, &victim.topic, HELD).await?;
    let held = context.take(&*dying, &victim, HELD, SOON).await?;
    context.ack(&*dying, &victim, &held[..10]).await?;
    drop((dying, doomed));
    let living = context.transport().subscriber(&heir).await?;
    let limit = context.redelivered_within(LEASE);
    let again = take_and_ack(context, &*living, &heir, HELD - 10, limit).await?;
    let counted = context.claims().attempts == Attempts::Counted;
    let right = |delivery: &Delivery| delivery.attempt == 2 || !counted && delivery.attempt > 1;
    if let Some(wrong) = again.iter().find(|delivery| !right(delivery)) {
        return Err(Broken(format!(
            "the second hand-over was counted as {}",
            wrong.attempt
        )));
    }
    drain(context, &*publisher, &*living, &heir).await?;
    let counts = context.ledger.counts(["victim", "heir"]);
    let clean = counts.lost == 0 && counts.resurrected == 0;
    holds!(clean && counts.duplicated == (HELD - 10) as u64, "{counts}");
    Ok(())
}

async fn same_identity_restart(context: &Context) -> Verdict {
    let to = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("pod-0")?);
    let publisher = context.transport().publisher().await?;
    let limit = context.redelivered_within(LEASE);
    context.publish(&*publisher, &to.topic, 20).await?;
    let first = context.transport().subscriber(&to).await?;
    let held = context.take(&*first, &to, 20, SOON).await?;
    context.ack(&*first, &to, &held[..5]).await?;
    drop(first);
    let second = context.transport().subscriber(&to).await?;
    let again = context.take(&*second, &to, 15, limit).await?;
    context.ack(&*second, &to, &again[..5]).await?;
    // For a while there are two of that name, as in a rolling deployment; then the older leaves.
    let third = context.transport().subscriber(&to).await?;
    context.publish(&*publisher, &to.topic, 10).await?;
    let new = context.take(&*third, &to, 10, SOON).await?;
    let settled = third.ack(&receipts(&new[..5])).await?;
    holds!(
        settled.stale.is_empty(),
        "the younger could not acknowledge"
    );
    for delivery in &new[..5] {
        context.ledger.acked(to.group.as_str(), delivery);
    }
    second.close().await?;
    drop(third);
    let last = context.transport().subscriber(&to).await?;
    // What the two still held: 10 of the older's, 5 of the younger's.
    take_and_ack(context, &*last, &to, 15, limit).await?;
    drain(context, &*publisher, &*last, &to).await?;
    let counts = context.ledger.counts([to.member.as_str()]);
    holds!(counts.lost == 0 && counts.resurrected == 0, "{counts}");
    Ok(())
}

async fn long_handler_not_stolen(context: &Context) -> Verdict {
    let lease = Duration::from_secs(1);
    let slow = context
        .declared()
        .await?
        .lease(lease)
        .member(Member::new("slow")?);
    let idle = slow.clone().member(Member::new("idle")?);
    let publisher = context.transport().publisher().await?;
    let working = context.transport().subscriber(&slow).await?;
    let waiting = context.transport().subscriber(&idle).await?;
    context.publish(&*publisher, &slow.topic, 5).await?;
    let held = context.take(&*working, &slow, 5, SOON).await?;
    // Long enough for a stolen one to be handed over.
    let ends = Instant::now() + context.redelivered_within(lease).max(3 * lease);
    let handling = async {
        while Instant::now() < ends {
            sleep(lease / 4).await;
            let stale = working.extend(&receipts(&held)).await?.stale.len();
            holds!(stale == 0, "{stale} of 5 could not be extended in time");
        }
        Ok(())
    };
    let stealing = steal(context, &*waiting, &idle, ends);
    let ((), ()) = tokio::try_join!(handling, stealing)?;
    context.ack(&*working, &slow, &held).await?;
    drop(working);
    drain(context, &*publisher, &*waiting, &idle).await?;
    let counts = context.ledger.counts(["slow", "idle"]);
    holds!(
        counts.duplicated == 0 && counts.resurrected == 0,
        "{counts}"
    );
    Ok(())
}

/// Receives, and finds nothing, until then.
async fn steal(
    context: &Context,
    subscriber: &dyn Subscriber,
    to: &potluck_core::Subscription,
    ends: Instant,
) -> Verdict {
    while Instant::now() < ends {
        let wait = Duration::from_millis(300);
        let stolen = subscriber.receive(NonZeroUsize::MIN, wait).await?;
        note(context, to, &stolen);
        holds!(
            stolen.is_empty(),
            "a delivery that was extended in time came to another member"
        );
    }
    Ok(())
}
