//! Does each event wait for those of its key and for nobody else, whatever handlers do?

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::FutureExt;
use potluck_core::capabilities::Ordering;
use potluck_runtime::RetryPolicy;

use super::runtime;
use crate::case::{Case, Verdict};
use crate::context::{Context, SOON};
use crate::holds;
use crate::scene::{Act, Scene};

pub(super) const CASES: &[Case] = &[
    runtime(
        "retry_is_overtaken",
        "Without strict order a failed event is overtaken by those behind it, also of its own key.",
        |context| retry_is_overtaken(context).boxed(),
    ),
    runtime(
        "strict_order_waits",
        "In strict order the events of a key wait until the one before them is done with.",
        |context| strict_order_waits(context).boxed(),
    ),
    runtime(
        "slow_key_stops_no_other",
        "A handler that takes its time keeps no event of another key waiting.",
        |context| slow_key_stops_no_other(context).boxed(),
    ),
    runtime(
        "same_key_in_order",
        "With many handlers at once, the events of a key are handled one at a time and in order.",
        |context| same_key_in_order(context).boxed(),
    ),
    runtime(
        "panic_frees_its_slot",
        "A handler that panics has failed, and its place is free for the next event.",
        |context| panic_frees_its_slot(context).boxed(),
    ),
    runtime(
        "hang_frees_its_slot",
        "A handler that never ends has failed when its time is up, and its place is free.",
        |context| hang_frees_its_slot(context).boxed(),
    ),
    runtime(
        "leases_kept_while_handled",
        "What a handler works on for three leases, and what waits behind it, comes to nobody else.",
        |context| leases_kept_while_handled(context).boxed(),
    ),
    runtime(
        "success_is_final",
        "What a handler has finished is not delivered again, to no member of the group.",
        |context| success_is_final(context).boxed(),
    ),
];

fn many(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

async fn retry_is_overtaken(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|id, number| match (id, number) {
        ("first", 1) => Act::Fail,
        _ => Act::Succeed,
    });
    // Long enough for all that is behind it, and not so long that it waits in a lane.
    let policy = RetryPolicy::immediate(0).then_after([Duration::from_secs(1)]);
    let slice = [
        scene.event("first", "k")?,
        scene.event("second", "k")?,
        scene.event("third", "k")?,
    ];
    scene.send(&slice).await?;
    let consumer = consumer.await?.retry(policy).start().await?;
    let done = || scene.diary.successes() == 3;
    scene.until("all three succeeded", done).await?;
    consumer.stop(SOON).await?;
    let order: Vec<_> = scene.diary.all().into_iter().map(|one| one.event).collect();
    holds!(
        order == ["first", "second", "third", "first"],
        "the order of tries was {order:?}"
    );
    scene.nothing_left().await
}

async fn strict_order_waits(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|id, number| match (id, number) {
        ("first", 1 | 2) => Act::Fail,
        ("second", _) => Act::Reject,
        _ => Act::Succeed,
    });
    let policy = RetryPolicy::immediate(0).then_after([300, 1200].map(Duration::from_millis));
    let slice = [
        scene.event("first", "k")?,
        scene.event("second", "k")?,
        scene.event("third", "k")?,
    ];
    scene.send(&slice).await?;
    let consumer = consumer.await?.retry(policy).strict_order();
    let consumer = consumer.start().await?;
    let done = || scene.diary.successes() == 2 && consumer.stats().events_failed == 1;
    scene
        .until("two succeeded and one was given up", done)
        .await?;
    consumer.stop(SOON).await?;
    let order: Vec<_> = scene.diary.all().into_iter().map(|one| one.event).collect();
    let ordered = context.claims().ordering != Ordering::None;
    let expected = ["first", "first", "first", "second", "third"];
    holds!(
        !ordered || order == expected,
        "the order of tries was {order:?}"
    );
    let dead = scene.dead_letters().await?.len();
    holds!(dead == 1, "{dead} dead letters");
    scene.nothing_left().await
}

