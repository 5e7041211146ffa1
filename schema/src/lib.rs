//! The JSON Schemas of Potluck's events: which they are, what a text's verdict is, and which
//! version a change needs.
//!
//! - [`schema`] generates a schema from a Rust type, [`files`] gives the two that are committed in
//!   `schema/v1.0.0`;
//! - [`Validator`] gives a text's [`Verdict`], the one that the Rust type gives as well;
//! - [`diff`] compares two versions of a schema and says which bump the change needs.
//!
//! Nothing here fetches or opens what a schema names: a `$ref` that leaves its file is an error.
//!
//! ```
//! use potluck_core::envelope::{FreeFood, FreeFoodEvent, Text};
//! use potluck_schema::{Profile, Validator};
//!
//! let event = FreeFoodEvent::builder(FreeFood::new(Text::new("Free Pizza Night")?)).build();
//! let validator = Validator::new::<FreeFood>(Profile::Producer)?;
//! assert!(validator.check(&event.to_json()?).is_valid());
//! # Ok::<(), potluck_core::Error>(())
//! ```

mod diff;
mod generate;
mod identity;
mod printable;
mod profile;
mod validator;

pub use diff::{Bump, Change, Diff, diff};
pub use generate::{files, schema, to_text};
pub use profile::Profile;
pub use validator::{VIOLATIONS_MAX, Validator, Verdict, Violation};
