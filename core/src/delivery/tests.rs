//! The window against a naive reference: every rule of `core/PROTOCOL.md` §5 written down as plainly as
//! possible, recomputed from scratch after every step.

use super::{Frame, RowKey, Window};
use crate::limits;
use crate::wire::Mode;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// A frame of the mailbox. `again` tells two messages with the same number apart.
    Row { seq: u64, again: bool, steer: bool, shown: bool },
    /// The message of the second number comes under the first.
    Moved(u64, u64),
    /// An event outside of the sequence.
    FanOut(u8),
    /// The terminal takes the next message.
    Take,
    /// A message at the terminal, by its place among those, is done.
    Settle(usize),
    /// It is given back.
    PutBack(usize),
    /// It is given up; settled by a later step.
    Bury(usize),
    /// Held rows have waited for long enough.
    Release,
    /// The engine is about to replay.
    Round,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (1..14_u64, prop::bool::weighted(0.05), prop::bool::weighted(0.2), prop::bool::weighted(0.8))
        .prop_map(|(seq, again, steer, shown)| Step::Row { seq, again, steer, shown });
    let step = prop_oneof![
        10 => row,
        1 => (1..14_u64, 1..14_u64).prop_map(|(seq, other)| Step::Moved(seq, other)),
        1 => (0..4_u8).prop_map(Step::FanOut),
        6 => Just(Step::Take),
        6 => (0..4_usize).prop_map(Step::Settle),
        1 => (0..4_usize).prop_map(Step::PutBack),
        1 => (0..4_usize).prop_map(Step::Bury),
        2 => Just(Step::Release),
        3 => Just(Step::Round),
    ];
    prop::collection::vec(step, 0..90)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Held,
    Waiting,
    Settled,
}

#[derive(Clone, Debug)]
struct Known {
    id: String,
    steer: bool,
    shown: bool,
    state: State,
    first_round: u64,
    /// It came under another number before.
    moved: bool,
}

#[derive(Debug, Default)]
struct Model {
    given: bool,
    /// `None` while the base is provisional.
    cursor: Option<u64>,
    rows: BTreeMap<u64, Known>,
    /// In which rounds each message came again.
    repeats: BTreeMap<(u64, String), BTreeSet<u64>>,
    holes: BTreeSet<u64>,
    seen: BTreeSet<String>,
    fan_outs: BTreeSet<String>,
    /// Messages under a number that another one has, too, or that came under another number before.
    sharing: BTreeSet<(String, u64)>,
    /// In which round they came first.
    seconds: BTreeMap<(u64, String), u64>,
    steering: VecDeque<String>,
    waiting: VecDeque<String>,
    /// Messages that are not settled.
    open: BTreeSet<String>,
    round: u64,
}

impl Model {
    fn row(&mut self, seq: u64, id: String, steer: bool, shown: bool) {
        if self.cursor.is_some_and(|cursor| seq <= cursor) {
            let ours = !self.given || self.holes.contains(&seq);
            if ours {
                self.loose(id, steer, shown);
            }
        } else if let Some(known) = self.rows.get(&seq).cloned() {
            if known.id != id {
                let first_round = *self.seconds.entry((seq, id.clone())).or_insert(self.round);
                self.repeat(seq, &id, first_round);
                self.share(&id, seq);
                self.loose(id, steer, shown);
            } else {
                self.repeat(seq, &id, known.first_round);
            }
        } else {
            self.share(&id, seq);
            let moved = !self.seen.insert(id.clone());
            if !moved {
                self.open.insert(id.clone());
            }
            let (state, first_round, shown) = (State::Held, self.round, shown && !moved);
            self.rows.insert(seq, Known { id, steer, shown, state, first_round, moved });
            if self.cursor.is_none() && seq == 1 {
                self.cursor = Some(0);
            }
        }
        self.progress();
    }

    /// The cursor does not pass `seq` before this message is read, if it is to be.
    fn share(&mut self, id: &String, seq: u64) {
        if !self.rows.values().any(|row| row.id == *id && !row.shown && !row.moved) {
            self.sharing.insert((id.clone(), seq));
        }
    }

    /// A message under `seq` came, first in `first_round`.
    fn repeat(&mut self, seq: u64, id: &str, first_round: u64) {
        if first_round < self.round {
            self.repeats.entry((seq, String::from(id))).or_default().insert(self.round);
        }
    }

