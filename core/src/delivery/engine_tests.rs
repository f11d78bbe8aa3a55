//! The window against a small engine, which keeps what is not acked and sends it again, with little room left: what
//! must hold however the window brings it about.
//!
//! 1. A number is acked only when its message is settled, or when the engine has given it up and
//!    [`limits::HOLE_PROOFS`] replays repeated a higher one without it. Where it has more than one message, that is
//!    true of all of them that have come.
//! 2. A message is handed out once, unless it was given back, or its agent left before it was settled, or before
//!    the window that goes on had begun.
//! 3. What comes, or comes again, is taken if there is room; a row only if none below it was refused that the engine
//!    still has, or that a replay passed over. What was refused is asked for until a whole replay has not brought
//!    it, and in the end all is taken and acked, and nothing is asked for.
//! 4. A row is handed out behind all lower ones that have come, and behind those that are missing unless it was let
//!    past a gap.

use super::bounds_tests::frame;
use super::{Frame, RowKey, Taken, Window};
use crate::limits;
use crate::time::{Mono, Now};
use crate::wire::Mode;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

/// The bytes that one large event leaves free.
const ROOM: usize = 60;
/// So many replays bring everything in the end: one that passes over what was refused and is gone, one that
/// brings what was refused behind it, and the proofs of what is missing.
const CALM: usize = 2 + limits::HOLE_PROOFS as usize;
/// The event whose id recurs, and the one that is not shown.
const RECURRING: u8 = 0;
const UNSEEN: u8 = 1;

#[derive(Clone, Copy, Debug)]
struct Message {
    bytes: usize,
    steer: bool,
    shown: bool,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Comes,
    /// A later step brings it, at the latest the next replay.
    UnderWay,
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody writes to the agent.
    Send(Message, Fate),
    /// Somebody does, and the engine gives the message the number of an open one, by the place of that.
    SendAgain(usize, Message, Fate),
    /// A message that is under way comes, by its place among those.
    Arrive(usize),
    /// The engine gives an open message up.
    GiveUp(usize),
    /// A message at or below the cursor comes, once more or after all.
    Stray(usize),
    /// An event outside of the sequence.
    Event(u8),
    /// One that leaves hardly any room.
    LargeEvent,
    /// The engine sends again what is open; if told so only so much, after which the link breaks and it begins anew.
    /// Behind every so many another snapshot is answered.
    Replay(Option<usize>, Option<usize>),
    /// Acks arrive.
    Ack,
    /// Held rows have waited long enough.
    Release,
    /// The terminal takes the next message.
    Take,
    /// A message at the terminal, by its place among those, is done.
    Settle(usize),
    /// It is given back.
    PutBack(usize),
    /// The agent leaves, and comes back on the same link.
    Leave,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![4 => Just(Fate::Comes), 2 => Just(Fate::UnderWay), 2 => Just(Fate::Lost)];
    let message = (1..ROOM / 2, prop::bool::weighted(0.1), prop::bool::weighted(0.9))
        .prop_map(|(bytes, steer, shown)| Message { bytes, steer, shown });
    let step = prop_oneof![
        12 => (message.clone(), fate.clone()).prop_map(|(message, fate)| Step::Send(message, fate)),
        2 => (0..6_usize, message, fate).prop_map(|(place, message, fate)| Step::SendAgain(place, message, fate)),
        3 => (0..4_usize).prop_map(Step::Arrive),
        2 => (0..6_usize).prop_map(Step::GiveUp),
        1 => any::<usize>().prop_map(Step::Stray),
        2 => (0..4_u8).prop_map(Step::Event),
        1 => Just(Step::LargeEvent),
        4 => (prop::option::weighted(0.2, 0..4_usize), prop::option::weighted(0.3, 1..6_usize))
            .prop_map(|(cut, answered)| Step::Replay(cut, answered)),
        1 => Just(Step::Ack),
        2 => Just(Step::Release),
        6 => Just(Step::Take),
        5 => (0..4_usize).prop_map(Step::Settle),
        1 => (0..4_usize).prop_map(Step::PutBack),
        1 => Just(Step::Leave),
    ];
    prop::collection::vec(step, 0..80)
}

