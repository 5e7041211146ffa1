//! Which version bump does the change from one schema to another need?
//!
//! The contract has three rows: an optional field is added (patch), a field is removed or renamed
//! (minor), the structure changes (major). Behind them stand two promises to a consumer that was
//! built for the older version: it can process any newer patch, and of another minor it may have
//! to refuse what lacks a field. So:
//!
//! | change, at any depth | bump |
//! |---|---|
//! | wording: titles, descriptions, examples, defaults; definitions moved or renamed | none |
//! | an optional field is added | patch |
//! | the same in a nested object that is closed: older consumers refuse it | major |
//! | a required field is added: events of older producers lack it | major |
//! | a field is removed | minor |
//! | a field is renamed: one goes, one of the same schema, equally required, comes | minor |
//! | a required field becomes optional, or may be `null`: less than its removal | minor |
//! | an optional field becomes required, or may no longer be `null` | major |
//! | a type, a constant, a format or a pattern changes | major |
//! | a bound is narrowed: events of older producers break it | major |
//! | a bound is widened: older consumers refuse what keeps within the new one only | major |
//! | a value is added to an `enum`, or removed; an alternative likewise | major |
//! | an object is opened or closed to unknown fields | major |
//! | any other keyword changes | major |
//!
//! Two files of one version differ in nothing but what needs no bump.

mod compare;
mod normal;

use std::fmt;

use potluck_core::envelope::SchemaVersion;
use potluck_core::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::identity::Identity;
use compare::Comparison;

/// Which part of the version is raised, in order of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bump {
    /// The version stays.
    None,
    /// `1.0.0` becomes `1.0.1`.
    Patch,
    /// `1.0.0` becomes `1.1.0`.
    Minor,
    /// `1.0.0` becomes `2.0.0`.
    Major,
}

impl Bump {
    /// The name in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        }
    }

    fn between(old: SchemaVersion, new: SchemaVersion) -> Self {
        if old.major != new.major {
            Self::Major
        } else if old.minor != new.minor {
            Self::Minor
        } else if old.patch != new.patch {
            Self::Patch
        } else {
            Self::None
        }
    }
}

impl fmt::Display for Bump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What changed from one schema to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The older schema's version.
    pub old: SchemaVersion,
    /// The newer schema's version.
    pub new: SchemaVersion,
    /// The bump from one to the other.
    pub declared: Bump,
    /// The bump that the changes need: the largest of theirs.
    pub needed: Bump,
    /// The changes that need a bump, in the order of the fields.
    pub changes: Vec<Change>,
}

impl Diff {
    /// Whether the declared bump covers the needed one.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.declared >= self.needed
    }
}

/// One change. Safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field, as a JSON pointer in which `*` stands for every item or every key; empty for
    /// the whole event.
    pub path: String,
    /// What changed.
    pub what: String,
    /// The bump that it needs.
    pub bump: Bump,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        write!(f, "{path}: {} ({})", self.what, self.bump)
    }
}

/// Compares two versions of a schema; each declares its own in its `$id`.
///
/// ```
/// use potluck_core::envelope::FreeFood;
/// use potluck_schema::{Bump, Profile, diff, schema};
/// use serde_json::json;
///
/// let old = schema::<FreeFood>(Profile::Consumer);
/// let mut new = old.clone();
/// new["$id"] = json!("urn:potluck:event:1.0.1:consumer");
/// new["properties"]["price"] = json!({ "type": ["number", "null"] });
/// let diff = diff(&old, &new)?;
/// assert_eq!((diff.declared, diff.needed), (Bump::Patch, Bump::Patch));
/// assert_eq!(diff.changes[0].to_string(), "/price: added, optional (patch)");
/// # Ok::<(), potluck_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::Invalid`] when a schema has no `$id` of the contract's form, when they are not of
/// one event and profile, when the new one's version is the older, or when a `$ref` leads outside
/// its schema or nowhere; [`ErrorKind::TooLarge`] when comparing takes more than a schema of any
/// event would.
pub fn diff(old: &Value, new: &Value) -> Result<Diff> {
    let (was, is) = (Identity::read(old)?, Identity::read(new)?);
    if (&was.name, was.profile) != (&is.name, is.profile) {
        return Err(refused("the schemas are not of one event and profile")
            .with("old", &was)
            .with("new", &is));
    }
    if is.version < was.version {
        let rule = "the new schema's version is the older one; exchange the two";
        return Err(refused(rule)
            .with("old", was.version)
            .with("new", is.version));
    }
    let (old, new) = (unpinned(old, &was), unpinned(new, &is));
    let changes = Comparison::run(&old, &new)?;
    Ok(Diff {
        old: was.version,
        new: is.version,
        declared: Bump::between(was.version, is.version),
        needed: changes
            .iter()
            .map(|change| change.bump)
            .max()
            .unwrap_or(Bump::None),
        changes,
    })
}

/// Without the producer profile's `const` of its own version, which changes with every version.
fn unpinned(schema: &Value, identity: &Identity) -> Value {
    let mut schema = schema.clone();
    if let Some(field) = schema
        .pointer_mut("/properties/schema_version")
        .and_then(Value::as_object_mut)
        && field.get("const") == Some(&identity.version.to_string().into())
    {
        field.remove("const");
    }
    schema
}

fn refused(rule: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "compare schemas", rule)
}
