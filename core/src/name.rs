//! Which names topics, groups and members may have, and what names we derive from them.
//!
//! Names are checked before any I/O, and by the same rules for every broker, so that an
//! application moves from one to another without renaming anything.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

const TOPIC_MAX: usize = 120;
const GROUP_MAX: usize = 80;

/// The longest delay of a retry lane. RabbitMQ takes a delivery back after 30 minutes, and the
/// head of a lane is held for its delay.
pub const LANE_DELAY_MAX: Duration = Duration::from_secs(15 * 60);

/// Where messages are published: a Redis stream, an AMQP exchange, a Kafka topic.
///
/// An application's topic is 1 to 120 of `A-Z a-z 0-9 . _ -`, not `.` or `..`, and does not begin
/// `amq.`. Names ending `.dead` or `.retry-<N>ms` are ours: [`dead_letter`](Self::dead_letter) and
/// [`retry_lane`](Self::retry_lane) build them. They may be read by their full name; publishing
/// to them by an application is refused.
///
/// ```
/// use potluck_core::{Group, Topic};
///
/// let topic = Topic::new("events.free-food")?;
/// let dead = topic.dead_letter(&Group::new("mailer")?)?;
/// assert_eq!(dead.as_str(), "events.free-food.mailer.dead");
/// assert!(dead.is_derived() && !topic.is_derived());
/// assert!(Topic::new("free food").is_err());
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    name: Arc<str>,
    derived: bool,
}

impl Topic {
    /// Checks `name`. A name with one of our endings is taken as a derived topic, if it is one
    /// that we could have built.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the name breaks a rule; the text says which.
    pub fn new(name: &str) -> Result<Self> {
        if has_reserved_ending(name) {
            if is_derived_name(name) {
                return Ok(Self {
                    name: name.into(),
                    derived: true,
                });
            }
            return Err(bad_name(
                "topic",
                name,
                "the endings `.dead` and `.retry-<N>ms` are reserved for topics derived from a topic and a group",
            ));
        }
        check_topic(name)?;
        Ok(Self {
            name: name.into(),
            derived: false,
        })
    }

    /// The topic that holds what `group` will not try again: `TOPIC.GROUP.dead`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when this topic is itself derived: there are no dead letters of
    /// dead letters.
    pub fn dead_letter(&self, group: &Group) -> Result<Self> {
        self.derive(group, "dead")
    }

    /// The topic that `group`'s failed messages wait in for `delay`: `TOPIC.GROUP.retry-<N>ms`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when this topic is itself derived; [`ErrorKind::Config`] when the
    /// delay is not a whole number of milliseconds between 1 ms and [`LANE_DELAY_MAX`].
    pub fn retry_lane(&self, group: &Group, delay: Duration) -> Result<Self> {
        let whole = delay.subsec_nanos().is_multiple_of(1_000_000);
        if !whole || delay.is_zero() || delay > LANE_DELAY_MAX {
            return Err(Error::new(
                ErrorKind::Config,
                "derive topic",
                "a retry lane's delay is a whole number of milliseconds from 1 ms to 15 min",
            )
            .with("delay", format!("{delay:?}")));
        }
        self.derive(group, &format!("retry-{}ms", delay.as_millis()))
    }

    fn derive(&self, group: &Group, ending: &str) -> Result<Self> {
        if self.derived {
            return Err(bad_name(
                "topic",
                &self.name,
                "nothing is derived from a derived topic",
            ));
        }
        let name = format!("{}.{}.{ending}", self.name, group.as_str());
        Ok(Self {
            name: name.into(),
            derived: true,
        })
    }

    /// The name as the broker knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether this is a retry lane or a dead-letter topic.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        self.derived
    }
}

/// A named set of members that share a topic's messages; each group sees all of them.
///
/// 1 to 80 of `A-Z a-z 0-9 _ -`. There is no dot, so that a name derived from a topic and a group
/// can have come from that pair only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(Arc<str>);

impl Group {
    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the name breaks a rule; the text says which.
    pub fn new(name: &str) -> Result<Self> {
        check_group("group", name)?;
        Ok(Self(name.into()))
    }

