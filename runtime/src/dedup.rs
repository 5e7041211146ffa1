//! Which events were handled before, by their ids.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// The ids of the last events that were handled with success, and of those that are being handled.
/// A copy of one that is being handled waits for how that ends.
#[derive(Debug)]
pub(crate) struct Dedup<T> {
    capacity: usize,
    done: HashSet<Arc<str>>,
    /// From the oldest.
    order: VecDeque<Arc<str>>,
    running: HashMap<Arc<str>, Vec<T>>,
}

/// What to do with an event of an id.
#[derive(Debug)]
pub(crate) enum Known<T> {
    /// Handle it, and say how that [ends](Dedup::end).
    No(T),
    /// It was handled: acknowledge it.
    Done(T),
    /// It is being handled, and this one is kept until that has ended.
    Running,
}

impl<T> Dedup<T> {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self {
            capacity: capacity.get(),
            done: HashSet::new(),
            order: VecDeque::new(),
            running: HashMap::new(),
        }
    }

    /// Asks before the handler starts.
    pub(crate) fn begin(&mut self, id: &str, item: T) -> Known<T> {
        if self.done.contains(id) {
            return Known::Done(item);
        }
        if let Some(waiting) = self.running.get_mut(id) {
            waiting.push(item);
            return Known::Running;
        }
        self.running.insert(id.into(), Vec::new());
        Known::No(item)
    }

    /// The handler has ended. Marks the id only if it succeeded, and returns what waited for it.
    pub(crate) fn end(&mut self, id: &str, success: bool) -> Vec<T> {
        let Some((id, waiting)) = self.running.remove_entry(id) else {
            return Vec::new();
        };
        if success && self.done.insert(id.clone()) {
            self.order.push_back(id);
            if self.order.len() > self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.done.remove(&oldest);
            }
        }
        waiting
    }

    /// Takes all that waits.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.running.values_mut().flat_map(std::mem::take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_after_success_only() {
        let mut dedup = Dedup::new(NonZeroUsize::MIN);
        assert!(matches!(dedup.begin("a", 1), Known::No(1)));
        assert!(matches!(dedup.begin("a", 2), Known::Running));
        assert_eq!(dedup.end("a", false), [2]);
        assert!(matches!(dedup.begin("a", 2), Known::No(2)));
        assert_eq!(dedup.end("a", true), [0; 0]);
        assert!(matches!(dedup.begin("a", 3), Known::Done(3)));
    }

    #[test]
    fn forgets_the_oldest() {
        let mut dedup = Dedup::new(NonZeroUsize::MIN);
        for id in ["a", "b"] {
            assert!(matches!(dedup.begin(id, ()), Known::No(())));
            dedup.end(id, true);
        }
        assert!(matches!(dedup.begin("b", ()), Known::Done(())));
        assert!(matches!(dedup.begin("a", ()), Known::No(())));
        assert_eq!((dedup.done.len(), dedup.order.len()), (1, 1));
    }
}
