//! Remembered delivery ids.
//!
//! Owns: the last delivery ids of one identity that were taken in.
//! Must not know: what a delivery is.
//!
//! 1. At most the given number of ids; the oldest goes first.
//! 2. An id takes 16 bytes whatever its length: 64 bits of its SHA-256, twice.

use alloc::collections::{BTreeSet, VecDeque};
use sha2::{Digest as _, Sha256};

#[derive(Debug)]
pub(super) struct Remembered {
    capacity: usize,
    order: VecDeque<u64>,
    known: BTreeSet<u64>,
}

impl Remembered {
    pub(super) const fn new(capacity: usize) -> Self {
        Self { capacity, order: VecDeque::new(), known: BTreeSet::new() }
    }

    /// Adds `id`; false if it was there already.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        let print = fingerprint(id);
        if !self.known.insert(print) {
            return false;
        }
        self.order.push_back(print);
        if self.order.len() > self.capacity
            && !canary!(UnboundedMemory)
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Takes `id` out again, as if it had never been added.
    pub(super) fn forget(&mut self, id: &str) {
        let print = fingerprint(id);
        if self.known.remove(&print) {
            self.order.retain(|other| *other != print);
        }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.known.contains(&fingerprint(id))
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

pub(super) fn fingerprint(id: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_id_is_forgotten_first() {
        let mut ids = Remembered::new(3);
        assert!(ids.insert("a"));
        assert!(!ids.insert("a"));
        for n in 0..3 {
            ids.insert(&format!("b{n}"));
        }
        assert_eq!(ids.len(), 3);
        assert!(!ids.contains("a") && ids.contains("b0") && ids.contains("b2"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..<_>::default() })]

        #[test]
        fn the_last_ids_that_were_added_and_not_taken_out_are_known(
            steps in prop::collection::vec((prop::bool::weighted(0.8), 0..8_u8), 0..60),
        ) {
            let (mut ids, mut last) = (Remembered::new(4), Vec::new());
            for (adds, number) in steps {
                let id = format!("d{number}");
                let was_known = last.contains(&id);
                if adds {
                    assert_eq!(ids.insert(&id), !was_known);
                } else {
                    ids.forget(&id);
                }
                if adds != was_known {
                    last.retain(|other| *other != id);
                    last.extend(adds.then_some(id));
                    last.drain(..last.len().saturating_sub(4));
                }
                let known: Vec<_> = (0..8).map(|n| format!("d{n}")).filter(|id| ids.contains(id)).collect();
                let mut expected = last.clone();
                expected.sort();
                assert_eq!((known, ids.len()), (expected, last.len()));
            }
        }
    }
}
