//! How does a case publish, receive and acknowledge while connections are lost?

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use potluck_core::{
    Delivery, ErrorKind, Message, Outcome, Publisher, Receipt, Subscriber, Subscription, Topic,
};
use tokio::time::{Instant, sleep};

use crate::case::{Broken, Verdict};
use crate::context::{Context, WITHIN};
use crate::holds;
use crate::ledger::Ledger;

/// The lease of members that are expected to lose what they hold.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// The longest time without any progress while connections are lost.
pub(super) const RECOVERY: Duration = Duration::from_secs(20);
/// What a consumer takes at once while connections are lost.
pub(super) const BATCH: NonZeroUsize = NonZeroUsize::new(10).unwrap();
/// A short time, in which others get on.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// What acknowledging through lost connections has come to.
#[derive(Default)]
pub(super) struct Insisted {
    /// What was stale before any call had failed: it is not acknowledged, and comes again.
    pub(super) undone: Vec<Receipt>,
    /// Deliveries whose acknowledgement may have arrived.
    pub(super) unsure: usize,
}

/// Acknowledges, again and again while that fails as it may, and notes what was acknowledged.
pub(super) async fn insist_on_ack(
    context: &Context,
    subscriber: &dyn Subscriber,
    to: &Subscription,
    deliveries: &[Delivery],
) -> Result<Insisted, Broken> {
    let receipts: Vec<Receipt> = deliveries.iter().map(|delivery| delivery.receipt).collect();
    let (deadline, mut failed) = (Instant::now() + RECOVERY, false);
    loop {
        match subscriber.ack(&receipts).await {
            Ok(settled) => {
                for delivery in deliveries {
                    if !settled.stale.contains(&delivery.receipt) {
                        context.ledger.acked(to.group.as_str(), delivery);
                    }
                }
                return Ok(if failed {
                    let unsure = settled.stale.len();
                    Insisted {
                        unsure,
                        ..Insisted::default()
                    }
                } else {
                    Insisted {
                        undone: settled.stale,
                        unsure: 0,
                    }
                });
            }
            Err(error) if error.kind() != ErrorKind::Unavailable => return Err(error.into()),
            Err(error) => {
                let again = Instant::now() < deadline;
                holds!(
                    again,
                    "acknowledging still fails {RECOVERY:?} later: {error}"
                );
                failed = true;
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Publishes until all is stored. Returns how many answers were that nobody knows.
pub(super) async fn insist_on_publish(
    context: &Context,
    publisher: &dyn Publisher,
    to: &Topic,
    slice: &[Message],
) -> Result<usize, Broken> {
    let (mut left, mut unknown) = (slice.to_vec(), 0);
    let deadline = Instant::now() + RECOVERY;
    while !left.is_empty() {
        let started = Instant::now();
        let outcomes = match publisher.publish(to, &left, WITHIN).await {
            Ok(ids) => ids.into_iter().map(Outcome::Stored).collect(),
            Err(error) => error.into_outcomes(),
        };
        let took = started.elapsed();
        holds!(
            took < WITHIN + Duration::from_secs(2),
            "a publish took {took:?} of {WITHIN:?}"
        );
        holds!(
            outcomes.len() == left.len(),
            "{} outcomes for {}",
            outcomes.len(),
            left.len()
        );
        let mut again = Vec::new();
        for (message, outcome) in left.into_iter().zip(&outcomes) {
            context.ledger.published(&message, outcome);
            unknown += usize::from(matches!(outcome, Outcome::Unknown(_)));
            if let Some(error) = outcome.error() {
                holds!(error.is_retryable(), "a publish failed for good: {error}");
                again.push(message);
            }
        }
        left = again;
        let late = !left.is_empty() && Instant::now() > deadline;
        holds!(!late, "publishing still fails {RECOVERY:?} later");
        if !left.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(unknown)
}

/// Receives and acknowledges until so many different messages are acknowledged, as far as can be
/// known: what was stale must come again. Returns how many acknowledgements were in doubt.
pub(super) async fn consume(
    context: &Context,
    subscriber: &dyn Subscriber,
    to: &Subscription,
    count: usize,
) -> Result<usize, Broken> {
    let (mut done, mut handed, mut unsure) = (HashSet::new(), 0, 0);
    let mut deadline = Instant::now() + RECOVERY;
    while done.len() < count {
        let deliveries = subscriber.receive(BATCH, Duration::from_secs(1)).await?;
        note(context, to, &deliveries);
        handed += deliveries.len();
        if !deliveries.is_empty() {
            deadline = Instant::now() + RECOVERY;
        }
        holds!(
            handed <= 3 * count && Instant::now() < deadline,
            "{} of {count} are done after {handed} deliveries, and nothing came for {RECOVERY:?}",
            done.len()
        );
        // A handler's work.
        sleep(PAUSE).await;
        let insisted = insist_on_ack(context, subscriber, to, &deliveries).await?;
        let undone = |one: &&Delivery| insisted.undone.contains(&one.receipt);
        let settled = deliveries.iter().filter(|one| !undone(one));
        done.extend(settled.filter_map(|one| Ledger::number(&one.message)));
        unsure += insisted.unsure;
    }
    Ok(unsure)
}

pub(super) fn note(context: &Context, to: &Subscription, deliveries: &[Delivery]) {
    for delivery in deliveries {
        context
            .ledger
            .delivered(to.group.as_str(), to.member.as_str(), delivery);
    }
}

/// Takes so many, and acknowledges them as they come, for their leases run.
pub(super) async fn take_and_ack(
    context: &Context,
    subscriber: &dyn Subscriber,
    to: &Subscription,
    count: usize,
    limit: Duration,
) -> Result<Vec<Delivery>, Broken> {
    let (mut taken, deadline) = (Vec::with_capacity(count), Instant::now() + limit);
    while let Some(most) = NonZeroUsize::new(count - taken.len()) {
        let left = deadline.saturating_duration_since(Instant::now());
        let deliveries = subscriber
            .receive(most, left.min(Duration::from_secs(1)))
            .await?;
        note(context, to, &deliveries);
        context.ack(subscriber, to, &deliveries).await?;
        let late = deliveries.is_empty() && left.is_zero();
        taken.extend(deliveries);
        holds!(
            !late && taken.len() <= count,
            "{} of {count} came within {limit:?}",
            taken.len()
        );
    }
    Ok(taken)
}

/// Takes and acknowledges what comes until all leases are over and nothing else is left.
pub(super) async fn drain(
    context: &Context,
    publisher: &dyn Publisher,
    subscriber: &dyn Subscriber,
    to: &Subscription,
) -> Verdict {
    // What does not come though it should is found missing; this is for what should not come.
    let deadline = Instant::now() + LEASE + Duration::from_millis(500);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let deliveries = subscriber
            .receive(BATCH, left.min(Duration::from_secs(1)))
            .await?;
        note(context, to, &deliveries);
        insist_on_ack(context, subscriber, to, &deliveries).await?;
    }
    context.sentinel(publisher, subscriber, to).await?;
    Ok(())
}
