//! Does what cannot be handled reach the dead letters, whole, with its reason, and nothing else?

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::capabilities::Attempts;
use potluck_core::envelope::{FreeFoodEvent, Timestamp};
use potluck_core::{Figure, Group, Message, Receipt};
use potluck_runtime::{Bus, Failure, OtherMajor, RetryPolicy, copies};
use tokio::time::Instant;

use super::runtime;
use crate::case::{Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::outage::Outage;
use crate::scene::{Act, LANE, Scene, event_id, text};

pub(super) const CASES: &[Case] = &[
    runtime(
        "dead_lettered_is_final",
        "What was dead-lettered is in the dead-letter topic once, and never comes to the group again.",
        |context| dead_lettered_is_final(context).boxed(),
    ),
    runtime(
        "dead_letter_tells_why",
        "A dead letter tells its reason, error and tries, when it failed, and where it came from.",
        |context| dead_letter_tells_why(context).boxed(),
    ),
    runtime(
        "dead_letter_keeps_message",
        "A dead letter has the message's key and bytes, but for what tells of the failures.",
        |context| dead_letter_keeps_message(context).boxed(),
    ),
    runtime(
        "unfit_is_dead_lettered",
        "What is no event for a handler is dead-lettered byte for byte, and its neighbours go on.",
        |context| unfit_is_dead_lettered(context).boxed(),
    ),
    runtime(
        "copies_confirmed_before_ack",
        "A message stays unacknowledged until its copy is confirmed, so a crash between loses nothing.",
        |context| copies_confirmed_before_ack(context).boxed(),
    ),
    runtime(
        "dead_letters_unavailable",
        "While dead letters cannot be written the consumer says so, goes on, and writes them later.",
        |context| dead_letters_unavailable(context).boxed(),
    ),
    runtime(
        "crash_loop_guarded",
        "A message that was handed over too often is dead-lettered before its handler starts.",
        |context| crash_loop_guarded(context).boxed(),
    ),
    runtime(
        "other_group_unaffected",
        "What one group dead-letters the other groups still receive.",
        |context| other_group_unaffected(context).boxed(),
    ),
    runtime(
        "batch_failure_isolates_one",
        "When a batch fails over one event, that one is dead-lettered and the others succeed.",
        |context| batch_failure_isolates_one(context).boxed(),
    ),
];

async fn dead_lettered_is_final(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let plan = |id: &str, _| match id {
        "bad" => Act::Reject,
        "weak" => Act::Fail,
        _ => Act::Succeed,
    };
    let policy = RetryPolicy::immediate(1);
    let consumer = scene.consumer(plan).await?.retry(policy.clone());
    let consumer = consumer.start().await?;
    scene.publish(&["bad", "weak", "good"]).await?;
    let done = || scene.diary.successes() == 1 && consumer.stats().events_failed == 2;
    scene.until("two events were given up", done).await?;
    consumer.stop(SOON).await?;
    // Another one, which meets nothing but what is new.
    let consumer = scene.consumer(plan).await?.retry(policy).start().await?;
    scene.publish(&["better"]).await?;
    let done = || scene.diary.successes() >= 2;
    scene.until("what is new was handled", done).await?;
    consumer.stop(SOON).await?;
    for (id, expected) in [("bad", 1), ("weak", 2), ("good", 1), ("better", 1)] {
        let tries = scene.diary.numbers(id).len();
        holds!(tries == expected, "{id} was tried {tries} times");
    }
    let dead = scene.dead_letters().await?;
    let mut ids: Vec<_> = dead.iter().map(event_id).collect();
    ids.sort();
    holds!(ids == ["bad", "weak"], "dead letters are {ids:?}");
    scene.nothing_left().await
}

async fn dead_letter_tells_why(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let policy = RetryPolicy::immediate(0).then_after([LANE]);
    let consumer = scene.consumer(|_, _| Act::Fail).await?;
    let consumer = consumer.retry(policy).start().await?;
    let event = scene.event("told", "k")?;
    let ids = scene.send(&[event]).await?;
    let done = || consumer.stats().events_failed == 1;
    scene.until("the event was given up", done).await?;
    consumer.stop(SOON).await?;
    let dead = scene.dead_letters().await?;
    let [dead] = dead.as_slice() else {
        return Err(crate::Broken(format!("{} dead letters", dead.len())));
    };
    let expected = [
        (copies::REASON, "exhausted"),
        (copies::ERROR, "out of soup"),
        (copies::ATTEMPTS, "2"),
        (copies::ORIGIN_TOPIC, scene.to.topic.as_str()),
        (copies::ORIGIN_ID, ids.first().map_or("", String::as_str)),
    ];
    for (name, value) in expected {
        let told = text(dead, name);
        holds!(told == value, "{name} is {told:?} instead of {value:?}");
    }
    let time = |name: &str| text(dead, name).parse::<Timestamp>();
    let (Ok(first), Ok(last)) = (time(copies::FIRST_FAILED_AT), time(copies::FAILED_AT)) else {
        return Err(crate::Broken("the times of failure are none".to_owned()));
    };
    // Between both lies the delay, by a wall clock that the case's own may not follow.
    holds!(
        first <= last,
        "it failed first at {first} and last at {last}"
    );
    Ok(())
}

async fn dead_letter_keeps_message(context: &Context) -> Verdict {
    const BODY: &str = "{ \"type\":\"FREE_FOOD_EVENT\", \"schema_version\" : \"1.0.0\",\n\
        \"event_id\":\"kept\",\"title\":\"S\\u00f6up\",\"source\":\"x\", \"zz\": 1.10,\
        \"published_at\":\"2025-11-02T14:03:22Z\", \"n\":9007199254740993,\
        \"retries\":RETRIES,\"metadata\":METADATA , \"aa\":[1e2,null] }";
    let body = |retries: &str, metadata: &str| {
        let body = BODY.replace("RETRIES", retries);
        body.replace("METADATA", metadata)
    };
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|_, _| Act::Fail).await?;
    let policy = RetryPolicy::immediate(0).then_after([LANE]);
    let consumer = consumer.retry(policy).start().await?;
    let message = Message::new(body("0", "{}"));
    scene
        .send(&[scene.keyed(message, "key of its own")?])
        .await?;
    let done = || consumer.stats().events_failed == 1;
    scene.until("the event was given up", done).await?;
    consumer.stop(SOON).await?;
    let dead = scene.dead_letters().await?;
    let [dead] = dead.as_slice() else {
        return Err(crate::Broken(format!("{} dead letters", dead.len())));
    };
    let expected = body("2", r#"{"last_error":"out of soup"}"#);
    holds!(
        *dead.body() == expected,
        "the body has {} bytes, and others than were to be kept",
        dead.body().len()
    );
    let key = dead.key().map(|key| &key[..]);
    holds!(key == Some(b"key of its own"), "the key was not kept");
    Ok(())
}

async fn unfit_is_dead_lettered(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|_, _| Act::Succeed).await?;
    let consumer = consumer.other_major(OtherMajor::Reject).start().await?;
    let event = |change: &[(&str, serde_json::Value)]| -> Result<Vec<u8>, crate::Broken> {
        let body = scene.event("unfit", "k")?.body().clone();
        let mut event: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| crate::Broken(error.to_string()))?;
        for (field, value) in change {
            event[*field] = value.clone();
        }
        Ok(event.to_string().into_bytes())
    };
    let unfit: Vec<(&str, Vec<u8>)> = vec![
        ("malformed", b"{ not json".to_vec()),
        ("malformed", b"\xff\x00\xfe".to_vec()),
        ("malformed", Vec::new()),
        ("invalid", b"{}".to_vec()),
        ("invalid", event(&[("title", "".into())])?),
        ("invalid", event(&[("retries", (-1).into())])?),
        ("bad_version", event(&[("schema_version", "1.0".into())])?),
        (
            "unsupported_version",
            event(&[("schema_version", "2.0.0".into())])?,
        ),
        ("unregistered_type", event(&[("type", "LUNCH".into())])?),
    ];
    let mut slice = Vec::new();
    for (at, (_, body)) in unfit.iter().enumerate() {
        slice.push(scene.event(&format!("good-{at}"), "k")?);
        slice.push(scene.keyed(Message::new(body.clone()), "k")?);
    }
    slice.push(scene.event("good-last", "k")?);
    scene.send(&slice).await?;
    let good = unfit.len() + 1;
    let done = || {
        let failed = consumer.stats().events_failed as usize;
        (scene.diary.successes(), failed) == (good, unfit.len())
    };
    scene
        .until("the good and the bad were told apart", done)
        .await?;
    consumer.stop(SOON).await?;
    let dead = scene.dead_letters().await?;
    let mut dead: Vec<_> = dead
        .iter()
        .map(|one| (text(one, copies::REASON), one.body().to_vec()))
        .collect();
    let own = |(reason, body): (&str, Vec<u8>)| (reason.to_owned(), body);
    let mut expected: Vec<_> = unfit.into_iter().map(own).collect();
    dead.sort();
    expected.sort();
    let reasons: Vec<_> = dead.iter().map(|(reason, _)| reason).collect();
    holds!(
        dead == expected,
        "other reasons or bytes than were expected: {reasons:?}"
    );
    scene.nothing_left().await
}

