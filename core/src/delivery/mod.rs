//! Delivery: what the engine sent for the agents here, until it may be acked.
//!
//! Owns: one `Window` per identity, what was acked on this link for those that left, the acks that are
//! due, replay requests, and the dead letters.
//! Must not know: keystrokes, sockets, how an agent came to be here.
//!
//! 1. There is a window exactly for the identities that live here (S3, S4).
//! 2. An ack is one number per identity; at most one frame per drain for each [`limits::ACK_STEP`] rows.
//! 3. A row is acked only when its agent has taken it, it is of a class that is not shown, or its dead
//!    letter is on disk (S1).
//! 4. A replay of what is missing is asked for at most once per [`limits::REPLAY_FIRST`], doubling to
//!    [`limits::REPLAY_MAX`]; of what was dropped for want of room since the last one, as soon as half the room is free
//!    and the lowest of it fits.
//! 5. On one link the acks of an identity do not go back, also when it leaves and comes back (S2): what the
//!    engine sent and stated before it took the last of them may still be under way, and what was taken above a gap
//!    comes again, for it is not acked.
//! 6. Where a new link brings no row for an identity, the engine has nothing open for it, also not what is
//!    missing: that is not asked for until a row comes; nor where it says that it does not have it here. What was dropped for want of room and does not come
//!    with a whole replay it has given up, too; where the cursor would pass it by that alone, with as many as prove
//!    a hole.
//! 7. The wait for lower rows begins anew with each confirmation and each answer to a snapshot, for they come
//!    right behind it; for [`limits::HELD_MAX`] in all, once the first row is known.

pub(crate) mod dead;
mod dropped;
pub(crate) mod payload;
mod remembered;
mod repeats;
mod row;
mod shared;
mod told;
mod turns;
mod window;

pub(crate) use row::{Frame, RowKey, Taken};
pub(crate) use window::{Past, Window};

use crate::cx::Cx;
use crate::ids::AgentId;
use crate::limits;
use crate::link::{Answered, Sent};
use crate::marks::Mark;
use crate::time::{Mono, Span};
use crate::timers::Timer;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// One identity's share.
#[derive(Debug)]
struct Identity {
    window: Window,
    replay_interval: Span,
    replay_after: Mono,
    /// The last replay round in which a row came again.
    repeated_in: u64,
    /// Something was dropped for want of room that no replay was asked for yet.
    drop_is_new: bool,
    /// A row came on this link, and the engine has not said since that it does not have the identity here.
    heard: bool,
    /// Since when rows have waited for lower ones.
    held_since: Option<Mono>,
    /// From then on what is open may be asked for, to find the first row.
    ask_after: Mono,
}

impl Identity {
    /// Whether a replay may bring what is missing (invariant 6), or was dropped for want of room.
    /// `brought`: what this link brings without being asked has come.
    fn wants_replay(&self, brought: bool) -> bool {
        self.window.has_dropped() || (self.window.wants_replay() && (self.heard || !brought))
    }

    /// Whether what was dropped since the last ask would be taken now (invariant 4).
    fn may_ask_at_once(&self) -> bool {
        self.drop_is_new && self.window.has_dropped() && self.window.would_take_dropped()
    }

    fn pending(&self) -> impl Iterator<Item = (&Frame, u8)> {
        self.window.pending()
    }
}

/// What a window was before a change.
struct Before {
    bytes: usize,
    cursor: Option<u64>,
    holes: usize,
    wants_replay: bool,
}

impl Before {
    fn of(window: &Window) -> Self {
        Self {
            bytes: window.bytes(),
            cursor: window.cursor(),
            holes: window.hole_count(),
            wants_replay: window.wants_replay(),
        }
    }
}

/// Whether the lowest row has come again, where its coming again shows that it is the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It has, or that was awaited long enough.
    Done,
    /// It may, behind an answer.
    Awaited,
    /// No snapshot was answered since it came, nor asked for.
    Wanted,
}

