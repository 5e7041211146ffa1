//! What is the schema of an event, as a value and as the text of a file?

use potluck_core::envelope::{Envelope, EventBody, FreeFood};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::Profile;
use crate::identity::Identity;

/// The JSON Schema, draft 2020-12, of an event with body `B`, generated from the Rust type.
///
/// Its `$id` is `urn:potluck:NAME:VERSION:PROFILE`, where the name is `event` for
/// [`FreeFood`] and the type in lower case with hyphens for any other. It refers to nothing outside
/// itself.
///
/// ```
/// use potluck_core::envelope::FreeFood;
/// use potluck_schema::{Profile, schema};
///
/// let schema = schema::<FreeFood>(Profile::Consumer);
/// assert_eq!(schema["$id"], "urn:potluck:event:1.0.0:consumer");
/// assert_eq!(schema["properties"]["title"]["minLength"], 1);
/// ```
#[must_use]
pub fn schema<B: EventBody>(profile: Profile) -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Envelope<B>>();
    let object = schema.ensure_object();
    let id = Identity::of::<B>(profile).to_string();
    object.insert("$id".to_owned(), id.into());
    object.insert("title".to_owned(), B::TYPE.into());
    let (about, open) = match profile {
        Profile::Consumer => (
            "what a consumer accepts. Unknown fields are allowed and survive.",
            true,
        ),
        Profile::Producer => (
            "what a producer may send. A new field needs a new schema version.",
            false,
        ),
    };
    let (kind, version) = (B::TYPE, B::SCHEMA_VERSION);
    let about = format!("An event of type {kind}, version {version}: {about}");
    object.insert("description".to_owned(), about.into());
    // Where alternatives bring fields of their own, `additionalProperties` does not see those.
    let composed = ["$ref", "allOf", "anyOf", "oneOf"];
    let others = if !open && composed.iter().any(|keyword| object.contains_key(*keyword)) {
        "unevaluatedProperties"
    } else {
        "additionalProperties"
    };
    object.insert(others.to_owned(), open.into());
    if profile == Profile::Producer
        && let Some(written_by) = object
            .get_mut("properties")
            .and_then(|fields| fields.get_mut("schema_version"))
    {
        *written_by = json!({
            "const": version.to_string(),
            "description": written_by["description"],
        });
    }
    sorted(schema.as_value())
}

/// The schema as the text of a file: sorted keys, two spaces, a final newline.
///
/// ```
/// use serde_json::json;
///
/// let text = potluck_schema::to_text(&json!({ "type": "object", "$id": "urn:x" }));
/// assert_eq!(text, "{\n  \"$id\": \"urn:x\",\n  \"type\": \"object\"\n}\n");
/// ```
#[must_use]
pub fn to_text(schema: &Value) -> String {
    format!("{:#}\n", sorted(schema))
}

/// The committed files of the contract's own event: their names and what is to be in them.
///
/// ```
/// let [(consumer, text), (producer, _)] = potluck_schema::files();
/// assert_eq!((consumer, producer), ("event.schema.json", "event.producer.schema.json"));
/// assert!(text.contains("urn:potluck:event:1.0.0:consumer"));
/// ```
#[must_use]
pub fn files() -> [(&'static str, String); 2] {
    [
        ("event.schema.json", Profile::Consumer),
        ("event.producer.schema.json", Profile::Producer),
    ]
    .map(|(name, profile)| (name, to_text(&schema::<FreeFood>(profile))))
}

/// The value with the keys of every object in order, also where another crate of the build has
/// turned on serde_json's `preserve_order`.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let members = members.into_iter();
            Value::Object(Map::from_iter(
                members.map(|(key, value)| (key.clone(), sorted(value))),
            ))
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        scalar => scalar.clone(),
    }
}