async fn slow_key_stops_no_other(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(|id, _| match id {
        "slow" => Act::Wait,
        _ => Act::Succeed,
    });
    let consumer = consumer.await?.concurrency(many(2)).start().await?;
    scene.send(&[scene.event("slow", "slow")?]).await?;
    let started = || scene.diary.starts() == 1;
    scene.until("the slow handler was started", started).await?;
    let ids: Vec<_> = (0..30).map(|n| format!("quick-{n}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    // Those behind the slow one wait, and take no handler from the others.
    let behind: Result<Vec<_>, _> = (0..10)
        .map(|n| scene.event(&format!("behind-{n}"), "slow"))
        .collect();
    scene.send(&behind?).await?;
    scene.publish(&ids).await?;
    let done = || scene.diary.successes() == ids.len();
    scene
        .until("all of the other keys was handled", done)
        .await?;
    let starts = scene.diary.starts();
    holds!(
        starts == ids.len() + 1,
        "{starts} handlers were started while the slow one worked"
    );
    scene.open_gate();
    let done = || scene.diary.successes() == ids.len() + 11;
    scene.until("the slow key was handled", done).await?;
    consumer.stop(SOON).await?;
    scene.nothing_left().await
}

async fn same_key_in_order(context: &Context) -> Verdict {
    const KEYS: usize = 4;
    const EACH: usize = 15;
    let scene = Scene::open(context).await?;
    let mut random = context.random();
    let consumer = scene.consumer(|id, _| {
        // Uneven, so that whoever does not wait overtakes.
        let uneven = id.bytes().map(u64::from).sum::<u64>() % 7;
        Act::Work(Duration::from_millis(uneven * 2))
    });
    let consumer = consumer.await?.concurrency(many(8)).start().await?;
    let mut keys: Vec<usize> = (0..KEYS * EACH).map(|at| at % KEYS).collect();
    random.shuffle(&mut keys);
    let mut published = [0; KEYS];
    let mut slice = Vec::new();
    for key in keys {
        let id = format!("{key}:{}", published[key]);
        published[key] += 1;
        slice.push(scene.event(&id, &key.to_string())?);
    }
    for part in slice.chunks(20) {
        scene.send(part).await?;
    }
    let done = || scene.diary.successes() == KEYS * EACH;
    scene.until("all were handled", done).await?;
    consumer.stop(SOON).await?;
    let mut of_key: HashMap<String, Vec<_>> = HashMap::new();
    for one in scene.diary.all() {
        let key = one.event.split(':').next().unwrap_or_default().to_owned();
        of_key.entry(key).or_default().push(one);
    }
    let ordered = context.claims().ordering != Ordering::None;
    for (key, tries) in of_key {
        for pair in tries.windows(2) {
            let one_at_a_time = pair[0].ended.is_some_and(|ended| ended <= pair[1].began);
            let (first, second) = (&pair[0].event, &pair[1].event);
            holds!(
                one_at_a_time,
                "{first} and {second} of one key were handled at once"
            );
        }
        let order: Vec<_> = tries.iter().map(|one| one.event.clone()).collect();
        let expected: Vec<_> = (0..EACH).map(|n| format!("{key}:{n}")).collect();
        holds!(
            !ordered || order == expected,
            "a key was handled as {order:?}"
        );
    }
    Ok(())
}

/// Two events that use up all handlers each time, and others that need them.
async fn slots_are_freed(context: &Context, act: Act, said: &str) -> Verdict {
    let scene = Scene::open(context).await?;
    let consumer = scene.consumer(move |id, _| match id.starts_with("bad") {
        true => act,
        false => Act::Succeed,
    });
    let consumer = consumer
        .await?
        .concurrency(many(2))
        .time_limit(Duration::from_millis(300))
        .retry(RetryPolicy::immediate(1));
    let consumer = consumer.start().await?;
    scene.publish(&["bad-1", "bad-2"]).await?;
    let done = || consumer.stats().events_failed == 2;
    scene.until("two were given up", done).await?;
    let ids: Vec<_> = (0..20).map(|n| format!("good-{n}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    scene.publish(&ids).await?;
    let done = || scene.diary.successes() == ids.len();
    scene.until("those behind them were handled", done).await?;
    let stats = consumer.stop(SOON).await?;
    holds!(
        stats.failed_tries == 4,
        "{} tries failed",
        stats.failed_tries
    );
    for id in ["bad-1", "bad-2"] {
        let tries = scene.diary.numbers(id);
        holds!(tries == [1, 2], "{id} was tried as {tries:?}");
    }
    let dead = scene.dead_letters().await?;
    let told = |one| crate::scene::text(one, potluck_runtime::copies::ERROR).contains(said);
    holds!(
        dead.len() == 2 && dead.iter().all(told),
        "of {} dead letters not all tell that it {said}",
        dead.len()
    );
    scene.nothing_left().await
}

async fn panic_frees_its_slot(context: &Context) -> Verdict {
    slots_are_freed(context, Act::Panic, "panicked: dropped the soup").await
}

async fn hang_frees_its_slot(context: &Context) -> Verdict {
    slots_are_freed(context, Act::Hang, "longer than its limit").await
}

async fn leases_kept_while_handled(context: &Context) -> Verdict {
    let lease = Duration::from_secs(1);
    let scene = Scene::open(context).await?;
    let plan = move |id: &str, _| match id {
        "long" => Act::Work(lease * 3),
        _ => Act::Succeed,
    };
    let one = scene.consumer(plan).await?.lease(lease).start().await?;
    let slice = [
        scene.event("long", "k")?,
        scene.event("behind-1", "k")?,
        scene.event("behind-2", "k")?,
    ];
    scene.send(&slice).await?;
    let started = || scene.diary.starts() == 1;
    scene.until("the long handler was started", started).await?;
    // Whoever joins now takes what nobody keeps.
    let other = scene.consumer(plan).await?.lease(lease).start().await?;
    let done = || scene.diary.successes() >= 3;
    scene.until("all three were handled", done).await?;
    let stats = [other.stop(SOON).await?, one.stop(SOON).await?];
    let stale: u64 = stats.iter().map(|one| one.stale).sum();
    holds!(stale == 0, "{stale} settles were stale");
    for id in ["long", "behind-1", "behind-2"] {
        let tries = scene.diary.numbers(id).len();
        holds!(tries == 1, "{id} was handled {tries} times");
    }
    scene.nothing_left().await
}

async fn success_is_final(context: &Context) -> Verdict {
    let scene = Scene::open(context).await?;
    let ids: Vec<_> = (0..50).map(|n| format!("event-{n}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let one = scene.consumer(|_, _| Act::Succeed).await?.start().await?;
    let two = scene.consumer(|_, _| Act::Succeed).await?.start().await?;
    scene.publish(&ids).await?;
    let done = || scene.diary.successes() >= ids.len();
    scene.until("all were handled", done).await?;
    one.stop(SOON).await?;
    two.stop(SOON).await?;
    scene.nothing_left().await?;
    for id in ids {
        let tries = scene.diary.numbers(id).len();
        holds!(tries == 1, "{id} was handled {tries} times");
    }
    let dead = scene.dead_letters().await?.len();
    holds!(dead == 0, "{dead} dead letters");
    Ok(())
}
