//! Terminals: the broker's children, as the operating system runs them.
//!
//! Owns: processes, writes under way, and the order of output.
//! Must not know: what is typed.
//!
//! 1. Writes to one terminal keep their order and are each completed once.
//! 2. Output, its end, and the exit are told once; the last two in either order.

use super::World;
use super::event::{Completion, Event, Of};
use super::marks::FaultMark;
use crate::agents::{Agent, Cue, Effect, Kind};
use crate::plan::SECOND;
use crate::rng::{Stream, key};
use crate::story::Fact;
use relay_core::ids::{OpId, ProcessId};
use relay_core::time::Mono;
use relay_core::{Child, ExitStatus, FaultKind, PtySignal, TtyState};
use std::collections::{BTreeMap, VecDeque};

/// How starting a process fails.
const SPAWN_FAULTS: [FaultKind; 4] =
    [FaultKind::NotFound, FaultKind::Denied, FaultKind::Deadline, FaultKind::Other];
/// A process that ends before it has proven itself lives for less than this, in µs.
const SHORT_LIFE: u64 = 250_000;
/// So many pieces of one output come byte by byte.
const DRIBBLE: u32 = 300;
/// What was told is known after this, to a broker that had to sleep as well, in µs.
const KNOWN: u64 = SECOND;

#[derive(Debug)]
struct Write {
    op: OpId,
    bytes: Vec<u8>,
    written: usize,
}

#[derive(Debug)]
struct Terminal {
    name: String,
    /// Who it was at the engine when it was started.
    identity: Option<String>,
    agent: Agent,
    writes: VecDeque<Write>,
    /// Bytes that it still takes, while it is stalled.
    allowance: Option<usize>,
    /// When the latest output is told.
    told_at: u64,
    /// When it is told that the program has switched pastes on or off, if it has.
    switched: Option<u64>,
    /// A write was taken in part, and none whole since: the next goes on where it ended.
    torn: bool,
    forgotten: bool,
}

#[derive(Debug, Default)]
pub(super) struct Terminals {
    table: BTreeMap<Of<ProcessId>, Terminal>,
    /// Children that are being started, with their name and program.
    starting: BTreeMap<Of<ProcessId>, (String, Kind)>,
    numbers: u64,
}

impl Terminals {
    /// Whether a process of this agent is there, or about to be.
    pub(super) fn has(&self, name: &str) -> bool {
        let alive = |terminal: &Terminal| terminal.agent.alive && terminal.name == name;
        self.table.values().any(alive) || self.starting.values().any(|(other, _)| other == name)
    }

    /// Whether a process of this agent is there, or about to be, that was this identity when it was started.
    pub(super) fn has_as(&self, name: &str, identity: Option<&str>) -> bool {
        let is_other = |terminal: &Terminal| terminal.agent.alive && terminal.identity.as_deref() != identity;
        self.has(name) && !self.table.values().any(|terminal| terminal.name == name && is_other(terminal))
    }
}