/// A bus on which copies fail for a while.
async fn troubled(
    scene: &Scene<'_>,
) -> Result<(Bus, std::sync::Arc<crate::outage::Trouble>), crate::Broken> {
    let astray = scene.to.topic.dead_letter(&Group::new("astray")?)?;
    scene.context.will_delete(&astray, &Group::of_derived());
    let (outage, trouble) = Outage::new(scene.context.connect().await?, astray);
    Ok((Bus::new(outage), trouble))
}

async fn copies_confirmed_before_ack(context: &Context) -> Verdict {
    let lease = Duration::from_secs(1);
    let scene = Scene::open(context).await?;
    let plan = |id: &str, _| match id {
        "bad" => Act::Reject,
        _ => Act::Fail,
    };
    let policy = RetryPolicy::immediate(0).then_after([LANE]);
    let (bus, trouble) = troubled(&scene).await?;
    let doomed = scene.consumer_over(&bus, plan).lease(lease);
    let doomed = doomed.retry(policy.clone()).start().await?;
    let malformed = scene.keyed(Message::new("{"), "k")?;
    scene.publish(&["bad", "weak"]).await?;
    scene.send(&[malformed]).await?;
    // One from the lane, and from the dead letters one before the others.
    let tried = || trouble.met() >= 2 && scene.diary.starts() >= 2;
    scene.until("copies were tried", tried).await?;
    drop(doomed);
    // As it goes with a process that is killed, its connection goes too.
    bus.close().await.or_else(|error| match error.kind() {
        potluck_core::ErrorKind::Unavailable => Ok(()),
        _ => Err(error),
    })?;
    let consumer = scene.consumer(plan).await?.lease(lease);
    let consumer = consumer.retry(policy).start().await?;
    let limit = context.redelivered_within(lease) + SOON;
    let done = || consumer.stats().events_failed >= 3;
    scene
        .until_within("all were dead-lettered after the crash", limit, done)
        .await?;
    consumer.stop(SOON).await?;
    let dead = scene.dead_letters().await?;
    let mut reasons: Vec<_> = dead.iter().map(|one| text(one, copies::REASON)).collect();
    reasons.sort();
    holds!(
        reasons == ["exhausted", "malformed", "rejected"],
        "dead letters are {reasons:?}"
    );
    Ok(())
}

