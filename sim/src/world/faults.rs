//! Faults: which are going on, and what starting one means.
//!
//! Owns: the windows in time, and the carrying out of a plan's faults.
//! Must not know: what the broker makes of them.
//!
//! 1. Nothing fails after [`World::calm_down`].

use super::World;
use super::event::{Completion, Event};
use super::marks::FaultMark;
use crate::agents::Cue;
use crate::plan::{Fault, SECOND};
use crate::rng::Stream;
use relay_core::ExitStatus;

/// Longest that the operator takes to see that the broker needs the new token.
const OPERATOR: u64 = 120 * SECOND;

/// Until when each lasting fault lasts, in µs.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) refuse: u64,
    pub(super) unauthorized: u64,
    pub(super) unavailable: u64,
    pub(super) slow_handshake: u64,
    pub(super) hold: u64,
    pub(super) hold_down: u64,
    pub(super) calls: u64,
    /// Until when, and how far, what answers the broker is behind.
    lag: (u64, u64),
    reorder: u64,
    /// When what waits to be overtaken is let go.
    pub(super) release_at: u64,
    store: u64,
    /// The next change of a file kills the broker.
    pub(super) deadly_store: bool,
    slow_disk: u64,
    pub(super) dribble: u64,
    pub(super) orphans: u64,
    pub(super) spawn_fails: u64,
    pub(super) short_lived: u64,
    pub(super) leaving: u64,
    pub(super) echo: u64,
    pub(super) nameless: u64,
    pub(super) garble: u64,
    pub(super) slow_readers: u64,
    /// The node and the token that somebody has given it.
    rotated: Option<(String, String)>,
    /// A node and its token as the operator knows it, from the time on that it has been given.
    pub(super) given: Option<(String, String)>,
    /// Somebody enrols a node under the broker's name before the broker does.
    pub(super) name_taken: bool,
    /// The machine's seed cannot be read.
    pub(super) unreadable: u64,
    pub(super) calm: bool,
}

impl Faults {
    /// The window that a fault opens, and how long it lasts, if that is what the fault does.
    fn window(&mut self, fault: Fault) -> Option<(&mut u64, u64)> {
        Some(match fault {
            Fault::Refuse { lasts } => (&mut self.refuse, lasts),
            Fault::Unauthorized { lasts } => (&mut self.unauthorized, lasts),
            Fault::Unavailable { lasts } => (&mut self.unavailable, lasts),
            Fault::SlowHandshake { lasts } => (&mut self.slow_handshake, lasts),
            Fault::HoldReplies { lasts } => (&mut self.hold, lasts),
            Fault::HoldDown { lasts } => (&mut self.hold_down, lasts),
            Fault::Reorder { lasts } => (&mut self.reorder, lasts),
            Fault::Calls { lasts } => (&mut self.calls, lasts),
            Fault::Dribble { lasts } => (&mut self.dribble, lasts),
            Fault::Orphans { lasts } => (&mut self.orphans, lasts),
            Fault::SpawnFails { lasts } => (&mut self.spawn_fails, lasts),
            Fault::ShortLived { lasts } => (&mut self.short_lived, lasts),
            Fault::Echo { lasts } => (&mut self.echo, lasts),
            Fault::Nameless { lasts } => (&mut self.nameless, lasts),
            Fault::Garble { lasts } => (&mut self.garble, lasts),
            Fault::Leaving { lasts } => (&mut self.leaving, lasts),
            Fault::SlowReaders { lasts } => (&mut self.slow_readers, lasts),
            Fault::SeedUnreadable { lasts } => (&mut self.unreadable, lasts),
            Fault::Store { lasts } => (&mut self.store, lasts),
            Fault::SlowDisk { lasts } => (&mut self.slow_disk, lasts),
            _ => return None,
        })
    }

    /// Whether live frames overtake each other.
    pub(super) fn reorders(&self) -> bool {
        self.reorder > 0
    }

    /// How far what answers the broker is behind, in ms.
    pub(super) fn behind(&self, now: u64) -> i64 {
        let (until, behind) = self.lag;
        if now < until { (behind / 1_000) as i64 } else { 0 }
    }

    /// Whether a change of a file fails now.
    pub(super) fn store_fails(&self, now: u64) -> bool {
        now < self.store
    }

