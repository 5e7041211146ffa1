//! What became of a message that was published: stored, refused, or nobody knows.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::name::Topic;

/// Where a message stands in its topic, as the broker numbers it: a Redis entry id, a Kafka
/// partition and offset. Two numbers and how to write them, so that it is `Copy` and costs nothing
/// until it is shown; text ids cost a quarter of Kafka's rate.
///
/// ```
/// use potluck_core::MessageId;
///
/// assert_eq!(MessageId::single(7).to_string(), "7");
/// assert_eq!(MessageId::pair(1_700_000_000_000, 3, '-').to_string(), "1700000000000-3");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    first: u64,
    second: u64,
    separator: Option<char>,
}

impl MessageId {
    /// An id of one number.
    #[must_use]
    pub const fn single(number: u64) -> Self {
        Self {
            first: number,
            second: 0,
            separator: None,
        }
    }

    /// An id of two numbers, written with `separator` between them.
    #[must_use]
    pub const fn pair(first: u64, second: u64, separator: char) -> Self {
        Self {
            first,
            second,
            separator: Some(separator),
        }
    }

    /// Both numbers; the second is 0 in an id of one.
    #[must_use]
    pub const fn parts(self) -> (u64, u64) {
        (self.first, self.second)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.separator {
            None => write!(f, "{}", self.first),
            Some(separator) => write!(f, "{}{separator}{}", self.first, self.second),
        }
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// What became of one message.
///
/// The classic mistake is to have two outcomes only. A time-out is not a failure: the broker may
/// have stored the message, and publishing it again may store it twice.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The broker has accepted it, as far as [`Capabilities::durability`](crate::Capabilities)
    /// says.
    Stored(MessageId),
    /// It is certainly not stored.
    Refused(Error),
    /// It may be stored. Publish it again with the same event id if it must arrive.
    Unknown(Error),
}

impl Outcome {
    /// The outcome in one word, for logs, metrics and JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stored(_) => "stored",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The id of a stored message.
    #[must_use]
    pub fn stored(&self) -> Option<MessageId> {
        match self {
            Self::Stored(id) => Some(*id),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }

    /// Why it was not, or may not be, stored.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Stored(_) => None,
            Self::Refused(error) | Self::Unknown(error) => Some(error),
        }
    }
}

/// Not every message of a slice was stored: an outcome for each, in the slice's order.
///
/// ```
/// use potluck_core::{Error, ErrorKind, MessageId, Outcome, PublishError};
///
/// let full = Error::new(ErrorKind::Unavailable, "publish", "the broker is full; try later");
/// let stored = Outcome::Stored(MessageId::single(1));
/// let error = PublishError::new(vec![stored, Outcome::Refused(full)]);
/// assert_eq!(
///     error.to_string(),
///     "1 stored, 1 refused, 0 unknown; the first: publish: the broker is full; try later"
/// );
/// ```
#[derive(Clone, Debug)]
pub struct PublishError {
    outcomes: Vec<Outcome>,
    /// The message whose error explains the others'.
    culprit: usize,
}

/// Checks a slice before anything of it is sent, as every driver does: with [`Message::admit`], and
/// if one message fails, none is sent. It carries its own error, its neighbours one that says so.
///
/// # Errors
///
/// [`PublishError`], in which every message is refused.
pub fn admit(topic: &Topic, messages: &[Message], max_message: usize) -> Result<(), PublishError> {
    let judge = |message: &Message| message.admit(topic, max_message).err();
    let Some(culprit) = messages.iter().position(|message| judge(message).is_some()) else {
        return Ok(());
    };
    let say =
        "not sent, because another message of the slice was refused; publish it without that one";
    let beside = Error::new(ErrorKind::Invalid, "publish", say).with("refused", culprit);
    let outcome = |message| Outcome::Refused(judge(message).unwrap_or_else(|| beside.clone()));
    Err(PublishError {
        outcomes: messages.iter().map(outcome).collect(),
        culprit,
    })
}

impl PublishError {
    /// An error with these outcomes, one for each message that was given.
    #[must_use]
    pub fn new(outcomes: Vec<Outcome>) -> Self {
        let culprit = outcomes
            .iter()
            .position(|outcome| outcome.error().is_some());
        Self {
            outcomes,
            culprit: culprit.unwrap_or(0),
        }
    }

    /// The same refusal for all of `count` messages.
    #[must_use]
    pub fn refused(count: usize, error: &Error) -> Self {
        Self {
            outcomes: vec![Outcome::Refused(error.clone()); count],
            culprit: 0,
        }
    }

    /// An outcome for each message, in order.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The outcomes themselves.
    #[must_use]
    pub fn into_outcomes(self) -> Vec<Outcome> {
        self.outcomes
    }

    /// The error that explains the failure: the first message's that has one of its own.
    #[must_use]
    pub fn first(&self) -> Error {
        let explains = self.outcomes.get(self.culprit).and_then(Outcome::error);
        explains.cloned().unwrap_or_else(|| {
            let say = "the transport reports a failure without an error";
            Error::new(ErrorKind::Unexpected, "publish", say)
        })
    }

    /// What a driver returns for a slice with these outcomes.
    ///
    /// # Errors
    ///
    /// When any of them is not stored.
    pub fn collect(outcomes: Vec<Outcome>) -> Result<Vec<MessageId>, Self> {
        let stored: Vec<_> = outcomes.iter().map_while(Outcome::stored).collect();
        if stored.len() == outcomes.len() {
            Ok(stored)
        } else {
            Err(Self::new(outcomes))
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |word| {
            self.outcomes
                .iter()
                .filter(|outcome| outcome.as_str() == word)
                .count()
        };
        write!(
            f,
            "{} stored, {} refused, {} unknown; the first: {}",
            count("stored"),
            count("refused"),
            count("unknown"),
            self.first()
        )
    }
}

impl std::error::Error for PublishError {}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        error.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_refused_whole_and_the_culprit_is_named() {
        let topic = Topic::new("t").unwrap();
        let messages = [
            Message::new("ok"),
            Message::new("too large"),
            Message::new("ok"),
        ];
        assert!(admit(&topic, &messages[..1], 5).is_ok() && admit(&topic, &[], 5).is_ok());
        let error = admit(&topic, &messages, 5).unwrap_err();
        let kinds: Vec<_> = error
            .outcomes()
            .iter()
            .filter_map(Outcome::error)
            .map(Error::kind)
            .collect();
        assert_eq!(
            kinds,
            [ErrorKind::Invalid, ErrorKind::TooLarge, ErrorKind::Invalid]
        );
        assert_eq!(error.first().kind(), ErrorKind::TooLarge);
        assert!(
            error
                .to_string()
                .starts_with("0 stored, 3 refused, 0 unknown; the first: publish:")
        );
    }
}
