//! Does what is deleted go, is what does not exist named so, and does the broker say what it is?

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::{ErrorKind, Group, Result, Start, Topic};
use tokio::time::{Instant, timeout};

use super::core;
use super::settle::NO_LEASE;
use crate::case::{Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::member::{Joined, receipts};

pub(super) const CASES: &[Case] = &[
    core(
        "missing_is_not_found",
        "Status, look and reader of what does not exist fail as not found, and create nothing.",
        |context| missing_is_not_found(context).boxed(),
    ),
    core(
        "delete_group_deletes",
        "A deleted group is gone for its members too, others stay, and deleting again is no error.",
        |context| delete_group_deletes(context).boxed(),
    ),
    core(
        "delete_topic_deletes",
        "A deleted topic is gone with its groups and messages, and deleting it again is no error.",
        |context| delete_topic_deletes(context).boxed(),
    ),
    core(
        "describe_names_product",
        "The broker's product is named, and what endangers messages is said in sentences.",
        |context| describe_names_product(context).boxed(),
    ),
];

/// Fails unless the call failed as not found.
fn is_missing<T>(what: &str, result: Result<T>) -> Verdict {
    let kind = result.err().map(|error| error.kind());
    holds!(
        kind == Some(ErrorKind::NotFound),
        "{what} ended as {kind:?} instead of not found"
    );
    Ok(())
}

async fn topic_is_missing(context: &Context, topic: &Topic, group: &Group) -> Verdict {
    let transport = context.transport();
    is_missing(
        "status without a topic",
        transport.status(topic, group).await,
    )?;
    is_missing(
        "a look without a topic",
        transport.peek(topic, group, None, 1).await,
    )?;
    for start in [Start::Earliest, Start::New] {
        is_missing(
            "a reader without a topic",
            transport.reader(topic, start).await,
        )?;
    }
    Ok(())
}

async fn missing_is_not_found(context: &Context) -> Verdict {
    let nowhere = context.fresh()?;
    // Twice, because the first might create it.
    for _ in 0..2 {
        topic_is_missing(context, &nowhere.topic, &nowhere.group).await?;
    }
    let to = context.declared().await?;
    let nobody = context.group_of(&to, "nobody")?.group;
    for _ in 0..2 {
        let transport = context.transport();
        is_missing(
            "status without a group",
            transport.status(&to.topic, &nobody).await,
        )?;
        is_missing(
            "a look without a group",
            transport.peek(&to.topic, &nobody, None, 1).await,
        )?;
    }
    Ok(())
}

/// Fails unless the member's receipts are stale, and its receive is over soon: as not found, or
/// with whatever the group has when it exists again.
async fn is_gone_for(member: &Joined<'_>, held: &[potluck_core::Delivery]) -> Verdict {
    let receipts = receipts(held);
    let subscriber = &member.subscriber;
    for (what, settled) in [
        ("extend", subscriber.extend(&receipts).await?),
        ("release", subscriber.release(&receipts).await?),
        ("ack", subscriber.ack(&receipts).await?),
    ] {
        let (stale, all) = (settled.stale.len(), receipts.len());
        holds!(
            stale == all,
            "{what} named {stale} of {all} receipts stale of what was deleted"
        );
    }
    let receiving = subscriber.receive(NonZeroUsize::MIN, Duration::from_secs(1));
    let Ok(received) = timeout(SOON, receiving).await else {
        crate::broken!("a receive of what was deleted was not over after {SOON:?}");
    };
    let kind = received.map_err(|error| error.kind());
    let right = matches!(kind, Ok(_) | Err(ErrorKind::NotFound));
    holds!(right, "a receive of what was deleted ended as {kind:?}");
    Ok(())
}

async fn delete_group_deletes(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let other = context.group_of(&to, "other")?;
    let publisher = context.transport().publisher().await?;
    let (member, stays) = (context.join(&to).await?, context.join(&other).await?);
    context.publish(&*publisher, &to.topic, 5).await?;
    let held = member.take(3).await?;
    let transport = context.transport();
    transport.delete_group(&to.topic, &to.group).await?;
    is_gone_for(&member, &held).await?;
    member.subscriber.close().await?;
    for _ in 0..2 {
        transport.delete_group(&to.topic, &to.group).await?;
        is_missing(
            "status of a deleted group",
            transport.status(&to.topic, &to.group).await,
        )?;
    }
    transport
        .delete_group(&context.fresh()?.topic, &to.group)
        .await?;
    let all = stays.take(5).await?;
    stays.ack(&all).await?;
    // A new group of the name begins anew.
    let again = to
        .clone()
        .start(Start::New)
        .member(potluck_core::Member::unique());
    let member = context.join(&again).await?;
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &again)
        .await?;
    holds!(
        before.is_empty(),
        "{} of a deleted group came to a new one of its name",
        before.len()
    );
    Ok(())
}

async fn delete_topic_deletes(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let reader = context.transport().reader(&to.topic, Start::New).await?;
    context.publish(&*publisher, &to.topic, 5).await?;
    let held = member.take(3).await?;
    let (transport, groups) = (context.transport(), [to.group.clone()]);
    transport.delete_topic(&to.topic, &groups).await?;
    is_gone_for(&member, &held).await?;
    member.subscriber.close().await?;
    for _ in 0..2 {
        transport.delete_topic(&to.topic, &groups).await?;
        topic_is_missing(context, &to.topic, &to.group).await?;
    }
    let deadline = Instant::now() + SOON;
    loop {
        match reader
            .receive(NonZeroUsize::MIN, Duration::from_millis(200))
            .await
        {
            // It may have had some of it already.
            Ok(_) => holds!(
                Instant::now() < deadline,
                "a reader goes on without its topic"
            ),
            result => break is_missing("a read of a deleted topic", result)?,
        }
    }
    // A new topic of the name is empty.
    transport.declare(&to).await?;
    let member = context
        .join(&to.member(potluck_core::Member::unique()))
        .await?;
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &member.to)
        .await?;
    holds!(
        before.is_empty(),
        "{} of a deleted topic came to a new one of its name",
        before.len()
    );
    Ok(())
}

async fn describe_names_product(context: &Context) -> Verdict {
    let described = context.transport().describe().await?;
    holds!(
        !described.product.trim().is_empty(),
        "it has no product: {described:?}"
    );
    let bare = described
        .notices
        .iter()
        .find(|notice| notice.trim().is_empty());
    holds!(bare.is_none(), "it has an empty notice: {described:?}");
    let again = context.transport().describe().await?;
    holds!(
        again.product == described.product,
        "it is {again:?}, and was {described:?}"
    );
    Ok(())
}
