//! Replays: what is open is sent again.
//!
//! Owns: which replays are under way, which rows they have left, and when these leave.
//! Must not know: why a replay is wanted, or what a frame says.
//!
//! 1. A replay sends what was open above the cursor when it began, ascending, exactly as it was sent before; what
//!    has ended meanwhile is left out. A send that fails ends it, or does not.
//! 2. Mostly it leaves at once. It may wait to be overtaken by live frames; or leave in pieces, for [`LONGEST_MS`]
//!    at most, while the engine goes on with other frames. Then it ends with its socket.
//! 3. Where replays come in turn, one waits for that in pieces on its socket, and reads what is open when it
//!    begins. Those that wait are one.

use super::ids::AgentKey;
use super::{ConnectionId, Engine};
use crate::rng::{Rng, Stream, key};
use std::collections::{BTreeMap, VecDeque};

/// Longest that a replay in pieces takes, and that a row of it waits behind the one before it.
const LONGEST_MS: i64 = 10_000;
const PAUSE_MS: u64 = 4_000;
/// The position of these draws among those of their stream.
const POSITION: u64 = 84;

/// How a replay leaves that does not leave at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// As soon as it has been overtaken.
    Overtaken,
    /// Row by row: the next at `next`, and all by `last`, in Unix ms.
    InPieces { next: i64, last: i64 },
}

/// A replay of which rows are left.
#[derive(Debug)]
struct UnderWay {
    connection: ConnectionId,
    rows: VecDeque<(AgentKey, u64)>,
    /// It is not whole any more.
    has_begun: bool,
    pace: Pace,
}

#[derive(Debug, Default)]
pub(super) struct Replays {
    /// Until then replays leave in pieces, in Unix ms.
    in_pieces_until: i64,
    /// Pauses so far: a key for draws.
    pauses: u64,
    under_way: Vec<UnderWay>,
    /// Whose replays wait for their turn.
    waiting: BTreeMap<ConnectionId, Vec<AgentKey>>,
}

impl Replays {
    /// When the next row leaves, in Unix ms.
    pub(super) fn next_at(&self) -> Option<i64> {
        self.under_way.iter().filter_map(UnderWay::next_at).min()
    }

    /// The process has ended, and what it was about to send with it.
    pub(super) fn forget(&mut self) {
        self.under_way.clear();
        self.waiting.clear();
    }
}

impl UnderWay {
    fn next_at(&self) -> Option<i64> {
        match self.pace {
            Pace::Overtaken => None,
            Pace::InPieces { next, .. } => Some(next),
        }
    }
}

impl Engine {
    /// Until then replays leave in pieces. With a time that has passed all that are under way leave at once.
    pub fn replay_in_pieces_until(&mut self, now_ms: i64, end_ms: i64) {
        self.replays.in_pieces_until = end_ms;
        if end_ms <= now_ms {
            self.finish(now_ms, |_| true);
        }
    }

    /// Whose rows wait in replays.
    pub fn late_replays(&self) -> impl Iterator<Item = &str> {
        let rows = self.replays.under_way.iter().flat_map(|replay| &replay.rows);
        rows.map(|(key, _)| &*self.state.agents[key.0].id)
    }

    /// Whether some of a replay has left on this socket, and some is left.
    pub fn is_in_replay(&self, connection: ConnectionId) -> bool {
        let is_left = |(agent, seq): &(AgentKey, u64)| {
            self.socket_of(*agent) == Some(connection)
                && self.state.agents[agent.0].mailbox.get(*seq).is_some_and(|row| row.state.is_open())
        };
        let mut begun = self.replays.under_way.iter().filter(|replay| replay.has_begun);
        begun.any(|replay| replay.connection == connection && replay.rows.iter().any(is_left))
    }