    /// The one group of every retry lane and dead-letter topic.
    #[must_use]
    pub fn of_derived() -> Self {
        Self("potluck".into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One consumer in a group. The same characters as a [`Group`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member(Arc<str>);

impl Member {
    /// Checks `name`. Two members of a group that run at once must not share a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the name breaks a rule; the text says which.
    pub fn new(name: &str) -> Result<Self> {
        check_group("member", name)?;
        Ok(Self(name.into()))
    }

    /// A name that no other member has: restarts and replicas never share one by accident.
    #[must_use]
    pub fn unique() -> Self {
        Self(format!("m-{}", uuid::Uuid::now_v7().simple()).into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! show_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(name: &str) -> Result<Self> {
                Self::new(name)
            }
        }
    )*};
}
show_as_text!(Topic, Group, Member);

fn check_topic(name: &str) -> Result<()> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_MAX || !name.bytes().all(ok) {
        return Err(bad_name(
            "topic",
            name,
            "a topic is 1 to 120 of A-Z a-z 0-9 . _ -",
        ));
    }
    if matches!(name, "." | "..") || name.starts_with("amq.") {
        return Err(bad_name(
            "topic",
            name,
            "`.`, `..` and names that begin `amq.` are reserved",
        ));
    }
    Ok(())
}

fn check_group(what: &'static str, name: &str) -> Result<()> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.is_empty() || name.len() > GROUP_MAX || !name.bytes().all(ok) {
        return Err(bad_name(
            what,
            name,
            "a group or member is 1 to 80 of A-Z a-z 0-9 _ -",
        ));
    }
    Ok(())
}

fn has_reserved_ending(name: &str) -> bool {
    name.ends_with(".dead")
        || name
            .rsplit_once('.')
            .is_some_and(|(_, end)| lane_delay(end).is_some())
}

/// The milliseconds of `retry-<N>ms`, whatever their size.
fn lane_delay(ending: &str) -> Option<&str> {
    let digits = ending.strip_prefix("retry-")?.strip_suffix("ms")?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

fn is_derived_name(name: &str) -> bool {
    let Some((source, ending)) = name.rsplit_once('.') else {
        return false;
    };
    let Some((topic, group)) = source.rsplit_once('.') else {
        return false;
    };
    let canonical = match lane_delay(ending) {
        None => ending == "dead",
        Some(digits) => {
            !digits.starts_with('0')
                && digits
                    .parse::<u64>()
                    .is_ok_and(|ms| Duration::from_millis(ms) <= LANE_DELAY_MAX)
        }
    };
    canonical
        && !has_reserved_ending(topic)
        && check_topic(topic).is_ok()
        && check_group("group", group).is_ok()
}

fn bad_name(what: &'static str, name: &str, rule: &'static str) -> Error {
    // Names come from configuration, not from messages: showing the start of one helps, and the
    // error's Display escapes what a terminal would act on.
    let shown: String = name.chars().take(40).collect();
    Error::new(ErrorKind::Invalid, "check name", rule).with(what, format!("{shown:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_topics_are_refused_before_any_io() {
        let long = "x".repeat(121);
        for name in [
            "",
            " ",
            "a b",
            "*",
            "..",
            ".",
            "a\0b",
            "{}",
            "a/b",
            "amq.topic",
            "café",
            "a\n",
            "a:b",
            "a.dead",
            ".dead",
            "x.retry-5ms",
            "a.b.c.dead.d.dead",
            "a.b.retry-05ms",
            "a.b.retry-0ms",
            "a.b.retry-900001ms",
            "a.b.retry-99999999999999999999ms",
            &long,
        ] {
            let error = Topic::new(name).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}");
            assert!(!error.to_string().contains('\0') && !error.to_string().contains('\n'));
        }
        assert!(Topic::new(&"x".repeat(120)).is_ok());
        for name in [
            "...",
            "a",
            "events.free-food",
            "retry-5ms",
            "dead",
            "a.retry-ms",
            "a.retry-xms",
        ] {
            assert!(!Topic::new(name).expect(name).is_derived());
        }
    }

    #[test]
    fn bad_groups_and_members_are_refused() {
        for name in ["", "a.b", "a b", "*", "ä", "a\n", &"x".repeat(81)] {
            assert!(
                Group::new(name).is_err() && Member::new(name).is_err(),
                "{name:?}"
            );
        }
        assert!(Group::new(&"x".repeat(80)).is_ok());
        assert_ne!(Member::unique(), Member::unique());
        assert!(Member::new(Member::unique().as_str()).is_ok());
    }

    #[test]
    fn derived_names_read_back_as_derived_and_fit_every_broker() {
        let topic = Topic::new(&"t".repeat(120)).unwrap();
        let group = Group::new(&"g".repeat(80)).unwrap();
        let lane = topic.retry_lane(&group, LANE_DELAY_MAX).unwrap();
        let dead = topic.dead_letter(&group).unwrap();
        for derived in [&lane, &dead] {
            assert_eq!(&Topic::new(derived.as_str()).unwrap(), derived);
            // RabbitMQ's queue of a derived topic is the longest name of all.
            assert!(derived.as_str().len() + 1 + Group::of_derived().as_str().len() <= 249);
            assert!(derived.dead_letter(&group).is_err());
        }
        assert!(
            topic
                .retry_lane(&group, Duration::from_micros(1500))
                .is_err()
        );
        assert!(topic.retry_lane(&group, Duration::ZERO).is_err());
        assert!(
            topic
                .retry_lane(&group, LANE_DELAY_MAX + Duration::from_millis(1))
                .is_err()
        );
    }
}
