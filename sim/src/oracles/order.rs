//! S6: messages are read in the order in which they were sent.
//!
//! Would catch: messages shown in the order of their arrival when live frames overtake each other; a
//! retry that goes behind later messages; a `steer` that waits its turn.
//!
//! 1. Of two messages that an agent's process has to be shown, the one with the smaller sequence is
//!    read first, if its frame arrived no later than the other's.
//! 2. So it is if its frame arrived later: the other waits for what is missing below it for [`GAP_WAIT`],
//!    unless that was acked, as what is gone for good is.
//! 3. Only a `steer` may be read before a `wait` that came before it.
//!
//! What was read once may be read again, which is another oracle's question.

use super::facts::Frame;
use relay_core::limits::GAP_WAIT;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Arrived {
    /// Counts the arrivals at this life of the broker.
    number: u64,
    /// The machine's clock, in µs.
    at: u64,
    steer: bool,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    seq: u64,
    number: u64,
    /// It has waited for what was missing below it.
    waited: bool,
    /// The broker, or the engine, had acked so much by then.
    acked: u64,
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
    /// A frame reaches the broker; `at` is the machine's clock, in µs.
    pub(super) fn arrived(&mut self, at: u64, frame: &Frame<'_>) {
        let (Some(id), Some(seq @ 1..)) = (frame.agent_id.as_deref(), frame.seq) else {
            return;
        };
        self.arrivals += 1;
        let steer = frame.mode.is("steer");
        let arrived = Arrived { number: self.arrivals, at, steer };
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

    /// The process of an identity has read the message of a row for the first time. `at` is the machine's clock,
    /// in µs; `acked` is the greatest sequence that was acked by then.
    pub(super) fn read(&mut self, at: u64, id: &str, seq: u64, acked: u64) -> Result<(), String> {
        let Some(this) = self.arrived.get_mut(id).and_then(|rows| rows.remove(&seq)) else {
            return Ok(());
        };
        if !self.latest.contains_key(id) {
            self.latest.insert(id.to_owned(), Latest::default());
        }
        let Some(latest) = self.latest.get_mut(id) else {
            return Ok(());
        };
        // It came first, or was missing, and was not waited for.
        let had_to_wait = |other: &Read| other.number >= this.number || !(other.waited || seq <= other.acked);
        let passed = |other: &Option<Read>| other.filter(|other| other.seq > seq && had_to_wait(other));
        let mut overtaker = passed(&latest.wait);
        if this.steer {
            overtaker = overtaker.or_else(|| passed(&latest.steer));
        }
        let slot = if this.steer { &mut latest.steer } else { &mut latest.wait };
        if slot.is_none_or(|other| other.seq < seq) {
            let waited = at.saturating_sub(this.at) >= GAP_WAIT.0;
            *slot = Some(Read { seq, number: this.number, waited, acked });
        }
        match overtaker {
            Some(other) if other.number >= this.number => Err(format!(
                "row {seq} was read after row {}, which is later and had not arrived before it",
                other.seq
            )),
            Some(other) => Err(format!(
                "row {seq} was read after row {}, which is later and did not wait for what was missing",
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

    /// In µs: enough, and not enough.
    const WAITED: u64 = GAP_WAIT.0;
    const SOON: u64 = GAP_WAIT.0 - 1;

    fn arrived(order: &mut Order, seq: u64, mode: &str) {
        let text = format!(r#"{{"type":"deliver","agent_id":"7","seq":{seq},"mode":"{mode}"}}"#);
        order.arrived(0, &Frame::read(&text));
    }

    #[test]
    fn what_arrived_in_order_is_read_in_order() {
        let mut order = Order::default();
        (1..=3).for_each(|seq| arrived(&mut order, seq, "wait"));
        assert_eq!(order.read(SOON, "7", 1, 0), Ok(()));
        assert_eq!(order.read(SOON, "7", 3, 0), Ok(()));
        assert!(order.read(SOON, "7", 2, 0).is_err());
        order.begins_anew("7");
        assert_eq!(order.read(SOON, "7", 2, 0), Ok(()), "it did not come for this process");
    }

    #[test]
    fn what_fills_a_gap_late_is_read_late() {
        let mut order = Order::default();
        [1, 3, 2].into_iter().for_each(|seq| arrived(&mut order, seq, "wait"));
        for seq in [1, 3, 2] {
            assert_eq!(order.read(WAITED, "7", seq, 1), Ok(()));
        }
    }

    #[test]
    fn what_is_missing_is_waited_for_unless_it_was_acked() {
        for (at, acked, good) in [(SOON, 1, false), (WAITED, 1, true), (SOON, 2, true)] {
            let mut order = Order::default();
            [1, 3, 2].into_iter().for_each(|seq| arrived(&mut order, seq, "wait"));
            assert_eq!(order.read(SOON, "7", 1, 0), Ok(()));
            assert_eq!(order.read(at, "7", 3, acked), Ok(()), "nobody knows yet that it was too soon");
            assert_eq!(order.read(at, "7", 2, acked).is_ok(), good, "{at} {acked}");
        }
    }

    #[test]
    fn a_steer_overtakes_waits_and_nothing_overtakes_it() {
        let mut order = Order::default();
        for (seq, mode) in [(1, "wait"), (2, "steer"), (3, "wait"), (4, "steer")] {
            arrived(&mut order, seq, mode);
        }
        assert_eq!(order.read(SOON, "7", 4, 0), Ok(()));
        assert_eq!(order.read(SOON, "7", 1, 0), Ok(()));
        assert!(order.read(SOON, "7", 2, 0).is_err());
        let mut order = Order::default();
        [(1, "steer"), (2, "wait")].into_iter().for_each(|(seq, mode)| arrived(&mut order, seq, mode));
        assert_eq!(order.read(SOON, "7", 2, 0), Ok(()));
        assert!(order.read(SOON, "7", 1, 0).is_err());
    }
}