    /// What is open of these agents is sent again, as somebody on this socket wants.
    pub(super) fn replay(&mut self, now: i64, connection: ConnectionId, agents: &[AgentKey]) {
        let in_pieces = now < self.replays.in_pieces_until;
        let before = |replay: &UnderWay| {
            replay.connection == connection && (in_pieces || replay.pace != Pace::Overtaken)
        };
        if self.options.profile.replays_in_turn && self.replays.under_way.iter().any(before) {
            let waiting = self.replays.waiting.entry(connection).or_default();
            let others: Vec<_> = agents.iter().filter(|key| !waiting.contains(key)).copied().collect();
            waiting.extend(others);
        } else {
            self.begin_replay(now, connection, agents);
        }
    }

    fn begin_replay(&mut self, now: i64, connection: ConnectionId, agents: &[AgentKey]) {
        let open = |key: &AgentKey| {
            let rows = self.state.agents[key.0].mailbox.replayable(now);
            rows.map(|row| (*key, row.seq)).collect::<Vec<_>>()
        };
        let rows: VecDeque<_> = agents.iter().flat_map(open).collect();
        let pace = if now < self.replays.in_pieces_until {
            Pace::InPieces { next: now + self.pause(), last: now + LONGEST_MS }
        } else if self.reorder {
            Pace::Overtaken
        } else {
            for (key, seq) in rows {
                if self.ends_replay(now, key, seq) {
                    return;
                }
            }
            return;
        };
        if !rows.is_empty() {
            self.replays.under_way.push(UnderWay { connection, rows, has_begun: false, pace });
        }
    }

    /// How long the next row of a replay in pieces waits, in ms.
    fn pause(&mut self) -> i64 {
        self.replays.pauses += 1;
        let draws = Rng::new(self.options.seed);
        draws.skewed(Stream::Fault, key(self.replays.pauses, POSITION), 0, PAUSE_MS) as i64
    }

    /// Sends a row of a replay; whether that ends with it.
    fn ends_replay(&mut self, now: i64, key: AgentKey, seq: u64) -> bool {
        !self.dispatch(now, key, seq, true) && self.options.profile.replay_stops
    }

    /// Replays that have been overtaken leave.
    pub(super) fn release_replays(&mut self, now: i64) {
        self.finish(now, |replay| replay.pace == Pace::Overtaken);
    }

    /// Pieces of replays leave that are due.
    pub(super) fn send_pieces(&mut self, now: i64) {
        while self.replays.next_at().is_some_and(|at| at <= now) {
            for mut replay in std::mem::take(&mut self.replays.under_way) {
                if replay.next_at().is_none_or(|at| at > now) || self.send_next(now, &mut replay) {
                    self.replays.under_way.push(replay);
                }
            }
            self.give_turns(now);
        }
    }

    /// The next row of a replay leaves; whether others are left.
    fn send_next(&mut self, now: i64, replay: &mut UnderWay) -> bool {
        while let Some((key, seq)) = replay.rows.pop_front() {
            // An agent that has left is none of this replay any more.
            if self.socket_of(key) != Some(replay.connection) {
                continue;
            }
            replay.has_begun = true;
            if self.ends_replay(now, key, seq) {
                return false;
            }
            break;
        }
        if let Pace::InPieces { next, last } = &mut replay.pace {
            *next = (now + self.pause()).min(*last).max(now);
        }
        !replay.rows.is_empty()
    }

    /// Sends all that is left of some replays.
    fn finish(&mut self, now: i64, which: impl Fn(&UnderWay) -> bool) {
        let (these, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.replays.under_way).into_iter().partition(which);
        self.replays.under_way = others;
        for mut replay in these {
            while self.send_next(now, &mut replay) {}
        }
        self.give_turns(now);
    }

    /// Replays that waited for their turn begin.
    fn give_turns(&mut self, now: i64) {
        let is_busy = |connection: &ConnectionId| {
            self.replays.under_way.iter().any(|other| other.connection == *connection)
        };
        let next: Vec<_> =
            self.replays.waiting.keys().filter(|connection| !is_busy(connection)).copied().collect();
        for connection in next {
            let agents = self.replays.waiting.remove(&connection).unwrap_or_default();
            let reachable: Vec<_> =
                agents.into_iter().filter(|key| self.socket_of(*key) == Some(connection)).collect();
            self.begin_replay(now, connection, &reachable);
        }
    }
}
