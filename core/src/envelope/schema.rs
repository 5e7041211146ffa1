//! What schemars sees of an envelope: the body's object with the common fields in it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::fields::Retries;
use super::{Envelope, EventBody, SchemaVersion, Text, Timestamp};

impl<B: EventBody> JsonSchema for Envelope<B> {
    fn schema_name() -> Cow<'static, str> {
        B::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = B::json_schema(generator);
        let common = common_fields(generator, B::TYPE);
        let object = schema.ensure_object();
        // Whether fields beyond these are allowed is the profile's to say.
        object.remove("additionalProperties");
        object.insert("type".to_owned(), json!("object"));
        let required = object.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            required.extend(common.keys().map(|name| json!(name)));
            required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
        let properties = object.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.extend(common);
        }
        schema
    }
}

fn common_fields(generator: &mut SchemaGenerator, kind: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut field = |name: &str, description: &str, mut schema: Schema| {
        schema.insert("description".to_owned(), description.into());
        fields.insert(name.to_owned(), schema.to_value());
    };
    field(
        "schema_version",
        "The version of the contract that the event was written by.",
        SchemaVersion::json_schema(generator),
    );
    field(
        "event_id",
        "A unique id, stable across retries and re-publishing.",
        Text::json_schema(generator),
    );
    field(
        "source",
        "Where the event comes from.",
        Text::json_schema(generator),
    );
    field(
        "type",
        "The type of the event.",
        schemars::json_schema!({ "const": kind }),
    );
    field(
        "published_at",
        "When the producer first published it.",
        Timestamp::json_schema(generator),
    );
    field(
        "retries",
        "Failed processing attempts.",
        Retries::json_schema(generator),
    );
    field(
        "metadata",
        "Free-form data.",
        schemars::json_schema!({ "type": "object" }),
    );
    fields
}
