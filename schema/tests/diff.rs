//! Does each kind of change ask for the bump that the table in the documentation of `diff` says?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]

use potluck_core::ErrorKind;
use potluck_core::envelope::FreeFood;
use potluck_schema::{Bump, Diff, Profile, diff, schema};
use serde_json::{Value, json};

/// A schema with one of everything that a body can have.
fn old() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:potluck:room-change:1.0.0:consumer",
        "type": "object",
        "additionalProperties": true,
        "required": ["room", "type"],
        "properties": {
            "type": { "const": "ROOM_CHANGE" },
            "room": { "type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[0-9]+$" },
            "floor": { "type": ["integer", "null"], "minimum": 0, "maximum": 99 },
            "kind": { "enum": ["moved", "cancelled"] },
            "level": { "$ref": "#/$defs/Level" },
            "sealed": {
                "type": "object",
                "additionalProperties": false,
                "properties": { "a": { "type": "string" } },
            },
            "before": { "anyOf": [{ "$ref": "#/$defs/Level" }, { "type": "null" }] },
            "tags": { "type": "array", "items": { "type": "string" } },
            "levels": { "type": "array", "items": { "$ref": "#/$defs/Level" } },
            "contacts": { "type": "object", "additionalProperties": { "type": "string" } },
            "shape": { "oneOf": [
                { "type": "object", "properties": { "r": { "type": "number" } }, "required": ["r"] },
                { "const": "point" },
            ] },
            "since": { "type": "string", "format": "date-time", "not": { "pattern": "[a-z]" } },
        },
        "$defs": {
            "Level": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": { "type": "string" },
                    "lift": { "type": ["boolean", "null"] },
                    "inside": { "$ref": "#/$defs/Level" },
                },
            },
        },
    })
}

fn changed(version: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut new = old();
    new["$id"] = format!("urn:potluck:room-change:{version}:consumer").into();
    change(&mut new);
    new
}

fn put(schema: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match schema.pointer_mut(parent).unwrap() {
        Value::Array(items) => {
            let at: usize = key.parse().unwrap();
            if at < items.len() {
                items.remove(at);
            }
            items.insert(at, value);
        }
        parent => parent[key] = value,
    }
}

fn remove(schema: &mut Value, pointer: &str) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = schema.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().remove(key).unwrap()
}

fn found(diff: &Diff) -> Vec<String> {
    diff.changes.iter().map(ToString::to_string).collect()
}

/// Puts each value at its pointer and expects exactly this one change.
fn expect(edits: &[(&str, Value)], expected: &str) {
    let new = changed("1.0.0", |new| {
        for (pointer, value) in edits {
            put(new, pointer, value.clone());
        }
    });
    let diff = diff(&old(), &new).unwrap();
    assert_eq!(found(&diff), [expected], "{edits:?}");
}

#[test]
fn wording_and_spelling_need_nothing() {
    let new = changed("1.0.0", |new| {
        put(new, "/title", json!("t"));
        put(new, "/$comment", json!("c"));
        put(new, "/properties/room/description", json!("d"));
        put(new, "/properties/room/examples", json!(["150"]));
        put(new, "/properties/room/default", json!("150"));
        put(new, "/properties/kind/enum", json!(["cancelled", "moved"]));
        put(new, "/required", json!(["type", "room"]));
        put(new, "/properties/floor/type", json!(["null", "integer"]));
        put(new, "/properties/level/additionalProperties", json!(true));
        // The definition under another name, and once written out.
        let level = remove(new, "/$defs/Level");
        put(new, "/$defs/Storey", level);
        put(
            new,
            "/$defs/Storey/properties/inside/$ref",
            json!("#/$defs/Storey"),
        );
        let to = json!("#/$defs/Storey");
        put(new, "/properties/level/$ref", to.clone());
        put(new, "/properties/levels/items/$ref", to.clone());
        put(
            new,
            "/properties/before",
            json!({ "oneOf": [{ "type": "null" }, { "$ref": to }] }),
        );
        let shape = new["properties"]["shape"]["oneOf"].as_array_mut().unwrap();
        shape.reverse();
    });
    // `oneOf` for `anyOf` is the same when one of two alternatives is null.
    let diff = diff(&old(), &new).unwrap();
    assert_eq!(found(&diff), [""; 0]);
    assert_eq!((diff.declared, diff.needed), (Bump::None, Bump::None));
    assert!(diff.is_enough());
}

#[test]
fn an_added_field() {
    let text = json!({ "type": "string" });
    expect(
        &[("/properties/new", text.clone())],
        "/new: added, optional (patch)",
    );
    expect(
        &[
            ("/properties/new", text.clone()),
            ("/required/2", json!("new")),
        ],
        "/new: added, and required (major)",
    );
    expect(
        &[("/properties/sealed/properties/b", text)],
        "/sealed/b: added to an object that was closed to unknown fields (major)",
    );
}

