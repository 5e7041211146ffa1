//! One run of a plan: publish, consume, crash and begin anew, until all is settled.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::envelope::{Envelope, EventBody};
use potluck_core::{Group, Message, Result, Topic, Transport};
use potluck_runtime::{Bus, Consumer, Context, Failure, RetryPolicy};
use tokio::time::{sleep, timeout};

use crate::handling::Scene;
use crate::plan::{Fault, Plan};

const LEASE: Duration = Duration::from_secs(30);
/// In simulated time.
const BOUND: Duration = Duration::from_secs(24 * 3600);
const ONE: NonZeroUsize = NonZeroUsize::MIN;
const SEVERAL: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// What happened in a run.
pub(crate) struct Schedule {
    pub(crate) lines: Vec<String>,
    /// It was not done after a day.
    pub(crate) is_endless: bool,
}

/// Runs a plan in simulated time. Not to be called where there is a runtime already.
pub(crate) fn run<B, S, H, F>(messages: &[Message], plan: Plan, state: S, handler: H) -> Schedule
where
    B: EventBody,
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Envelope<B>, Context) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    // The runtime's own pauses draw from the thread's generator.
    fastrand::seed(plan.seed);
    let scene = Scene::new(&plan);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let done = builder
        .enable_all()
        .start_paused(true)
        .build()
        .map(|runtime| runtime.block_on(simulate(messages, &plan, &scene, state, handler)));
    let mut lines = scene.lines();
    let is_endless = match done {
        Ok(Ok(done)) => !done,
        Ok(Err(error)) => {
            lines.push(format!("the run broke off: {error}"));
            true
        }
        Err(error) => {
            lines.push(format!("there is no runtime: {error}"));
            true
        }
    };
    if is_endless {
        lines.push("the events were not done within a day of simulated time".to_owned());
    }
    Schedule { lines, is_endless }
}

async fn simulate<B, S, H, F>(
    messages: &[Message],
    plan: &Plan,
    scene: &Arc<Scene>,
    state: S,
    handler: H,
) -> Result<bool>
where
    B: EventBody,
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Envelope<B>, Context) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (topic, group) = (Topic::new("trial")?, Group::new("trial")?);
    let direct = scene.broker.connect();
    let places = publish(messages, plan, scene, &direct, &topic).await?;
    let all = async {
        loop {
            let consumer = start(plan, scene, &places, state.clone(), handler.clone()).await?;
            tokio::select! {
                biased;
                // The consumer is dropped where it stands.
                () = scene.crash.notified() => {}
                settled = settled(&direct, &topic, &group) => {
                    settled?;
                    return consumer.stop(LEASE).await;
                }
            }
        }
    };
    match timeout(BOUND, all).await {
        Ok(stopped) => stopped.map(|_| true),
        Err(_) => Ok(false),
    }
}

/// Publishes, and tells which event each place of the topic has.
async fn publish(
    messages: &[Message],
    plan: &Plan,
    scene: &Scene,
    direct: &Arc<dyn Transport>,
    topic: &Topic,
) -> Result<Arc<[usize]>> {
    let publisher = direct.publisher().await?;
    let mut places = Vec::new();
    for (event, message) in messages.iter().enumerate() {
        let twice = plan.faults[event] == Some(Fault::PublishedTwice);
        if twice {
            scene.say(format!("event {} was published twice", event + 1));
        }
        for _ in 0..1 + usize::from(twice) {
            let one = std::slice::from_ref(message);
            publisher.publish(topic, one, LEASE).await?;
            places.push(event);
        }
    }
    Ok(places.into())
}

async fn start<B, S, H, F>(
    plan: &Plan,
    scene: &Arc<Scene>,
    places: &Arc<[usize]>,
    state: S,
    handler: H,
) -> Result<Consumer>
where
    B: EventBody,
    S: Clone + Send + Sync + 'static,
    H: Fn(S, Envelope<B>, Context) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let bus = Bus::new(scene.broker.connect());
    let (watching, places) = (scene.clone(), places.clone());
    let at_once = if plan.side_by_side { SEVERAL } else { ONE };
    bus.consumer(&Topic::new("trial")?, &Group::new("trial")?)
        .on(move |event: Envelope<B>, context: Context| {
            // The memory broker numbers a topic's messages from 1.
            let place = usize::try_from(context.id().parts().0 - 1).unwrap_or(usize::MAX);
            let (scene, event_number) = (watching.clone(), places.get(place).copied());
            let attempt = handler(state.clone(), event, context);
            async move {
                match event_number {
                    Some(number) => scene.handle(number, attempt).await,
                    None => attempt.await,
                }
            }
        })
        // So that what is lost with a connection is what was being handled.
        .max_held(at_once)
        .concurrency(at_once)
        .lease(LEASE)
        .retry(RetryPolicy::immediate(2))
        .start()
        .await
}

async fn settled(direct: &Arc<dyn Transport>, topic: &Topic, group: &Group) -> Result<()> {
    loop {
        let status = direct.status(topic, group).await?;
        if (status.backlog.value(), status.in_flight.value()) == (Some(0), Some(0)) {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}
