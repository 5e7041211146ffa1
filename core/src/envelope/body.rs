//! What a type of event adds to the envelope.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SchemaVersion;

/// The fields of one type of event, beside the envelope's common ones.
///
/// A struct that derives `Serialize`, `Deserialize` and `JsonSchema`, and two constants: schema,
/// strict decoding, builder and version check come with them.
///
/// For schema and type to agree on every text, use [`Text`](super::Text) for strings that must not
/// be empty and [`Timestamp`](super::Timestamp) for times, give optional fields
/// `#[serde(default)]`, and state bounds in both places. Fields must not have the common fields'
/// names.
///
/// Where serde's derived code and JSON Schema part: whole numbers refuse `3.0`, which the schema
/// calls an integer; a nested struct refuses a repeated key, of which the schema sees the last; a
/// nested struct also takes an array of its fields' values, and an enum's unit variant an object
/// with `null`, both of which the schema refuses.
///
/// ```
/// use potluck_core::envelope::{Envelope, EventBody, Received, SchemaVersion, Text};
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// struct RoomChange {
///     room: Text,
///     #[serde(default, skip_serializing_if = "Option::is_none")]
///     floor: Option<String>,
/// }
///
/// impl EventBody for RoomChange {
///     const TYPE: &'static str = "ROOM_CHANGE";
///     const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
/// }
///
/// let event = Envelope::builder(RoomChange { room: Text::new("150")?, floor: None }).build();
/// let json = event.to_json()?;
/// assert_eq!(*Received::<RoomChange>::parse(json)?.event.body.room, *"150");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait EventBody: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The value of the envelope's `type`.
    const TYPE: &'static str;
    /// The version that the builder writes into `schema_version`.
    const SCHEMA_VERSION: SchemaVersion;
}