/// Its number, and the how manieth message it is under that.
type Key = (u64, u8);

/// What the engine keeps of one agent.
#[derive(Debug, Default)]
struct Engine {
    states_cursors: bool,
    sent: BTreeMap<Key, Message>,
    open: BTreeSet<Key>,
    acked: u64,
    under_way: Vec<Key>,
}

/// A row that the window took.
#[derive(Clone, Copy, Debug)]
struct Here {
    round: u64,
    /// When it came, by the steps before.
    at: usize,
    let_past: Option<usize>,
    /// It came under the number of another one that was here.
    is_second: bool,
}

/// What is known of this life of the agent.
#[derive(Debug, Default)]
struct Life {
    here: BTreeMap<Key, Here>,
    refused: BTreeSet<Key>,
    /// Those of them that have not been passed over, and the round and the replay in which they were refused.
    in_the_way: BTreeMap<Key, (u64, Option<usize>)>,
    /// The last round and replay in which a row came, whatever became of it.
    came_in: BTreeMap<Key, (u64, Option<usize>)>,
    /// Which replays brought a higher row without anything under this number.
    absent: BTreeMap<u64, BTreeSet<usize>>,
    /// The rows that were handed out, whether they steer, and when that was.
    handed_rows: Vec<(u64, bool, usize)>,
    terminal: Vec<(RowKey, String, bool)>,
}

#[derive(Debug)]
struct World {
    engine: Engine,
    window: Window,
    life: Life,
    round: u64,
    /// The replay that is under way, by the steps before; one that begins anew is another.
    replay: Option<usize>,
    at: usize,
    large_events: usize,
    /// The engine stated where this window began.
    given: bool,
    settled: BTreeSet<Key>,
    holes: BTreeSet<u64>,
    /// Ids of what was taken.
    known: BTreeSet<String>,
    handed: BTreeSet<String>,
    given_back: BTreeSet<String>,
    /// The engine gave up a row above a gap: nothing repeats it, to prove what is missing below it gone.
    unproven: bool,
}

fn id_of((seq, again): Key) -> String {
    format!("d{seq}x{again}")
}

fn key_of(id: &str) -> Option<Key> {
    let (seq, again) = id.strip_prefix('d')?.split_once('x')?;
    Some((seq.parse().unwrap(), again.parse().unwrap()))
}

impl World {
    fn new(states_cursors: bool) -> Self {
        Self {
            engine: Engine { states_cursors, ..Engine::default() },
            window: Window::new(states_cursors.then_some(0)),
            life: Life::default(),
            round: 0,
            replay: None,
            at: 0,
            large_events: 0,
            given: states_cursors,
            unproven: false,
            settled: BTreeSet::new(),
            holes: BTreeSet::new(),
            known: BTreeSet::new(),
            handed: BTreeSet::new(),
            given_back: BTreeSet::new(),
        }
    }

    /// A minute passes between two steps.
    fn now(&self) -> Now {
        Now { mono: Mono(self.at as u64 * 60_000_000), ..Now::default() }
    }

    fn held_bytes(&self) -> usize {
        self.window.pending().map(|(frame, _)| frame.payload.len()).sum()
    }

    /// Whether there is room, in so many times the usual room.
    fn fits(&self, bytes: usize, times: usize) -> bool {
        let held = self.held_bytes();
        held == 0 || held + bytes <= times * limits::WINDOW_BYTES
    }

    /// Whether anything that came under `seq` is here.
    fn is_here(&self, seq: u64) -> bool {
        self.life.here.range((seq, 0)..=(seq, u8::MAX)).next().is_some()
    }

