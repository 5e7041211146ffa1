//! How is an event published, and how are events consumed? The original's example script, on the
//! driver contract: `cargo run -p potluck-examples --example mq_usage -- publish`, or `consume`.
//! `REDIS_URL` names the broker, `MQ_STREAM` the topic.

use std::{env, error::Error, num::NonZeroUsize, process::ExitCode, time::Duration};

use potluck::envelope::{Confidence, FreeFood, FreeFoodEvent, Received, Text, Timestamp};
use potluck::{Group, Member, Subscriber, Subscription, Topic, Transport};

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
    let transport = potluck::connect(&setting("REDIS_URL", "redis://localhost:6379/0"))?;
    let done = match env::args().nth(1).as_deref() {
        Some("publish") => publish(&*transport, &topic).await,
        Some("consume") => consume(&*transport, topic).await,
        _ => Err("usage: mq_usage publish|consume".into()),
    };
    transport.close().await?;
    done
}

async fn publish(transport: &dyn Transport, topic: &Topic) -> Done {
    let food = FreeFood {
        description: Some("Join us for free pizza!".to_owned()),
        location: Some("CS Building, Room 150".to_owned()),
        start_time: Some(Timestamp::now()),
        llm_confidence: Some(Confidence::new(0.95)?),
        reason: Some("Contains keywords: free, pizza".to_owned()),
        ..FreeFood::new(Text::new("Free Pizza Night")?)
    };
    let event = FreeFoodEvent::builder(food).source("umass-calendar")?;
    let message = event.build().to_message()?;
    let publisher = transport.publisher().await?;
    for id in publisher.publish(topic, &[message], BLOCK).await? {
        println!("Published: {id}");
    }
    Ok(())
}

async fn consume(transport: &dyn Transport, topic: Topic) -> Done {
    let to = Subscription::new(topic, Group::new("my_service")?).member(Member::new("worker_1")?);
    let subscriber = transport.subscriber(&to).await?;
    tokio::select! {
        done = handle_events(&*subscriber) => done?,
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    println!("Shutting down...");
    // What is not acknowledged goes back to the group.
    Ok(subscriber.close().await?)
}

async fn handle_events(subscriber: &dyn Subscriber) -> Done {
    loop {
        for delivery in subscriber.receive(COUNT, BLOCK).await? {
            match Received::parse(delivery.message.body().clone()) {
                Ok(event) => handle_event(&event),
                // Not acknowledged, so it is not lost: it comes again, to somebody.
                Err(error) => {
                    eprintln!("{}: {error}", delivery.id);
                    continue;
                }
            }
            let _stale = subscriber.ack(&[delivery.receipt]).await?;
        }
    }
}

fn handle_event(event: &FreeFoodEvent) {
    let place = event.body.location.as_deref().unwrap_or("?");
    println!("Received: {} at {place}", event.body.title);
    let confidence = event.body.llm_confidence.map_or(0.0, Confidence::get);
    println!("Confidence: {:.2}%", confidence * 100.0);
}
