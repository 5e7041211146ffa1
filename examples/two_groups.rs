//! Who gets an event? Each group gets all of them; within a group one member gets each.

use std::{env, error::Error, time::Duration};

use potluck::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck::{Bus, Consumer, Group, Topic};
use tokio::time::sleep;

const COUNT: u64 = 100;

async fn member(bus: &Bus, topic: &Topic, group: &str) -> Result<Consumer, Box<dyn Error>> {
    let consumer = bus.consumer(topic, &Group::new(group)?);
    // One event at a time, so that the members of a group share the work.
    let consumer = consumer.on(async |_: FreeFoodEvent, _| Ok(()));
    Ok(consumer.start().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("POTLUCK_URL").unwrap_or_else(|_| "memory:".to_owned());
    let bus = potluck::bus(&url)?;
    let topic = Topic::new("examples.two-groups")?;
    let archive = member(&bus, &topic, "archive").await?;
    let mailers = [
        member(&bus, &topic, "mailer").await?,
        member(&bus, &topic, "mailer").await?,
    ];

    for number in 1..=COUNT {
        let food = FreeFood::new(Text::new(format!("Dinner {number}"))?);
        bus.publish(&topic, &FreeFoodEvent::builder(food).build())
            .await?;
    }
    let processed = |consumer: &Consumer| consumer.stats().events_processed;
    let by_mailers = || mailers.iter().map(processed).sum::<u64>();
    while processed(&archive) < COUNT || by_mailers() < COUNT {
        sleep(Duration::from_millis(10)).await;
    }
    println!("archive: {} of {COUNT}", processed(&archive));
    println!("mailer: {} of {COUNT}, by two members", by_mailers());
    for consumer in mailers.into_iter().chain([archive]) {
        consumer.stop(Duration::from_secs(5)).await?;
    }
    bus.close().await?;
    Ok(())
}
