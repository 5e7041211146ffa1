//! The events of a scenario as messages, and what their handler does.

use potluck::envelope::{Envelope, EventBody, SchemaVersion};
use potluck::{Failure, Message};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Does, Result, Scenario};

/// The header that says which event of its scenario a message is.
pub(crate) const PLACE: &str = "place";

/// The event that there is a handler for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Work {
    pub(crate) place: usize,
}

impl EventBody for Work {
    const TYPE: &'static str = "WORK";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
}

/// One that there is none for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Nobodys {
    place: usize,
}

impl EventBody for Nobodys {
    const TYPE: &'static str = "NOBODYS";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
}

pub(crate) fn messages(scenario: &Scenario) -> Result<Vec<Message>> {
    let events = scenario.events.iter().enumerate();
    events
        .map(|(place, event)| message(place, event.does))
        .collect()
}

fn message(place: usize, does: Does) -> Result<Message> {
    let message = match does {
        Does::Malformed => Message::new("{\"place\": "),
        Does::UnknownType => Envelope::builder(Nobodys { place }).build().to_message()?,
        Does::UnknownMajor => {
            let mut event = Envelope::builder(Work { place }).build();
            event.schema_version = SchemaVersion::new(2, 0, 0);
            event.to_message()?
        }
        _ => Envelope::builder(Work { place }).build().to_message()?,
    };
    Ok(message.with_header(PLACE, place.to_string())?)
}

/// What a handler does at its try of this number.
#[allow(clippy::panic)] // It is what the scenario says.
pub(crate) async fn handle(does: Does, tries: u32) -> Result<(), Failure> {
    match does {
        Does::SucceedAt(at) if tries < at => Err(Failure::retry("not at this try")),
        Does::RejectAt(at) if tries < at => Err(Failure::retry("not at this try")),
        Does::RejectAt(_) => Err(Failure::reject("rejected by the scenario")),
        Does::Fail => Err(Failure::retry("it fails always")),
        Does::Panic => panic!("the scenario says so"),
        Does::Hang => std::future::pending().await,
        _ => Ok(()),
    }
}
