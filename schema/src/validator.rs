//! What is a text's verdict under a schema, and which rules does it break?

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError};
use potluck_core::envelope::{EventBody, Malformed, Payload, Problem};
use potluck_core::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::Profile;
use crate::generate::{schema, sorted};
use crate::printable::printable;

/// The most violations that a verdict names.
pub const VIOLATIONS_MAX: usize = 20;

const PATH_CHARS_MAX: usize = 256;
const RULE_CHARS_MAX: usize = 256;
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A compiled schema. Compile once and share; it is `Send` and `Sync`.
///
/// ```
/// use potluck_core::envelope::FreeFood;
/// use potluck_schema::{Profile, Validator};
///
/// let validator = Validator::new::<FreeFood>(Profile::Consumer)?;
/// let verdict = validator.check(br#"{"schema_version": "1.0"}"#);
/// assert!(!verdict.is_valid());
/// let errors: Vec<_> = verdict.errors.iter().map(ToString::to_string).collect();
/// assert!(errors.contains(&"/: required: title".to_owned()));
/// # Ok::<(), potluck_core::Error>(())
/// ```
pub struct Validator {
    schema: Value,
    compiled: jsonschema::Validator,
}

/// What a schema says of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why the text was refused before the schema was asked.
    pub malformed: Option<Malformed>,
    /// Which rules of the schema it breaks, at most [`VIOLATIONS_MAX`].
    pub errors: Vec<Violation>,
}

impl Verdict {
    /// Whether the text is accepted.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.malformed.is_none() && self.errors.is_empty()
    }
}

/// One broken rule. Safe to print: it holds no value of the text, and what it holds of keys is
/// escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Where, as a JSON pointer into the text; empty for the whole of it.
    pub path: String,
    /// The schema's keyword and its value, such as `maximum 4294967295` or `required: title`.
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        write!(f, "{path}: {}", self.rule)
    }
}

impl Validator {
    /// Compiles the schema of an event with body `B`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the body's `JsonSchema` is no valid schema, as in
    /// [`from_schema`](Self::from_schema).
    pub fn new<B: EventBody>(profile: Profile) -> Result<Self> {
        Self::from_schema(&schema::<B>(profile))
    }

    /// Compiles a schema of draft 2020-12. Formats are checked, patterns run in linear time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when it is no valid schema, is of another draft, or refers to
    /// anything outside itself: nothing is ever fetched or opened.
    pub fn from_schema(schema: &Value) -> Result<Self> {
        refuse_what_leads_out(schema, true)?;
        let schema = sorted(schema);
        let compiled = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex())
            .offline()
            .build(&schema)
            .map_err(|error| {
                refused("the schema does not compile")
                    .with(
                        "at",
                        printable(error.instance_path().as_str(), PATH_CHARS_MAX),
                    )
                    .with("keyword", error.kind().keyword())
            })?;
        Ok(Self { schema, compiled })
    }

    /// Checks a text: first whether it is malformed, then the schema.
    #[must_use]
    pub fn check(&self, bytes: &[u8]) -> Verdict {
        let value = Payload::check(bytes.to_vec()).and_then(|payload| {
            serde_json::from_slice(payload.bytes()).map_err(|_| Malformed {
                problem: Problem::Syntax,
                offset: 0,
            })
        });
        match value {
            Ok(value) => Verdict {
                malformed: None,
                errors: self.violations(&value),
            },
            Err(malformed) => Verdict {
                malformed: Some(malformed),
                errors: Vec::new(),
            },
        }
    }

    fn violations(&self, value: &Value) -> Vec<Violation> {
        if self.compiled.is_valid(value) {
            return Vec::new();
        }
        let errors = self.compiled.iter_errors(value);
        let mut found: Vec<_> = errors
            .flat_map(|error| self.broken(&error))
            .take(VIOLATIONS_MAX)
            .collect();
        if found.is_empty() {
            found.push(Violation {
                path: String::new(),
                rule: "the schema".to_owned(),
            });
        }
        found.sort();
        found
    }

    fn broken(&self, error: &ValidationError<'_>) -> Vec<Violation> {
        let path = error.instance_path().as_str();
        let rule = self.rule(error);
        let at = |path: &str| Violation {
            path: printable(path, PATH_CHARS_MAX),
            rule: rule.clone(),
        };
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected
                .iter()
                .take(VIOLATIONS_MAX)
                .map(|key| {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    at(&format!("{path}/{key}"))
                })
                .collect(),
            _ => vec![at(path)],
        }
    }

    /// The rule in the schema's own words.
    fn rule(&self, error: &ValidationError<'_>) -> String {
        let keyword = error.kind().keyword();
        let value = match error.kind() {
            ValidationErrorKind::Required { property } => {
                format!("{keyword}: {}", words(property))
            }
            _ => match self.schema.pointer(error.schema_path().as_str()) {
                Some(value) => format!("{keyword} {}", words(value)),
                None => keyword.to_owned(),
            },
        };
        printable(&value, RULE_CHARS_MAX)
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator")
            .field("id", &self.schema["$id"])
            .finish_non_exhaustive()
    }
}

/// A keyword's value, short.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// jsonschema asks a retriever for what a schema does not hold, also for its `$schema`. The one
/// that is set always refuses; this says it before, and says where.
fn refuse_what_leads_out(schema: &Value, root: bool) -> Result<()> {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(items) => {
            return items
                .iter()
                .try_for_each(|item| refuse_what_leads_out(item, false));
        }
        _ => return Ok(()),
    };
    for (keyword, value) in members {
        let fine = match (keyword.as_str(), value) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => to.starts_with('#'),
            ("$schema", Value::String(dialect)) => {
                root && dialect.strip_suffix('#').unwrap_or(dialect) == DIALECT
            }
            ("$id", Value::String(_)) => root,
            // Data, not schemas.
            ("const" | "enum" | "default" | "examples", _) => continue,
            _ => true,
        };
        if !fine {
            let rule = "a schema is of draft 2020-12 and refers to nothing outside itself";
            return Err(refused(rule).with("keyword", keyword));
        }
        refuse_what_leads_out(value, false)?;
    }
    Ok(())
}

fn refused(rule: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "compile schema", rule)
}
