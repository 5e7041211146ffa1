//! How a consumer works, with what it does unless told otherwise.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use potluck_core::subscription::MAX_HELD_DEFAULT;
use potluck_core::{Member, Start};

use crate::policy::{OtherMajor, Unhandled};
use crate::retry::RetryPolicy;

const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(16).unwrap();
const MAX_DELIVERIES: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// What [`ConsumerBuilder`](crate::ConsumerBuilder) sets.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) member: Member,
    pub(crate) start: Start,
    pub(crate) lease: Option<Duration>,
    pub(crate) concurrency: NonZeroUsize,
    pub(crate) max_held: NonZeroUsize,
    pub(crate) count: NonZeroUsize,
    pub(crate) block: Duration,
    pub(crate) time_limit: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) strict_order: bool,
    pub(crate) malformed: Unhandled,
    pub(crate) unregistered: Unhandled,
    pub(crate) other_major: OtherMajor,
    pub(crate) max_deliveries: NonZeroU32,
    pub(crate) deduplicate: Option<NonZeroUsize>,
    pub(crate) drain_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            member: Member::unique(),
            start: Start::Earliest,
            lease: None,
            concurrency: CONCURRENCY,
            max_held: MAX_HELD_DEFAULT,
            count: MAX_HELD_DEFAULT,
            block: Duration::from_secs(5),
            time_limit: Duration::from_secs(5 * 60),
            retry: RetryPolicy::default(),
            strict_order: false,
            malformed: Unhandled::DeadLetter,
            unregistered: Unhandled::DeadLetter,
            other_major: OtherMajor::Warn,
            max_deliveries: MAX_DELIVERIES,
            deduplicate: None,
            drain_within: Duration::from_secs(25),
        }
    }
}