    /// The messages under `seq`.
    fn under(&self, seq: u64) -> Vec<Key> {
        self.engine.sent.range((seq, 0)..=(seq, u8::MAX)).map(|(key, _)| *key).collect()
    }

    /// The numbers above the cursor and below `seq` under which nothing is here.
    fn missing_below(&self, seq: u64) -> Vec<u64> {
        let cursor = self.window.cursor().unwrap_or(0);
        (cursor + 1..seq).filter(|seq| !self.is_here(*seq)).collect()
    }

    fn send(&mut self, key: Key, message: Message, fate: Fate) {
        self.engine.sent.insert(key, message);
        self.engine.open.insert(key);
        match fate {
            Fate::Comes => self.deliver(key),
            Fate::UnderWay => self.engine.under_way.push(key),
            Fate::Lost => {}
        }
    }

    /// The frame of a message comes.
    fn deliver(&mut self, key: Key) {
        let (seq, id, message) = (key.0, id_of(key), self.engine.sent[&key]);
        let mode = if message.steer { Mode::Steer } else { Mode::Wait };
        let row = Frame { mode, shown: message.shown, at: self.now(), ..frame(&id, message.bytes) };
        let before = self.window.cursor();
        if before >= Some(seq) {
            return self.deliver_below(key, row);
        }
        self.life.came_in.insert(key, (self.round, self.replay));
        self.life.absent.remove(&seq);
        if let Some(replay) = self.replay {
            for missing in self.missing_below(seq) {
                let came = |key| self.life.came_in.get(key).is_some_and(|came| came.1 == Some(replay));
                if !self.under(missing).iter().any(came) {
                    self.life.absent.entry(missing).or_default().insert(replay);
                }
            }
        }
        if self.life.here.contains_key(&key) {
            assert_eq!(self.window.accept(seq, row, self.round), Taken::Duplicate, "{id} again");
            return self.check(before);
        }
        let (is_second, fits) = (self.is_here(seq), self.fits(message.bytes, 1));
        let is_awaited = before == Some(seq - 1) && !is_second;
        match self.window.accept(seq, row, self.round) {
            Taken::Overflow => {
                let is_behind = self.life.refused.first().is_some_and(|first| first.0 < seq) && !is_second;
                assert!(!is_awaited && (!fits || is_behind), "{id} was refused");
                self.life.refused.insert(key);
                self.life.in_the_way.insert(key, (self.round, self.replay));
            }
            taken => {
                let was_known = !self.known.insert(id.clone());
                assert_eq!(was_known, taken == Taken::Duplicate, "{id} was {taken:?}");
                assert!(taken != Taken::Late || is_second, "{id} is above {before:?}");
                assert!(
                    before == Some(seq - 1) || fits || (was_known && is_second),
                    "{id} was taken without room"
                );
                if !is_second {
                    self.check_way(key);
                }
                self.life.in_the_way.remove(&key);
                self.life.refused.remove(&key);
                let here = Here { round: self.round, at: self.at, let_past: None, is_second };
                self.life.here.insert(key, here);
                self.unproven |= !self.engine.open.contains(&key) && !self.missing_below(seq).is_empty();
                self.follow();
            }
        }
        self.check(before);
    }

    /// The frame comes, and the cursor has passed its number.
    fn deliver_below(&mut self, key: Key, row: Frame) {
        let (before, id) = (self.window.cursor(), id_of(key));
        let is_known = self.known.contains(&id) || (self.given && !self.holes.contains(&key.0));
        // No replay would bring it, so there is room of its own.
        let expected = if is_known { Taken::Duplicate } else { Taken::Late };
        let taken = self.window.accept(key.0, row, self.round);
        // An engine that states cursors gives no number twice.
        assert!(
            taken == expected || (self.given && self.under(key.0).len() > 1),
            "{id} was {taken:?} below {before:?}"
        );
        if taken == Taken::Late {
            assert!(self.known.insert(id.clone()), "{id} is known");
        }
        self.check(before);
    }

