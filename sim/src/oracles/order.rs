//! S6: messages are read in the order in which they were sent.
//!
//! Would catch: messages shown in the order of their arrival when live frames overtake each other; a
//! retry that goes behind later messages; a `steer` that waits its turn.
//!
//! 1. Of two messages that an agent's process has to be shown, the one with the smaller sequence is
//!    read first, if its frame arrived no later than the other's.
//! 2. Only a `steer` may be read before a `wait` that came before it.
//!
//! A frame that arrives behind a gap may be shown before what fills the gap, which arrives later; what
//! was read once may be read again, which is another oracle's question.

use super::facts::Frame;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Arrived {
    /// Counts the arrivals at this life of the broker.
    number: u64,
    steer: bool,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    seq: u64,
    number: u64,
}

/// What one process has read last, by sequence.
#[derive(Debug, Default)]
struct Latest {
    wait: Option<Read>,
    steer: Option<Read>,
}

#[derive(Debug, Default)]
pub(super) struct Order {
    arrivals: u64,
    /// First arrivals at this life of frames that nobody has read, per identity and sequence.
    arrived: BTreeMap<String, BTreeMap<u64, Arrived>>,
    latest: BTreeMap<String, Latest>,
}

impl Order {
    /// A frame reaches the broker.
    pub(super) fn arrived(&mut self, frame: &Frame<'_>) {
        let (Some(id), Some(seq @ 1..)) = (frame.agent_id.as_deref(), frame.seq) else {
            return;
        };
        self.arrivals += 1;
        let steer = frame.mode.is("steer");
        let arrived = Arrived { number: self.arrivals, steer };
        if let Some(rows) = self.arrived.get_mut(id) {
            rows.entry(seq).or_insert(arrived);
        } else {
            self.arrived.insert(id.to_owned(), BTreeMap::from([(seq, arrived)]));
        }
    }

    /// The process of an identity has ended, its rows are numbered anew, or it is registered: nothing that
    /// came before counts. What comes from now on does, for it is meant for the next process.
    pub(super) fn begins_anew(&mut self, id: &str) {
        self.arrived.remove(id);
        self.latest.remove(id);
    }

    /// The process of an identity has read the message of a row for the first time.
    pub(super) fn read(&mut self, id: &str, seq: u64) -> Result<(), String> {
        let Some(this) = self.arrived.get_mut(id).and_then(|rows| rows.remove(&seq)) else {
            return Ok(());
        };
        if !self.latest.contains_key(id) {
            self.latest.insert(id.to_owned(), Latest::default());
        }
        let Some(latest) = self.latest.get_mut(id) else {
            return Ok(());
        };
        let passed =
            |other: &Option<Read>| other.filter(|other| other.seq > seq && other.number >= this.number);
        let mut overtaker = passed(&latest.wait);
        if this.steer {
            overtaker = overtaker.or_else(|| passed(&latest.steer));
        }
        let slot = if this.steer { &mut latest.steer } else { &mut latest.wait };
        if slot.is_none_or(|other| other.seq < seq) {
            *slot = Some(Read { seq, number: this.number });
        }
        match overtaker {
            Some(other) => Err(format!(
                "row {seq} was read after row {}, which is later and had not arrived before it",
                other.seq
            )),
            None => Ok(()),
        }
    }

    /// The broker is gone with all that had arrived.
    pub(super) fn died(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(order: &mut Order, seq: u64, mode: &str) {
        let text = format!(r#"{{"type":"deliver","agent_id":"7","seq":{seq},"mode":"{mode}"}}"#);
        order.arrived(&Frame::read(&text));
    }

    #[test]
    fn what_arrived_in_order_is_read_in_order() {
        let mut order = Order::default();
        (1..=3).for_each(|seq| arrived(&mut order, seq, "wait"));
        assert_eq!(order.read("7", 1), Ok(()));
        assert_eq!(order.read("7", 3), Ok(()));
        assert!(order.read("7", 2).is_err());
        order.begins_anew("7");
        assert_eq!(order.read("7", 2), Ok(()), "it did not come for this process");
    }

    #[test]
    fn what_fills_a_gap_late_is_read_late() {
        let mut order = Order::default();
        [1, 3, 2].into_iter().for_each(|seq| arrived(&mut order, seq, "wait"));
        for seq in [1, 3, 2] {
            assert_eq!(order.read("7", seq), Ok(()));
        }
    }

    #[test]
    fn a_steer_overtakes_waits_and_nothing_overtakes_it() {
        let mut order = Order::default();
        for (seq, mode) in [(1, "wait"), (2, "steer"), (3, "wait"), (4, "steer")] {
            arrived(&mut order, seq, mode);
        }
        assert_eq!(order.read("7", 4), Ok(()));
        assert_eq!(order.read("7", 1), Ok(()));
        assert!(order.read("7", 2).is_err());
        let mut order = Order::default();
        [(1, "steer"), (2, "wait")].into_iter().for_each(|(seq, mode)| arrived(&mut order, seq, mode));
        assert_eq!(order.read("7", 2), Ok(()));
        assert!(order.read("7", 1).is_err());
    }
}
