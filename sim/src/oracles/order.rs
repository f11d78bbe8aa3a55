//! S6: messages are read in the order in which they were sent.
//!
//! Would catch: messages shown in the order of their arrival when live frames overtake each other; a
//! retry that goes behind later messages; a `steer` that waits its turn.
//!
//! 1. Of two messages that an agent's process has to be shown, the one with the smaller sequence is
//!    read first, if its frame arrived no later than the other's.
//! 2. So it is if its frame arrived later: the other waits for what is missing below it until that has been missing
//!    for [`GAP_WAIT`], unless it was acked, as what is gone for good is. A row is missing from when a later one
//!    arrives: what comes behind a gap that others have waited for does not wait anew.
//! 3. Only a `steer` may be read before a `wait` that came before it.
//! 4. A row that came where others filled the window, or behind such a one, is missing like one that did not come, once
//!    an inventory has been answered and [`GAP_WAIT`] is over without it: it counts from when it comes again.
//!
//! What was read once may be read again, which is another oracle's question.

use super::facts::Frame;
use relay_core::limits::GAP_WAIT;
use std::collections::{BTreeMap, VecDeque};

/// Arrivals by which it is known since when a row is missing, per identity: older ones are as good as waited for.
const HIGHEST: usize = 1_024;

/// With more bytes than this a window may be full: half of what it holds, for what was read may not be confirmed yet.
const ROOM: usize = 4 << 20;

#[derive(Clone, Copy, Debug)]
struct Arrived {
    /// Counts the arrivals at this life of the broker: since when it is here for sure, and since when it may be.
    number: u64,
    earliest: u64,
    steer: bool,
    /// It came before the answer to its agent's registration. Whether it is taken or left to the replay behind
    /// that is the broker's affair: if it comes again, that counts.
    early: bool,
    size: usize,
    /// There may have been no room for it, or for one below it.
    roomless: bool,
    /// When an inventory was first answered behind it, if there may have been no room: the machine's clock, in µs.
    answered: Option<u64>,
}

