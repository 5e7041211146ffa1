//! Does a consumer end without losing or repeating anything, count what it did, and get over a
//! lost connection?

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::envelope::FreeFoodEvent;
use potluck_runtime::{Bus, RetryPolicy};
use tokio::time::{Instant, sleep};

use super::{BUDGET, runtime};
use crate::case::{Broken, Case, Hook, Level, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::scene::{Act, LANE, Scene, event_id};

pub(super) const CASES: &[Case] = &[
    runtime(
        "graceful_drain",
        "A stop lets handlers finish with a bus that works, begins none, and gives the rest back.",
        |context| graceful_drain(context).boxed(),
    ),
    runtime(
        "drain_deadline",
        "What is not finished by a stop's deadline is given back at once, not when its lease ends.",
        |context| drain_deadline(context).boxed(),
    ),
    runtime(
        "dedup_marks_after_success",
        "An event is a duplicate after its success only: a failed one is tried again.",
        |context| dedup_marks_after_success(context).boxed(),
    ),
    runtime(
        "consumer_stats_match_ledger",
        "What a consumer counts is what its handlers and its transport have seen.",
        |context| consumer_stats_match_ledger(context).boxed(),
    ),
    Case {
        name: "retries_survive_cut",
        promise: "Connections lost between failures, copies and settles cost no event.",
        level: Level::Runtime,
        needs: Some(Hook::Cut),
        budget: BUDGET,
        run: |context| retries_survive_cut(context).boxed(),
    },
];

/// A stop with handlers at work: what they publish arrives, and nothing is begun.
async fn graceful_drain(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let followed = context.declared().await?;
    let bus = Bus::new(context.connect().await?);
    let (diary, topic) = (scene.diary.clone(), followed.topic.clone());
    let stopping = tokio::sync::watch::Sender::new(false);
    let stopped = stopping.subscribe();
    let handler = move |event: FreeFoodEvent, around: potluck_runtime::Context| {
        let (diary, topic, mut stopped) = (diary.clone(), topic.clone(), stopped.clone());
        async move {
            let place = diary.begin(&event.event_id, &around);
            // It goes on while the consumer stops, and when all else is given back it publishes
            // what follows from it.
            let _ = stopped.wait_for(|stopped| *stopped).await;
            sleep(Duration::from_secs(1)).await;
            around.bus().publish(&topic, &event).await?;
            diary.end(place, true);
            Ok(())
        }
    };
    let four = NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN);
    let consumer = bus
        .consumer(&scene.to.topic, &scene.to.group)
        .on(handler)
        .lease(crate::scene::LONG)
        .retry(RetryPolicy::never())
        .concurrency(four);
    let ids: Vec<_> = (0..10).map(|n| format!("event-{n}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    scene.publish(&ids).await?;
    let consumer = consumer.start().await?;
    let busy = || scene.diary.starts() == 4 && consumer.stats().in_flight > 4;
    scene
        .until("all handlers work, and others wait", busy)
        .await?;
    stopping.send_replace(true);
    let stats = consumer.stop(SOON).await?;
    let (starts, successes) = (scene.diary.starts(), scene.diary.successes());
    holds!(
        (starts, successes) == (4, 4),
        "{starts} handlers were begun and {successes} of them finished"
    );
    holds!(
        (stats.events_processed, stats.stale, stats.in_flight) == (4, 0, 0),
        "{} processed, {} stale, {} in flight",
        stats.events_processed,
        stats.stale,
        stats.in_flight
    );
    let member = context.join(&followed).await?;
    member.take(4).await?;
    // Nothing of what was finished, and all the rest, though no lease has ended.
    let rest = scene.rest_of(&scene.to).await?;
    let mut rest: Vec<_> = rest.iter().map(|one| event_id(&one.message)).collect();
    rest.extend(scene.diary.all().into_iter().map(|one| one.event));
    rest.sort();
    let mut expected = ids;
    expected.sort_unstable();
    holds!(rest == expected, "handled and given back are {rest:?}");
    let dead = scene.dead_letters().await?.len();
    holds!(dead == 0, "{dead} dead letters");
    Ok(())
}

async fn drain_deadline(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|_, _| Act::Hang).await?.start().await?;
    scene.publish(&["stuck-1", "stuck-2"]).await?;
    let started = || scene.diary.starts() == 2;
    scene.until("both handlers were started", started).await?;
    let began = Instant::now();
    let stats = consumer.stop(Duration::from_millis(300)).await?;
    let took = began.elapsed();
    holds!(
        took < Duration::from_secs(5),
        "a stop with 300 ms to go took {took:?}"
    );
    holds!(
        stats.given_back == 2 && stats.failed_tries == 0,
        "{} given back, {} tries failed",
        stats.given_back,
        stats.failed_tries
    );
    let next = scene.consumer(|_, _| Act::Succeed).await?.start().await?;
    let done = || scene.diary.successes() == 2;
    scene.until("the next consumer handled both", done).await?;
    next.stop(SOON).await?;
    // To be cut off is no failure.
    for id in ["stuck-1", "stuck-2"] {
        let tries = scene.diary.numbers(id);
        holds!(tries == [1, 1], "{id} was tried as {tries:?}");
    }
    scene.nothing_left().await
}

async fn dedup_marks_after_success(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|_, number| match number {
        1 | 2 => Act::Fail,
        _ => Act::Succeed,
    });
    let policy = RetryPolicy::immediate(0).then_after([Duration::from_millis(50), LANE]);
    let ids = NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN);
    let consumer = consumer.await?.retry(policy).deduplicate(ids);
    let consumer = consumer.start().await?;
    scene.publish(&["same", "other"]).await?;
    let done = || scene.diary.successes() == 2;
    scene
        .until("what had failed succeeded in the end", done)
        .await?;
    scene.publish(&["same"]).await?;
    let done = || consumer.stats().duplicates == 1;
    scene.until("the duplicate was known", done).await?;
    consumer.stop(SOON).await?;
    for id in ["same", "other"] {
        let tries = scene.diary.numbers(id);
        holds!(tries == [1, 2, 3], "{id} was tried as {tries:?}");
    }
    scene.nothing_left().await
}