    /// A row was taken that was not here: those that were refused come before it, or the engine does not have them.
    fn check_way(&mut self, key: Key) {
        let way = &mut self.life.in_the_way;
        let (lowest, highest) = (way.first_key_value(), way.last_key_value());
        // Only a later replay brings, in order, what is not above all that was refused.
        let is_earlier = |(round, replay): (u64, Option<usize>)| {
            round < self.round && (replay.is_none() || replay != self.replay)
        };
        if lowest.is_some_and(|(_, came)| is_earlier(*came))
            && highest.is_some_and(|(last, _)| key.0 <= last.0)
        {
            way.clear();
        }
        let is_before = |lower: &Key| lower.0 < key.0 && self.engine.open.contains(lower);
        assert!(!way.keys().any(is_before), "{key:?} was taken behind a refused one");
    }

    /// What follows a row that was let past a gap does not wait for what is in that gap either, nor does what comes
    /// into it.
    fn follow(&mut self) {
        let mut below = (0, None);
        for ((seq, _), here) in self.life.here.iter_mut().filter(|(_, here)| !here.is_second) {
            if below.0 + 1 == *seq {
                here.let_past = here.let_past.or(below.1);
            }
            below = (*seq, here.let_past);
        }
        let mut above = None;
        for here in self.life.here.values_mut().rev().filter(|here| !here.is_second) {
            here.let_past = here.let_past.or(above);
            above = here.let_past;
        }
    }

    fn event(&mut self, id: String, bytes: usize, recurs: bool, shown: bool) {
        let expected = match (self.fits(bytes, 2), self.known.contains(&id) && !recurs) {
            (false, _) => Taken::Overflow,
            (true, true) => Taken::Duplicate,
            (true, false) => Taken::InOrder,
        };
        let event = Frame { recurs, shown, ..frame(&id, bytes) };
        assert_eq!(self.window.accept_fan_out(event, self.round), expected, "event {id}");
        if expected == Taken::InOrder {
            self.known.insert(id);
        }
    }

    /// One that leaves hardly any room.
    fn large_event(&mut self) {
        let bytes = (limits::WINDOW_BYTES - ROOM).saturating_sub(self.held_bytes());
        self.large_events += 1;
        self.event(format!("l{}", self.large_events), bytes, false, true);
    }

    fn replay(&mut self, cut: Option<usize>, answered: Option<usize>) {
        for key in core::mem::take(&mut self.engine.under_way) {
            self.deliver(key);
        }
        let mut began = 0;
        for count in cut.into_iter().chain([usize::MAX]) {
            self.round += 1;
            (began, self.replay) = (self.round, Some(2 * self.at + usize::from(count == usize::MAX)));
            let open: Vec<Key> = self.engine.open.iter().copied().take(count).collect();
            for (place, key) in open.into_iter().enumerate() {
                self.round += u64::from(answered.is_some_and(|every| place % every == every - 1));
                self.deliver(key);
            }
        }
        self.replay = None;
        self.window.end_replay(began);
        if self.window.cursor().is_some() {
            let came_in = &self.life.came_in;
            let is_there = |key: &Key| came_in.get(key).is_some_and(|(round, _)| *round >= began);
            self.life.refused.retain(is_there);
            self.life.in_the_way.retain(|key, _| is_there(key));
        }
    }

    fn ack(&mut self) {
        self.engine.acked = self.engine.acked.max(self.window.cursor().unwrap_or(0));
        self.engine.open = self.engine.open.split_off(&(self.engine.acked + 1, 0));
    }

    fn release(&mut self) {
        let before = self.window.cursor();
        // The lowest row is not taken for the first before a replay could bring lower ones.
        if before.is_none() && self.life.here.values().next().is_some_and(|lowest| lowest.round == self.round)
        {
            return;
        }
        let at = self.at;
        for key in self.life.here.keys().copied().collect::<Vec<_>>() {
            if before.is_some() && !self.missing_below(key.0).is_empty() {
                self.life.here.get_mut(&key).unwrap().let_past.get_or_insert(at);
            }
        }
        self.window.release_held(|_| true);
        self.check(before);
    }

