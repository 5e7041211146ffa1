//! Where does a test get numbers that look random and can be had again?

use std::hash::{BuildHasher, RandomState};

/// SplitMix64.
pub(crate) struct Rng(u64);

impl Rng {
    /// The numbers of one case of a run.
    pub(crate) fn new(seed: u64, case: u64) -> Self {
        Self(seed ^ case.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True this many times of a hundred.
    pub(crate) fn percent(&mut self, of_hundred: usize) -> bool {
        self.below(100) < of_hundred
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// The seed of this run: that of `AGREEMENT_SEED`, or a new one.
pub(crate) fn seed() -> u64 {
    match std::env::var("AGREEMENT_SEED") {
        Ok(seed) => seed.parse().expect("AGREEMENT_SEED is a whole number"),
        Err(_) => RandomState::new().hash_one(0),
    }
}
