//! Does what is published arrive as it was, once, and soon?

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use futures_util::{FutureExt, TryFutureExt};
use potluck_core::envelope::{Envelope, FreeFood, Received, Text};
use potluck_core::headers::{HEADER_BYTES_MAX, HEADERS_MAX};
use potluck_core::message::KEY_MAX;
use potluck_core::{Error, ErrorKind, Headers, Message, Outcome, Publisher, Topic};
use tokio::time::Instant;

use super::core;
use crate::case::{Broken, Case, Verdict};
use crate::context::{Context, SOON, WITHIN};
use crate::holds;
use crate::ledger::Ledger;
use crate::member::Joined;

pub(super) const CASES: &[Case] = &[
    core(
        "roundtrip_bytes",
        "Bodies of any bytes and of any size up to the limit arrive unchanged.",
        |context| roundtrip_bytes(context).boxed(),
    ),
    core(
        "roundtrip_envelope",
        "An event arrives byte for byte, with the fields that this version does not know.",
        |context| roundtrip_envelope(context).boxed(),
    ),
    core(
        "roundtrip_headers",
        "Headers and ordering keys of any legal name and value arrive unchanged.",
        |context| roundtrip_headers(context).boxed(),
    ),
    Case {
        // A broker that writes each to its disk takes its time on a busy machine.
        budget: Duration::from_secs(60),
        ..core(
            "volume_complete",
            "Of ten thousand messages from twenty publishers at once, each arrives, once.",
            |context| volume_complete(context).boxed(),
        )
    },
    core(
        "topics_isolated",
        "Of twenty topics in use at once, each has its own messages and no others.",
        |context| topics_isolated(context).boxed(),
    ),
    core(
        "receipt_means_durable",
        "What was reported as stored is there, also when its publisher vanishes at once.",
        |context| receipt_means_durable(context).boxed(),
    ),
    core(
        "publish_goes_at_once",
        "On a quiet line a message goes at once and does not wait for others.",
        |context| publish_goes_at_once(context).boxed(),
    ),
    core(
        "publish_cancel_safe",
        "A publish that is dropped stores each message once or not at all, and the next one works.",
        |context| publish_cancel_safe(context).boxed(),
    ),
    core(
        "publish_empty_slice",
        "Publishing nothing is no error and sends nothing.",
        |context| publish_empty_slice(context).boxed(),
    ),
];

async fn roundtrip_bytes(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let limit = context.claims().max_message;
    let json = br#"{"n": 9007199254740993, "x":1.10 ,"b":{"z":0,"a":1},"e":"\u00e9\/"}"#;
    let mut random = context.random();
    let mut noise = |bytes: usize| -> Vec<u8> { (0..bytes).map(|_| random.u8(..)).collect() };
    let bodies: Vec<Vec<u8>> = vec![
        (0..=255).collect(),
        Vec::new(),
        vec![0],
        b"\r\n".to_vec(),
        json.to_vec(),
        vec![b'x'; limit],
        noise(limit.min(100_000)),
        noise(1_000),
        b"last".to_vec(),
    ];
    for (at, body) in bodies.iter().enumerate() {
        let message = Message::new(body.clone());
        publisher.publish(&to.topic, &[message], WITHIN).await?;
        let delivery = member.take_one().await?;
        let came = delivery.message.body();
        holds!(
            came == body,
            "body {at} of {} bytes came back as other {} bytes",
            body.len(),
            came.len()
        );
        let defect = &delivery.defect;
        holds!(defect.is_none(), "body {at} came with a defect: {defect:?}");
        member.ack(&[delivery]).await?;
    }
    Ok(())
}

