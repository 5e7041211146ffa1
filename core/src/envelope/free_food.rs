//! The event that this all began with: somewhere there is free food.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Confidence, Envelope, EventBody, SchemaVersion, Text, Timestamp};

/// An event that announces free food.
pub type FreeFoodEvent = Envelope<FreeFood>;

/// The body of a `FREE_FOOD_EVENT`. An optional field may be absent or `null`; both mean that it
/// was not given, and neither is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FreeFood {
    /// What it is called.
    pub title: Text,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// When it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// How sure the classifier is that there is free food.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_confidence: Option<Confidence>,
    /// Why the classifier thinks so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl FreeFood {
    /// A body with a title and nothing else.
    #[must_use]
    pub fn new(title: Text) -> Self {
        Self {
            title,
            description: None,
            location: None,
            start_time: None,
            llm_confidence: None,
            reason: None,
        }
    }
}

impl EventBody for FreeFood {
    const TYPE: &'static str = "FREE_FOOD_EVENT";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
}