async fn consumer_stats_match_ledger(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let transport = context.connect().await?;
    let consumer = scene.consumer_over(&Bus::new(transport.clone()), |id, number| {
        match (&id[..1], number) {
            ("b", _) => Act::Reject,
            ("w", 1) => Act::Fail,
            _ => Act::Succeed,
        }
    });
    let policy = RetryPolicy::immediate(0).then_after([LANE]);
    let consumer = consumer.retry(policy).start().await?;
    scene
        .publish(&["good-1", "good-2", "good-3", "bad-1", "bad-2", "weak-1"])
        .await?;
    let done = || {
        let stats = consumer.stats();
        scene.diary.successes() == 4 && stats.events_failed == 2 && stats.in_flight == 0
    };
    scene
        .until("all was handled or given up, and settled", done)
        .await?;
    let stats = consumer.stop(SOON).await?;
    let counted = [
        ("received", stats.received, 7),
        ("processed", stats.events_processed, 4),
        ("failed", stats.events_failed, 2),
        ("failed tries", stats.failed_tries, 3),
        ("retried", stats.retried, 1),
        ("ignored", stats.ignored, 0),
        ("duplicates", stats.duplicates, 0),
        ("given back", stats.given_back, 0),
        ("stale", stats.stale, 0),
        ("in flight", stats.in_flight, 0),
    ];
    for (what, counted, expected) in counted {
        holds!(
            counted == expected,
            "{what}: {counted} instead of {expected}"
        );
    }
    holds!(scene.diary.starts() == 7, "{} tries", scene.diary.starts());
    let below = transport.stats();
    // Six of the topic and one of the lane; two dead letters and one copy for the lane.
    let counted = (below.delivered, below.acked, below.published);
    holds!(
        counted == (7, 7, 3),
        "the transport counts (delivered, acked, published) {counted:?}"
    );
    scene.nothing_left().await
}

async fn retries_survive_cut(context: &Context) -> Verdict {
    let lease = Duration::from_secs(1);
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|id, number| match (&id[..1], number) {
        ("b", _) => Act::Reject,
        ("w", 1) => Act::Fail,
        _ => Act::Work(Duration::from_millis(5)),
    });
    let policy = RetryPolicy::immediate(0).then_after([LANE]);
    let consumer = consumer.await?.lease(lease).retry(policy).start().await?;
    let ids: Vec<_> = (0..20)
        .flat_map(|n| [format!("b{n}"), format!("w{n}"), format!("g{n}")])
        .collect();
    // Each part meets a cut at another moment.
    for (at, part) in ids.chunks(12).enumerate() {
        let part: Vec<_> = part.iter().map(String::as_str).collect();
        scene.publish_through(&part).await?;
        sleep(Duration::from_millis(at as u64 * 7)).await;
        context.faults()?.cut().await;
    }
    let undone = || {
        let all = scene.diary.all();
        let done = |id: &&String| match id.starts_with('b') {
            // Its dead letter is looked for below.
            true => all.iter().any(|one| one.event == **id),
            false => all.iter().any(|one| one.event == **id && one.succeeded),
        };
        ids.iter().filter(|id| !done(id)).count()
    };
    let limit = context.redelivered_within(lease) + SOON;
    let done = || consumer.stats().in_flight == 0 && undone() == 0;
    scene
        .until_within("all was handled after the cuts", limit, done)
        .await?;
    consumer.stop(SOON).await?;
    let dead = scene.dead_letters().await?;
    let lost = ids.iter().filter(|id| id.starts_with('b'));
    let lost = lost.filter(|id| !dead.iter().any(|one| event_id(one) == **id));
    match lost.count() {
        0 => Ok(()),
        lost => Err(Broken(format!("{lost} of 20 dead letters are lost"))),
    }
}
