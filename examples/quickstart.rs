//! How does a program publish an event and handle it? In memory, or over the broker that
//! `POTLUCK_URL` names: `cargo run -p potluck-examples --example quickstart`.

use std::{env, error::Error, time::Duration};

use potluck::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck::{Context, Failure, Group, Topic};
use tokio::time::sleep;

/// It may run again for the same event, after a crash for example.
async fn mail(event: FreeFoodEvent, context: Context) -> Result<(), Failure> {
    let place = event
        .body
        .location
        .as_deref()
        .ok_or(Failure::reject("it is nowhere"))?;
    println!("{} at {place}, try {}", event.body.title, context.tries());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("POTLUCK_URL").unwrap_or_else(|_| "memory:".to_owned());
    let bus = potluck::bus(&url)?;
    let (topic, mailer) = (Topic::new("examples.quickstart")?, Group::new("mailer")?);
    let consumer = bus.consumer(&topic, &mailer).on(mail).start().await?;

    let food = FreeFood {
        location: Some("CS Building, Room 150".to_owned()),
        ..FreeFood::new(Text::new("Free Pizza Night")?)
    };
    let event = FreeFoodEvent::builder(food)
        .source("umass-calendar")?
        .build();
    bus.publish(&topic, &event).await?;

    while consumer.stats().events_processed == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    consumer.stop(Duration::from_secs(5)).await?;
    bus.close().await?;
    Ok(())
}
