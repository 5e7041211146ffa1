//! One run of a plan: a producer, consumers that live and die, and an end within bounds.

use std::sync::Arc;
use std::time::Duration;

use potluck_core::transport::Figure;
use potluck_core::{Group, Message, Start, Subscription, Topic, Transport};
use potluck_memory::Broker;
use potluck_runtime::{Bus, Consumer, ConsumerStats, Health, OtherMajor};
use tokio::time::{Instant, sleep, timeout};

use crate::events;
use crate::faulty::Faulty;
use crate::plan::Plan;
use crate::world::{Entry, Life, World};

/// When nothing goes wrong any more.
const HEAL_AT: Duration = Duration::from_secs(180);
/// By when all is done, in the run's own time.
const BOUND: Duration = Duration::from_secs(2 * 3600);
/// What a stop may take beyond its deadline.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// What a run has left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    /// The messages of the dead-letter topic.
    pub(crate) dead: Vec<Message>,
    /// The last life's, of each member.
    pub(crate) stats: Vec<ConsumerStats>,
    /// What went wrong on the way.
    pub(crate) wrong: Vec<String>,
}

pub(crate) fn topic() -> Topic {
    Topic::new("simulated").unwrap()
}

pub(crate) fn group() -> Group {
    Group::new("group").unwrap()
}

/// Runs a plan to its end.
pub(crate) async fn run(plan: Plan) -> Run {
    let world = World::new(plan);
    let broker = Broker::new();
    let direct = broker.connect();
    let to = Subscription::new(topic(), group());
    direct.declare(&to).await.unwrap();
    let members: Vec<_> = (0..world.plan.members)
        .map(|_| tokio::spawn(member(world.clone(), broker.clone())))
        .collect();
    let faults = tokio::spawn(fail(world.clone(), broker.clone()));
    let mut wrong = Vec::new();
    publish(&world, &direct).await;
    if timeout(BOUND, settled(&world, &direct)).await.is_err() || world.is_endless() {
        let left = left(&direct).await;
        wrong.push(format!("not done within {BOUND:?}; unsettled: {left:?}"));
    }
    world.finish();
    let mut stats = Vec::new();
    for member in members {
        match timeout(BOUND, member).await {
            Ok(Ok(Ok(last))) => stats.push(last),
            Ok(Ok(Err(error))) => wrong.push(error),
            Ok(Err(error)) => wrong.push(format!("a member's task: {error}")),
            Err(_) => wrong.push("a consumer does not stop".to_owned()),
        }
    }
    faults.abort();
    let left = left(&direct).await;
    if left
        .iter()
        .any(|(_, unsettled, members)| *unsettled + *members > 0)
    {
        wrong.push(format!("left behind (unsettled, members): {left:?}"));
    }
    let dead = dead_letters(&direct).await;
    Run {
        world,
        dead,
        stats,
        wrong,
    }
}

async fn publish(world: &Arc<World>, direct: &Arc<dyn Transport>) {
    let publisher = direct.publisher().await.unwrap();
    for (number, event) in world.plan.events.iter().enumerate() {
        sleep(event.pause).await;
        for _ in 0..1 + u32::from(event.twice) {
            let message = events::message(&world.plan, number);
            let ids = publisher
                .publish(&topic(), &[message], Duration::from_secs(1))
                .await
                .unwrap();
            let id = ids[0].parts().0;
            world.places.lock().unwrap().insert(id, number);
            world.log(Entry::Stored { event: number, id });
        }
    }
}

/// Cuts connections, and ends all faults.
async fn fail(world: Arc<World>, broker: Broker) {
    let end = Instant::now() + HEAL_AT;
    for _ in 0..world.plan.faults.cuts {
        let pause = world.draw(1..8000);
        sleep(Duration::from_millis(pause)).await;
        world.log(Entry::Cut);
        broker.cut();
    }
    tokio::time::sleep_until(end).await;
    world.heal();
}