    /// Whether one and the same message above `seq` came again often enough.
    fn is_gone(&self, seq: u64) -> bool {
        let mut above = self.repeats.range((seq + 1, String::new())..);
        above.any(|(_, rounds)| rounds.len() >= usize::from(limits::HOLE_PROOFS))
    }

    /// A message outside of the order, once.
    fn loose(&mut self, id: String, steer: bool, shown: bool) {
        if self.seen.insert(id.clone()) && shown {
            self.open.insert(id.clone());
            self.enqueue(id, steer);
        }
    }

    fn fan_out(&mut self, id: String) {
        if self.fan_outs.insert(id.clone()) {
            self.open.insert(id.clone());
            self.enqueue(id, false);
        }
    }

    /// Behind all but the later rows that have no lower one behind them.
    fn enqueue(&mut self, id: String, steer: bool) {
        let is_it = |row: &Known, id: &String| row.id == *id && row.shown;
        let seq_of = |id: &String| self.rows.iter().find(|(_, row)| is_it(row, id)).map(|(seq, _)| *seq);
        let queue = if steer { &self.steering } else { &self.waiting };
        let mut place = queue.len();
        if let Some(seq) = seq_of(&id) {
            for (at, other) in queue.iter().enumerate().rev() {
                match seq_of(other) {
                    Some(other) if other < seq => break,
                    Some(_) => place = at,
                    None => {}
                }
            }
        }
        let queue = if steer { &mut self.steering } else { &mut self.waiting };
        queue.insert(place, id);
    }

    fn open_rows(&self) -> usize {
        let held = self.rows.values().filter(|row| row.moved && row.state == State::Held);
        self.open.len() + held.count()
    }

    fn missing(&self) -> Vec<u64> {
        let highest = self.rows.keys().next_back().copied().unwrap_or(0);
        let Some(cursor) = self.cursor else {
            return Vec::new();
        };
        (cursor + 1..highest).filter(|seq| !self.rows.contains_key(seq)).collect()
    }

    fn release(&mut self) {
        if self.cursor.is_none() {
            self.cursor = self.rows.keys().next().map(|lowest| lowest - 1);
        } else {
            let held: Vec<u64> = self.rows.keys().copied().collect();
            for seq in held {
                self.queue(seq);
            }
        }
        self.progress();
    }

    fn queue(&mut self, seq: u64) {
        let Some(row) = self.rows.get_mut(&seq).filter(|row| row.state == State::Held) else {
            return;
        };
        row.state = if row.shown { State::Waiting } else { State::Settled };
        let (id, steer, shown, moved) = (row.id.clone(), row.steer, row.shown, row.moved);
        if shown {
            self.enqueue(id, steer);
        } else if !moved {
            self.open.remove(&id);
        }
    }

    fn settle(&mut self, id: &str) {
        self.open.remove(id);
        for row in self.rows.values_mut().filter(|row| row.id == id && row.shown) {
            row.state = State::Settled;
        }
        self.progress();
    }

    /// Queues what follows without a gap and moves the cursor, until nothing changes any more.
    fn progress(&mut self) {
        let Some(mut cursor) = self.cursor else { return };
        loop {
            let before = (cursor, self.steering.len() + self.waiting.len(), self.open.len());
            for seq in self.rows.keys().copied().collect::<Vec<_>>() {
                let below = self.rows.get(&(seq.wrapping_sub(1)));
                let in_order = below.is_some_and(|row| row.state != State::Held);
                let mut above = self.rows.range(seq.saturating_add(1)..);
                let is_overtaken = above.any(|(_, row)| row.state != State::Held);
                if seq == cursor + 1 || in_order || is_overtaken {
                    self.queue(seq);
                }
            }
            let next = cursor + 1;
            let shared = self.sharing.iter().any(|(id, seq)| *seq == next && self.open.contains(id));
            match self.rows.get(&next) {
                Some(row) if row.state == State::Settled && !shared => {
                    self.rows.remove(&next);
                    cursor = next;
                }
                None if self.is_gone(next) && self.rows.range(next..).next().is_some() => {
                    self.holes.insert(next);
                    cursor = next;
                }
                _ => {}
            }
            if before == (cursor, self.steering.len() + self.waiting.len(), self.open.len()) {
                break;
            }
        }
        self.cursor = Some(cursor);
    }
}

