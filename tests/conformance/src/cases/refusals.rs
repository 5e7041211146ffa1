//! Is what cannot arrive refused, with the right reason, and is nothing else refused with it?

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use potluck_core::capabilities::{Starts, Undeclared, Unrouted};
use potluck_core::headers::HEADERS_MAX;
use potluck_core::message::KEY_MAX;
use potluck_core::{ErrorKind, Group, Headers, Message, MessageId, Outcome, PublishError};
use potluck_core::{Publisher, Start, Subscription, Topic};

use super::publish::same_headers;
use super::{claimed, core};
use crate::case::{Broken, Case, Verdict};
use crate::context::{Context, WITHIN};
use crate::ledger::Ledger;
use crate::{broken, holds};

pub(super) const CASES: &[Case] = &[
    core(
        "oversize_refused_before_send",
        "A message over the limit is refused as too large, and nothing of its slice is sent.",
        |context| oversize_refused_before_send(context).boxed(),
    ),
    core(
        "illegal_refused_before_send",
        "A header or key that breaks a rule is refused, and nothing of its slice is sent.",
        |context| illegal_refused_before_send(context).boxed(),
    ),
    core(
        "derived_topics_take_copies_only",
        "Retry lanes and dead letters refuse an application's messages and take copies.",
        |context| derived_topics_take_copies_only(context).boxed(),
    ),
    core(
        "partial_failure_told_apart",
        "Of a slice that the broker takes in part, what is reported as stored arrives.",
        |context| partial_failure_told_apart(context).boxed(),
    ),
    claimed(
        "undeclared_topic_as_claimed",
        "Publishing to a topic that nobody declared creates it or is refused, as claimed.",
        |context| undeclared_topic_as_claimed(context).boxed(),
    ),
    claimed(
        "unrouted_as_claimed",
        "A message that no group would receive is kept for groups to come or refused, as claimed.",
        |context| unrouted_as_claimed(context).boxed(),
    ),
];

type Published = Result<Vec<MessageId>, PublishError>;

/// Fails unless the slice was refused whole and the culprit for this reason.
fn refused_whole(
    context: &Context,
    slice: &[Message],
    culprit: usize,
    kind: ErrorKind,
    published: Published,
) -> Verdict {
    let Err(error) = published else {
        broken!("it was stored, instead of refused as {kind}");
    };
    let outcomes = error.outcomes();
    holds!(
        outcomes.len() == slice.len(),
        "{} outcomes for {} messages",
        outcomes.len(),
        slice.len()
    );
    for (message, outcome) in slice.iter().zip(outcomes) {
        let word = outcome.as_str();
        holds!(
            matches!(outcome, Outcome::Refused(_)),
            "{word} instead of refused"
        );
        context.ledger.published(message, outcome);
    }
    let error = outcomes.get(culprit).and_then(Outcome::error);
    let came = error.map(potluck_core::Error::kind);
    holds!(came == Some(kind), "refused as {came:?} instead of {kind}");
    let retryable = error.is_some_and(potluck_core::Error::is_retryable);
    holds!(
        !retryable,
        "refused as {kind}, and yet said to be worth another try"
    );
    Ok(())
}

async fn oversize_refused_before_send(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let limit = context.claims().max_message;
    let large = Message::new(vec![b'x'; limit + 1]);
    for place in 0..3 {
        let mut slice = vec![context.ledger.message(), context.ledger.message()];
        slice.insert(place, large.clone());
        let published = publisher.publish(&to.topic, &slice, WITHIN).await;
        refused_whole(context, &slice, place, ErrorKind::TooLarge, published)
            .map_err(|Broken(why)| Broken(format!("a body of {} bytes: {why}", limit + 1)))?;
    }
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    holds!(
        before.is_empty(),
        "{} messages of refused slices were sent",
        before.len()
    );
    Ok(())
}