#[derive(Debug, Default)]
pub(crate) struct Delivery {
    identities: BTreeMap<AgentId, Identity>,
    /// Those that left since this link began, the latest last.
    left: VecDeque<(AgentId, Past)>,
    acks_due: BTreeSet<AgentId>,
    round: u64,
    /// The first round of this link.
    link_round: u64,
    /// What this link brings without being asked has come.
    brought: bool,
    bytes: usize,
}

/// What [`Delivery::gap_timer`] and [`Delivery::replay_timer`] want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing.
    Nothing,
    /// The engine should send again what is not acked.
    Replay,
}

impl Delivery {
    /// An identity has come to live here at `now`; `cursor` is what the engine said it has acked.
    pub(crate) fn open(&mut self, now: Mono, agent: AgentId, cursor: Option<u64>) {
        let cursor = if canary!(CursorZero) { Some(0) } else { cursor };
        let left = self.left.iter().position(|(id, _)| *id == agent);
        let past = left.and_then(|position| self.left.remove(position)).map(|(_, past)| past);
        let window = match past.filter(|past| past.goes_on(cursor)) {
            Some(past) => Window::resume(past, now),
            None => Window::new(cursor),
        };
        let identity = Identity {
            window,
            replay_interval: limits::REPLAY_FIRST,
            replay_after: Mono(0),
            repeated_in: 0,
            drop_is_new: false,
            heard: false,
            held_since: None,
            ask_after: Mono(0),
        };
        if let Some(old) = self.identities.insert(agent, identity) {
            self.bytes -= old.window.bytes();
        }
    }

    /// An identity has left. Its open rows go back to the engine; the number of them.
    pub(crate) fn close(&mut self, cx: &mut Cx, agent: &AgentId) -> usize {
        self.acks_due.remove(agent);
        cx.timers.clear(&Timer::DeliveryGap(agent.clone()));
        cx.timers.clear(&Timer::DeliveryReplay(agent.clone()));
        let Some(identity) = self.identities.remove(agent) else {
            return 0;
        };
        self.bytes -= identity.window.bytes();
        let open = identity.window.open();
        let has_taken = identity.window.cursor() > Some(0) || identity.window.remembered() > 0;
        if has_taken {
            self.left.push_back((agent.clone(), identity.window.into_past()));
            if self.left.len() > limits::LEFT {
                self.left.pop_front();
            }
        }
        open
    }

    /// A link begins on which nothing is under way: the engine's word about cursors is good.
    pub(crate) fn begin_link(&mut self) {
        self.left.clear();
        self.link_round = self.round + 1;
        self.brought = false;
        for identity in self.identities.values_mut() {
            identity.heard = false;
            identity.held_since = None;
            identity.window.begin_link();
        }
    }

    /// What the engine sends again on a new link has come (invariant 6).
    pub(crate) fn link_has_brought(&mut self, cx: &mut Cx) {
        self.brought = true;
        self.end_replay(cx, self.link_round);
    }

    /// What the engine sends again behind the answer that began `round`, if it does so, has come (invariant 6).
    pub(crate) fn round_has_brought(&mut self, cx: &mut Cx, round: u64) {
        self.end_replay(cx, round);
    }

    fn end_replay(&mut self, cx: &mut Cx, round: u64) {
        let mut changed = Vec::new();
        for (agent, identity) in &mut self.identities {
            if identity.window.has_dropped() {
                changed.push((agent.clone(), Before::of(&identity.window)));
            }
            identity.window.end_replay(round);
        }
        for (agent, before) in changed {
            self.note_change(cx, &agent, before);
        }
    }

    /// The engine does not have the identity here: no replay brings anything for it (invariant 6).
    pub(crate) fn is_elsewhere(&mut self, agent: &AgentId) {
        if let Some(identity) = self.identities.get_mut(agent) {
            identity.heard = false;
        }
    }

