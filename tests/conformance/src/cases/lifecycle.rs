//! Does what is opened get ready, does a close answer, give back and end everything, and is nothing
//! left of it?

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use potluck_core::{ErrorKind, Figure, Outcome, Receipt, Result, Start, State, Transport};
use tokio::time::{Instant, timeout};

use super::core;
use super::groups::{all_of, numbers};
use super::settle::{NO_LEASE, another};
use crate::case::{Broken, Case, Hook, Level, Verdict};
use crate::context::{Context, SOON, WITHIN};
use crate::holds;
use crate::ledger::Ledger;

pub(super) const CASES: &[Case] = &[
    core(
        "connection_becomes_ready",
        "A connection becomes ready, says so to whoever waits, and says when it is closed.",
        |context| connection_becomes_ready(context).boxed(),
    ),
    Case {
        name: "connect_errors_typed",
        promise: "Where nothing listens, calls fail as unavailable in time, and closing works.",
        level: Level::Core,
        needs: Some(Hook::Nowhere),
        budget: Duration::from_secs(60),
        run: |context| connect_errors_typed(context).boxed(),
    },
    core(
        "close_flushes",
        "When a close returns, publishes under way are answered, and what they report is so.",
        |context| close_flushes(context).boxed(),
    ),
    core(
        "close_gives_back",
        "A member that closes gives back what it holds, at once, also with its connection.",
        |context| close_gives_back(context).boxed(),
    ),
    core(
        "close_wakes_receive",
        "A close wakes a receive that waits, which ends as closed.",
        |context| close_wakes_receive(context).boxed(),
    ),
    core(
        "closed_is_closed",
        "After a close every call fails as closed, and closing again is no error.",
        |context| closed_is_closed(context).boxed(),
    ),
    core(
        "churn_no_leaks",
        "Of two hundred members that came and went nothing is left, and nothing is stranded.",
        |context| churn_no_leaks(context).boxed(),
    ),
];

async fn connection_becomes_ready(context: &Context) -> Verdict {
    let transport = context.connect().await?;
    let ready = async {
        let mut state = transport.state();
        while state != State::Ready {
            state = transport.changed(state).await;
        }
    };
    if timeout(SOON, ready).await.is_err() {
        crate::broken!("it is {} after {SOON:?}", transport.state());
    }
    let waiting = async { timeout(SOON, transport.changed(State::Ready)).await };
    let closing = async {
        tokio::task::yield_now().await;
        transport.close().await
    };
    let (changed, closed) = tokio::join!(waiting, closing);
    closed?;
    holds!(
        changed == Ok(State::Closed),
        "at its close the state became {changed:?}"
    );
    let state = transport.state();
    holds!(state == State::Closed, "it is {state} after its close");
    Ok(())
}

async fn connect_errors_typed(context: &Context) -> Verdict {
    let transport = context.connect_nowhere().await?;
    let to = context.fresh()?;
    // The time-out of a connection is 10 s unless its URL says otherwise.
    let limit = SOON + Duration::from_secs(5);
    let Ok(declared) = timeout(limit, transport.declare(&to)).await else {
        crate::broken!("a call was not over after {limit:?}");
    };
    let kind = declared
        .err()
        .map(|error| (error.kind(), error.is_retryable()));
    let expected = Some((ErrorKind::Unavailable, true));
    holds!(
        kind == expected,
        "a call ended as {kind:?} instead of unavailable"
    );
    if let Ok(publisher) = transport.publisher().await {
        let within = Duration::from_millis(500);
        let slice = [context.ledger.message()];
        let publishing = publisher.publish(&to.topic, &slice, within);
        let Ok(published) = timeout(limit, publishing).await else {
            crate::broken!("a publish within {within:?} was not over after {limit:?}");
        };
        let outcomes = published
            .err()
            .map(potluck_core::PublishError::into_outcomes);
        let refused = matches!(outcomes.as_deref(), Some([Outcome::Refused(_)]));
        holds!(
            refused,
            "what was never sent is {outcomes:?} instead of refused"
        );
    }
    let state = transport.state();
    holds!(
        state == State::Connecting,
        "it is {state} where nothing listens"
    );
    let Ok(_) = timeout(limit, transport.close()).await else {
        crate::broken!("a close was not over after {limit:?}");
    };
    Ok(())
}

