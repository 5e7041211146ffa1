//! Does a schema that names something outside itself get it fetched or opened? It must not.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;

use potluck_schema::Validator;
use serde_json::{Value, json};

/// Every place at which a schema can name another.
fn naming(uri: &str) -> Vec<Value> {
    vec![
        json!({ "$ref": uri }),
        json!({ "$dynamicRef": uri }),
        json!({ "$schema": uri }),
        json!({ "$schema": format!("{uri}#"), "type": "object" }),
        json!({ "properties": { "a": { "$ref": format!("{uri}#/x") } } }),
        json!({ "properties": { "const": { "$ref": uri } } }),
        json!({ "allOf": [{ "$schema": uri }] }),
        json!({ "$id": uri, "properties": { "a": { "$ref": "other.json" } } }),
        json!({ "$defs": { "a": { "$id": uri, "$ref": "b" } }, "$ref": "#/$defs/a" }),
    ]
}

#[test]
fn nothing_is_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for scheme in ["http", "https"] {
        for schema in naming(&format!("{scheme}://127.0.0.1:{port}/schema.json")) {
            assert!(Validator::from_schema(&schema).is_err(), "{schema}");
        }
    }
    // A connection would have been made before the error was returned.
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn nothing_is_opened() {
    // A good schema, so that opening it would give no error.
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("any.schema.json");
    fs::write(&path, "{\"$id\": \"urn:x\"}").unwrap();
    let path = path.display().to_string();
    for uri in [format!("file://{path}"), path] {
        for schema in naming(&uri) {
            assert!(Validator::from_schema(&schema).is_err(), "{schema}");
        }
    }
}

#[test]
fn what_stays_inside_is_followed() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:x",
        "$defs": { "name": { "type": "string" } },
        "properties": { "$ref": { "$ref": "#/$defs/name" }, "in": { "const": { "$ref": "http://x" } } },
    });
    let validator = Validator::from_schema(&schema).unwrap();
    assert!(
        validator
            .check(br#"{"$ref": "a", "in": {"$ref": "http://x"}}"#)
            .is_valid()
    );
    assert!(!validator.check(br#"{"$ref": 1}"#).is_valid());
}