    /// The round that began with the latest answer.
    pub(crate) const fn round(&self) -> u64 {
        self.round
    }

    /// Whether it has.
    pub(crate) const fn has_link_brought(&self) -> bool {
        self.brought
    }

    /// A frame for an identity that lives here; `None` if it does not.
    pub(crate) fn accept(&mut self, cx: &mut Cx, agent: &AgentId, seq: u64, frame: Frame) -> Option<Taken> {
        let round = self.round;
        let identity = self.identities.get_mut(agent)?;
        let is_first = seq > 0 && !identity.heard;
        identity.heard |= seq > 0;
        let window = &mut identity.window;
        let before = Before::of(window);
        let provisional = window.is_provisional();
        let had_dropped = window.has_dropped();
        let taken =
            if seq == 0 { window.accept_fan_out(frame, round) } else { window.accept(seq, frame, round) };
        cx.stats.remembered = cx.stats.remembered.max(window.remembered());
        match taken {
            Taken::Held => {
                cx.marks.hit(if provisional { Mark::BaseMovedDown } else { Mark::GapHeld });
            }
            Taken::Duplicate if seq == 0 => cx.marks.hit(Mark::DuplicateFanOut),
            Taken::Duplicate => {
                cx.marks.hit(Mark::DuplicateRow);
                identity.repeated_in = round;
                // The engine would not repeat what it knows to be acked.
                if Some(seq) <= before.cursor {
                    self.acks_due.insert(agent.clone());
                }
            }
            Taken::Late => {
                cx.marks.hit(Mark::LateRow);
                self.acks_due.insert(agent.clone());
            }
            Taken::Overflow => {
                cx.marks.hit(Mark::WindowOverflow);
                identity.drop_is_new |= seq > 0;
            }
            Taken::InOrder => {}
        }
        if had_dropped && matches!(taken, Taken::InOrder | Taken::Held) {
            identity.repeated_in = round;
        }
        let gap = Timer::DeliveryGap(agent.clone());
        if identity.window.holds() && !cx.timers.is_set(&gap) {
            cx.wake_in(gap, limits::GAP_WAIT);
        }
        if is_first && identity.window.wants_replay() {
            let at = identity.replay_after.max(cx.now.mono.after(limits::GAP_WAIT));
            cx.timers.set_earlier(Timer::DeliveryReplay(agent.clone()), at);
        }
        self.note_change(cx, agent, before);
        Some(taken)
    }

    /// The rest of a change: bytes, due acks, proven holes, gap timer.
    fn note_change(&mut self, cx: &mut Cx, agent: &AgentId, before: Before) {
        let Some(identity) = self.identities.get_mut(agent) else {
            return;
        };
        let window = &identity.window;
        self.bytes = self.bytes + window.bytes() - before.bytes;
        if window.cursor() != before.cursor && window.cursor() > Some(0) {
            self.acks_due.insert(agent.clone());
        }
        if window.hole_count() != before.holes {
            cx.marks.hit(Mark::HoleProven);
        }
        identity.held_since = window.holds().then(|| identity.held_since.unwrap_or(cx.now.mono));
        if !window.wants_replay() {
            identity.replay_interval = limits::REPLAY_FIRST;
            cx.timers.clear(&Timer::DeliveryReplay(agent.clone()));
        } else if window.has_room() && identity.may_ask_at_once() {
            cx.timers.set_earlier(Timer::DeliveryReplay(agent.clone()), cx.now.mono.after(limits::GAP_WAIT));
        } else if !before.wants_replay && !window.has_dropped() {
            cx.timers.set_earlier(Timer::DeliveryGap(agent.clone()), cx.now.mono.after(limits::GAP_WAIT));
        }
    }

