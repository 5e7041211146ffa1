//! Which delivery is handled next: in order of arrival, one at a time of a key.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

/// What waits for a handler. Of one key only one item is out at a time; what follows it waits
/// behind its key and holds nobody else up. What has no key waits for nobody.
#[derive(Debug)]
pub(crate) struct RunQueue<T> {
    /// What may be handled now.
    ready: VecDeque<Waiting<T>>,
    /// The keys of which an item is ready or out, and what waits behind it.
    keys: HashMap<Bytes, VecDeque<Waiting<T>>>,
    /// How many wait in all.
    len: usize,
    arrivals: u64,
}

/// An item and its place in the order of arrival.
#[derive(Debug)]
struct Waiting<T> {
    arrival: u64,
    key: Option<Bytes>,
    item: T,
}

/// An item that was taken out. Its key stays taken until [`RunQueue::done`].
#[derive(Debug)]
pub(crate) struct Taken<T> {
    pub(crate) key: Option<Bytes>,
    pub(crate) item: T,
}

impl<T> Default for RunQueue<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            keys: HashMap::new(),
            len: 0,
            arrivals: 0,
        }
    }
}

impl<T> RunQueue<T> {
    /// Adds an item behind all of its key.
    pub(crate) fn push(&mut self, key: Option<Bytes>, item: T) {
        self.len += 1;
        self.arrivals += 1;
        let waiting = Waiting {
            arrival: self.arrivals,
            key,
            item,
        };
        if let Some(key) = &waiting.key {
            if let Some(behind) = self.keys.get_mut(key) {
                behind.push_back(waiting);
                return;
            }
            self.keys.insert(key.clone(), VecDeque::new());
        }
        self.ready.push_back(waiting);
    }

    /// Takes the next item that may be handled.
    pub(crate) fn pop(&mut self) -> Option<Taken<T>> {
        let Waiting { key, item, .. } = self.ready.pop_front()?;
        self.len -= 1;
        Some(Taken { key, item })
    }

    /// Puts back what was taken, with its key still taken, to be the next.
    pub(crate) fn put_back(&mut self, taken: Taken<T>) {
        self.len += 1;
        let waiting = Waiting {
            arrival: 0,
            key: taken.key,
            item: taken.item,
        };
        self.ready.push_front(waiting);
    }

    /// The item of this key that was out is done: the next of the key may be handled.
    pub(crate) fn done(&mut self, key: &Bytes) {
        if let Some(behind) = self.keys.get_mut(key) {
            match behind.pop_front() {
                Some(next) => self.ready.push_back(next),
                None => {
                    self.keys.remove(key);
                }
            }
        }
    }

    /// How many items wait, ready or behind their keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether an item may be handled now.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes all that waits, in order of arrival.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let mut all: Vec<_> = self.ready.drain(..).collect();
        all.extend(self.keys.drain().flat_map(|(_, behind)| behind));
        all.sort_unstable_by_key(|waiting| waiting.arrival);
        self.len = 0;
        all.into_iter().map(|waiting| waiting.item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(name.as_bytes()))
    }

    fn items(queue: &mut RunQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop().map(|taken| taken.item)).collect()
    }

    #[test]
    fn one_of_a_key_at_a_time_and_nobody_else_waits() {
        let mut queue = RunQueue::default();
        for (name, item) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
            queue.push(key(name), item);
        }
        queue.push(None, 5);
        queue.push(None, 6);
        assert_eq!(queue.len(), 6);
        assert_eq!(items(&mut queue), [1, 3, 5, 6]);
        queue.done(&Bytes::from("b"));
        assert_eq!(items(&mut queue), [0; 0]);
        queue.done(&Bytes::from("a"));
        assert_eq!(items(&mut queue), [2]);
        queue.done(&Bytes::from("a"));
        queue.push(key("a"), 7);
        assert_eq!(items(&mut queue), [4]);
        queue.done(&Bytes::from("a"));
        assert_eq!(items(&mut queue), [7]);
        queue.done(&Bytes::from("a"));
        assert!(queue.keys.is_empty() && queue.len() == 0);
    }

    #[test]
    fn draining_gives_all_in_order_of_arrival() {
        let mut queue = RunQueue::default();
        for item in 1..=6 {
            queue.push(key(if item % 2 == 0 { "a" } else { "b" }), item);
        }
        assert_eq!(queue.pop().map(|taken| taken.item), Some(1));
        assert_eq!(queue.drain(), [2, 3, 4, 5, 6]);
        assert!(queue.len() == 0 && !queue.has_ready());
    }
}