#[test]
fn a_field_below_the_top_level_is_found_wherever_it_is_used() {
    let new = changed("1.0.1", |new| {
        put(
            new,
            "/$defs/Level/properties/colour",
            json!({ "type": "string" }),
        );
    });
    let diff = diff(&old(), &new).unwrap();
    assert_eq!(
        found(&diff),
        [
            "/before/colour: added, optional (patch)",
            "/level/colour: added, optional (patch)",
            "/levels/*/colour: added, optional (patch)",
        ]
    );
    assert!(diff.is_enough());
}

#[test]
fn a_removed_or_renamed_field() {
    for (pointer, to, expected) in [
        ("/properties/floor", None, "/floor: removed (minor)"),
        ("/properties/room", None, "/room: removed (minor)"),
        (
            "/properties/sealed/properties/a",
            None,
            "/sealed/a: removed (minor)",
        ),
        (
            "/properties/floor",
            Some("/properties/storey"),
            "/floor: renamed to `storey` (minor)",
        ),
        (
            "/properties/room",
            Some("/properties/place"),
            "/room: renamed to `place` (minor)",
        ),
    ] {
        let new = changed("1.0.0", |new| {
            let field = remove(new, pointer);
            if let Some(to) = to {
                put(new, to, field);
            }
            if pointer == "/properties/room" {
                let required = to.map_or(json!(["type"]), |_| json!(["type", "place"]));
                put(new, "/required", required);
            }
        });
        assert_eq!(found(&diff(&old(), &new).unwrap()), [expected]);
    }
    // Another type under another name is no renaming.
    let new = changed("2.0.0", |new| {
        remove(new, "/properties/room");
        put(new, "/properties/place", json!({ "type": "integer" }));
        put(new, "/required/0", json!("place"));
    });
    assert_eq!(
        found(&diff(&old(), &new).unwrap()),
        [
            "/room: removed (minor)",
            "/place: added, and required (major)"
        ]
    );
}

#[test]
fn whether_a_field_must_be_there() {
    expect(
        &[("/required", json!(["type"]))],
        "/room: no longer required (minor)",
    );
    expect(
        &[("/properties/room/type", json!(["string", "null"]))],
        "/room: may now be null (minor)",
    );
    expect(
        &[("/required/2", json!("floor"))],
        "/floor: now required (major)",
    );
    expect(
        &[("/properties/floor/type", json!("integer"))],
        "/floor: may no longer be null (major)",
    );
    expect(
        &[("/properties/before", json!({ "$ref": "#/$defs/Level" }))],
        "/before: may no longer be null (major)",
    );
    expect(
        &[("/properties/kind/enum/2", json!(null))],
        "/kind: may now be null (minor)",
    );
}

/// Puts each value at its pointer and expects the one change, which is major.
fn expect_major<const N: usize>(rows: [(&str, Value, &str); N]) {
    for (pointer, value, expected) in rows {
        expect(&[(pointer, value)], &format!("{expected} (major)"));
    }
}

#[test]
fn what_a_value_is() {
    let properties = |rest: &str| format!("/properties/{rest}");
    for (pointer, value, expected) in [
        (
            "tags/items/type",
            json!("integer"),
            "/tags/*: `type` is \"integer\", was \"string\"",
        ),
        (
            "type/const",
            json!("ROOM"),
            "/type: `const` is \"ROOM\", was \"ROOM_CHANGE\"",
        ),
        (
            "room/pattern",
            json!("^[0-9]$"),
            "/room: `pattern` is \"^[0-9]$\", was \"^[0-9]+$\"",
        ),
        (
            "since/format",
            json!("date"),
            "/since: `format` is \"date\", was \"date-time\"",
        ),
        ("since/not/pattern", json!("[a-y]"), "/since: `not` changed"),
        (
            "kind/enum",
            json!(["moved"]),
            "/kind: `enum` \"cancelled\" was taken away",
        ),
        (
            "kind/enum/2",
            json!("other"),
            "/kind: `enum` \"other\" was added",
        ),
        ("room/x-rule", json!(1), "/room: `x-rule` 1 was added"),
    ] {
        expect_major([(&properties(pointer), value, expected)]);
    }
    let types = json!(["number", "null"]);
    let expected = "/floor: `type` is \"number\", was \"integer\"";
    expect_major([("/properties/floor/type", types, expected)]);
}

#[test]
fn bounds_narrowed_and_widened() {
    expect_major([
        (
            "/properties/room/maxLength",
            json!(8),
            "/room: `maxLength` is 8, was 9",
        ),
        (
            "/properties/room/maxLength",
            json!(10),
            "/room: `maxLength` is 10, was 9",
        ),
        (
            "/properties/floor/minimum",
            json!(1),
            "/floor: `minimum` is 1, was 0",
        ),
        (
            "/properties/floor/minimum",
            json!(-1),
            "/floor: `minimum` is -1, was 0",
        ),
        (
            "/properties/tags/maxItems",
            json!(5),
            "/tags: `maxItems` 5 was added",
        ),
    ]);
}

