//! Which event, version and profile is a schema of? Its `$id` says.

use std::fmt;

use potluck_core::envelope::{EventBody, FreeFood, SchemaVersion};
use potluck_core::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::Profile;

/// `urn:potluck:NAME:VERSION:PROFILE`. The name is `event` for the contract's own event, and the
/// type's in lower case with hyphens for any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) version: SchemaVersion,
    pub(crate) profile: Profile,
}

const PREFIX: &str = "urn:potluck:";

impl Identity {
    pub(crate) fn of<B: EventBody>(profile: Profile) -> Self {
        let name = if B::TYPE == FreeFood::TYPE {
            "event".to_owned()
        } else {
            B::TYPE
                .to_ascii_lowercase()
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-")
        };
        Self {
            name,
            version: B::SCHEMA_VERSION,
            profile,
        }
    }

    /// Reads the schema's `$id`.
    pub(crate) fn read(schema: &Value) -> Result<Self> {
        schema
            .get("$id")
            .and_then(Value::as_str)
            .and_then(parse)
            .ok_or_else(|| {
                let rule = "the schema needs an `$id` such as `urn:potluck:event:1.0.0:consumer`";
                Error::new(ErrorKind::Invalid, "read schema", rule)
            })
    }
}

fn parse(id: &str) -> Option<Identity> {
    let mut parts = id.strip_prefix(PREFIX)?.split(':');
    let identity = Identity {
        name: parts.next().filter(|name| !name.is_empty())?.to_owned(),
        version: parts.next()?.parse().ok()?,
        profile: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(identity)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            version,
            profile,
        } = self;
        write!(f, "{PREFIX}{name}:{version}:{profile}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let identity = Identity::of::<FreeFood>(Profile::Consumer);
        let id = identity.to_string();
        assert_eq!(id, "urn:potluck:event:1.0.0:consumer");
        assert_eq!(Identity::read(&json!({ "$id": id })).unwrap(), identity);
        for id in [
            "",
            "urn:potluck:event:1.0.0",
            "urn:potluck:event:1.0:consumer",
            "urn:potluck:event:1.0.0:reader",
            "urn:potluck::1.0.0:consumer",
            "urn:potluck:event:1.0.0:consumer:x",
            "https://example.org/event.schema.json",
        ] {
            assert!(Identity::read(&json!({ "$id": id })).is_err(), "{id}");
        }
        assert!(Identity::read(&json!(true)).is_err());
    }
}