    /// Whether a change of a file takes long.
    pub(super) fn disk_is_slow(&self, now: u64) -> bool {
        now < self.slow_disk
    }
}

impl World<'_> {
    pub(super) fn start_fault(&mut self, fault: Fault) {
        self.trace.event(self.now, "FAULT", &fault);
        if let Some((until, lasts)) = self.faults.window(fault) {
            *until = self.now + lasts;
        }
        let engine_until = |lasts: u64| self.now_ms() + (lasts / 1_000) as i64;
        match fault {
            Fault::Cut => self.cut_links(),
            Fault::Refuse { .. }
            | Fault::Unauthorized { .. }
            | Fault::Unavailable { .. }
            | Fault::SlowHandshake { .. } => self.cut_all(),
            Fault::HalfOpen { lasts } => self.silence(lasts),
            Fault::Overload { lasts } => self.engine.overload_until(engine_until(lasts)),
            Fault::Lose { lasts } => self.engine.lose_frames_until(engine_until(lasts)),
            Fault::SlowReplay { lasts } => {
                self.engine.replay_in_pieces_until(self.now_ms(), engine_until(lasts));
            }
            Fault::EngineRestart => self.restart_engine(),
            Fault::Reorder { .. } => self.engine.reorder_live_frames(self.now_ms(), true),
            Fault::Replay { agent } => self.replay(agent),
            Fault::Expire { agent } => self.expire(agent),
            Fault::Prune { agent } => self.prune(agent),
            Fault::NameTaken => self.faults.name_taken = true,
            Fault::Lag { lasts, behind } => self.faults.lag = (self.now + lasts, behind),
            Fault::Kill { agent } => self.kill(agent),
            Fault::Stall { agent, lasts } => self.stall_agent(agent, lasts),
            Fault::Busy { agent, lasts } => self.cue_agent(agent, Cue::Work(lasts)),
            Fault::TogglePaste { agent } => self.cue_agent(agent, Cue::TogglePaste),
            Fault::Noise => self.make_noise(),
            Fault::HalfDead { lasts } => self.deafen(lasts),
            Fault::Flood { agent, count } => self.flood(agent, count),
            Fault::SlowReaders { lasts } => self.heap.put(self.now + lasts, Event::Drain),
            Fault::Readers { count } => self.change_readers(count),
            Fault::SeedUnreadable { .. } | Fault::Terminate => self.terminate(),
            Fault::Crash { commands } => self.set_fuse(Some(commands)),
            Fault::CrashOnStore => self.faults.deadly_store = true,
            Fault::TerminateTwice { after } => self.terminate_twice(after),
            Fault::WallStep { by } => {
                self.mark_in_life(FaultMark::WallStepped);
                self.clocks.1 += by;
            }
            // The machine sleeps and the world does not: for the broker its clock jumps.
            Fault::Suspend { lasts } => {
                self.mark_in_life(FaultMark::Slept);
                self.clocks.0 += lasts;
            }
            Fault::Rotate => self.rotate(),
            Fault::TakeOver { agent, lasts } => self.take_over(agent, lasts),
            Fault::Double { lasts } => self.double(lasts),
            Fault::Neighbour { lasts } => self.offer(lasts),
            Fault::Retire { agent } => self.retire(agent),
            Fault::Delete { agent, lasts } => self.delete_identity(agent, lasts),
            Fault::Resend => self.resend(),
            // The window is all there is to it.
            Fault::HoldReplies { .. }
            | Fault::HoldDown { .. }
            | Fault::Calls { .. }
            | Fault::Dribble { .. }
            | Fault::Orphans { .. }
            | Fault::SpawnFails { .. }
            | Fault::ShortLived { .. }
            | Fault::Echo { .. }
            | Fault::Nameless { .. }
            | Fault::Garble { .. }
            | Fault::Leaving { .. }
            | Fault::Store { .. }
            | Fault::SlowDisk { .. } => {}
        }
    }

    /// All links break.
    fn cut_links(&mut self) {
        if !self.open_links().is_empty() {
            self.mark(FaultMark::LinkCut);
        }
        self.cut_all();
    }

    /// After how many more commands the broker's process dies.
    fn set_fuse(&mut self, commands: Option<u64>) {
        if let Some(life) = &mut self.life {
            life.fuse = commands;
        }
    }

    fn kill(&mut self, agent: usize) {
        if !self.processes_of(agent).is_empty() {
            self.mark(FaultMark::Killed);
        }
        self.cue_agent(agent, Cue::End(ExitStatus::Signal(9)));
    }

    /// The latest invocation is sent again.
    fn resend(&mut self) {
        if let Some(invocation) = self.network.invocation.clone() {
            if self.engine.resend_invocation(self.now_ms(), &invocation) {
                self.mark(FaultMark::InvocationResent);
            }
            self.pump_engine();
        }
    }

    /// A fault struck, if a broker is there to feel it.
    fn mark_in_life(&mut self, mark: FaultMark) {
        if self.life.is_some() {
            self.mark(mark);
        }
    }

    fn terminate(&mut self) {
        self.mark_in_life(FaultMark::Terminated);
        if let Some(life) = &self.life {
            let number = life.number;
            self.feed(number, &Completion::Terminate);
        }
    }

    fn terminate_twice(&mut self, after: u64) {
        if let Some(life) = &self.life {
            self.heap.put(self.now + after, Event::TerminateAgain(life.number));
        }
        self.terminate();
    }

    pub(super) fn terminate_again(&mut self, life: u64) {
        if self.life.as_ref().is_some_and(|current| current.number == life) {
            self.mark(FaultMark::TerminatedTwice);
            self.terminate();
        }
    }

    /// Somebody replaces the node's token. Where a new one takes proof of the current one only that
    /// somebody can go on, and does: the broker is started again with the token.
    fn rotate(&mut self) {
        if let Some(node) = self.network.node_id.clone() {
            let token = self.engine.rotate_node_token(self.now_ms(), &node);
            self.mark(FaultMark::TokenReplaced);
            if self.plan.profile.node_token_proof {
                self.faults.rotated = Some((node, token));
                let key = self.key();
                let after = self.rng.skewed(Stream::Fault, key, SECOND, OPERATOR);
                self.heap.put(self.now + after, Event::GiveToken);
            }
        }
        self.cut_all();
    }

    pub(super) fn give_token(&mut self) {
        self.faults.given.clone_from(&self.faults.rotated);
        self.terminate();
    }

    /// Live frames stop overtaking each other when their time is over.
    pub(super) fn end_reorder(&mut self) {
        if self.faults.reorder > 0 && self.now >= self.faults.reorder {
            self.faults.reorder = 0;
            self.engine.reorder_live_frames(self.now_ms(), false);
        }
    }

    /// Everything heals: windows close, links that are silent break.
    pub(super) fn calm_down(&mut self) {
        self.trace.event(self.now, "calm", &"nothing fails from here on");
        let Faults { rotated, given, .. } = std::mem::take(&mut self.faults);
        self.faults = Faults { calm: true, rotated, given, ..Faults::default() };
        self.engine.reorder_live_frames(self.now_ms(), false);
        self.engine.overload_until(0);
        self.engine.lose_frames_until(0);
        self.engine.replay_in_pieces_until(self.now_ms(), 0);
        self.pump_engine();
        self.end_rivals();
        self.cut_silent();
        self.end_stalls();
        self.drain_streams();
        // Nobody misses what was lost last until more comes.
        if self.network.has_lost {
            self.write_to_all();
        }
        self.set_fuse(None);
        self.heap.put(self.now + super::rest::REVIEW, Event::Review);
    }

    fn prune(&mut self, agent: usize) {
        if let Some(id) = self.engine.agent_id(&self.plan.agents[agent].name) {
            let before = self.engine.rows(&id).count();
            self.engine.prune_mailbox(&id);
            if self.engine.rows(&id).count() < before {
                self.mark(FaultMark::RowsPruned);
            }
        }
    }

    /// A row in the middle of what is not acked dies.
    fn expire(&mut self, agent: usize) {
        let Some(id) = self.engine.agent_id(&self.plan.agents[agent].name) else {
            return;
        };
        let open: Vec<u64> =
            self.engine.rows(&id).filter(|row| row.state.is_open()).map(|row| row.seq).collect();
        if !open.is_empty() {
            let key = self.key();
            let pick = self.rng.word(Stream::Fault, key) as usize % open.len();
            if self.engine.expire_row(self.now_ms(), &id, open[pick]) {
                self.mark(FaultMark::RowExpired);
            }
            self.pump_engine();
        }
    }
}
