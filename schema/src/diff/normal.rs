//! What does a schema say once spelling is out of the way: references, annotations, nullability?

use std::collections::BTreeMap;

use potluck_core::Result;
use serde_json::Value;

use super::refused;

/// Keywords that no verdict depends on.
const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "$defs",
    "title",
    "description",
    "default",
    "deprecated",
    "examples",
    "readOnly",
    "writeOnly",
];

/// Keywords for which `true` says nothing.
const OPEN_WHEN_TRUE: [&str; 4] = [
    "items",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
];

const REFERENCES_MAX: usize = 64;

/// A schema, with references followed, annotations dropped, and `null` told apart.
pub(super) struct Normal {
    pub(super) keywords: BTreeMap<String, Value>,
    /// Whether `null` is allowed beside what the keywords say.
    pub(super) nullable: bool,
    /// The last reference that was followed.
    pub(super) reference: Option<String>,
}

impl Normal {
    pub(super) fn of(root: &Value, schema: &Value) -> Result<Self> {
        let mut normal = Self {
            keywords: BTreeMap::new(),
            nullable: false,
            reference: None,
        };
        let mut schema = schema.clone();
        for _ in 0..REFERENCES_MAX {
            normal.take(schema)?;
            if let Some(value) = normal.alternative_to_null() {
                normal.nullable = true;
                schema = value;
            } else if let Some(reference) = normal.keywords.remove("$ref") {
                schema = follow(root, &reference)?.clone();
                normal.reference = reference.as_str().map(str::to_owned);
            } else {
                normal.split_null();
                return Ok(normal);
            }
        }
        Err(refused("a `$ref` leads to itself"))
    }

    /// Adds a schema's keywords to those that are there.
    fn take(&mut self, schema: Value) -> Result<()> {
        let members = match schema {
            Value::Object(members) => members,
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => {
                self.keywords.insert("not".to_owned(), Value::Bool(true));
                return Ok(());
            }
            _ => return Err(refused("a schema is an object, true or false")),
        };
        for (keyword, value) in members {
            let says_nothing = OPEN_WHEN_TRUE.contains(&keyword.as_str()) && value == true;
            if says_nothing || ANNOTATIONS.contains(&keyword.as_str()) {
                continue;
            }
            if let Some(before) = self.keywords.insert(keyword, value.clone())
                && before != value
            {
                let rule = "a keyword beside a `$ref` is also where that points; say it once";
                return Err(refused(rule));
            }
        }
        Ok(())
    }

    /// The other schema, when this is `anyOf` or `oneOf` of it and null.
    fn alternative_to_null(&mut self) -> Option<Value> {
        for keyword in ["anyOf", "oneOf"] {
            if self.keywords.len() != 1 {
                return None;
            }
            if let Some(Value::Array(members)) = self.keywords.get(keyword)
                && let [one, two] = &members[..]
            {
                let other = match (is_null(one), is_null(two)) {
                    (true, false) => two.clone(),
                    (false, true) => one.clone(),
                    _ => return None,
                };
                self.keywords.clear();
                return Some(other);
            }
        }
        None
    }

    /// Takes `null` out of a list of types and of values.
    fn split_null(&mut self) {
        let untyped = !self.keywords.contains_key("type");
        let in_types = self.take_from("type", &Value::from("null"));
        let in_values = self.take_from("enum", &Value::Null);
        self.nullable |= match self.keywords.get("enum") {
            Some(_) => in_values && (in_types || untyped),
            None => in_types,
        };
        if let Some(Value::Array(types)) = self.keywords.get_mut("type") {
            types.sort_by_key(ToString::to_string);
            if let [one] = &types[..] {
                let one = one.clone();
                self.keywords.insert("type".to_owned(), one);
            }
        }
    }

    fn take_from(&mut self, keyword: &str, value: &Value) -> bool {
        let Some(Value::Array(items)) = self.keywords.get_mut(keyword) else {
            return false;
        };
        let before = items.len();
        items.retain(|item| item != value);
        items.len() < before
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "null")
}

fn follow<'a>(root: &'a Value, reference: &Value) -> Result<&'a Value> {
    reference
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer))
        .ok_or_else(|| refused("a `$ref` leads outside the schema, or nowhere"))
}
