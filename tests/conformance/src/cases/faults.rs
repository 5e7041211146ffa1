//! What survives a connection that is lost, a broker that restarts, and a long quiet time?

use std::slice;
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::capabilities::{Ack, Attempts, Ordering};
use potluck_core::{ErrorKind, Member, Message, State};
use tokio::time::{Instant, sleep};

use super::fault;
use super::faults_flow::{
    BATCH, LEASE, PAUSE, RECOVERY, consume, drain, insist_on_ack, insist_on_publish, note,
    take_and_ack,
};
use crate::case::{Broken, Case, Hook, Level, Verdict};
use crate::context::{Context, SOON};
use crate::ledger::Ledger;
use crate::{broken, holds};

pub(super) const CASES: &[Case] = &[
    fault(
        "ack_failure_is_retryable",
        "An acknowledgement that a lost connection swallows is reported, and done again or undone.",
        Hook::Cut,
        |context| ack_failure_is_retryable(context).boxed(),
    ),
    fault(
        "order_across_reconnect",
        "A lost connection changes no order, and repeats only what was held.",
        Hook::Cut,
        |context| order_across_reconnect(context).boxed(),
    ),
    fault(
        "attempts_survive_restart",
        "Hand-overs are counted on when the broker restarts.",
        Hook::Restart,
        |context| attempts_survive_restart(context).boxed(),
    ),
    fault(
        "broker_restart",
        "Through two restarts of the broker all that was stored arrives, and members go on alone.",
        Hook::Restart,
        |context| broker_restart(context).boxed(),
    ),
    fault(
        "connection_cut",
        "Connections lost while publishing, receiving and acknowledging cost no message.",
        Hook::Cut,
        |context| connection_cut(context).boxed(),
    ),
    fault(
        "blackhole",
        "A connection on which nothing arrives any more is noticed, and replaced.",
        Hook::Freeze,
        |context| blackhole(context).boxed(),
    ),
    without_hook(
        "idle_quiet",
        "A quiet time costs nothing: no error, no busy loop, and the next message is prompt.",
        |context| idle_quiet(context).boxed(),
    ),
];

/// A row: a case that breaks something, with nothing but the contract's own calls.
pub(super) const fn without_hook(
    name: &'static str,
    promise: &'static str,
    run: for<'a> fn(&'a Context) -> futures_util::future::BoxFuture<'a, Verdict>,
) -> Case {
    let budget = Duration::from_secs(60);
    Case {
        name,
        promise,
        level: Level::Fault,
        needs: None,
        budget,
        run,
    }
}

async fn ack_failure_is_retryable(context: &Context) -> Verdict {
    let to = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("holder")?);
    let publisher = context.transport().publisher().await?;
    let subscriber = context.transport().subscriber(&to).await?;
    let faults = context.faults()?;
    context.publish(&*publisher, &to.topic, 40).await?;
    let held = context.take(&*subscriber, &to, 40, SOON).await?;
    let (first, second) = held.split_at(20);
    // The connection goes while the first half is acknowledged, and before the second is.
    let (one, ()) = tokio::join!(
        insist_on_ack(context, &*subscriber, &to, first),
        faults.cut()
    );
    let two = insist_on_ack(context, &*subscriber, &to, second).await?;
    // What was stale at once cannot have been acknowledged, so it comes again.
    let undone = one?.undone.len() + two.undone.len();
    take_and_ack(
        context,
        &*subscriber,
        &to,
        undone,
        context.redelivered_within(LEASE),
    )
    .await?;
    // Whatever was said to be acknowledged and was not would come when its lease is over.
    drain(context, &*publisher, &*subscriber, &to).await?;
    let counts = context.ledger.counts([to.member.as_str()]);
    holds!(
        counts.resurrected == 0,
        "acknowledged, and delivered again: {counts}"
    );
    Ok(())
}

