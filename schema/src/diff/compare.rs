//! Which changes lie between two schemas, field by field?

use std::collections::{BTreeMap, BTreeSet};

use potluck_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::normal::Normal;
use super::{Bump, Change};
use crate::printable::printable;

/// The most pairs of schemas that are compared.
const PAIRS_MAX: usize = 100_000;
const DEPTH_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 120;

/// Keywords whose value is a schema for each item, key or unlisted field.
const EACH: [&str; 3] = ["items", "additionalProperties", "unevaluatedProperties"];
/// Keywords whose value is a schema that no field name leads to.
const CONDITIONS: [&str; 7] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
];
const ALTERNATIVES: [&str; 2] = ["anyOf", "oneOf"];

/// A comparison under way.
pub(super) struct Comparison<'a> {
    old_root: &'a Value,
    new_root: &'a Value,
    /// The pairs of references that are being compared: types may hold themselves.
    open: Vec<(String, String)>,
    depth: usize,
    pairs: usize,
    changes: Vec<Change>,
}

impl<'a> Comparison<'a> {
    /// All changes from `old` to `new`.
    pub(super) fn run(old: &'a Value, new: &'a Value) -> Result<Vec<Change>> {
        let mut comparison = Self {
            old_root: old,
            new_root: new,
            open: Vec::new(),
            depth: 0,
            pairs: 0,
            changes: Vec::new(),
        };
        comparison.schemas("", old, new)?;
        Ok(comparison.changes)
    }

    fn push(&mut self, path: &str, bump: Bump, what: impl Into<String>) {
        self.changes.push(Change {
            path: path.to_owned(),
            what: what.into(),
            bump,
        });
    }

    fn schemas(&mut self, path: &str, old: &Value, new: &Value) -> Result<()> {
        self.pairs += 1;
        if self.pairs > PAIRS_MAX || self.depth > DEPTH_MAX {
            let rule = "the schemas are too large or too deep to compare";
            return Err(Error::new(ErrorKind::TooLarge, "compare schemas", rule));
        }
        let old = Normal::of(self.old_root, old)?;
        let new = Normal::of(self.new_root, new)?;
        let pair = old.reference.clone().zip(new.reference.clone());
        if let Some(pair) = &pair {
            if self.open.contains(pair) {
                return Ok(());
            }
            self.open.push(pair.clone());
        }
        self.depth += 1;
        self.normals(path, &old, &new)?;
        self.depth -= 1;
        if pair.is_some() {
            self.open.pop();
        }
        Ok(())
    }

    /// Whether nothing changes from one to the other.
    fn same(&mut self, old: &Value, new: &Value) -> Result<bool> {
        let kept = std::mem::take(&mut self.changes);
        let compared = self.schemas("", old, new);
        let found = std::mem::replace(&mut self.changes, kept);
        compared.map(|()| found.is_empty())
    }