async fn close_flushes(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let connection = context.connect().await?;
    let answered = AtomicUsize::new(0);
    let publish_until_closed = || async {
        let publisher = connection.publisher().await?;
        loop {
            let slice: Vec<_> = (0..5).map(|_| context.ledger.message()).collect();
            let outcomes = match publisher.publish(&to.topic, &slice, WITHIN).await {
                Ok(ids) => ids.into_iter().map(Outcome::Stored).collect(),
                Err(error) => error.into_outcomes(),
            };
            answered.fetch_add(1, Ordering::Relaxed);
            for (message, outcome) in slice.iter().zip(&outcomes) {
                context.ledger.published(message, outcome);
            }
            if let Some(error) = outcomes.iter().find_map(Outcome::error) {
                // Some were on their way: nobody may know.
                let kind = error.kind();
                let expected = matches!(kind, ErrorKind::Closed | ErrorKind::Unavailable);
                holds!(expected, "a publish at a close ended as {kind}");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let mut work: Vec<BoxFuture<'_, Verdict>> =
        (0..8).map(|_| publish_until_closed().boxed()).collect();
    let closing = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(connection.close().await?)
    };
    work.push(closing.boxed());
    let Ok(done) = timeout(SOON, all_of(work)).await else {
        let answered = answered.load(Ordering::Relaxed);
        crate::broken!("a close leaves publishes without an answer; {answered} were answered");
    };
    done?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let last = context.ledger.message();
    let number = Ledger::number(&last);
    context
        .publish_slice(&*publisher, &to.topic, &[last])
        .await?;
    let deadline = Instant::now() + SOON;
    let mut over = false;
    while !over {
        let counts = context.ledger.counts([member.name()]);
        holds!(
            Instant::now() < deadline,
            "not all came within {SOON:?}: {counts}"
        );
        let came = member.receive(500, Duration::from_secs(1)).await?;
        member.ack(&came).await?;
        over = came
            .iter()
            .any(|one| Ledger::number(&one.message) == number);
    }
    context.ledger.exactly_once([member.name()])
}

async fn close_gives_back(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 20).await?;
    let connection = context.connect().await?;
    let first = context.join_over(&connection, &to).await?;
    let held = first.take(20).await?;
    first.ack(&held[..5]).await?;
    first.subscriber.close().await?;
    let second = context.join_over(&connection, &another(&to)).await?;
    let again = second.take(15).await;
    let counts = || context.ledger.counts([first.name(), second.name()]);
    let Ok(again) = again else {
        crate::broken!(
            "not all of 15 came within {SOON:?} of their member's close: {}",
            counts()
        );
    };
    holds!(
        numbers(&again) == numbers(&held[5..]),
        "others came than were held: {}",
        counts()
    );
    second.ack(&again[..5]).await?;
    connection.close().await?;
    let third = context.join(&another(&to)).await?;
    let last = third.take(10).await;
    let counts = context
        .ledger
        .counts([first.name(), second.name(), third.name()]);
    let Ok(last) = last else {
        crate::broken!("not all of 10 came within {SOON:?} of their connection's close: {counts}");
    };
    third.ack(&last).await?;
    let more = context
        .sentinel(&*publisher, &*third.subscriber, &third.to)
        .await?;
    holds!(
        more.is_empty() && counts.resurrected == 0,
        "{} more came: {counts}",
        more.len()
    );
    Ok(())
}

async fn close_wakes_receive(context: &Context) -> Verdict {
    for by_connection in [false, true] {
        let to = context.declared().await?;
        let connection = context.connect().await?;
        let subscriber = connection.subscriber(&to).await?;
        let receiving = async {
            let received = subscriber.receive(NonZeroUsize::MIN, NO_LEASE).await;
            (received, Instant::now())
        };
        let closing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let began = Instant::now();
            let closed = if by_connection {
                connection.close().await
            } else {
                subscriber.close().await
            };
            (closed, began)
        };
        let both = timeout(SOON, async { tokio::join!(receiving, closing) }).await;
        let what = if by_connection {
            "its connection's"
        } else {
            "its"
        };
        let Ok(((received, ended), (closed, began))) = both else {
            crate::broken!("a receive or {what} close was not over {SOON:?} after the close");
        };
        closed?;
        let (kind, took) = (
            received.map_err(|error| error.kind()),
            ended.duration_since(began),
        );
        let closed = matches!(kind, Err(ErrorKind::Closed));
        holds!(
            closed,
            "a receive ended as {kind:?} at {what} close, instead of closed"
        );
        let limit = Duration::from_secs(3);
        holds!(took < limit, "a receive ended {took:?} after {what} close");
    }
    Ok(())
}

/// Fails unless the call failed as closed.
fn is_closed<T>(what: &str, result: Result<T>) -> Verdict {
    let kind = result.err().map(|error| error.kind());
    holds!(
        kind == Some(ErrorKind::Closed),
        "{what} after a close ended as {kind:?}, not closed"
    );
    Ok(())
}

