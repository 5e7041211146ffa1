//! How does a handler take several events at once, to write them to a database in slices? It is
//! given what is there; a failure of a slice is found out by trying each event for itself.

use std::{env, error::Error, num::NonZeroUsize, time::Duration};

use potluck::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck::{Context, Failure, Group, RetryPolicy, Topic};
use tokio::time::sleep;

async fn insert(events: Vec<(FreeFoodEvent, Context)>) -> Result<(), Failure> {
    let titles = || events.iter().map(|(event, _)| event.body.title.as_str());
    if titles().any(|title| title == "Dinner 13") {
        return Err(Failure::reject("the table takes no 13"));
    }
    println!("inserted {} in one slice", events.len());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("POTLUCK_URL").unwrap_or_else(|_| "memory:".to_owned());
    let bus = potluck::bus(&url)?;
    let (topic, database) = (Topic::new("examples.batch")?, Group::new("database")?);
    let mut events = Vec::new();
    for number in 1..=50 {
        let food = FreeFood::new(Text::new(format!("Dinner {number}"))?);
        events.push(FreeFoodEvent::builder(food).build());
    }
    bus.publish_all(&topic, &events).await?;

    let slice = NonZeroUsize::new(20).ok_or("twenty is not zero")?;
    let consumer = bus.consumer(&topic, &database).on_batch(slice, insert);
    let consumer = consumer.retry(RetryPolicy::never()).start().await?;
    while consumer.stats().events_processed + consumer.stats().events_failed < 50 {
        sleep(Duration::from_millis(10)).await;
    }
    let stats = consumer.stop(Duration::from_secs(5)).await?;
    println!(
        "{} inserted, {} dead letter",
        stats.events_processed, stats.events_failed
    );
    bus.close().await?;
    Ok(())
}