fn frame(id: &str, steer: bool, shown: bool) -> Frame {
    let mode = if steer { Mode::Steer } else { Mode::Wait };
    Frame { mode, shown, ..super::bounds_tests::frame(id, 2) }
}

/// What is at the terminal.
#[derive(Debug)]
struct AtTerminal {
    key: RowKey,
    id: String,
    steer: bool,
    buried: bool,
}

fn run(given: Option<u64>, steps: &[Step]) {
    let mut window = Window::new(given);
    let mut model = Model { given: given.is_some(), cursor: given, ..Model::default() };
    let mut terminal: Vec<AtTerminal> = Vec::new();
    let mut taken_once: BTreeSet<String> = BTreeSet::new();
    let mut given_back: BTreeSet<String> = BTreeSet::new();
    for step in steps {
        let cursor = window.cursor();
        match *step {
            Step::Row { seq, again, steer, shown } => {
                let id = format!("d{seq}{}", if again { "x" } else { "" });
                let round = model.round;
                window.accept(seq, frame(&id, steer, shown), round);
                model.row(seq, id, steer, shown);
            }
            Step::Moved(seq, other) => {
                let id = format!("d{other}");
                window.accept(seq, frame(&id, false, true), model.round);
                model.row(seq, id, false, true);
            }
            Step::FanOut(number) => {
                let id = format!("e{number}");
                window.accept_fan_out(frame(&id, false, true), model.round);
                model.fan_out(id);
            }
            Step::Take => {
                let expected = model.steering.pop_front().or_else(|| model.waiting.pop_front());
                let taken = window.take_next().map(|(key, frame)| {
                    let steer = frame.mode == Mode::Steer;
                    AtTerminal { key, id: frame.delivery_id.0.clone(), steer, buried: false }
                });
                assert_eq!(taken.as_ref().map(|taken| &taken.id), expected.as_ref(), "order of {step:?}");
                if let Some(taken) = taken {
                    let again = !taken_once.insert(taken.id.clone());
                    assert!(!again || given_back.remove(&taken.id), "{} is handed out twice", taken.id);
                    terminal.push(taken);
                }
            }
            Step::Settle(place) if place < terminal.len() => {
                let done = terminal.remove(place);
                window.settle(done.key);
                model.settle(&done.id);
            }
            Step::PutBack(place) if terminal.get(place).is_some_and(|row| !row.buried) => {
                let row = terminal.remove(place);
                assert!(window.put_back(row.key) >= 1);
                given_back.insert(row.id.clone());
                let queue = if row.steer { &mut model.steering } else { &mut model.waiting };
                queue.push_front(row.id);
            }
            Step::Bury(place) if place < terminal.len() => {
                terminal[place].buried = true;
                window.bury(terminal[place].key);
            }
            Step::Release => {
                window.release_held(|_| true);
                model.release();
            }
            Step::Round => model.round += 1,
            Step::Settle(_) | Step::PutBack(_) | Step::Bury(_) => {}
        }
        assert!(window.cursor() >= cursor, "the cursor went back at {step:?}");
        assert_eq!(window.cursor(), model.cursor, "cursor after {step:?}");
        assert_eq!(window.open(), model.open_rows(), "open rows after {step:?}");
        let held = model.rows.values().any(|row| row.state == State::Held);
        assert_eq!(window.holds(), held, "held rows after {step:?}");
        assert_eq!(window.wants_replay(), !model.missing().is_empty(), "gaps after {step:?}");
        let unsettled =
            |id: &&String| model.rows.values().any(|row| &row.id == *id && row.state != State::Settled);
        let lowest = model.rows.iter().find(|(_, row)| unsettled(&&row.id)).map(|(seq, _)| *seq);
        assert!(lowest.is_none_or(|lowest| window.cursor() < Some(lowest)), "acked past an open row");
    }
    if model.open_rows() == 0 {
        assert_eq!(window.bytes(), 0, "settled rows keep no payload");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn the_window_does_what_the_naive_model_does(given in prop::option::of(0..5_u64), steps in steps()) {
        run(given, &steps);
    }
}