    /// The terminal takes the next message; whether there was one.
    fn take(&mut self) -> bool {
        let Some((key, row)) = self.window.take_next() else { return false };
        let (id, steer, recurs) = (row.delivery_id.0.clone(), row.mode == Mode::Steer, row.recurs);
        let is_back = self.given_back.remove(&id);
        let is_new = self.handed.insert(id.clone());
        assert!(is_new || is_back || recurs, "{id} is handed out twice");
        if let (RowKey::Sequenced(_), Some(row), false) = (key, key_of(&id), is_back) {
            self.check_order(row, steer);
        }
        self.life.terminal.push((key, id, steer));
        true
    }

    /// A row is handed out for the first time in this life.
    fn check_order(&mut self, key: Key, steer: bool) {
        let seq = key.0;
        assert!(self.window.cursor().is_some(), "{seq} is handed out before the first row is known");
        let here = self.life.here[&key];
        assert!(
            here.let_past.is_some() || self.missing_below(seq).is_empty(),
            "{seq} did not wait for lower ones"
        );
        for (higher, other_steer, handed_at) in &self.life.handed_rows {
            let is_later = *higher > seq && *other_steer == steer;
            assert!(!is_later || here.at >= *handed_at, "{higher} went before {seq}");
        }
        self.life.handed_rows.push((seq, steer, self.at));
    }

    fn settle(&mut self, place: usize) {
        if place < self.life.terminal.len() {
            let (key, id, _) = self.life.terminal.remove(place);
            let before = self.window.cursor();
            self.settled.extend(key_of(&id));
            self.window.settle(key);
            self.check(before);
        }
    }

    fn put_back(&mut self, place: usize) {
        if place < self.life.terminal.len() {
            let (key, id, _) = self.life.terminal.remove(place);
            self.given_back.insert(id);
            self.window.put_back(key);
        }
    }

    /// As its owner does it.
    fn leave(&mut self) {
        let cursor = self.window.cursor();
        let stated = self.engine.states_cursors.then_some(self.engine.acked);
        let unread = self.window.pending().filter(|(frame, _)| frame.shown);
        let pending: BTreeSet<String> = unread.map(|(frame, _)| frame.delivery_id.0.clone()).collect();
        let old = core::mem::replace(&mut self.window, Window::new(stated));
        (self.life, self.given_back) = (Life::default(), BTreeSet::new());
        if cursor.is_some() && stated <= cursor {
            self.window = Window::resume(old.into_past(), self.now().mono);
            self.known.retain(|id| !pending.contains(id));
            self.handed.retain(|id| !pending.contains(id));
        } else {
            // What it took above the cursor is not acked and goes back to the engine, too.
            self.settled.retain(|(seq, _)| Some(*seq) <= cursor);
            (self.known, self.handed, self.holes) = Default::default();
            self.given = stated.is_some();
        }
        assert_eq!(self.window.bytes(), 0);
        self.replay(None, None);
    }

    /// The cursor was `before`; it is what it is now.
    fn check(&mut self, before: Option<u64>) {
        let cursor = self.window.cursor();
        assert!(cursor >= before, "the cursor went back from {before:?} to {cursor:?}");
        for seq in before.unwrap_or(0) + 1..=cursor.unwrap_or(0) {
            self.check_acked(seq, before.is_some());
        }
        let is_above = |key: &Key| Some(key.0) > cursor;
        self.life.here.retain(|key, _| is_above(key));
        self.life.refused.retain(is_above);
        self.life.in_the_way.retain(|key, _| is_above(key));
        assert_eq!(self.window.bytes(), self.held_bytes(), "only what is open takes room");
        // Under a number that another message has, one that the engine has given up may be proven gone.
        let may_come = |key: &Key| !self.is_here(key.0) || self.engine.open.contains(key);
        let is_asked_for =
            cursor.is_none() || self.window.wants_replay() || !self.life.refused.iter().any(may_come);
        assert!(is_asked_for, "nobody asks for {:?}", self.life.refused);
    }

