//! How does an event of one's own type look? A struct and two constants: the builder, strict
//! decoding and the JSON Schema come with them.

use std::{env, error::Error, time::Duration};

use potluck::envelope::{Envelope, EventBody, SchemaVersion, Text};
use potluck::{Context, Failure, Group, Topic};
use potluck_schema::{Profile, schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// An event moves to another room.
#[derive(Serialize, Deserialize, JsonSchema)]
struct RoomChange {
    /// Where to.
    room: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<u8>,
}

impl EventBody for RoomChange {
    const TYPE: &'static str = "ROOM_CHANGE";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
}

async fn announce(event: Envelope<RoomChange>, _: Context) -> Result<(), Failure> {
    println!(
        "now in {} ({} {})",
        event.body.room,
        RoomChange::TYPE,
        event.schema_version
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = schema::<RoomChange>(Profile::Producer);
    println!("room: {}", schema["properties"]["room"]);

    let url = env::var("POTLUCK_URL").unwrap_or_else(|_| "memory:".to_owned());
    let bus = potluck::bus(&url)?;
    let (topic, signs) = (Topic::new("examples.rooms")?, Group::new("signs")?);
    let consumer = bus.consumer(&topic, &signs).on(announce).start().await?;
    let change = RoomChange {
        room: Text::new("Room 150")?,
        floor: Some(1),
    };
    bus.publish(&topic, &Envelope::builder(change).build())
        .await?;
    while consumer.stats().events_processed == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    consumer.stop(Duration::from_secs(5)).await?;
    bus.close().await?;
    Ok(())
}
