//! The cast: which agents there were, and how each was first started.
//!
//! Owns: names, processes, orders. Must not know: messages, links.
//!
//! 1. An agent is one for which a process was wanted; its first process says what kind it is.

use super::program::Program;
use crate::agents::Kind;
use crate::plan::{AgentPlan, SECOND, Step};
use crate::scenario::limits;
use relay_core::Child;
use relay_core::ids::ProcessId;
use std::collections::BTreeMap;

/// What happens in a world happens so much later than in the record: its operator looks every two
/// seconds whether an agent is there that he wants.
pub(super) const LATER: u64 = 3 * SECOND;
/// So long an invocation has time to start an agent before the operator does.
const INVOKED: u64 = 15 * SECOND;

#[derive(Clone, Copy, Debug)]
struct Order {
    at: u64,
    invoked: bool,
    task: bool,
}

#[derive(Debug)]
struct Actor {
    name: String,
    order: Order,
    program: Program,
}

#[derive(Debug)]
struct Process {
    actor: usize,
    /// The broker wants it to end.
    leaving: bool,
}

#[derive(Debug, Default)]
pub(super) struct Cast {
    actors: Vec<Actor>,
    places: BTreeMap<String, usize>,
    /// The latest order for each name.
    orders: BTreeMap<String, Order>,
    invocations: Vec<(u64, String)>,
    processes: BTreeMap<ProcessId, Process>,
}

impl Cast {
    /// An agent is wanted by the operator.
    pub(super) fn asked(&mut self, at: u64, name: &str, task: bool) {
        self.orders.insert(name.to_owned(), Order { at, invoked: false, task });
    }

    /// An agent is wanted by the engine.
    pub(super) fn invoked(&mut self, at: u64, name: &str) {
        self.orders.insert(name.to_owned(), Order { at, invoked: true, task: false });
        self.invocations.push((at, name.to_owned()));
    }

    /// A process is started.
    pub(super) fn starts(&mut self, at: u64, process: ProcessId, child: &Child) {
        let name = child.env.iter().rev().find(|(name, _)| name == "RELAY_AGENT_NAME");
        let name = name.map_or("agent", |(_, name)| name.expose());
        let actor = *self.places.entry(name.to_owned()).or_insert_with(|| {
            let order = self.orders.get(name).copied().unwrap_or(Order { at, invoked: false, task: false });
            let program = Program::new(child.argv.first().map_or("", String::as_str));
            self.actors.push(Actor { name: name.to_owned(), order, program });
            self.actors.len() - 1
        });
        self.processes.insert(process, Process { actor, leaving: false });
    }

    /// The broker wants a process to end.
    pub(super) fn signalled(&mut self, process: ProcessId) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.leaving = true;
        }
    }

    /// A process has ended; its agent, if it did so by itself.
    pub(super) fn exited(&mut self, process: ProcessId) -> Option<usize> {
        let actor = self.of(process);
        let process = self.processes.remove(&process)?;
        actor.filter(|_| !process.leaving)
    }

    pub(super) fn program(&mut self, process: ProcessId) -> Option<&mut Program> {
        let actor = self.processes.get(&process)?.actor;
        self.actors.get_mut(actor).map(|actor| &mut actor.program)
    }

    /// The place of an agent.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied().filter(|place| *place < limits::AGENTS)
    }

    /// Whose process it is.
    pub(super) fn of(&self, process: ProcessId) -> Option<usize> {
        self.processes.get(&process).map(|process| process.actor).filter(|actor| *actor < limits::AGENTS)
    }

    /// How many had been wanted by then.
    pub(super) fn present(&self, at: u64) -> usize {
        self.actors.iter().filter(|actor| actor.order.at <= at).count()
    }

    /// When an agent was first wanted.
    pub(super) fn wanted(&self, place: usize) -> u64 {
        self.actors[place].order.at
    }

    /// Spawns that the engine has placed.
    pub(super) fn invocations(&self) -> impl Iterator<Item = (u64, Step)> {
        let step = |(at, name): &(u64, String)| Some((*at, Step::Invoke { agent: self.place(name)? }));
        self.invocations.iter().filter_map(step)
    }

    /// The agents, when they were watched until `now`.
    pub(super) fn agents(&self, now: u64) -> Vec<AgentPlan> {
        let mut agents: Vec<AgentPlan> = Vec::new();
        for actor in self.actors.iter().take(limits::AGENTS) {
            let kind = actor.program.kind(now);
            let invoked = actor.order.invoked;
            let mut name: String = actor.name.chars().map(plain).take(limits::NAME).collect();
            for number in 0.. {
                let is_free = !name.is_empty() && !limits::is_taken(&name);
                if is_free && agents.iter().all(|other| other.name != name) {
                    break;
                }
                name = format!("agent-{number}");
            }
            agents.push(AgentPlan {
                name,
                kind: if invoked { placeable(kind) } else { kind },
                invoked,
                from: from(actor.order).min(limits::TIME),
                task: actor.order.task && kind != Kind::Deaf,
            });
        }
        agents
    }
}

/// From when on the operator wants an agent: so early that it is there when it was in the record.
const fn from(order: Order) -> u64 {
    if order.invoked { order.at + LATER + INVOKED } else { order.at }
}

const fn plain(char: char) -> char {
    if char.is_ascii_alphanumeric() || matches!(char, '-' | '_') { char } else { '-' }
}

/// The most similar kind that an engine places.
const fn placeable(kind: Kind) -> Kind {
    match kind {
        Kind::Silent | Kind::Raw | Kind::Slow | Kind::Deaf => Kind::Cat,
        Kind::Mangled => Kind::Wrapped,
        kind => kind,
    }
}
