//! Whose schema is it: the consumer's or the producer's?

use std::fmt;
use std::str::FromStr;

use potluck_core::{Error, ErrorKind, Result};

/// Whose side of the contract a schema states.
///
/// ```
/// use potluck_schema::Profile;
///
/// assert_eq!("producer".parse::<Profile>()?, Profile::Producer);
/// assert_eq!(Profile::Consumer.as_str(), "consumer");
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// What a consumer accepts: fields that it does not know are allowed, and survive.
    Consumer,
    /// What a producer may send: the version is exact, and a field that the schema does not know
    /// is an error, because a new field needs a new schema version.
    Producer,
}

impl Profile {
    /// The name, as it stands in a schema's `$id`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Producer => "producer",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Consumer, Self::Producer]
            .into_iter()
            .find(|profile| profile.as_str() == text)
            .ok_or_else(|| {
                let rule = "a profile is `consumer` or `producer`";
                Error::new(ErrorKind::Invalid, "read profile", rule)
            })
    }
}
