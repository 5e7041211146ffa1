//! Does the consumer runtime try again as often, and as late, as its policy says, and does nobody
//! else notice?

use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::Message;
use potluck_runtime::{RetryPolicy, copies};
use tokio::time::Instant;

use super::runtime;
use crate::case::{Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::scene::{Act, LANE, LONG, Scene, Try, event_id, text};

pub(super) const CASES: &[Case] = &[
    runtime(
        "retry_delay_floor_and_ceiling",
        "A failed event is not tried again before its delay, and soon after it.",
        |context| retry_delay_floor_and_ceiling(context).boxed(),
    ),
    runtime(
        "attempts_exact",
        "An event is tried until it succeeds, and exactly as often as the policy says if it never does.",
        |context| attempts_exact(context).boxed(),
    ),
    runtime(
        "failures_survive_restart",
        "A consumer that is started anew counts an event's failures on.",
        |context| failures_survive_restart(context).boxed(),
    ),
    runtime(
        "delayed_retry_stops_nobody",
        "Events that wait for a delayed retry take no room from those behind them.",
        |context| delayed_retry_stops_nobody(context).boxed(),
    ),
    runtime(
        "lanes_are_the_groups_own",
        "A retry is seen by the group that failed and by no other.",
        |context| lanes_are_the_groups_own(context).boxed(),
    ),
    runtime(
        "copies_keep_headers",
        "Trace context and other headers are there at each try, and in the dead letter.",
        |context| copies_keep_headers(context).boxed(),
    ),
    runtime(
        "retries_are_written",
        "An event that is tried again tells in its payload how often it failed, and why.",
        |context| retries_are_written(context).boxed(),
    ),
];

/// Clocks are read in steps, and a wall clock may be slewed.
const TOLERANCE: Duration = Duration::from_millis(20);

/// Whether the clock jumps to whatever is waited for.
async fn is_simulated() -> bool {
    let began = std::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    began.elapsed() < Duration::from_millis(40)
}

async fn retry_delay_floor_and_ceiling(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let simulated = is_simulated().await;
    let delays = [Duration::from_millis(300), LANE];
    let consumer = scene.consumer(|_, number| match number {
        1 | 2 => Act::Fail,
        _ => Act::Succeed,
    });
    let policy = RetryPolicy::immediate(0).then_after(delays);
    let consumer = consumer.await?.retry(policy).start().await?;
    let ids = ["a", "b", "c", "d", "e", "f", "g", "h"];
    scene.publish(&ids).await?;
    let done = || scene.diary.successes() == ids.len();
    scene.until("each event succeeded", done).await?;
    consumer.stop(SOON).await?;
    for id in ids {
        let tries = scene.diary.of(id);
        for (pair, delay) in tries.windows(2).zip(delays) {
            let failed_at = pair[0].ended.unwrap_or(pair[0].began);
            let mut waited = pair[1].began.duration_since(failed_at);
            if simulated {
                // A lane looks at the wall clock too, on which next to no time has passed.
                waited += pair[1].wall.duration_since(pair[0].wall);
            }
            holds!(
                waited + TOLERANCE >= delay,
                "{id} was tried again after {waited:?} instead of {delay:?}"
            );
            let ceiling = delay * 2 + Duration::from_secs(1);
            holds!(
                waited <= ceiling,
                "{id} was tried again after {waited:?}, and {delay:?} was asked for"
            );
        }
    }
    Ok(())
}

async fn attempts_exact(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    // Three tries in all: one, one more at once, and one from a lane.
    let policy = RetryPolicy::immediate(1).then_after([LANE]);
    let consumer = scene.consumer(|id, number| match id {
        "first" => Act::Succeed,
        "second" if number == 2 => Act::Succeed,
        "third" if number == 3 => Act::Succeed,
        "bad" => Act::Reject,
        _ => Act::Fail,
    });
    let consumer = consumer.await?.retry(policy).start().await?;
    let expected: [(&str, &[u32]); 6] = [
        ("first", &[1]),
        ("second", &[1, 2]),
        ("third", &[1, 2, 3]),
        ("never", &[1, 2, 3]),
        ("ever", &[1, 2, 3]),
        ("bad", &[1]),
    ];
    scene.publish(&expected.map(|(id, _)| id)).await?;
    let done = || scene.diary.successes() == 3 && consumer.stats().events_failed == 3;
    scene
        .until("three events succeeded and three were given up", done)
        .await?;
    consumer.stop(SOON).await?;
    for (id, tries) in expected {
        let numbers = scene.diary.numbers(id);
        holds!(numbers == tries, "{id} was tried as {numbers:?}");
    }
    let dead = scene.dead_letters().await?;
    let told = |one: &Message| {
        let header = |name| text(one, name);
        (
            event_id(one),
            header(copies::REASON),
            header(copies::ATTEMPTS),
        )
    };
    let mut dead: Vec<_> = dead.iter().map(told).collect();
    dead.sort();
    let own = |(id, reason, tries): (&str, &str, &str)| {
        (id.to_owned(), reason.to_owned(), tries.to_owned())
    };
    let expected = [
        ("bad", "rejected", "1"),
        ("ever", "exhausted", "3"),
        ("never", "exhausted", "3"),
    ];
    holds!(dead == expected.map(own), "dead letters are {dead:?}");
    scene.nothing_left().await
}

async fn failures_survive_restart(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let policy = RetryPolicy::immediate(0).then_after([LANE, LANE]);
    scene.publish(&["lost"]).await?;
    for round in 1..=3_u64 {
        let consumer = scene.consumer(|_, _| Act::Fail).await?;
        let consumer = consumer.retry(policy.clone()).start().await?;
        let failed = || {
            let stats = consumer.stats();
            stats.retried + stats.events_failed == 1
        };
        scene.until("the event failed once more", failed).await?;
        let stats = consumer.stop(SOON).await?;
        let expected = (u64::from(round < 3), u64::from(round == 3));
        holds!(
            (stats.retried, stats.events_failed) == expected,
            "start {round}: {} retried and {} given up",
            stats.retried,
            stats.events_failed
        );
    }
    let numbers = scene.diary.numbers("lost");
    holds!(numbers == [1, 2, 3], "it was tried as {numbers:?}");
    let dead = scene.dead_letters().await?;
    let attempts: Vec<_> = dead.iter().map(|one| text(one, copies::ATTEMPTS)).collect();
    holds!(attempts == ["3"], "dead letters tell of {attempts:?} tries");
    Ok(())
}

async fn delayed_retry_stops_nobody(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|id, _| match id.starts_with("bad") {
        true => Act::Fail,
        false => Act::Succeed,
    });
    // There is room for as many as fail, and none of them is due while the case lasts.
    let room = std::num::NonZeroUsize::new(4).unwrap_or(std::num::NonZeroUsize::MIN);
    let policy = RetryPolicy::immediate(0).then_after([LONG]);
    let consumer = consumer
        .await?
        .retry(policy)
        .concurrency(room)
        .max_held(room);
    let consumer = consumer.start().await?;
    scene.publish(&["bad-1", "bad-2", "bad-3", "bad-4"]).await?;
    let ids: Vec<_> = (0..12).map(|n| format!("good-{n}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    scene.publish(&ids).await?;
    let done = || scene.diary.successes() == ids.len();
    scene
        .until("all that did not fail was handled", done)
        .await?;
    consumer.stop(SOON).await?;
    let starts = scene.diary.starts();
    holds!(starts == 16, "handlers were started {starts} times");
    scene.nothing_left().await
}

async fn lanes_are_the_groups_own(context: &Context) -> Verdict {
    let one = Scene::open(context).await?;
    let other = one.group("other").await?;
    let policy = || RetryPolicy::immediate(0).then_after([LANE]);
    let failing = one.consumer(|_, number| match number {
        1 => Act::Fail,
        _ => Act::Succeed,
    });
    let failing = failing.await?.retry(policy()).start().await?;
    let working = other.consumer(|_, _| Act::Succeed).await?;
    let working = working.retry(policy()).start().await?;
    let ids = ["a", "b", "c", "d", "e"];
    one.publish(&ids).await?;
    let done = |scene: &Scene<'_>| scene.diary.successes() == ids.len();
    one.until("the group that failed succeeded", || done(&one))
        .await?;
    other
        .until("the other group succeeded", || done(&other))
        .await?;
    failing.stop(SOON).await?;
    let stats = working.stop(SOON).await?;
    for id in ids {
        let (failed, seen) = (one.diary.numbers(id), other.diary.numbers(id));
        holds!(failed == [1, 2], "{id} was tried as {failed:?}");
        holds!(seen == [1], "the other group tried {id} as {seen:?}");
    }
    holds!(
        stats.received == ids.len() as u64,
        "the other group received {} of {}",
        stats.received,
        ids.len()
    );
    one.nothing_left().await?;
    other.nothing_left().await
}

async fn copies_keep_headers(context: &Context) -> Verdict {
    const GIVEN: [(&str, &str); 4] = [
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("X-Own", "a b \u{fc}"),
        ("content-type", "application/json"),
    ];
    let scene = Scene::open(context).await?;
    let mut message = scene.event("traced", "k")?;
    for (name, value) in &GIVEN[..3] {
        message = message.with_header(*name, *value)?;
    }
    let policy = RetryPolicy::immediate(0).then_after([LANE]);
    let consumer = scene.consumer(|_, _| Act::Fail).await?;
    let consumer = consumer.retry(policy).start().await?;
    scene.send(&[message]).await?;
    let done = || consumer.stats().events_failed == 1;
    scene.until("the event was given up", done).await?;
    consumer.stop(SOON).await?;
    let mut seen: Vec<_> = scene
        .diary
        .all()
        .into_iter()
        .map(|one| one.headers)
        .collect();
    let dead = scene.dead_letters().await?;
    seen.extend(dead.iter().map(|one| one.headers().clone()));
    holds!(seen.len() == 3, "{} tries and dead letters", seen.len());
    for (at, headers) in seen.iter().enumerate() {
        for (name, value) in GIVEN {
            let there = headers.get(name).is_some_and(|one| one == value);
            holds!(there, "the header {name} is not at place {at} of 3");
        }
    }
    Ok(())
}

async fn retries_are_written(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let policy = RetryPolicy::immediate(1).then_after([LANE]);
    let bus = potluck_runtime::Bus::new(context.connect().await?);
    let (diary, topic, group) = (scene.diary.clone(), &scene.to.topic, &scene.to.group);
    let handler = move |event: potluck_core::envelope::FreeFoodEvent,
                        around: potluck_runtime::Context| {
        // What the payload tells stands in for the id.
        let why = event
            .metadata
            .get("last_error")
            .and_then(|why| why.as_str());
        let told = format!("{} {}", event.retries, why.unwrap_or("-"));
        let place = diary.begin(&told, &around);
        diary.end(place, around.tries() == 3);
        async move {
            match around.tries() {
                1 | 2 => Err(potluck_runtime::Failure::retry("out of soup")),
                _ => Ok(()),
            }
        }
    };
    let consumer = bus.consumer(topic, group).on(handler).retry(policy);
    let consumer = consumer.start().await?;
    scene.publish(&["counted"]).await?;
    let began = Instant::now();
    let done = || scene.diary.successes() == 1;
    scene.until("the event succeeded", done).await?;
    consumer.stop(SOON).await?;
    let told: Vec<Try> = scene.diary.all();
    let told: Vec<_> = told.iter().map(|one| one.event.as_str()).collect();
    // The try at once is of the same bytes; the copy tells of both failures.
    holds!(
        told == ["0 -", "0 -", "2 out of soup"],
        "after {:?} tries were told {told:?}",
        began.elapsed()
    );
    Ok(())
}