    /// Whether the lowest row may not be the first: it has not come again behind the latest answer, where what
    /// is open comes in order, and the next answer may still bring it.
    pub(crate) fn repeat(&self, now: Mono, agent: &AgentId) -> Repeat {
        let Some(identity) = self.identities.get(agent) else {
            return Repeat::Done;
        };
        match identity.window.lowest_unrepeated(self.round) {
            Some((came, _)) if now.since(came) >= limits::REPEAT_WAIT => Repeat::Done,
            Some((_, round)) if round == self.round && identity.ask_after <= now => Repeat::Wanted,
            Some(_) => Repeat::Awaited,
            None => Repeat::Done,
        }
    }

    /// It is being asked for, which is not to happen again soon: the engine may refuse every snapshot.
    pub(crate) fn asked_for_repeat(&mut self, now: Mono, agent: &AgentId) {
        if let Some(identity) = self.identities.get_mut(agent) {
            identity.ask_after = now.after(limits::REPEAT_WAIT);
        }
    }

    /// A link was confirmed, or a snapshot answered: behind that comes what is not acked, and held rows wait
    /// for it (invariant 7). Every cursor is acked once more, for acks may have been lost, or ignored while the
    /// engine had an agent elsewhere.
    pub(crate) fn begin_round(&mut self, cx: &mut Cx) {
        self.round += 1;
        for (agent, identity) in &mut self.identities {
            if identity.window.holds() {
                let since = *identity.held_since.get_or_insert(cx.now.mono);
                let latest = (!identity.window.is_provisional()).then(|| since.after(limits::HELD_MAX));
                let anew = cx.now.mono.after(limits::GAP_WAIT);
                cx.timers.set(Timer::DeliveryGap(agent.clone()), latest.map_or(anew, |at| at.min(anew)));
            }
            if identity.window.cursor() > Some(0) {
                self.acks_due.insert(agent.clone());
            }
        }
    }

    /// Held rows have waited long enough.
    pub(crate) fn gap_timer(&mut self, cx: &mut Cx, agent: &AgentId) -> Wanted {
        let Some(identity) = self.identities.get_mut(agent) else {
            return Wanted::Nothing;
        };
        let window = &mut identity.window;
        let before = Before::of(window);
        let now = cx.now.mono;
        let (released, waits_since) = window.release_held(|since| now.since(since) >= limits::GAP_WAIT);
        if released {
            cx.marks.hit(Mark::GapReleased);
        }
        if window.holds() {
            let since = waits_since.unwrap_or(now);
            identity.held_since = Some(since);
            cx.timers.set(Timer::DeliveryGap(agent.clone()), since.after(limits::GAP_WAIT));
        }
        self.note_change(cx, agent, before);
        self.replay_timer(cx, agent)
    }

    /// The identity may ask for a replay again, if it needs one (invariant 4).
    pub(crate) fn replay_timer(&mut self, cx: &mut Cx, agent: &AgentId) -> Wanted {
        let Some(identity) = self.identities.get_mut(agent) else {
            return Wanted::Nothing;
        };
        if !identity.wants_replay(self.brought) {
            return Wanted::Nothing;
        }
        let timer = Timer::DeliveryReplay(agent.clone());
        if !identity.window.has_room() {
            cx.wake_in(timer, limits::REPLAY_FIRST);
            return Wanted::Nothing;
        }
        // What was just dropped is surely there; what is missing, or an ask has not brought, may be gone for good.
        if cx.now.mono < identity.replay_after && !identity.may_ask_at_once() {
            cx.timers.set(timer, identity.replay_after);
            return Wanted::Nothing;
        }
        identity.drop_is_new = false;
        identity.replay_after = cx.now.mono.after(identity.replay_interval);
        identity.replay_interval = identity.replay_interval.doubled(limits::REPLAY_MAX);
        cx.timers.set(timer, identity.replay_after);
        cx.marks.hit(Mark::ReplayAsked);
        Wanted::Replay
    }

    /// Whether any identity misses a row that a replay may bring.
    pub(crate) fn wants_replay(&self) -> bool {
        self.identities.values().any(|identity| identity.wants_replay(self.brought))
    }