    /// The cursor has passed `seq`; whether the first row was known before.
    fn check_acked(&mut self, seq: u64, is_based: bool) {
        let all = self.under(seq);
        let is_seen = |key: &&Key| {
            self.settled.contains(*key)
                || (self.life.here.contains_key(*key) && !self.engine.sent[*key].shown)
        };
        let unseen: Vec<Key> = all.iter().filter(|key| !is_seen(key)).copied().collect();
        for key in &unseen {
            // Nobody can know of one that has not come, where another one has its number.
            let may_be_unknown = all.len() > 1 && !self.life.came_in.contains_key(key);
            assert!(may_be_unknown || !self.engine.open.contains(key), "{key:?} is acked unread");
        }
        if unseen.len() == all.len() {
            let proofs = self.life.absent.get(&seq).map_or(0, BTreeSet::len);
            let is_proven = proofs >= usize::from(limits::HOLE_PROOFS) || all.len() > 1;
            assert!(!is_based || is_proven, "{seq} is no hole yet");
            self.holes.extend(is_based.then_some(seq));
        }
    }

    fn step(&mut self, step: Step) {
        self.at += 1;
        match step {
            Step::Send(message, fate) => {
                let highest = self.engine.sent.last_key_value().map_or(0, |((seq, _), _)| *seq);
                self.send((highest + 1, 0), message, fate);
            }
            Step::SendAgain(place, message, fate) => {
                if let Some((seq, _)) = self.engine.open.iter().nth(place).copied() {
                    self.send((seq, self.under(seq).len() as u8), message, fate);
                }
            }
            Step::Arrive(place) if place < self.engine.under_way.len() => {
                let key = self.engine.under_way.remove(place);
                self.deliver(key);
            }
            Step::GiveUp(place) => {
                if let Some(key) = self.engine.open.iter().nth(place).copied() {
                    self.engine.open.remove(&key);
                    self.unproven |=
                        self.life.here.contains_key(&key) && !self.missing_below(key.0).is_empty();
                }
            }
            Step::Stray(number) => {
                if let Some(cursor) = self.window.cursor().filter(|cursor| *cursor > 0) {
                    let all = self.under(number as u64 % cursor + 1);
                    self.deliver(all[number % all.len()]);
                }
            }
            Step::Event(number) => {
                self.event(format!("e{number}"), 10, number == RECURRING, number != UNSEEN);
            }
            Step::LargeEvent => self.large_event(),
            Step::Replay(cut, answered) => self.replay(cut, answered),
            Step::Ack => self.ack(),
            Step::Release => self.release(),
            Step::Take => {
                self.take();
            }
            Step::Settle(place) => self.settle(place),
            Step::PutBack(place) => self.put_back(place),
            Step::Leave => self.leave(),
            Step::Arrive(_) => {}
        }
    }

    /// The agent takes whatever there is, and the engine sends until nothing is open.
    fn calm_down(&mut self) {
        for _ in 0..CALM {
            self.at += 1;
            while self.take() || !self.life.terminal.is_empty() {
                self.settle(0);
            }
            self.ack();
            self.replay(None, None);
            self.release();
        }
        while self.take() {
            self.settle(0);
        }
        self.ack();
        assert!(self.engine.open.is_empty(), "{:?} were never acked", self.engine.open);
        assert_eq!((self.window.bytes(), self.window.open()), (0, 0));
        assert!(!self.window.wants_replay() || self.unproven, "nothing is missing that the engine has");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn with_little_room_nothing_is_lost_acked_unread_shown_twice_or_out_of_order(
        states_cursors in any::<bool>(),
        steps in steps(),
    ) {
        let mut world = World::new(states_cursors);
        for step in steps {
            world.step(step);
        }
        world.calm_down();
    }
}
