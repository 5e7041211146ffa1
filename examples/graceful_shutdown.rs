//! What becomes of events when a program is told to stop? Handlers that run finish; what was not
//! begun goes back to the group. Press Ctrl-C, or send SIGTERM.

use std::{env, error::Error, num::NonZeroUsize, time::Duration};

use potluck::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck::{Context, Failure, Group, Topic};
use tokio::time::sleep;

async fn cook(event: FreeFoodEvent, _: Context) -> Result<(), Failure> {
    println!("begun {}", event.body.title);
    sleep(Duration::from_millis(500)).await;
    println!("finished {}", event.body.title);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("POTLUCK_URL").unwrap_or_else(|_| "memory:".to_owned());
    let bus = potluck::bus(&url)?;
    let (topic, kitchen) = (Topic::new("examples.shutdown")?, Group::new("kitchen")?);
    let mut events = Vec::new();
    for number in 1..=100 {
        let food = FreeFood::new(Text::new(format!("dish {number}"))?);
        events.push(FreeFoodEvent::builder(food).build());
    }
    bus.publish_all(&topic, &events).await?;

    let consumer = bus.consumer(&topic, &kitchen).on(cook);
    let four = NonZeroUsize::new(4).ok_or("four is not zero")?;
    // Until SIGINT or SIGTERM; then it waits for handlers, but no longer than this.
    let consumer = consumer
        .concurrency(four)
        .drain_within(Duration::from_secs(25));
    let stats = consumer.run().await?;
    println!(
        "{} finished, {} given back",
        stats.events_processed, stats.given_back
    );
    bus.close().await?;
    Ok(())
}