    /// Whether a gap was left without any repeated row since `round` began: the engine did not replay.
    pub(crate) fn round_was_silent(&self, round: u64) -> bool {
        let wants = |identity: &&Identity| identity.wants_replay(self.brought);
        let mut gaps = self.identities.values().filter(wants).peekable();
        gaps.peek().is_some() && gaps.all(|identity| identity.repeated_in < round)
    }

    /// The next row for an identity's terminal.
    pub(crate) fn take_next(&mut self, agent: &AgentId) -> Option<(RowKey, &Frame)> {
        self.identities.get_mut(agent)?.window.take_next()
    }

    /// What a row brought.
    pub(crate) fn frame(&self, agent: &AgentId, key: RowKey) -> Option<&Frame> {
        self.identities.get(agent)?.window.frame(key)
    }

    /// How often a row was handed to its terminal.
    pub(crate) fn attempts(&self, agent: &AgentId, key: RowKey) -> u8 {
        self.identities.get(agent).map_or(0, |identity| identity.window.attempts(key))
    }

    /// The terminal gives a row back untaken; how often it has been tried.
    pub(crate) fn put_back(&mut self, agent: &AgentId, key: RowKey) -> u8 {
        self.identities.get_mut(agent).map_or(0, |identity| identity.window.put_back(key))
    }

    /// A row is done (invariant 3).
    pub(crate) fn settle(&mut self, cx: &mut Cx, agent: &AgentId, key: RowKey) {
        let Some(identity) = self.identities.get_mut(agent) else {
            return;
        };
        let window = &mut identity.window;
        let before = Before::of(window);
        window.settle(key);
        self.note_change(cx, agent, before);
    }

    /// What rows have waited for lower ones is counted from `later` of each instant.
    pub(crate) fn put_off(&mut self, later: impl Fn(Mono) -> Mono + Copy) {
        for identity in self.identities.values_mut() {
            identity.window.put_off(later);
            identity.held_since = identity.held_since.map(later);
        }
    }

    /// A row is given up; it is settled once its dead letter is on disk.
    pub(crate) fn bury(&mut self, agent: &AgentId, key: RowKey) {
        if let Some(identity) = self.identities.get_mut(agent) {
            identity.window.bury(key);
        }
    }

    /// The ack that is due next (invariant 2), which `send` sends if it can.
    pub(crate) fn send_ack(&mut self, send: impl FnOnce(&AgentId, u64) -> Option<Sent>) -> bool {
        let Some(agent) = self.acks_due.first() else {
            return false;
        };
        let identity = self.identities.get_mut(agent);
        let next = identity.and_then(|identity| Some((identity.window.next_ack()?, identity)));
        let is_last = next.is_none_or(|((seq, is_last), identity)| {
            identity.window.acked(seq, send(agent, seq));
            is_last
        });
        if is_last {
            self.acks_due.pop_first();
        }
        true
    }

    /// The engine answered a request: acks sent before it have arrived.
    pub(crate) fn on_answer(&mut self, answered: Answered) {
        self.identities.values_mut().for_each(|identity| identity.window.on_answer(answered));
    }

    /// Whether an identity has its window.
    pub(crate) fn has(&self, agent: &AgentId) -> bool {
        self.identities.contains_key(agent)
    }

    /// Payload bytes held for all identities.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows of all identities that are not settled.
    pub(crate) fn open_rows(&self) -> usize {
        self.identities.values().map(|identity| identity.window.open()).sum()
    }

    /// The rows of all identities that are not settled, with the times they were tried.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (&AgentId, &Frame, u8)> {
        let of = |(id, identity)| Identity::pending(identity).map(move |(frame, tries)| (id, frame, tries));
        self.identities.iter().flat_map(of)
    }

    /// The cursor of an identity, where it is known.
    pub(crate) fn cursor(&self, agent: &AgentId) -> Option<u64> {
        self.identities.get(agent)?.window.cursor()
    }
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;
