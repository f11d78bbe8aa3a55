//! Turns: which row the terminal is handed next.
//!
//! Owns: the two queues, of rows that wait their turn and of rows that steer.
//! Must not know: when a row may be queued, or what becomes of it.
//!
//! 1. Rows that steer go before those that wait.
//! 2. Among the rows of a queue that have a sequence a lower one is not put behind a higher one; what has none stands
//!    where it came. A row that is put back is the first.

use super::row::RowKey;
use crate::wire::Mode;
use alloc::collections::VecDeque;
use core::cmp::Ordering;

#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<RowKey>,
    steering: VecDeque<RowKey>,
}

impl Turns {
    /// Behind what is there, but before later rows that were let past a gap and are not typed yet.
    pub(super) fn enqueue(&mut self, key: RowKey, mode: Mode) {
        let is_beyond = |other: &RowKey, order: Ordering| match (other, key) {
            (RowKey::Sequenced(other), RowKey::Sequenced(seq)) => other.cmp(&seq) == order,
            _ => false,
        };
        let queue = self.queue_of(mode);
        if let RowKey::Loose(_) = key {
            return queue.push_back(key);
        }
        let behind = queue.iter().rposition(|other| is_beyond(other, Ordering::Less)).map_or(0, |at| at + 1);
        let later = queue.iter().skip(behind).position(|other| is_beyond(other, Ordering::Greater));
        let place = later.map_or(queue.len(), |later| behind + later);
        queue.insert(place, key);
    }

    /// A row is the first of its queue again.
    pub(super) fn put_back(&mut self, key: RowKey, mode: Mode) {
        self.queue_of(mode).push_front(key);
    }

    /// Whose turn it is.
    pub(super) fn take(&mut self) -> Option<RowKey> {
        if canary!(SteerWaits) && !self.waiting.is_empty() {
            self.steering.drain(..).rev().for_each(|key| self.waiting.push_back(key));
        }
        self.steering.pop_front().or_else(|| self.waiting.pop_front())
    }

    /// A row gets another name, if it waits for its turn.
    #[cfg(canary)]
    pub(super) fn rename(&mut self, old: RowKey, new: RowKey) {
        let keys = self.waiting.iter_mut().chain(&mut self.steering);
        keys.filter(|key| **key == old).for_each(|key| *key = new);
    }

    /// A row does not wait for its turn any more.
    pub(super) fn remove(&mut self, key: RowKey) {
        self.waiting.retain(|other| *other != key);
        self.steering.retain(|other| *other != key);
    }

    fn queue_of(&mut self, mode: Mode) -> &mut VecDeque<RowKey> {
        match mode {
            Mode::Wait => &mut self.waiting,
            Mode::Steer => &mut self.steering,
        }
    }
}