impl Arrived {
    /// Whether it counts anew if it comes again at `at`.
    fn is_left_to_a_replay(&self, at: u64) -> bool {
        self.early || self.answered.is_some_and(|answered| at.saturating_sub(answered) >= GAP_WAIT.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Read {
    seq: u64,
    number: u64,
    /// The machine's clock, in µs.
    at: u64,
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
    /// Arrivals of rows that were higher than all before, per identity: sequence, and the machine's clock in µs.
    highest: BTreeMap<String, VecDeque<(u64, u64)>>,
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
        self.note_highest(at, id, seq);
        if !self.arrived.contains_key(id) {
            self.arrived.insert(id.to_owned(), BTreeMap::new());
        }
        let Some(rows) = self.arrived.get_mut(id) else {
            return;
        };
        let first = rows.get(&seq).copied();
        if first.is_some_and(|first| !first.is_left_to_a_replay(at)) {
            return;
        }
        let size = frame.payload_len();
        let full = size + rows.values().map(|row| row.size).sum::<usize>() > ROOM;
        // What comes behind one without room is left to the replay that brings that.
        let roomless = full || rows.range(..seq).any(|(_, row)| row.roomless);
        let number = self.arrivals;
        // There may have been room for it as well, and it is here since then.
        let earliest = first.filter(|first| !first.early).map_or(number, |first| first.earliest);
        rows.insert(seq, Arrived { number, earliest, steer, early: false, size, roomless, answered: None });
    }

    fn note_highest(&mut self, at: u64, id: &str, seq: u64) {
        let highest = match self.highest.get_mut(id) {
            Some(highest) => highest,
            None => self.highest.entry(id.to_owned()).or_default(),
        };
        if highest.back().is_none_or(|(last, _)| *last < seq) {
            highest.push_back((seq, at));
            if highest.len() > HIGHEST {
                highest.pop_front();
            }
        }
    }

    /// Since when a row is missing: the machine's clock, in µs.
    fn missing_since(&self, id: &str, seq: u64) -> u64 {
        let Some(highest) = self.highest.get(id) else {
            return 0;
        };
        let first = highest.partition_point(|(other, _)| *other <= seq);
        // What came before the oldest that is known may have come at any time.
        let known = highest.get(first).filter(|_| first > 0 || highest.len() < HIGHEST);
        known.map_or(0, |(_, at)| *at)
    }

    /// The process of an identity has ended, its rows are numbered anew, or it is registered: nothing that
    /// came before counts. What comes from now on does, for it is meant for the next process.
    pub(super) fn begins_anew(&mut self, id: &str) {
        self.arrived.remove(id);
        self.highest.remove(id);
        self.latest.remove(id);
    }

    /// The registration of an identity is answered.
    pub(super) fn registered(&mut self, id: &str) {
        if let Some(rows) = self.arrived.get_mut(id) {
            rows.values_mut().for_each(|first| first.early = true);
        }
    }

    /// An inventory is answered; `at` is the machine's clock, in µs.
    pub(super) fn answered(&mut self, at: u64) {
        for row in self.arrived.values_mut().flat_map(BTreeMap::values_mut).filter(|row| row.roomless) {
            row.answered.get_or_insert(at);
        }
    }

    /// The process of an identity has read the message of a row for the first time. `at` is the machine's clock,
    /// in µs; `acked` is the greatest sequence that was acked by then.
    pub(super) fn read(&mut self, at: u64, id: &str, seq: u64, acked: u64) -> Result<(), String> {
        let Some(this) = self.arrived.get_mut(id).and_then(|rows| rows.remove(&seq)) else {
            return Ok(());
        };
        let missing_since = self.missing_since(id, seq);
        if !self.latest.contains_key(id) {
            self.latest.insert(id.to_owned(), Latest::default());
        }
        let Some(latest) = self.latest.get_mut(id) else {
            return Ok(());
        };
        // It came first, or was missing, and was not waited for.
        let waited = |other: &Read| other.at.saturating_sub(missing_since) >= GAP_WAIT.0;
        let had_to_wait =
            |other: &Read| other.number >= this.number || !(waited(other) || seq <= other.acked);
        let passed = |other: &Option<Read>| other.filter(|other| other.seq > seq && had_to_wait(other));
        let mut overtaker = passed(&latest.wait);
        if this.steer {
            overtaker = overtaker.or_else(|| passed(&latest.steer));
        }
        let slot = if this.steer { &mut latest.steer } else { &mut latest.wait };
        if slot.is_none_or(|other| other.seq < seq) {
            *slot = Some(Read { seq, number: this.earliest, at, acked });
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

    fn arrived_at(order: &mut Order, at: u64, seq: u64) {
        let text = format!(r#"{{"type":"deliver","agent_id":"7","seq":{seq},"mode":"wait"}}"#);
        order.arrived(at, &Frame::read(&text));
    }

    #[test]
    fn what_came_before_its_agent_was_registered_may_be_left_to_the_replay() {
        for (again, good) in [(true, true), (false, false)] {
            let mut order = Order::default();
            (2..=4).for_each(|seq| arrived_at(&mut order, 0, seq));
            order.registered("7");
            arrived_at(&mut order, 0, 4);
            assert_eq!(order.read(WAITED, "7", 4, 1), Ok(()));
            if again {
                arrived_at(&mut order, 2 * WAITED, 2);
            }
            assert_eq!(order.read(2 * WAITED, "7", 2, 1).is_ok(), good);
        }
    }

    #[test]
    fn what_may_have_found_no_room_is_missing_once_an_answer_has_not_brought_it() {
        // Answered, and when it comes again: only behind both, and only where there may have been no room.
        for (size, answered, again, good) in [
            (ROOM, true, WAITED, true),
            (ROOM, true, SOON, false),
            (ROOM, false, WAITED, false),
            (20, true, WAITED, false),
        ] {
            let mut order = Order::default();
            let text = |seq, size| {
                let payload = "x".repeat(size);
                format!(
                    r#"{{"type":"deliver","agent_id":"7","seq":{seq},"mode":"wait","payload":"{payload}"}}"#
                )
            };
            order.arrived(0, &Frame::read(&text(1, size)));
            order.arrived(0, &Frame::read(&text(2, 20)));
            assert_eq!(order.read(0, "7", 1, 0), Ok(()));
            if answered {
                order.answered(0);
            }
            arrived_at(&mut order, 0, 3);
            assert_eq!(order.read(WAITED, "7", 3, 1), Ok(()));
            order.arrived(again, &Frame::read(&text(2, 20)));
            assert_eq!(order.read(2 * WAITED, "7", 2, 1).is_ok(), good, "{size} {answered} {again}");
        }
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
    fn what_comes_behind_a_gap_waits_for_the_rest_of_its_time() {
        // 2 and 4 are missing; the second gap is younger.
        for (missing, good) in [(2, true), (4, false)] {
            let mut order = Order::default();
            [(0, 1), (0, 3), (SOON, 5)].into_iter().for_each(|(at, seq)| arrived_at(&mut order, at, seq));
            arrived_at(&mut order, WAITED, missing);
            assert_eq!(order.read(0, "7", 1, 0), Ok(()));
            assert_eq!(order.read(WAITED, "7", 5, 1), Ok(()));
            assert_eq!(order.read(WAITED, "7", missing, 1).is_ok(), good, "{missing}");
        }
    }

    #[test]
    fn only_the_newest_arrivals_are_remembered() {
        let mut order = Order::default();
        (1..=2 * HIGHEST as u64).for_each(|seq| arrived_at(&mut order, WAITED, seq + 1));
        assert_eq!(order.highest["7"].len(), HIGHEST);
        assert_eq!((order.missing_since("7", 1), order.missing_since("7", 2_000)), (0, WAITED));
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