async fn roundtrip_envelope(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let event = Envelope::builder(FreeFood::new(Text::new("Pizza ü \u{1f355}")?)).build();
    let plain = event.to_message()?;
    let mut body = plain.body().to_vec();
    // A field of a version to come, with all that a parser on the way would tidy up.
    let closing = body.pop();
    holds!(closing == Some(b'}'), "an event is no JSON object");
    body.extend_from_slice(br#" ,"future" : {"z":1.10,"a":9007199254740993,"e":"\u00e9\/"}}"#);
    let mut message = Message::new(body.clone()).with_header("traceparent", "00-1-2-01")?;
    for (name, value) in plain.headers().iter() {
        message = message.with_header(name.to_owned(), value.clone())?;
    }
    publisher
        .publish(&to.topic, std::slice::from_ref(&message), WITHIN)
        .await?;
    let delivery = member.take_one().await?;
    let came = delivery.message.body();
    holds!(
        came == &body,
        "{} bytes came as other {} bytes",
        body.len(),
        came.len()
    );
    same_headers(message.headers(), delivery.message.headers())?;
    let decoded = Received::<FreeFood>::parse(came.clone());
    holds!(decoded.is_ok(), "the event cannot be decoded any more");
    member.ack(&[delivery]).await
}

/// Whether all of these headers came and no others. Their order is nobody's promise.
pub(super) fn same_headers(sent: &Headers, came: &Headers) -> Verdict {
    for (name, value) in sent.iter() {
        let came = came.get(name).map(|value| &value[..]);
        holds!(
            came == Some(&value[..]),
            "header {name:?} of {} bytes came as {:?}",
            value.len(),
            came.map(<[u8]>::len)
        );
    }
    let extra: Vec<_> = came
        .iter()
        .map(|(name, _)| name)
        .filter(|name| sent.get(name).is_none())
        .collect();
    holds!(extra.is_empty(), "headers came that nobody sent: {extra:?}");
    Ok(())
}

/// Messages with everything that has been a header or a key and went wrong somewhere.
fn weird_messages() -> potluck_core::Result<Vec<Message>> {
    let long = "n".repeat(255);
    let names = [
        "data",
        "key",
        "h:x",
        "body",
        "id",
        "X-Case",
        "x-case",
        " a b ",
        "\"",
        "'",
        "../..",
        "%00",
        "{}",
        "a:b",
        "a=b",
        "ü",
        "日本語",
        "\u{1f355}",
        "__proto__",
        "CC",
        "BCC",
        "content-type",
        "message-id",
        "timestamp",
        "traceparent",
        long.as_str(),
    ];
    let every_byte: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 8] = [
        b"",
        b"\0",
        b"true",
        b"-1",
        b"\r\nx: y",
        b"\xff\xfe",
        &every_byte,
        "ü".as_bytes(),
    ];
    let mut message = Message::new("weird names");
    for (at, name) in names.iter().enumerate() {
        let value = values[at % values.len()].to_vec();
        message = message.with_header((*name).to_owned(), value)?;
    }
    let mut messages = vec![message, Message::new("nothing")];
    for value in values {
        messages.push(
            Message::new("a value")
                .with_header("h", value.to_vec())?
                .with_key(value.to_vec())?,
        );
    }
    let mut many = Message::new("many");
    for at in 0..HEADERS_MAX {
        many = many.with_header(format!("h{at}"), at.to_string())?;
    }
    messages.push(many);
    messages.push(Message::new("large").with_header("big", vec![b'v'; HEADER_BYTES_MAX - 3])?);
    messages.push(Message::new("long key").with_key(vec![0xff; KEY_MAX])?);
    Ok(messages)
}

async fn roundtrip_headers(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    for sent in weird_messages()? {
        publisher
            .publish(&to.topic, std::slice::from_ref(&sent), WITHIN)
            .await?;
        let delivery = member.take_one().await?;
        let (came, name) = (&delivery.message, sent.body());
        holds!(came.body() == name, "{name:?} came as {:?}", came.body());
        same_headers(sent.headers(), came.headers())
            .map_err(|Broken(why)| Broken(format!("in the message {name:?}: {why}")))?;
        let (key, came_key) = (sent.key().map(Bytes::len), came.key().map(Bytes::len));
        holds!(
            sent.key() == came.key(),
            "in the message {name:?}, a key of {key:?} bytes came as {came_key:?}"
        );
        holds!(
            delivery.defect.is_none(),
            "{name:?} came with {:?}",
            delivery.defect
        );
        member.ack(&[delivery]).await?;
    }
    Ok(())
}

async fn volume_complete(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let member = context.join(&to).await?;
    let publishers = (0..20).map(|_| {
        let topic = to.topic.clone();
        async move {
            let publisher = context.transport().publisher().await?;
            context.publish(&*publisher, &topic, 500).await
        }
        .boxed()
    });
    let publishing: BoxFuture<'_, Verdict> = try_join_all(publishers).map_ok(|_| ()).boxed();
    let receiving = async {
        let (mut seen, mut heard) = (0, Instant::now());
        while seen < 10_000 {
            let some = member.receive(500, Duration::from_secs(1)).await?;
            member.ack(&some).await?;
            seen += some.len();
            if !some.is_empty() {
                heard = Instant::now();
            }
            holds!(
                heard.elapsed() < SOON,
                "{seen} of 10000 came, and then none"
            );
        }
        Ok::<(), Broken>(())
    };
    let ((), ()) = tokio::try_join!(publishing, receiving)?;
    let publisher = context.transport().publisher().await?;
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &member.to)
        .await?;
    let counts = context.ledger.counts([member.name()]);
    holds!(
        before.is_empty() && counts.stored == 10_001,
        "{} came late: {counts}",
        before.len()
    );
    context.ledger.exactly_once([member.name()])
}

async fn topics_isolated(context: &Context) -> Verdict {
    const TOPICS: usize = 20;
    let publisher = context.transport().publisher().await?;
    let fills = (0..TOPICS).map(|_| filled_topic(context, &*publisher).boxed());
    // All have their messages before the first is taken, so that what leaks has where to go.
    let filled = try_join_all(fills).await?;
    let looks = filled
        .iter()
        .map(|(member, own)| only_own(context, &*publisher, member, own).boxed());
    let done: BoxFuture<'_, Verdict> = try_join_all(looks).map_ok(|_| ()).boxed();
    done.await
}