async fn subscriber_is_closed(
    subscriber: &dyn potluck_core::Subscriber,
    receipts: &[Receipt],
) -> Verdict {
    is_closed(
        "receive",
        subscriber.receive(NonZeroUsize::MIN, Duration::ZERO).await,
    )?;
    is_closed("ack", subscriber.ack(receipts).await)?;
    is_closed("release", subscriber.release(receipts).await)?;
    is_closed("extend", subscriber.extend(receipts).await)
}

async fn closed_is_closed(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let connection = context.connect().await?;
    let publisher = connection.publisher().await?;
    context.publish(&*publisher, &to.topic, 2).await?;
    let (first, second) = (
        context.join_over(&connection, &to).await?,
        context.group_of(&to, "two")?,
    );
    let all = first.take(2).await?;
    let receipts: Vec<_> = all.iter().map(|one| one.receipt).collect();
    first.subscriber.close().await?;
    subscriber_is_closed(&*first.subscriber, &receipts).await?;
    first.subscriber.close().await?;
    let reader = connection.reader(&to.topic, Start::Earliest).await?;
    reader.close().await?;
    is_closed(
        "read",
        reader.receive(NonZeroUsize::MIN, Duration::ZERO).await,
    )?;
    reader.close().await?;

    let (reader, member) = (
        connection.reader(&to.topic, Start::New).await?,
        connection.subscriber(&second).await?,
    );
    connection.close().await?;
    let slice = [context.ledger.message()];
    let published = publisher.publish(&to.topic, &slice, WITHIN).await;
    let outcomes = published
        .err()
        .map(potluck_core::PublishError::into_outcomes);
    let refused = match outcomes.as_deref() {
        Some([Outcome::Refused(error)]) => error.kind() == ErrorKind::Closed,
        _ => false,
    };
    holds!(refused, "publish after a close ended as {outcomes:?}");
    subscriber_is_closed(&*member, &receipts).await?;
    is_closed(
        "read",
        reader.receive(NonZeroUsize::MIN, Duration::ZERO).await,
    )?;
    transport_is_closed(&connection, &to).await?;
    member.close().await?;
    reader.close().await?;
    connection.close().await?;
    Ok(())
}

async fn transport_is_closed(
    connection: &Arc<dyn Transport>,
    to: &potluck_core::Subscription,
) -> Verdict {
    let state = connection.state();
    holds!(state == State::Closed, "it is {state} after its close");
    is_closed("publisher", connection.publisher().await)?;
    is_closed("subscriber", connection.subscriber(to).await)?;
    is_closed("declare", connection.declare(to).await)?;
    is_closed("status", connection.status(&to.topic, &to.group).await)?;
    is_closed("peek", connection.peek(&to.topic, &to.group, None, 1).await)?;
    is_closed("reader", connection.reader(&to.topic, Start::New).await)?;
    is_closed("describe", connection.describe().await)?;
    is_closed(
        "delete_group",
        connection.delete_group(&to.topic, &to.group).await,
    )?;
    is_closed(
        "delete_topic",
        connection.delete_topic(&to.topic, &[]).await,
    )
}

async fn churn_no_leaks(context: &Context) -> Verdict {
    let to = context.declared().await?.lease(NO_LEASE);
    let publisher = context.transport().publisher().await?;
    context.publish(&*publisher, &to.topic, 50).await?;
    let come_and_go = |_| {
        let to = another(&to);
        async move {
            let subscriber = context.transport().subscriber(&to).await?;
            let max = NonZeroUsize::new(3).unwrap_or(NonZeroUsize::MIN);
            let _held = subscriber.receive(max, Duration::ZERO).await?;
            subscriber.close().await?;
            Ok::<(), Broken>(())
        }
    };
    let mut coming = stream::iter(0..200).map(come_and_go).buffer_unordered(10);
    while let Some(gone) = coming.next().await {
        gone?;
    }
    let deadline = Instant::now() + SOON;
    while let Figure::Exact(members @ 1..) = context
        .transport()
        .status(&to.topic, &to.group)
        .await?
        .members
    {
        holds!(
            Instant::now() < deadline,
            "{members} members are left when all have gone"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What they held is given back, each once.
    let member = context.join(&to).await?;
    let came = member.take(50).await;
    let counts = context.ledger.counts([member.name()]);
    let Ok(came) = came else {
        crate::broken!("after 200 members had gone: {counts}");
    };
    member.ack(&came).await?;
    context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    context.ledger.exactly_once([member.name()])
}
