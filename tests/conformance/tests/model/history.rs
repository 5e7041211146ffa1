//! What may happen to members of a few groups?

use proptest::prelude::*;

/// How many groups there are. The last one begins with its first member, at new.
pub(crate) const GROUPS: usize = 3;
/// How many places for members there are, two in each group.
pub(crate) const PLACES: usize = 6;

/// One step of a history. A place that has no member does nothing but `Join`.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Publishes so many messages.
    Publish(usize),
    /// A member joins, over a connection of its own.
    Join(usize),
    /// Receives up to so many.
    Receive(usize, usize),
    /// Settles some of what the place was given lately, counted modulo how much that is.
    Ack(usize, Vec<u8>),
    Release(usize, Vec<u8>),
    Extend(usize, Vec<u8>),
    /// The member leaves in order.
    Close(usize),
    /// Its whole connection is closed.
    CloseConnection(usize),
    /// It vanishes without a word.
    Abort(usize),
    /// So many tenths of a lease pass.
    Pass(u32),
}

pub(crate) fn histories() -> impl Strategy<Value = Vec<Step>> {
    let place = || 0..PLACES;
    let picks = || prop::collection::vec(any::<u8>(), 1..5);
    let step = prop_oneof![
        4 => (1..5_usize).prop_map(Step::Publish),
        3 => place().prop_map(Step::Join),
        9 => (place(), 1..6_usize).prop_map(|(who, max)| Step::Receive(who, max)),
        5 => (place(), picks()).prop_map(|(who, which)| Step::Ack(who, which)),
        3 => (place(), picks()).prop_map(|(who, which)| Step::Release(who, which)),
        2 => (place(), picks()).prop_map(|(who, which)| Step::Extend(who, which)),
        1 => place().prop_map(Step::Close),
        1 => place().prop_map(Step::CloseConnection),
        1 => place().prop_map(Step::Abort),
        2 => (1..8_u32).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..80)
}