async fn order_across_reconnect(context: &Context) -> Verdict {
    const COUNT: usize = 200;
    let to = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("only")?);
    let publisher = context.transport().publisher().await?;
    let subscriber = context.transport().subscriber(&to).await?;
    let keyed = |_| context.ledger.message().with_key("one");
    let messages: Vec<Message> = (0..COUNT).map(keyed).collect::<Result<_, _>>()?;
    for slice in messages.chunks(20) {
        context.publish_slice(&*publisher, &to.topic, slice).await?;
    }
    let (mut rounds, mut may_repeat) = (0, 0);
    let mut deadline = Instant::now() + RECOVERY;
    while context.ledger.distinct([to.member.as_str()]) < COUNT {
        let deliveries = subscriber.receive(BATCH, Duration::from_secs(1)).await?;
        note(context, &to, &deliveries);
        rounds += 1;
        if rounds % 4 == 0 && !deliveries.is_empty() {
            context.faults()?.cut().await;
            may_repeat += deliveries.len();
        }
        insist_on_ack(context, &*subscriber, &to, &deliveries).await?;
        if !deliveries.is_empty() {
            deadline = Instant::now() + RECOVERY;
        }
        let handed = context.ledger.handed_to(to.member.as_str());
        holds!(
            handed <= COUNT + may_repeat && Instant::now() < deadline,
            "{handed} deliveries, of which {may_repeat} may be repeats, and not all {COUNT}"
        );
    }
    drain(context, &*publisher, &*subscriber, &to).await?;
    let counts = context.ledger.counts([to.member.as_str()]);
    let ordered = counts.reordered == 0 || context.claims().ordering == Ordering::None;
    holds!(ordered, "{counts}");
    let repeats = counts.duplicated <= may_repeat as u64 && counts.resurrected == 0;
    holds!(
        repeats,
        "{counts}, where {may_repeat} were held as connections were lost"
    );
    Ok(())
}

async fn attempts_survive_restart(context: &Context) -> Verdict {
    let to = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("only")?);
    let publisher = context.transport().publisher().await?;
    let subscriber = context.transport().subscriber(&to).await?;
    let limit = context.redelivered_within(LEASE);
    context.publish(&*publisher, &to.topic, 1).await?;
    let mut before = 0;
    for restart in [false, false, true, false] {
        let delivery = context
            .take(&*subscriber, &to, 1, limit.max(SOON))
            .await?
            .remove(0);
        let counted = match context.claims().attempts {
            Attempts::Flag => (delivery.attempt > 1) == (before > 0),
            _ => delivery.attempt > before,
        };
        holds!(
            counted,
            "attempt {} came after attempt {before}",
            delivery.attempt
        );
        before = delivery.attempt;
        if restart {
            // Nobody gives it back: that it is held, and was handed over, is all the broker's.
            context.faults()?.restart().await;
        } else if let Err(error) = subscriber.release(&[delivery.receipt]).await {
            holds!(
                error.kind() == ErrorKind::Unavailable,
                "releasing failed: {error}"
            );
        }
    }
    Ok(())
}

async fn broker_restart(context: &Context) -> Verdict {
    let faults = context.faults()?;
    through(context, &[150, 300], || faults.restart()).await
}

async fn connection_cut(context: &Context) -> Verdict {
    let faults = context.faults()?;
    through(context, &[50, 100, 180, 250, 333], || faults.cut()).await
}

