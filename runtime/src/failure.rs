//! What a handler answers when it cannot do its work.

use std::fmt;

/// Why a handler failed, and whether trying again can help.
///
/// `?` makes a [`Retry`](Self::Retry) of any error: most failures pass. What will fail again, such
/// as an event that makes no sense, is a [`Reject`](Self::Reject) and goes to the dead letters at
/// once.
///
/// The text is written into logs, into the copy's `metadata.last_error` and into the dead letter's
/// `potluck-error`, cut to 1 KiB: keep secrets out of it.
///
/// ```
/// use potluck_runtime::Failure;
///
/// fn seats(text: &str) -> Result<u32, Failure> {
///     let seats: u32 = text.parse()?;
///     if seats == 0 {
///         return Err(Failure::reject("no seats at all"));
///     }
///     Ok(seats)
/// }
///
/// assert!(matches!(seats("many"), Err(Failure::Retry(_))));
/// assert!(matches!(seats("0"), Err(Failure::Reject(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Try again, as the retry policy has it.
    Retry(String),
    /// Never try this event again.
    Reject(String),
}

impl Failure {
    /// A failure that may pass.
    pub fn retry(cause: impl fmt::Display) -> Self {
        Self::Retry(cause.to_string())
    }

    /// A failure that will not pass.
    pub fn reject(cause: impl fmt::Display) -> Self {
        Self::Reject(cause.to_string())
    }

    /// What happened.
    #[must_use]
    pub fn cause(&self) -> &str {
        match self {
            Self::Retry(cause) | Self::Reject(cause) => cause,
        }
    }
}

/// The error and what caused it, in one line.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut cause = error.to_string();
        let mut below = error.source();
        while let Some(error) = below {
            cause.push_str(": ");
            cause.push_str(&error.to_string());
            below = error.source();
        }
        Self::Retry(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_a_retry_with_its_causes() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no number")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let inner = "x".parse::<u8>().unwrap_err();
        let failure = Failure::from(Outer(inner));
        assert_eq!(
            failure,
            Failure::Retry("no number: invalid digit found in string".into())
        );
    }
}