#[test]
fn objects_and_alternatives() {
    let sealed = "/sealed: `additionalProperties` false was taken away";
    let contacts = "/contacts/*: `type` is \"number\", was \"string\"";
    let shape = "/shape: `oneOf` has 3 alternatives, had 2";
    let number = json!({ "type": "number" });
    expect_major([
        (
            "/additionalProperties",
            json!(false),
            "/: `additionalProperties` false was added",
        ),
        (
            "/properties/sealed/additionalProperties",
            json!(true),
            sealed,
        ),
        (
            "/properties/contacts/additionalProperties",
            number.clone(),
            contacts,
        ),
        (
            "/properties/shape/oneOf/2",
            json!({ "const": "line" }),
            shape,
        ),
        (
            "/properties/shape/oneOf/1/const",
            json!("dot"),
            "/shape: `const` is \"dot\", was \"point\"",
        ),
    ]);
    expect(
        &[("/properties/shape/oneOf/0/properties/x", number)],
        "/shape/x: added, optional (patch)",
    );
}

#[test]
fn the_declared_bump_must_cover_the_needed_one() {
    let add = |new: &mut Value| put(new, "/properties/new", json!({ "type": "string" }));
    let drop = |new: &mut Value| std::mem::drop(remove(new, "/properties/floor"));
    for (version, declared, enough) in [
        ("1.0.0", Bump::None, [false, false]),
        ("1.0.7", Bump::Patch, [true, false]),
        ("1.1.0", Bump::Minor, [true, true]),
        ("2.0.0", Bump::Major, [true, true]),
    ] {
        let added = diff(&old(), &changed(version, add)).unwrap();
        let dropped = diff(&old(), &changed(version, drop)).unwrap();
        assert_eq!((added.declared, dropped.declared), (declared, declared));
        assert_eq!(
            [added.is_enough(), dropped.is_enough()],
            enough,
            "{version}"
        );
        assert_eq!((added.needed, dropped.needed), (Bump::Patch, Bump::Minor));
    }
}

#[test]
fn a_producers_pinned_version_is_no_change() {
    let old = schema::<FreeFood>(Profile::Producer);
    let mut new = old.clone();
    new["$id"] = json!("urn:potluck:event:1.0.1:producer");
    new["properties"]["schema_version"]["const"] = json!("1.0.1");
    new["properties"]["price"] = json!({ "type": ["number", "null"] });
    let compared = diff(&old, &new).unwrap();
    assert_eq!(found(&compared), ["/price: added, optional (patch)"]);
    new["properties"]["schema_version"]["const"] = json!("1.0.2");
    assert_eq!(diff(&old, &new).unwrap().needed, Bump::Major);
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let id = |id: &str| changed("1.0.0", |new| new["$id"] = json!(id));
    for new in [
        id("urn:potluck:room-change:1.0.0:producer"),
        id("urn:potluck:other:1.0.0:consumer"),
        id("urn:potluck:room-change:0.9.0:consumer"),
        id("https://example.org/x"),
        json!({}),
        json!(true),
        changed("1.0.0", |new| {
            put(new, "/properties/level/$ref", json!("#/$defs/None"))
        }),
        changed("1.0.0", |new| {
            put(new, "/properties/level/$ref", json!("http://x/y"))
        }),
        changed("1.0.0", |new| {
            put(new, "/$defs/Level", json!({ "$ref": "#/$defs/Level" }))
        }),
        changed("1.0.0", |new| {
            put(new, "/properties/level/type", json!("string"))
        }),
        changed("1.0.0", |new| put(new, "/properties/room", json!(7))),
    ] {
        let error = diff(&old(), &new).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{new}");
    }
}

#[test]
fn a_schema_that_unfolds_without_end_is_refused() {
    // Each definition holds the next one twice: thirty of them are a thousand million pairs.
    let mut schemas = [old(), old()];
    for (schema, leaf) in schemas.iter_mut().zip(["string", "number"]) {
        for n in 0..30 {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            schema["$defs"][format!("d{n}")] = json!({ "properties": { "a": next, "b": next } });
        }
        schema["$defs"]["d30"] = json!({ "type": leaf });
        schema["properties"]["deep"] = json!({ "$ref": "#/$defs/d0" });
    }
    let error = diff(&schemas[0], &schemas[1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn names_are_safe_to_print() {
    expect(
        &[("/properties/a\u{1b}[2J", json!({ "type": "string" }))],
        "/a\\u{1b}[2J: added, optional (patch)",
    );
}
