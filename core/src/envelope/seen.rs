//! Has this top-level key been there before?

use std::borrow::Cow;
use std::collections::HashSet;

/// Top-level keys seen so far. Few keys, the usual case, cost a bit each; many keys do not cost
/// their square.
#[derive(Default)]
pub(super) struct Seen<'a> {
    bits: u64,
    few: Vec<Cow<'a, [u8]>>,
    many: HashSet<Cow<'a, [u8]>>,
}

impl<'a> Seen<'a> {
    const FEW: usize = 32;

    /// Notes a key; false when it was there before.
    pub(super) fn is_new(&mut self, key: Cow<'a, [u8]>) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(key);
        }
        let (first, last) = (
            key.first().copied().unwrap_or(0),
            key.last().copied().unwrap_or(0),
        );
        let hash = key.len() as u64 * 7 + u64::from(first) * 31 + u64::from(last);
        let bit = 1 << (hash % 64);
        if self.bits & bit != 0 && self.few.contains(&key) {
            return false;
        }
        self.bits |= bit;
        if self.few.len() == Self::FEW {
            self.many = self.few.drain(..).collect();
            return self.many.insert(key);
        }
        if self.few.is_empty() {
            self.few.reserve(16);
        }
        self.few.push(key);
        true
    }
}