/// Publishes and consumes at the same time, and breaks what `strike` breaks whenever so many
/// messages have been handed over.
async fn through<F: Future<Output = ()>>(
    context: &Context,
    at: &[usize],
    strike: impl Fn() -> F,
) -> Verdict {
    const COUNT: usize = 450;
    let to = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("only")?);
    let publisher = context.transport().publisher().await?;
    let subscriber = context.transport().subscriber(&to).await?;
    let publishing = async {
        let messages: Vec<_> = (0..COUNT).map(|_| context.ledger.message()).collect();
        let mut unknown = 0;
        for slice in messages.chunks(5) {
            unknown += insist_on_publish(context, &*publisher, &to.topic, slice).await?;
            sleep(PAUSE).await;
        }
        Ok(unknown)
    };
    let striking = async {
        for count in at {
            while context.ledger.handed_to(to.member.as_str()) < *count {
                sleep(PAUSE).await;
            }
            strike().await;
        }
        Ok::<_, Broken>(())
    };
    let consuming = consume(context, &*subscriber, &to, COUNT);
    let (unknown, (), unsure) = tokio::try_join!(publishing, striking, consuming)?;
    drain(context, &*publisher, &*subscriber, &to).await?;
    let counts = context.ledger.counts([to.member.as_str()]);
    holds!(counts.lost == 0 && counts.phantom == 0, "{counts}");
    let recorded = context.claims().ack == Ack::Recorded;
    // A message whose publish was in doubt was published again, and its copies are told apart by
    // nobody.
    let copies = counts.resurrected <= unknown as u64;
    holds!(
        copies || !recorded,
        "{counts}, and {unknown} were published again"
    );
    // Each time the consumer held a batch at most, which may have grown old once more.
    let most = at.len() * BATCH.get() * 2 + unknown + unsure;
    holds!(
        counts.duplicated <= most as u64,
        "{counts}, where {most} repeats could be"
    );
    Ok(())
}

async fn blackhole(context: &Context) -> Verdict {
    let to = context
        .declared()
        .await?
        .lease(LEASE)
        .member(Member::new("only")?);
    let publisher = context.transport().publisher().await?;
    let subscriber = context.transport().subscriber(&to).await?;
    context.publish(&*publisher, &to.topic, 5).await?;
    let before = context.take(&*subscriber, &to, 5, SOON).await?;
    context.ack(&*subscriber, &to, &before).await?;
    let receiving = async {
        sleep(Duration::from_millis(200)).await;
        context.faults()?.freeze().await;
        let messages = [context.ledger.message(), context.ledger.message()];
        insist_on_publish(context, &*publisher, &to.topic, &messages).await
    };
    // A receive that waits as the line goes dead, as most do.
    let (unknown, unsure) = tokio::try_join!(receiving, consume(context, &*subscriber, &to, 2))?;
    drain(context, &*publisher, &*subscriber, &to).await?;
    let counts = context.ledger.counts([to.member.as_str()]);
    let copies = counts.resurrected <= unknown as u64;
    holds!(
        counts.lost == 0 && copies,
        "{counts}, and {unknown} were published again"
    );
    let most = 2 * (unknown + 1) + unsure;
    holds!(
        counts.duplicated <= most as u64,
        "{counts}, where {most} repeats could be"
    );
    Ok(())
}

async fn idle_quiet(context: &Context) -> Verdict {
    let idle = Duration::from_secs(if context.full { 70 } else { 10 });
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let subscriber = context.transport().subscriber(&to).await?;
    context.publish(&*publisher, &to.topic, 1).await?;
    let first = context.take(&*subscriber, &to, 1, SOON).await?;
    context.ack(&*subscriber, &to, &first).await?;
    let (started, reconnects) = (Instant::now(), context.transport().stats().reconnects);
    let mut calls = 0;
    while started.elapsed() < idle {
        let deliveries = subscriber.receive(BATCH, Duration::from_secs(1)).await?;
        holds!(
            deliveries.is_empty(),
            "{} deliveries of nothing",
            deliveries.len()
        );
        calls += 1;
        let most = 2 * idle.as_secs() + 10;
        holds!(
            calls < most,
            "{calls} receives of a second each were over in {:?}",
            started.elapsed()
        );
    }
    let (state, stats) = (context.transport().state(), context.transport().stats());
    holds!(
        state == State::Ready,
        "the connection is {state} after a quiet time"
    );
    holds!(
        stats.reconnects == reconnects,
        "the connection was lost in a quiet time"
    );
    let message = context.ledger.message();
    let publishing = async {
        sleep(Duration::from_millis(300)).await;
        context
            .publish_slice(&*publisher, &to.topic, slice::from_ref(&message))
            .await
    };
    let ((), late) = tokio::try_join!(
        publishing,
        context.take(&*subscriber, &to, 1, Duration::from_secs(2)),
    )?;
    context.ack(&*subscriber, &to, &late).await?;
    if Ledger::number(&late[0].message) != Ledger::number(&message) {
        broken!("another message came after the quiet time");
    }
    Ok(())
}