/// Messages that break a rule, as if a broker had given them.
fn illegal_messages() -> Vec<(&'static str, Message)> {
    let header = |name: &'static str| {
        let headers = Headers::from_unique(vec![(Cow::from(name), Bytes::from_static(b"v"))]);
        Message::received("illegal".into(), headers, None)
    };
    let many = (0..=HEADERS_MAX)
        .map(|at| (Cow::from(format!("h{at}")), Bytes::new()))
        .collect();
    let many = Message::received("illegal".into(), Headers::from_unique(many), None);
    let key = Some(vec![b'k'; KEY_MAX + 1].into());
    vec![
        ("no name", header("")),
        ("a line break in a name", header("a\r\nb")),
        ("a reserved name", header("potluck-reason")),
        ("too many headers", many),
        (
            "a long key",
            Message::received("illegal".into(), Headers::new(), key),
        ),
    ]
}

async fn illegal_refused_before_send(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    for (what, illegal) in illegal_messages() {
        let slice = [context.ledger.message(), illegal, context.ledger.message()];
        let published = publisher.publish(&to.topic, &slice, WITHIN).await;
        refused_whole(context, &slice, 1, ErrorKind::Invalid, published)
            .map_err(|Broken(why)| Broken(format!("{what}: {why}")))?;
    }
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    holds!(
        before.is_empty(),
        "{} messages of refused slices were sent",
        before.len()
    );
    Ok(())
}

/// The one group of a dead-letter topic of the case's own, which exists when this returns.
pub(super) async fn declared_dead_letters(context: &Context) -> Result<Subscription, Broken> {
    let source = context.fresh()?;
    let topic = source.topic.dead_letter(&source.group)?;
    let to = Subscription::new(topic, Group::of_derived());
    context.will_delete(&to.topic, &to.group);
    context.transport().declare(&to).await?;
    Ok(to)
}

/// A runtime's copy of a numbered message.
pub(super) fn copy_of(message: &Message) -> Message {
    let (body, headers) = (message.body().clone(), message.headers().clone());
    Message::copied(body, headers, message.key().cloned())
}

async fn derived_topics_take_copies_only(context: &Context) -> Verdict {
    let to = declared_dead_letters(context).await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let lane = context.fresh()?;
    let lane = lane.topic.retry_lane(&lane.group, Duration::from_secs(1))?;
    context.will_delete(&lane, &Group::of_derived());
    for topic in [&to.topic, &lane] {
        let slice = [context.ledger.message()];
        let published = publisher.publish(topic, &slice, WITHIN).await;
        refused_whole(context, &slice, 0, ErrorKind::Invalid, published)
            .map_err(|Broken(why)| Broken(format!("an application's message to {topic}: {why}")))?;
    }
    let mut headers = Headers::new();
    headers.set("potluck-reason", "exhausted");
    headers.set("h", vec![0, 0xff, b'\n']);
    for at in 0..HEADERS_MAX {
        headers.set(format!("h{at}"), "v");
    }
    let key = Some(Bytes::from(vec![0xfe; KEY_MAX + 1]));
    let copy = Message::copied("a copy".into(), headers.clone(), key.clone());
    publisher.publish(&to.topic, &[copy], WITHIN).await?;
    let delivery = member.take_one().await?;
    let came = &delivery.message;
    holds!(
        &came.body()[..] == b"a copy",
        "{:?} came instead of the copy",
        came.body()
    );
    same_headers(&headers, came.headers())?;
    holds!(came.key() == key.as_ref(), "the copy's key came changed");
    holds!(
        delivery.defect.is_some(),
        "a copy that breaks limits came without a defect"
    );
    member.ack(&[delivery]).await
}

