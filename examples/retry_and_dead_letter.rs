//! What becomes of events whose handler fails? One passes at its third try, one is rejected at
//! once, one is tried until it is given up; nobody waits for them.

use std::{env, error::Error, num::NonZeroUsize, time::Duration};

use potluck::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck::{Context, Failure, Group, RetryPolicy, Start, Topic, copies};
use tokio::time::sleep;

async fn cook(event: FreeFoodEvent, context: Context) -> Result<(), Failure> {
    println!("{}: try {}", event.body.title, context.tries());
    match event.body.title.as_str() {
        "Burnt Toast" => Err(Failure::reject("nobody eats that")),
        "Frozen Soup" => Err(Failure::retry("it is still frozen")),
        "Slow Stew" if context.tries() < 3 => Err(Failure::retry("it is not done")),
        title => {
            println!("{title}: served");
            Ok(())
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("POTLUCK_URL").unwrap_or_else(|_| "memory:".to_owned());
    let bus = potluck::bus(&url)?;
    let (topic, kitchen) = (Topic::new("examples.retry")?, Group::new("kitchen")?);
    // At once, then after 100 ms, then after 1.5 s: four tries in all. The last delay is waited for
    // in a retry lane of the group's own, which survives a restart.
    let delays = [100, 1500].map(Duration::from_millis);
    let policy = RetryPolicy::immediate(1).then_after(delays);
    let consumer = bus
        .consumer(&topic, &kitchen)
        .on(cook)
        .retry(policy)
        .start()
        .await?;

    for title in ["Slow Stew", "Burnt Toast", "Frozen Soup", "Salad"] {
        let food = FreeFood::new(Text::new(title)?);
        bus.publish(&topic, &FreeFoodEvent::builder(food).build())
            .await?;
    }
    while consumer.stats().events_processed + consumer.stats().events_failed < 4 {
        sleep(Duration::from_millis(10)).await;
    }
    consumer.stop(Duration::from_secs(5)).await?;

    let dead_letters = topic.dead_letter(&kitchen)?;
    let reader = bus
        .transport()
        .reader(&dead_letters, Start::Earliest)
        .await?;
    let most = NonZeroUsize::new(10).ok_or("ten is not zero")?;
    for letter in reader.receive(most, Duration::from_secs(1)).await? {
        let header = |name| {
            letter
                .message
                .headers()
                .get(name)
                .cloned()
                .unwrap_or_default()
        };
        let (reason, error) = (header(copies::REASON), header(copies::ERROR));
        let text = String::from_utf8_lossy;
        println!("dead letter: {}: {}", text(&reason), text(&error));
    }
    bus.close().await?;
    Ok(())
}
