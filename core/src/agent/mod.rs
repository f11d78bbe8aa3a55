//! Agents: the children of this broker.
//!
//! Owns: the roster, each agent's terminal and injection, and what is typed into it.
//! Must not know: the engine's frames, acks, HTTP.
//!
//! 1. A name belongs to at most one agent here, from the moment its spawn is accepted until its process
//!    is gone.
//! 2. A process id is never used again, so a completion that names one can only mean this life.
//! 3. The token of the register reply is the only token ever used for that agent.
//! 4. Bytes in flight to one terminal stay within [`limits::PTY_CREDIT`].

pub(crate) mod child;
pub(crate) mod inventory;
pub(crate) mod known;
pub(crate) mod leaving;

use crate::action::SpawnOrder;
use crate::command::Command;
use crate::cx::Cx;
use crate::delivery::RowKey;
use crate::delivery::payload::Message;
use crate::ids::{AgentId, AgentName, CallId, InvocationId, OpId, ProcessId, RequestId};
use crate::inject::machine::Injector;
use crate::input::{ExitStatus, Fault};
use crate::limits;
use crate::secret::Secret;
use crate::term::Terminal;
use crate::time::Span;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

/// The key of an agent's first task, which is no delivery.
pub(crate) const TASK: RowKey = RowKey::Loose(0);
/// How long a write of raw input may take.
const INPUT_WRITE: Span = Span::secs(5);

/// Who asked for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of the local API.
    Api(RequestId),
    /// An invocation of the engine.
    Invocation(InvocationId),
}

/// An agent's identity with the engine.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) id: AgentId,
    pub(crate) token: Secret,
}

/// Where an agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It wants to be registered; `sent` while the frame is on the current link and unanswered, `recover`
    /// once the engine said that the name exists and we know whose it was.
    Registering { sent: bool, recover: Option<AgentId> },
    /// The engine knows the name: it is being asked whose it is.
    LookingUp(CallId),
    /// The engine does not answer on the socket: it is being registered over HTTP.
    OverHttp(CallId),
    /// Registered over HTTP, it is being bound to this node.
    Binding(CallId),
    /// Its process is being started.
    Starting,
    /// Its process has to live for a moment to count as started.
    Proving,
    /// It runs.
    Running,
    /// It is to go: signalled, not yet gone.
    Leaving,
}

/// What has come of the tries to register an agent.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Refusals in a row on the current link by an engine in trouble.
    pub(crate) troubles: u32,
    /// The code and message of the latest of them.
    pub(crate) trouble: (String, String),
    /// The remembered identity that the engine does not give to this node, and its words.
    pub(crate) unauthorized: Option<(AgentId, String)>,
    /// It was registered afresh, because the one whose name it was is no more.
    pub(crate) afresh: bool,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) process: ProcessId,
    pub(crate) order: SpawnOrder,
    pub(crate) origin: Origin,
    pub(crate) phase: Phase,
    pub(crate) tries: Tries,
    pub(crate) registered: Option<Registered>,
    pub(crate) pid: Option<u32>,
    pub(crate) warning: Option<String>,
    pub(crate) terminal: Screen,
    pub(crate) injector: Option<Injector>,
    pub(crate) task: Option<Message>,
    pub(crate) attempts_at_task: u8,
    pub(crate) exited: Option<ExitStatus>,
    pub(crate) ended: bool,
    /// Who waits for it to be gone.
    pub(crate) waiters: Vec<Origin>,
    inputs: VecDeque<RawInput>,
    in_flight: usize,
    /// Writes of raw bytes under way: for whom, and how many.
    ops: BTreeMap<OpId, (Option<RequestId>, usize)>,
    partial: Vec<u8>,
}

/// A terminal; its cells are no part of a digest.
pub(crate) struct Screen(pub(crate) Terminal);

impl core::fmt::Debug for Screen {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Screen({:?}, {} bytes)", self.0.size(), self.0.fed())
    }
}

/// Bytes that are no injection: a client's input, or the terminal's answer to a query.
struct RawInput {
    request: Option<RequestId>,
    bytes: Vec<u8>,
}

impl core::fmt::Debug for RawInput {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RawInput({:?}, {} bytes)", self.request, self.bytes.len())
    }
}

impl Agent {
    pub(crate) fn name(&self) -> &AgentName {
        &self.order.name
    }

    pub(crate) fn id(&self) -> Option<&AgentId> {
        self.registered.as_ref().map(|registered| &registered.id)
    }

    /// Whether it is on its way in, and nobody can tell yet whether it will run.
    pub(crate) fn is_spawning(&self) -> bool {
        !matches!(self.phase, Phase::Running | Phase::Leaving)
    }

    /// Takes bytes for the terminal; false when there is no room.
    pub(crate) fn queue_input(&mut self, cx: &mut Cx, request: Option<RequestId>, bytes: Vec<u8>) -> bool {
        let waiting: usize = self.inputs.iter().map(|input| input.bytes.len()).sum();
        if waiting + self.in_flight + bytes.len() > limits::PTY_CREDIT {
            return false;
        }
        self.inputs.push_back(RawInput { request, bytes });
        self.flush_inputs(cx);
        true
    }