impl World<'_> {
    pub(super) fn spawn(&mut self, process: Of<ProcessId>, child: &Child) {
        let at = self.now + self.system_delay();
        let Some(kind) = child.argv.first().and_then(|program| Kind::of(program)) else {
            let missing = Completion::Spawned(process.1, Err(FaultKind::NotFound));
            return self.heap.put(at, Event::Input(process.0, missing));
        };
        let name = child.env.iter().rev().find(|(name, _)| name == "RELAY_AGENT_NAME");
        let name = name.map_or("", |(_, value)| value.expose()).to_owned();
        self.terminals.starting.insert(process, (name, kind));
        self.heap.put(at, Event::Start(process));
    }

    pub(super) fn on_start(&mut self, process: Of<ProcessId>) {
        let Some((name, kind)) = self.terminals.starting.remove(&process) else {
            return;
        };
        self.terminals.numbers += 1;
        let number = self.terminals.numbers;
        if self.now < self.faults.spawn_fails {
            return self.fail_spawn(process, number);
        }
        let told = Fact::Started(process, &name, &kind);
        self.trace.tell(self.now, "process", &(&name, process, kind), &told);
        self.oracles.started(self.at(process.0), process, &name, kind == Kind::Deaf);
        // It may be one that nobody wants any more.
        self.look_soon();
        let told_at = self.now + self.system_delay();
        let mut agent = Agent::new(self.rng, number, kind);
        let effects = agent.cue(Cue::Start);
        let writes = VecDeque::new();
        let identity = self.engine.agent_id(&name);
        let (allowance, switched) = (None, None);
        let (torn, forgotten) = (false, false);
        let terminal =
            Terminal { name, identity, agent, writes, allowance, told_at, switched, torn, forgotten };
        self.terminals.table.insert(process, terminal);
        let started = Completion::Spawned(process.1, Ok(number as u32));
        self.heap.put(told_at, Event::Input(process.0, started));
        self.apply(process, effects);
        let dies = self.rng.chance(Stream::Program, key(number, 2), self.plan.dying);
        if self.now < self.faults.short_lived {
            self.mark(FaultMark::ShortLived);
            let after = self.rng.between(Stream::Program, key(number, 4), 1, SHORT_LIFE);
            self.heap.put(self.now + after, Event::Cue(process, Cue::End(ExitStatus::Code(2))));
        } else if dies && !self.faults.calm {
            let after = self.rng.skewed(Stream::Program, key(number, 3), 1_000, 30 * SECOND);
            self.heap.put(self.now + after, Event::Cue(process, Cue::End(ExitStatus::Code(1))));
        }
    }

    fn fail_spawn(&mut self, process: Of<ProcessId>, number: u64) {
        self.mark(FaultMark::SpawnFailed);
        let at = self.rng.word(Stream::Fault, key(number, 61)) as usize % SPAWN_FAULTS.len();
        let failed = Completion::Spawned(process.1, Err(SPAWN_FAULTS[at]));
        let told_at = self.now + self.system_delay();
        self.heap.put(told_at, Event::Input(process.0, failed));
        self.look_soon();
    }

    pub(super) fn on_cue(&mut self, process: Of<ProcessId>, cue: Cue) {
        let Some(terminal) = self.terminals.table.get_mut(&process) else {
            return;
        };
        let waited = terminal.agent.tty.unread() > 0;
        let (pastes, flushes) = (terminal.agent.pastes(), terminal.agent.flushes);
        let effects = terminal.agent.cue(cue);
        let (switched, threw) = (terminal.agent.pastes() != pastes, terminal.agent.flushes != flushes);
        if threw {
            self.oracles.threw(self.at(process.0), process);
        }
        match cue {
            Cue::Rest if waited => self.mark(FaultMark::Busy),
            Cue::TogglePaste if !effects.is_empty() => self.mark(FaultMark::PasteSwitched),
            _ => {}
        }
        self.apply(process, effects);
        if let Some(terminal) = self.terminals.table.get_mut(&process).filter(|_| switched) {
            terminal.switched = Some(terminal.told_at);
        }
        self.go_on_writing(process);
    }

    fn apply(&mut self, process: Of<ProcessId>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Later(after, cue) => self.heap.put(self.now + after, Event::Cue(process, cue)),
                Effect::Output(bytes) => self.output(process, &bytes),
                Effect::Took(tokens) => {
                    for token in tokens {
                        let told = Fact::Took(process, token);
                        self.trace.tell(self.now, "TOOK", &(process, token), &told);
                        self.oracles.took(self.at(process.0), process, token);
                    }
                }
                Effect::Exit(status) => self.exit(process, status),
            }
        }
    }

    /// Tells output, in pieces that split anywhere.
    fn output(&mut self, process: Of<ProcessId>, bytes: &[u8]) {
        let (mut rest, mut pieces) = (bytes, 0);
        while !rest.is_empty() {
            let key = self.key();
            let bound = if self.now < self.faults.dribble && pieces < DRIBBLE { 1 } else { 4_096 };
            let most = self.rng.between(Stream::System, key, 1, bound) as usize;
            pieces += 1;
            if bound == 1 && pieces == 1 {
                self.mark(FaultMark::ByteWise);
            }
            let (piece, later) = rest.split_at(most.min(rest.len()));
            rest = later;
            self.tell(process, Completion::PtyOutput(process.1, piece.to_vec()));
        }
    }

    fn tell(&mut self, process: Of<ProcessId>, completion: Completion) {
        let at = self.now + self.system_delay();
        let Some(terminal) = self.terminals.table.get_mut(&process) else {
            return;
        };
        if terminal.forgotten && !matches!(completion, Completion::PtyExited(..)) {
            return;
        }
        terminal.told_at = terminal.told_at.max(at);
        self.heap.put(terminal.told_at, Event::Input(process.0, completion));
    }

    fn exit(&mut self, process: Of<ProcessId>, status: ExitStatus) {
        self.trace.tell(self.now, "process", &(process, status), &Fact::Exited(process, status));
        let mut ends = [Completion::PtyEof(process.1), Completion::PtyExited(process.1, status)];
        let key = self.key();
        if self.rng.chance(Stream::System, key, 500) {
            ends.reverse();
        }
        for end in ends {
            if self.now < self.faults.orphans && matches!(end, Completion::PtyEof(_)) {
                self.keep_terminal(process);
            } else {
                self.tell(process, end);
            }
        }
        self.fail_writes(process);
        self.look_soon();
    }

    /// A grandchild holds the terminal: its end comes late or never.
    fn keep_terminal(&mut self, process: Of<ProcessId>) {
        self.mark(FaultMark::KeptTerminal);
        let key = self.key();
        if self.rng.chance(Stream::Fault, key, 500) {
            let after = self.rng.skewed(Stream::Fault, crate::rng::key(key, 1), 1_000, 30 * SECOND);
            self.heap.put(self.now + after, Event::Eof(process));
        }
    }

    pub(super) fn on_eof(&mut self, process: Of<ProcessId>) {
        self.tell(process, Completion::PtyEof(process.1));
    }

    fn fail_writes(&mut self, process: Of<ProcessId>) {
        let writes =
            self.terminals.table.get_mut(&process).map(|terminal| std::mem::take(&mut terminal.writes));
        for write in writes.unwrap_or_default() {
            self.end_write(process, write.op, write.written, Some(FaultKind::Broken));
        }
    }

    fn end_write(&mut self, process: Of<ProcessId>, op: OpId, written: usize, fault: Option<FaultKind>) {
        let at = self.now + self.system_delay();
        let done = Completion::PtyWritten(process.1, op, written, fault);
        self.heap.put(at, Event::Input(process.0, done));
    }

    // Commands.

    pub(super) fn write(&mut self, process: Of<ProcessId>, op: OpId, bytes: Vec<u8>, deadline: Mono) {
        let usable = |terminal: &&mut Terminal| terminal.agent.alive && !terminal.forgotten;
        let deadline = self.virtual_time(deadline);
        let Some(terminal) = self.terminals.table.get_mut(&process).filter(usable) else {
            return self.end_write(process, op, 0, Some(FaultKind::Broken));
        };
        let was_told = terminal.switched.is_none_or(|told_at| self.now > told_at + KNOWN);
        let is_known = was_told && !terminal.torn;
        self.oracles.types(&bytes, is_known.then(|| terminal.agent.pastes()));
        terminal.writes.push_back(Write { op, bytes, written: 0 });
        self.heap.put(deadline, Event::WriteDeadline(process, op));
        self.go_on_writing(process);
    }

    fn go_on_writing(&mut self, process: Of<ProcessId>) {
        while let Some(terminal) = self.terminals.table.get_mut(&process) {
            let Some(write) = terminal.writes.front_mut() else {
                return;
            };
            let rest = &write.bytes[write.written..];
            let most = terminal.allowance.unwrap_or(usize::MAX).min(rest.len());
            let taken = terminal.agent.tty.write(&rest[..most]);
            terminal.allowance = terminal.allowance.map(|left| left - taken);
            write.written += taken;
            let (op, written) = (write.op, write.written);
            let whole = written == write.bytes.len();
            if whole {
                terminal.writes.pop_front();
                terminal.torn = false;
            }
            let moving = terminal.agent.written();
            self.apply(process, moving.into_iter().collect());
            if !whole {
                return;
            }
            self.end_write(process, op, written, None);
        }
    }

    pub(super) fn on_write_deadline(&mut self, process: Of<ProcessId>, op: OpId) {
        let Some(terminal) = self.terminals.table.get_mut(&process) else {
            return;
        };
        let Some(at) = terminal.writes.iter().position(|write| write.op == op) else {
            return;
        };
        if let Some(write) = terminal.writes.remove(at) {
            terminal.torn |= write.written > 0;
            self.mark(match write.written {
                0 => FaultMark::StalledWrite,
                _ => FaultMark::PartialWrite,
            });
            self.end_write(process, op, write.written, Some(FaultKind::Deadline));
        }
    }

    pub(super) fn check(&mut self, process: Of<ProcessId>, op: OpId) {
        let usable = |terminal: &&mut Terminal| terminal.agent.alive && !terminal.forgotten;
        let terminal = self.terminals.table.get_mut(&process).filter(usable);
        let (state, effects) = terminal.map_or((None, Vec::new()), |terminal| {
            // A look makes the kernel move input on first: a driver's duty.
            let effects = terminal.agent.transfer();
            let (canonical, echo) = terminal.agent.tty.modes();
            let state = TtyState { unread: terminal.agent.tty.unread() as u32, canonical, echo };
            (Some(state), effects)
        });
        self.apply(process, effects);
        self.go_on_writing(process);
        let key = self.key();
        let at = self.now + self.rng.between(Stream::System, key, 1, 30);
        let done = Completion::PtyState(process.1, op, state);
        self.heap.put(at, Event::Input(process.0, done));
    }

    pub(super) fn signal(&mut self, process: Of<ProcessId>, signal: PtySignal) {
        if let Some(terminal) = self.terminals.table.get_mut(&process) {
            let end = terminal.agent.signalled(signal == PtySignal::Kill);
            self.apply(process, end.into_iter().collect());
        }
    }

    pub(super) fn forget(&mut self, process: Of<ProcessId>) {
        if let Some(terminal) = self.terminals.table.get_mut(&process) {
            terminal.forgotten = true;
            terminal.writes.clear();
        }
    }

    // What happens to processes.

    /// The living processes of an agent.
    pub(super) fn processes_of(&self, agent: usize) -> Vec<Of<ProcessId>> {
        let name = &self.plan.agents[agent].name;
        let living = |terminal: &Terminal| terminal.name == *name && terminal.agent.alive;
        self.terminals.table.iter().filter(|(_, terminal)| living(terminal)).map(|(of, _)| *of).collect()
    }

    pub(super) fn cue_agent(&mut self, agent: usize, cue: Cue) {
        for process in self.processes_of(agent) {
            self.on_cue(process, cue);
        }
    }

    /// An agent's terminal takes a little more and then nothing for a while.
    pub(super) fn stall_agent(&mut self, agent: usize, lasts: u64) {
        for process in self.processes_of(agent) {
            let key = self.key();
            let allowance = self.rng.skewed(Stream::Fault, key, 0, 20_000) as usize;
            if let Some(terminal) = self.terminals.table.get_mut(&process) {
                terminal.allowance = Some(allowance);
            }
            self.heap.put(self.now + lasts, Event::Unstall(process));
        }
    }

    pub(super) fn on_unstall(&mut self, process: Of<ProcessId>) {
        if let Some(terminal) = self.terminals.table.get_mut(&process) {
            terminal.allowance = None;
            self.go_on_writing(process);
        }
    }

    pub(super) fn end_stalls(&mut self) {
        let stalled = |terminal: &Terminal| terminal.allowance.is_some();
        let table = &self.terminals.table;
        let stalled: Vec<_> =
            table.iter().filter(|(_, terminal)| stalled(terminal)).map(|(of, _)| *of).collect();
        for process in stalled {
            self.on_unstall(process);
        }
    }

    /// The broker is gone: its terminals hang up and its children with them.
    pub(super) fn hang_up(&mut self, life: u64) {
        self.terminals.table.retain(|(of, _), _| *of != life);
        self.terminals.starting.retain(|(of, _), _| *of != life);
    }
}