async fn dead_letters_unavailable(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let (bus, trouble) = troubled(&scene).await?;
    let consumer = scene.consumer_over(&bus, |id, _| match id.starts_with("bad") {
        true => Act::Reject,
        false => Act::Succeed,
    });
    let consumer = consumer.start().await?;
    let bad = ["bad-1", "bad-2", "bad-3"];
    scene.publish(&bad).await?;
    let troubled = || trouble.met() >= 1 && !consumer.health().is_ready();
    scene
        .until("the consumer said that it is not well", troubled)
        .await?;
    let (began, met) = (Instant::now(), trouble.met());
    let good: Vec<_> = (0..20).map(|n| format!("good-{n}")).collect();
    let good: Vec<_> = good.iter().map(String::as_str).collect();
    scene.publish(&good).await?;
    let done = || scene.diary.successes() == good.len();
    scene.until("what can be handled was handled", done).await?;
    // The acknowledgements of the good ones may be on their way.
    let held = || consumer.stats().in_flight == bad.len() as u64;
    scene
        .until("what cannot be written is held, and nothing else", held)
        .await?;
    let status = context.transport().status(&scene.to.topic, &scene.to.group);
    if let Figure::Exact(held) = status.await?.in_flight {
        holds!(held == 3, "{held} of 3 are unacknowledged");
    }
    let again = || trouble.met() >= met + 2;
    scene.until("it was tried again", again).await?;
    let (took, tries) = (began.elapsed(), trouble.met() - met);
    let most = 6 + 6 * took.as_secs();
    holds!(tries <= most, "{tries} tries to write copies in {took:?}");
    trouble.end();
    let over = || consumer.stats().events_failed == 3 && consumer.health().is_ready();
    let over = scene.until("dead letters were written in the end", over);
    over.await?;
    consumer.stop(SOON).await?;
    let dead = scene.dead_letters().await?;
    let mut ids: Vec<_> = dead.iter().map(event_id).collect();
    ids.sort();
    ids.dedup();
    holds!(ids == bad, "dead letters are {ids:?}");
    scene.nothing_left().await
}

