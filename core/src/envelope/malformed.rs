//! What makes a payload malformed, in words that are safe to print.

use std::fmt;

/// What makes a payload malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Over the size limit.
    TooLarge,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The text begins with a byte order mark.
    ByteOrderMark,
    /// There is nothing but white space.
    Empty,
    /// The text is not JSON, or ends in the middle of it.
    Syntax,
    /// Something follows the value.
    TrailingData,
    /// A number that a 64-bit float cannot hold.
    NumberOverflow,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// Nesting deeper than [`DEPTH_MAX`](super::DEPTH_MAX).
    TooDeep,
    /// A key is there twice at the top level, in whatever spelling.
    RepeatedKey,
    /// A key begins `$serde_json::private::`.
    ReservedKey,
}

/// Why bytes are no payload: the problem and where it was seen. Holds nothing of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub problem: Problem,
    /// At which byte, from 0.
    pub offset: usize,
}

impl Malformed {
    /// The stable word for dead letters and reports.
    #[must_use]
    pub fn reason(self) -> &'static str {
        if self.problem == Problem::TooLarge {
            "too_large"
        } else {
            "malformed"
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.problem {
            Problem::TooLarge => return f.write_str("the payload is over the size limit"),
            Problem::NotUtf8 => "not UTF-8",
            Problem::ByteOrderMark => "a byte order mark; send UTF-8 without one",
            Problem::Empty => "no JSON value",
            Problem::Syntax => "not JSON",
            Problem::TrailingData => "something follows the JSON value",
            Problem::NumberOverflow => "a number that a 64-bit float cannot hold",
            Problem::LoneSurrogate => "half of a surrogate pair",
            Problem::TooDeep => "nesting deeper than 64",
            Problem::RepeatedKey => "a repeated key at the top level",
            Problem::ReservedKey => "a key that begins `$serde_json::private::`",
        };
        write!(f, "{what} (at byte {})", self.offset)
    }
}

impl std::error::Error for Malformed {}