    fn normals(&mut self, path: &str, old: &Normal, new: &Normal) -> Result<()> {
        match (old.nullable, new.nullable) {
            (false, true) => self.push(path, Bump::Minor, "may now be null"),
            (true, false) => self.push(path, Bump::Major, "may no longer be null"),
            _ => {}
        }
        self.fields(path, old, new)?;
        let keywords: BTreeSet<_> = old.keywords.keys().chain(new.keywords.keys()).collect();
        for keyword in keywords {
            let keyword = keyword.as_str();
            match (old.keywords.get(keyword), new.keywords.get(keyword)) {
                _ if keyword == "properties" || keyword == "required" => {}
                (Some(old), Some(new)) => self.keyword(path, keyword, old, new)?,
                (Some(old), None) => self.gone(path, keyword, old),
                (None, Some(new)) => self.came(path, keyword, new),
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn keyword(&mut self, path: &str, keyword: &str, old: &Value, new: &Value) -> Result<()> {
        if old == new && !mentions_reference(old) {
            return Ok(());
        }
        if EACH.contains(&keyword) && old.is_object() && new.is_object() {
            return self.schemas(&format!("{path}/*"), old, new);
        }
        if CONDITIONS.contains(&keyword) {
            if !self.same(old, new)? {
                self.push(path, Bump::Major, format!("`{keyword}` changed"));
            }
            return Ok(());
        }
        match (old, new) {
            (Value::Array(old), Value::Array(new)) if ALTERNATIVES.contains(&keyword) => {
                self.alternatives(path, keyword, old, new)
            }
            (Value::Array(old), Value::Array(new)) if keyword == "enum" => {
                self.values(path, old, new);
                Ok(())
            }
            (Value::Array(old), Value::Array(new))
                if ["allOf", "prefixItems"].contains(&keyword) && old.len() == new.len() =>
            {
                let mut pairs = old.iter().zip(new);
                pairs.try_for_each(|(old, new)| self.schemas(path, old, new))
            }
            (Value::Object(old), Value::Object(new))
                if ["patternProperties", "dependentSchemas"].contains(&keyword)
                    && old.keys().collect::<BTreeSet<_>>() == new.keys().collect() =>
            {
                let mut pairs = old
                    .iter()
                    .filter_map(|(key, old)| Some((old, new.get(key)?)));
                pairs.try_for_each(|(old, new)| self.schemas(&format!("{path}/*"), old, new))
            }
            _ if old == new => Ok(()),
            _ => {
                let what = format!("`{keyword}` is {}, was {}", words(new), words(old));
                self.push(path, Bump::Major, what);
                Ok(())
            }
        }
    }

    fn gone(&mut self, path: &str, keyword: &str, old: &Value) {
        let what = format!("`{keyword}` {} was taken away", words(old));
        self.push(path, Bump::Major, what);
    }

    fn came(&mut self, path: &str, keyword: &str, new: &Value) {
        let what = format!("`{keyword}` {} was added", words(new));
        self.push(path, Bump::Major, what);
    }

    fn values(&mut self, path: &str, old: &[Value], new: &[Value]) {
        for value in old.iter().filter(|value| !new.contains(value)) {
            self.gone(path, "enum", value);
        }
        for value in new.iter().filter(|value| !old.contains(value)) {
            self.came(path, "enum", value);
        }
    }

    /// Alternatives may stand in another order. Those without a twin are compared in order.
    fn alternatives(
        &mut self,
        path: &str,
        keyword: &str,
        old: &[Value],
        new: &[Value],
    ) -> Result<()> {
        let mut added: Vec<_> = new.iter().collect();
        let mut removed = Vec::new();
        for old in old {
            match self.position_of_same(old, &added)? {
                Some(at) => drop(added.remove(at)),
                None => removed.push(old),
            }
        }
        if added.len() != removed.len() {
            let (was, is) = (old.len(), new.len());
            let what = format!("`{keyword}` has {is} alternatives, had {was}");
            self.push(path, Bump::Major, what);
            return Ok(());
        }
        let mut pairs = removed.into_iter().zip(added);
        pairs.try_for_each(|(old, new)| self.schemas(path, old, new))
    }

    fn position_of_same(&mut self, old: &Value, among: &[&Value]) -> Result<Option<usize>> {
        for (at, new) in among.iter().enumerate() {
            if self.same(old, new)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn fields(&mut self, path: &str, old: &Normal, new: &Normal) -> Result<()> {
        let (was, is) = (Fields::of(old), Fields::of(new));
        let mut added: Vec<_> = is.names().difference(&was.names()).copied().collect();
        for name in was.names() {
            let at = format!("{path}/{}", pointer_token(name));
            if !is.names().contains(name) {
                let renamed = self.renamed(&was, &is, name, &added)?;
                if let Some(place) = renamed {
                    let what = format!("renamed to `{}`", pointer_token(added.remove(place)));
                    self.push(&at, Bump::Minor, what);
                } else {
                    self.push(&at, Bump::Minor, "removed");
                }
                continue;
            }
            match (was.required.contains(name), is.required.contains(name)) {
                (true, false) => self.push(&at, Bump::Minor, "no longer required"),
                (false, true) => self.push(&at, Bump::Major, "now required"),
                _ => {}
            }
            self.schemas(&at, was.schema(name), is.schema(name))?;
        }
        // Of a closed object, the profile closes the outermost only, and by the contract a new
        // field of that is a patch.
        let closed = !path.is_empty() && !is_open(old);
        for name in added {
            let at = format!("{path}/{}", pointer_token(name));
            let (bump, what) = if is.required.contains(name) {
                (Bump::Major, "added, and required")
            } else if closed {
                let what = "added to an object that was closed to unknown fields";
                (Bump::Major, what)
            } else {
                (Bump::Patch, "added, optional")
            };
            self.push(&at, bump, what);
        }
        Ok(())
    }

    /// Which of the added fields is `name` under another name.
    fn renamed(
        &mut self,
        was: &Fields<'_>,
        is: &Fields<'_>,
        name: &str,
        added: &[&str],
    ) -> Result<Option<usize>> {
        for (place, other) in added.iter().enumerate() {
            if was.required.contains(name) == is.required.contains(other)
                && self.same(was.schema(name), is.schema(other))?
            {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}

/// The fields of an object's schema.
struct Fields<'a> {
    schemas: BTreeMap<&'a str, &'a Value>,
    required: BTreeSet<&'a str>,
}

impl<'a> Fields<'a> {
    fn of(normal: &'a Normal) -> Self {
        let schemas = normal.keywords.get("properties").and_then(Value::as_object);
        let required = normal.keywords.get("required").and_then(Value::as_array);
        Self {
            schemas: schemas
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.as_str(), schema))
                .collect(),
            required: required
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
        }
    }

    fn names(&self) -> BTreeSet<&'a str> {
        self.schemas.keys().chain(&self.required).copied().collect()
    }

    fn schema(&self, name: &str) -> &'a Value {
        self.schemas
            .get(name)
            .copied()
            .unwrap_or(&Value::Bool(true))
    }
}

fn is_open(object: &Normal) -> bool {
    ["additionalProperties", "unevaluatedProperties"]
        .iter()
        .all(|keyword| {
            matches!(
                object.keywords.get(*keyword),
                None | Some(Value::Bool(true))
            )
        })
}

/// Equal texts may still differ, where a reference in them points.
fn mentions_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.contains_key("$ref") || members.values().any(mentions_reference)
        }
        Value::Array(items) => items.iter().any(mentions_reference),
        _ => false,
    }
}

fn pointer_token(name: &str) -> String {
    printable(&name.replace('~', "~0").replace('/', "~1"), NAME_CHARS_MAX)
}

fn words(value: &Value) -> String {
    printable(&value.to_string(), VALUE_CHARS_MAX)
}