/// A member of the group, for as long as there is work.
async fn member(world: Arc<World>, broker: Broker) -> Result<ConsumerStats, String> {
    let mut stops = world.plan.stops;
    loop {
        let life = Life::begin(&world);
        let stop_after = if stops > 0 {
            world.draw(100..20_000)
        } else {
            u64::MAX / 4
        };
        let within = Duration::from_millis(world.draw(0..5000));
        let lived = async {
            let consumer = start(&world, &broker, &life).await?;
            tokio::select! {
                biased;
                () = world.finished() => {
                    end(consumer, &life, Duration::from_secs(60)).await.map(Some)
                }
                () = sleep(Duration::from_millis(stop_after)) => {
                    stops -= 1;
                    end(consumer, &life, within).await.map(|_| None)
                }
            }
        };
        let ended = tokio::select! {
            biased;
            () = life.over() => {
                world.log(Entry::Crashed { life: life.number });
                Ok(None)
            }
            ended = lived => ended,
        };
        if let Some(stats) = ended? {
            return Ok(stats);
        }
        let pause = world.draw(0..3000);
        sleep(Duration::from_millis(pause)).await;
    }
}

async fn start(world: &Arc<World>, broker: &Broker, life: &Arc<Life>) -> Result<Consumer, String> {
    let plan = &world.plan;
    let bus = Bus::new(Faulty::over(broker.connect(), life.clone()));
    let mut builder = bus.consumer(&topic(), &group());
    if plan.strict {
        builder = builder.strict_order();
    }
    if plan.dedup {
        builder = builder.deduplicate(1000.try_into().unwrap());
    }
    events::handled(builder, life)
        .retry(plan.retry.clone())
        .concurrency(plan.concurrency)
        .max_held(plan.max_held)
        .count(plan.count)
        .lease(plan.lease)
        .time_limit(plan.time_limit)
        .other_major(OtherMajor::Reject)
        .max_deliveries(10_000.try_into().unwrap())
        .start()
        .await
        .map_err(|error| format!("a consumer does not start: {error}"))
}

async fn end(
    consumer: Consumer,
    life: &Arc<Life>,
    within: Duration,
) -> Result<ConsumerStats, String> {
    if let Health::Failed(error) = consumer.health() {
        return Err(format!("a consumer has failed: {error}"));
    }
    let last = consumer.stats();
    let began = Instant::now();
    let stopped = consumer.stop(within).await;
    life.log(Entry::Stopped {
        life: life.number,
        finished: stopped.is_ok(),
    });
    if began.elapsed() > within + STOP_SLACK {
        return Err(format!(
            "a stop within {within:?} took {:?}",
            began.elapsed()
        ));
    }
    match stopped {
        Ok(stats) => Ok(stats),
        Err(_) if !life.world.plan.is_calm() => Ok(last),
        Err(error) => Err(format!("a stop fails: {error}")),
    }
}

/// Waits until the group has settled all, and for long enough that no copy is under way of what
/// another has settled meanwhile.
async fn settled(world: &World, direct: &Arc<dyn Transport>) {
    let mut quiet = 0;
    while quiet < 40 && !world.is_endless() {
        let left = left(direct).await;
        let is_quiet = left.iter().all(|(_, unsettled, _)| *unsettled == 0);
        quiet = if is_quiet { quiet + 1 } else { 0 };
        sleep(Duration::from_millis(500)).await;
    }
}

/// How much the topic's group and the lanes have not settled, and how many members there are.
async fn left(direct: &Arc<dyn Transport>) -> Vec<(String, u64, u64)> {
    let mut left = Vec::new();
    let lanes = [2000, 10_000, 60_000].map(Duration::from_millis);
    let lanes = lanes.map(|delay| topic().retry_lane(&group(), delay).unwrap());
    let all = [(topic(), group())].into_iter();
    let all = all.chain(lanes.map(|lane| (lane, Group::of_derived())));
    for (topic, group) in all {
        if let Ok(status) = direct.status(&topic, &group).await {
            let exact = |figure| match figure {
                Figure::Exact(n) => n,
                other => panic!("{other:?}"),
            };
            let unsettled = exact(status.backlog) + exact(status.in_flight);
            left.push((topic.to_string(), unsettled, exact(status.members)));
        }
    }
    left
}

async fn dead_letters(direct: &Arc<dyn Transport>) -> Vec<Message> {
    let dead = topic().dead_letter(&group()).unwrap();
    let reader = direct.reader(&dead, Start::Earliest).await.unwrap();
    let mut messages = Vec::new();
    loop {
        let page = reader
            .receive(1000.try_into().unwrap(), Duration::ZERO)
            .await;
        let page = page.unwrap();
        if page.is_empty() {
            return messages;
        }
        messages.extend(page.into_iter().map(|one| one.message));
    }
}