async fn crash_loop_guarded(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    // Where hand-overs are not counted, the first is told from the others.
    let most = match context.claims().attempts {
        Attempts::Counted => 3,
        _ => 1,
    };
    scene.publish(&["deadly"]).await?;
    for attempt in 1..=most {
        let to = scene.to.clone().member(potluck_core::Member::unique());
        let member = context.join(&to).await?;
        let held = member.take(1).await?;
        let receipts: Vec<Receipt> = held.iter().map(|one| one.receipt).collect();
        let given_back = member.subscriber.release(&receipts).await?;
        holds!(given_back.stale.is_empty(), "hand-over {attempt} was stale");
        member.subscriber.close().await?;
    }
    let consumer = scene.consumer(|_, _| Act::Succeed).await?;
    let guard = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
    let consumer = consumer.max_deliveries(guard).start().await?;
    let done = || consumer.stats().events_failed == 1 || scene.diary.starts() > 0;
    scene.until("the message was judged", done).await?;
    // One that comes for the first time is handled all the same.
    scene.publish(&["harmless"]).await?;
    let done = || scene.diary.successes() >= 1;
    scene.until("another message was handled", done).await?;
    consumer.stop(SOON).await?;
    let tries = scene.diary.numbers("deadly");
    holds!(
        tries.is_empty(),
        "its handler was started after {most} hand-overs"
    );
    let dead = scene.dead_letters().await?;
    let reasons: Vec<_> = dead.iter().map(|one| text(one, copies::REASON)).collect();
    holds!(reasons == ["crash_loop"], "dead letters are {reasons:?}");
    Ok(())
}

async fn other_group_unaffected(context: &Context) -> Verdict {
    let one = Scene::open(context).await?;
    let other = one.group("other").await?;
    let rejecting = one.consumer(|_, _| Act::Reject).await?.start().await?;
    let ids = ["a", "b", "c", "d", "e"];
    one.publish(&ids).await?;
    let done = || rejecting.stats().events_failed == 5;
    one.until("one group gave all up", done).await?;
    let working = other.consumer(|_, _| Act::Succeed).await?.start().await?;
    let done = || other.diary.successes() == ids.len();
    other.until("the other group handled all", done).await?;
    rejecting.stop(SOON).await?;
    working.stop(SOON).await?;
    for id in ids {
        let tries = other.diary.numbers(id);
        holds!(tries == [1], "the other group tried {id} as {tries:?}");
    }
    let dead = (
        one.dead_letters().await?.len(),
        other.dead_letters().await?.len(),
    );
    holds!(dead == (5, 0), "the groups' dead letters are {dead:?}");
    one.nothing_left().await?;
    other.nothing_left().await
}

async fn batch_failure_isolates_one(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let bus = Bus::new(context.connect().await?);
    let diary = scene.diary.clone();
    let handler = move |events: Vec<(FreeFoodEvent, potluck_runtime::Context)>| {
        let poisoned = events.iter().any(|(event, _)| &*event.event_id == "poison");
        for (event, around) in &events {
            let place = diary.begin(&event.event_id, around);
            diary.end(place, !poisoned);
        }
        async move {
            match poisoned {
                true => Err(Failure::retry("one of these")),
                false => Ok(()),
            }
        }
    };
    let ids = ["a", "b", "c", "d", "poison", "e", "f", "g", "h", "i"];
    scene.publish(&ids).await?;
    let size = NonZeroUsize::new(ids.len()).unwrap_or(NonZeroUsize::MIN);
    let consumer = bus
        .consumer(&scene.to.topic, &scene.to.group)
        .on_batch(size, handler)
        .retry(RetryPolicy::immediate(1));
    let consumer = consumer.start().await?;
    let done = || {
        let stats = consumer.stats();
        stats.events_processed == 9 && stats.events_failed == 1
    };
    scene
        .until("nine succeeded and one was given up", done)
        .await?;
    consumer.stop(SOON).await?;
    for id in ids.into_iter().filter(|id| *id != "poison") {
        let tries = scene.diary.of(id);
        let succeeded = tries.iter().filter(|one| one.succeeded).count();
        holds!(succeeded == 1, "{id} succeeded {succeeded} times");
    }
    let dead = scene.dead_letters().await?;
    let told: Vec<_> = dead
        .iter()
        .map(|one| (event_id(one), text(one, copies::ATTEMPTS)))
        .collect();
    holds!(
        told == [("poison".to_owned(), "2".to_owned())],
        "dead letters are {told:?}"
    );
    scene.nothing_left().await
}
