//! How is an event published, and how are events consumed? The original's example script:
//! `cargo run -p potluck-examples --example mq_usage -- publish`, or `consume`. `POTLUCK_URL` or
//! `REDIS_URL` names the broker, `MQ_STREAM` the topic.

use std::{env, error::Error, num::NonZeroUsize, process::ExitCode, time::Duration};

use potluck::envelope::{Confidence, FreeFood, FreeFoodEvent, Text, Timestamp};
use potluck::{Bus, Context, Failure, Group, Member, Topic};

type Done = Result<(), Box<dyn Error>>;

const BLOCK: Duration = Duration::from_secs(5);
const COUNT: NonZeroUsize = NonZeroUsize::new(10).unwrap();

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(error) = run().await {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn run() -> Done {
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let topic = Topic::new(&setting("MQ_STREAM", "events.free-food"))?;
    let redis = setting("REDIS_URL", "redis://localhost:6379/0");
    let bus = potluck::bus(&setting("POTLUCK_URL", &redis))?;
    let done = match env::args().nth(1).as_deref() {
        Some("publish") => publish(&bus, &topic).await,
        Some("consume") => consume(&bus, &topic).await,
        _ => Err("usage: mq_usage publish|consume".into()),
    };
    bus.close().await?;
    done
}

async fn publish(bus: &Bus, topic: &Topic) -> Done {
    let food = FreeFood {
        description: Some("Join us for free pizza!".to_owned()),
        location: Some("CS Building, Room 150".to_owned()),
        start_time: Some(Timestamp::now()),
        llm_confidence: Some(Confidence::new(0.95)?),
        reason: Some("Contains keywords: free, pizza".to_owned()),
        ..FreeFood::new(Text::new("Free Pizza Night")?)
    };
    let event = FreeFoodEvent::builder(food)
        .source("umass-calendar")?
        .build();
    println!("Published: {}", bus.publish(topic, &event).await?);
    Ok(())
}

async fn consume(bus: &Bus, topic: &Topic) -> Done {
    let consumer = bus
        .consumer(topic, &Group::new("my_service")?)
        .member(Member::new("worker_1")?)
        .block(BLOCK)
        .count(COUNT)
        .on(handle_event)
        .start()
        .await?;
    tokio::signal::ctrl_c().await?;
    println!("Shutting down...");
    let stats = consumer.stop(Duration::from_secs(25)).await?;
    if stats.events_failed > 0 {
        eprintln!("dead letters: {}", stats.events_failed);
    }
    Ok(())
}

async fn handle_event(event: FreeFoodEvent, _: Context) -> Result<(), Failure> {
    let place = event.body.location.as_deref().unwrap_or("?");
    println!("Received: {} at {place}", event.body.title);
    let confidence = event.body.llm_confidence.map_or(0.0, Confidence::get);
    println!("Confidence: {:.2}%", confidence * 100.0);
    Ok(())
}