    /// Drops what waits for a client that was told that it failed.
    pub(crate) fn drop_input(&mut self, request: RequestId) {
        self.inputs.retain(|input| input.request != Some(request));
    }

    /// The clients whose input the terminal has not taken as a whole.
    pub(crate) fn open_inputs(&self) -> impl Iterator<Item = RequestId> {
        let under_way = self.ops.values().map(|(request, _)| request);
        let waiting = self.inputs.iter().map(|input| &input.request);
        under_way.chain(waiting).copied().flatten()
    }

    /// Writes what waits, unless it would stand in the middle of an injection.
    pub(crate) fn flush_inputs(&mut self, cx: &mut Cx) {
        if self.injector.as_ref().is_some_and(Injector::is_typing) {
            return;
        }
        while let Some(input) = self.inputs.pop_front() {
            let op = cx.op();
            let deadline = cx.now.mono.after(INPUT_WRITE);
            let RawInput { request, bytes } = input;
            self.in_flight += bytes.len();
            self.ops.insert(op, (request, bytes.len()));
            let process = self.process;
            cx.push(Command::PtyWrite { process, op, bytes, deadline });
        }
    }

    /// A write of raw bytes ended: whose it was, and whether all was taken. `None` if `op` is none of them.
    pub(crate) fn input_written(
        &mut self,
        op: OpId,
        written: usize,
        fault: Option<&Fault<'_>>,
    ) -> Option<(Option<RequestId>, usize, bool)> {
        let (request, length) = self.ops.remove(&op)?;
        self.in_flight -= length;
        let whole = fault.is_none() && written == length;
        Some((request, written, whole))
    }

    /// Output of the program as text: what ends in the middle of a character waits for its rest.
    pub(crate) fn text_of(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let end = match core::str::from_utf8(&self.partial) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.partial.len(),
        };
        let rest = self.partial.split_off(end);
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial = rest;
        text
    }

    /// The last lines that its terminal shows, for the report of a failure.
    pub(crate) fn last_words(&self) -> String {
        self.terminal.0.last_lines(LAST_LINES).join("\n")
    }
}

/// Lines of a dead child's screen that are reported.
const LAST_LINES: usize = 8;

/// The agents of this broker.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    agents: BTreeMap<ProcessId, Agent>,
    by_name: BTreeMap<AgentName, ProcessId>,
    by_id: BTreeMap<AgentId, ProcessId>,
}

impl Roster {
    /// Takes an agent in (invariant 1).
    pub(crate) fn insert(&mut self, process: ProcessId, order: SpawnOrder, origin: Origin) {
        let old = self.by_name.insert(order.name.clone(), process);
        assert!(old.is_none(), "a name is checked before its agent is made");
        let terminal = Screen(Terminal::new(order.rows, order.cols));
        let agent = Agent {
            process,
            order,
            origin,
            phase: Phase::Registering { sent: false, recover: None },
            tries: Tries::default(),
            registered: None,
            pid: None,
            warning: None,
            terminal,
            injector: None,
            task: None,
            attempts_at_task: 0,
            exited: None,
            ended: false,
            waiters: Vec::new(),
            inputs: VecDeque::new(),
            in_flight: 0,
            ops: BTreeMap::new(),
            partial: Vec::new(),
        };
        self.agents.insert(process, agent);
    }

    /// Takes an agent out, with its name and identity.
    pub(crate) fn remove(&mut self, process: ProcessId) -> Option<Agent> {
        let agent = self.agents.remove(&process)?;
        self.by_name.remove(agent.name());
        if let Some(id) = agent.id() {
            self.by_id.remove(id);
        }
        Some(agent)
    }

    /// Notes an agent's identity.
    pub(crate) fn register(&mut self, process: ProcessId, registered: Registered) {
        if let Some(agent) = self.agents.get_mut(&process) {
            self.by_id.insert(registered.id.clone(), process);
            agent.registered = Some(registered);
        }
    }

    /// Takes an agent's identity away: what comes for it is no longer for a process here.
    pub(crate) fn deregister(&mut self, process: ProcessId) -> Option<Registered> {
        let registered = self.agents.get_mut(&process)?.registered.take()?;
        self.by_id.remove(&registered.id);
        Some(registered)
    }

    pub(crate) fn get(&self, process: ProcessId) -> Option<&Agent> {
        self.agents.get(&process)
    }

    pub(crate) fn get_mut(&mut self, process: ProcessId) -> Option<&mut Agent> {
        self.agents.get_mut(&process)
    }

    pub(crate) fn by_name(&self, name: &AgentName) -> Option<&Agent> {
        self.agents.get(self.by_name.get(name)?)
    }

    pub(crate) fn by_id(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(self.by_id.get(id)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Agent> {
        self.agents.values_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.agents.len()
    }

    /// Agents whose process runs and whose spawn is proven.
    pub(crate) fn running(&self) -> u32 {
        let running = self.agents.values().filter(|agent| agent.phase == Phase::Running).count();
        u32::try_from(running).unwrap_or(u32::MAX)
    }
}