/// A member of a topic with messages, and their numbers.
async fn filled_topic<'a>(
    context: &'a Context,
    publisher: &dyn Publisher,
) -> Result<(Joined<'a>, Vec<u64>), Broken> {
    const EACH: usize = 20;
    let to = context.declared().await?;
    let member = context.join(&to).await?;
    let messages: Vec<_> = (0..EACH).map(|_| context.ledger.message()).collect();
    for slice in messages.chunks(3) {
        context.publish_slice(publisher, &to.topic, slice).await?;
    }
    let own = messages.iter().filter_map(Ledger::number).collect();
    Ok((member, own))
}

async fn only_own(
    context: &Context,
    publisher: &dyn Publisher,
    member: &Joined<'_>,
    own: &[u64],
) -> Verdict {
    let all = member.take(own.len()).await?;
    member.ack(&all).await?;
    let more = context
        .sentinel(publisher, &*member.subscriber, &member.to)
        .await?;
    let all = || {
        all.iter()
            .chain(&more)
            .filter_map(|one| Ledger::number(&one.message))
    };
    let foreign = all().filter(|number| !own.contains(number)).count();
    let lost = own
        .iter()
        .filter(|number| !all().any(|came| came == **number))
        .count();
    holds!(
        foreign + lost + more.len() == 0,
        "{}: {foreign} of other topics came, {lost} lost, {} too many",
        member.to.topic,
        more.len()
    );
    Ok(())
}

async fn receipt_means_durable(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let apart = context.connect_apart().await?;
    let publisher = apart.publisher().await?;
    context.publish(&*publisher, &to.topic, 50).await?;
    drop(publisher);
    drop(apart);
    let other = context.connect().await?;
    let member = context.join_over(&other, &to).await?;
    let came = member.take(50).await;
    if came.is_err() {
        let counts = context.ledger.counts([member.name()]);
        crate::broken!("reported as stored, and not there: {counts}");
    }
    context.ledger.exactly_once([member.name()])
}

async fn publish_goes_at_once(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        context.publish(&*publisher, &to.topic, 1).await?;
        fastest = fastest.min(began.elapsed());
    }
    // The fastest of ten, because the machine may be busy; what lingers does so each time.
    let limit = Duration::from_millis(200);
    holds!(
        fastest < limit,
        "the fastest of ten took {fastest:?}, over {limit:?}"
    );
    Ok(())
}

/// Publishes a slice and drops the call after a while, if it is not over; notes what is known.
async fn publish_and_drop(
    context: &Context,
    publisher: &dyn Publisher,
    topic: &Topic,
    (count, after): (usize, Duration),
) -> Verdict {
    let slice: Vec<_> = (0..count).map(|_| context.ledger.message()).collect();
    let publishing = context.publish_slice(publisher, topic, &slice);
    let over = if after.is_zero() {
        publishing.now_or_never()
    } else {
        tokio::time::timeout(after, publishing).await.ok()
    };
    if let Some(verdict) = over {
        return verdict;
    }
    let dropped = Error::new(ErrorKind::Unavailable, "publish", "the case has dropped it");
    for message in &slice {
        context
            .ledger
            .published(message, &Outcome::Unknown(dropped.clone()));
    }
    Ok(())
}

async fn publish_cancel_safe(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    let mut random = context.random();
    for _ in 0..100 {
        let after = Duration::from_micros(if random.bool() {
            0
        } else {
            random.u64(1..2_000)
        });
        let how = (random.usize(1..5), after);
        publish_and_drop(context, &*publisher, &to.topic, how).await?;
    }
    let usable = context.publish(&*publisher, &to.topic, 10);
    let Ok(usable) = tokio::time::timeout(SOON, usable).await else {
        crate::broken!("after dropped calls the publisher does not answer within {SOON:?}");
    };
    usable?;
    context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    context.ledger.exactly_once([member.name()])
}

async fn publish_empty_slice(context: &Context) -> Verdict {
    let to = context.declared().await?;
    let publisher = context.transport().publisher().await?;
    let member = context.join(&to).await?;
    for topic in [&to.topic, &context.fresh()?.topic] {
        let ids = publisher.publish(topic, &[], WITHIN).await?;
        holds!(ids.is_empty(), "{} ids for no message", ids.len());
    }
    let before = context
        .sentinel(&*publisher, &*member.subscriber, &to)
        .await?;
    holds!(
        before.is_empty(),
        "publishing nothing sent {} messages",
        before.len()
    );
    let none = member
        .subscriber
        .receive(NonZeroUsize::MIN, Duration::ZERO)
        .await?;
    holds!(
        none.is_empty(),
        "publishing nothing sent {} messages",
        none.len()
    );
    Ok(())
}