async fn partial_failure_told_apart(context: &Context) -> Verdict {
    let to = declared_dead_letters(context).await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let limit = context.claims().max_message;
    let good: Vec<_> = (0..3).map(|_| context.ledger.message()).collect();
    let large = Message::copied(vec![b'x'; limit + 1].into(), Headers::new(), None);
    let slice = [copy_of(&good[0]), large, copy_of(&good[1])];
    let outcomes = match publisher.publish(&to.topic, &slice, WITHIN).await {
        Ok(ids) => ids.into_iter().map(Outcome::Stored).collect(),
        Err(error) => error.into_outcomes(),
    };
    holds!(
        outcomes.len() == 3,
        "{} outcomes for 3 messages",
        outcomes.len()
    );
    for (place, outcome) in outcomes.iter().enumerate().filter(|(place, _)| *place != 1) {
        context.ledger.published(&slice[place], outcome);
        let word = outcome.as_str();
        holds!(
            outcome.stored().is_some(),
            "message {place} is {word}, beside a large copy"
        );
    }
    // A copy as sentinel: applications may not publish here.
    publisher
        .publish(&to.topic, &[copy_of(&good[2])], WITHIN)
        .await?;
    let mut large_came = 0;
    let mut numbers = Vec::new();
    while numbers.last() != Some(&Ledger::number(&good[2])) {
        let delivery = member.take_one().await?;
        if delivery.message.body().len() > limit {
            large_came += 1;
            let same = delivery.message.body() == slice[1].body();
            holds!(
                same && delivery.defect.is_some(),
                "the large copy came changed, or as good"
            );
        } else {
            numbers.push(Ledger::number(&delivery.message));
        }
        member.ack(&[delivery]).await?;
    }
    let sent: Vec<_> = good.iter().map(Ledger::number).collect();
    holds!(
        numbers == sent,
        "{numbers:?} came where {sent:?} were stored"
    );
    match (&outcomes[1], large_came) {
        (Outcome::Stored(_), 1) | (Outcome::Refused(_), 0) | (Outcome::Unknown(_), 0 | 1) => Ok(()),
        (outcome, times) => {
            broken!(
                "the large copy was reported as {} and came {times} times",
                outcome.as_str()
            )
        }
    }
}

async fn undeclared_topic_as_claimed(context: &Context) -> Verdict {
    let to = context.fresh()?;
    let publisher = context.transport().publisher().await?;
    let slice = [context.ledger.message()];
    let published = publisher.publish(&to.topic, &slice, WITHIN).await;
    match (context.claims().undeclared, published) {
        (Undeclared::Created, Ok(_)) => kept_for_groups_to_come(context, &to).await,
        (Undeclared::Created, Err(error)) => broken!("claimed to be created, but: {error}"),
        (_, published) => {
            refused_whole(context, &slice, 0, ErrorKind::NotFound, published)?;
            let status = context.transport().status(&to.topic, &to.group).await;
            let kind = status.as_ref().err().map(potluck_core::Error::kind);
            holds!(
                kind == Some(ErrorKind::NotFound),
                "refused, but the topic exists: {status:?}"
            );
            Ok(())
        }
    }
}

/// Fails unless a group that is new now receives the one message that was stored before.
async fn kept_for_groups_to_come(context: &Context, to: &Subscription) -> Verdict {
    let claims = context.claims();
    if claims.unrouted != Unrouted::Kept || claims.starts != Starts::EarliestAndNew {
        return Ok(());
    }
    let late = context.group_of(to, "late")?.start(Start::Earliest);
    let member = context.join(&late).await?;
    let came = member.take(1).await;
    holds!(
        came.is_ok(),
        "stored, but a group to come does not receive it"
    );
    Ok(())
}

/// Publishes one message to a topic without a group.
async fn publish_unrouted(context: &Context, publisher: &dyn Publisher, topic: &Topic) -> Verdict {
    let slice = [context.ledger.message()];
    let published = publisher.publish(topic, &slice, WITHIN).await;
    match (context.claims().unrouted, published) {
        (Unrouted::Kept, Ok(_)) => Ok(()),
        (Unrouted::Kept, Err(error)) => broken!("claimed to be kept, but: {error}"),
        (_, published) => refused_whole(context, &slice, 0, ErrorKind::NotFound, published),
    }
}

async fn unrouted_as_claimed(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    context
        .transport()
        .delete_group(&to.topic, &to.group)
        .await?;
    publish_unrouted(context, &*publisher, &to.topic).await?;
    kept_for_groups_to_come(context, &to).await?;
    if context.claims().undeclared == Undeclared::Created {
        let created = context.fresh()?;
        publish_unrouted(context, &*publisher, &created.topic).await?;
        kept_for_groups_to_come(context, &created).await?;
    }
    // A reader that has come and gone is no group either.
    let other = context.declared().await?;
    context
        .transport()
        .reader(&other.topic, Start::New)
        .await?
        .close()
        .await?;
    context
        .transport()
        .delete_group(&other.topic, &other.group)
        .await?;
    publish_unrouted(context, &*publisher, &other.topic).await
}
