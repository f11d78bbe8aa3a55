//! A model of the Relaycast engine, as far as a node and the senders around it can tell.
//!
//! Owns: workspaces, agents, nodes, rooms, mailboxes, connections, invocations; the whole of their rules.
//! Must not know: sockets, clocks, threads. It is driven by calls and polled for outputs, so the same
//! model runs in virtual time and on real sockets. It shares no code with the broker's own wire: its
//! schemas are strict and its own, so that it can judge.
//!
//! 1. Every call carries the time; nothing happens between calls.
//! 2. What one call causes on sockets is polled after its answer: a sender has its 201 before anyone is
//!    sent the message.
//! 3. Releases differ only by the values of a [`Profile`].
//! 4. A row that is `delivered` is not acked, and nothing sends it again on a timer.

mod accounts;
mod actions;
mod bindings;
mod dispatch;
mod frames;
mod http;
mod ids;
mod inventory;
mod journal;
mod losses;
mod mailbox;
mod messages;
mod nodes;
mod outcomes;
mod profile;
mod replays;
mod replica;
mod rooms;
mod schema;
mod state;

pub use frames::OVERLOADED;
pub use http::{HttpRequest, HttpResponse};
pub use journal::{Event, Record};
pub use mailbox::{Mode, Row, RowState};
pub use profile::{Profile, ProfileName};

use ids::Ids;
use journal::Journal;
use losses::Losses;
use replays::Replays;
use state::{Connection, State};
use std::collections::{BTreeMap, VecDeque};

/// One WebSocket of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the engine wants done on a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a text message.
    Send {
        /// Where.
        connection: ConnectionId,
        /// What.
        text: String,
    },
    /// Close the socket; the engine has forgotten it already.
    Close {
        /// Which.
        connection: ConnectionId,
        /// WebSocket close code.
        code: u16,
        /// Close reason.
        reason: &'static str,
    },
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The release it imitates.
    pub profile: Profile,
    /// The source of its ids and tokens.
    pub seed: u64,
    /// Open rows per mailbox; beyond it a recipient is skipped.
    pub mailbox_depth: usize,
    /// How long a row lives, in milliseconds.
    pub ttl_ms: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { profile: ProfileName::V6_0_3.into(), seed: 0, mailbox_depth: 1_000, ttl_ms: 3_600_000 }
    }
}

/// Whether a release takes a frame of a node.
///
/// # Errors
/// What is wrong with it.
pub fn check_frame(release: ProfileName, text: &str) -> Result<(), String> {
    schema::check(text, &Profile::from(release).frames).map(drop)
}

/// How often liveness and expiry are looked at.
const SWEEP_MS: i64 = 15_000;

/// The engine.
pub struct Engine {
    options: Options,
    ids: Ids,
    journal: Journal,
    out: VecDeque<Output>,
    state: State,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u64,
    next_sweep: Option<i64>,
    /// Live frames that wait to be overtaken by the next one of their agent.
    held_back: Option<(usize, Output)>,
    reorder: bool,
    replays: Replays,
    /// When it can again do what it is asked for, in Unix ms.
    overloaded_until: i64,
    losses: Losses,
    /// How far the replica is behind that answers, in ms.
    behind_ms: i64,
}

impl Engine {
    /// An empty engine.
    pub fn new(options: Options) -> Self {
        Self {
            ids: Ids::new(options.seed),
            options,
            journal: Journal::default(),
            out: VecDeque::new(),
            state: State::default(),
            connections: BTreeMap::new(),
            next_connection: 1,
            next_sweep: None,
            held_back: None,
            reorder: false,
            replays: Replays::default(),
            overloaded_until: 0,
            losses: Losses::default(),
            behind_ms: 0,
        }
    }

    /// The release it imitates.
    pub fn profile(&self) -> &Profile {
        &self.options.profile
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Engine::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<i64> {
        self.next_sweep.into_iter().chain(self.replays.next_at()).min()
    }

    /// Lets time pass: stale nodes, expired rows, overdue invocations, rows of replays in pieces.
    pub fn tick(&mut self, now_ms: i64) {
        self.send_pieces(now_ms);
        if self.next_sweep.is_none_or(|at| at > now_ms) {
            return;
        }
        self.next_sweep = Some(now_ms + SWEEP_MS);
        self.sweep_nodes(now_ms);
        self.sweep_mailboxes(now_ms);
        self.sweep_invocations(now_ms);
        self.release_held_back(now_ms);
        self.forget_answers(now_ms);
    }

    /// Every call that changes something makes sure that time will pass.
    fn touch(&mut self, now_ms: i64) {
        self.next_sweep.get_or_insert(now_ms + SWEEP_MS);
    }

    /// What the engine did, in order.
    pub fn journal(&self) -> &[Record] {
        self.journal.records()
    }

    /// Takes what the engine did.
    pub fn drain_journal(&mut self) -> Vec<Record> {
        self.journal.drain()
    }

    // Looks and interventions for tests, demos and faults.

    /// The rows of an agent, oldest first.
    pub fn rows(&self, agent_id: &str) -> impl Iterator<Item = &Row> {
        let agent = self.state.agent_by_id(agent_id);
        agent.into_iter().flat_map(|key| self.state.agents[key.0].mailbox.rows())
    }

    /// Everything up to this sequence is acked.
    pub fn ack_cursor(&self, agent_id: &str) -> u64 {
        self.state.agent_by_id(agent_id).map_or(0, |key| self.state.agents[key.0].mailbox.cursor())
    }

    /// The id of an agent of any workspace, by its name.
    pub fn agent_id(&self, name: &str) -> Option<String> {
        let agent = self.state.agents.iter().rev().find(|agent| &*agent.name == name && !agent.deleted)?;
        Some(agent.id.to_string())
    }

    /// Whether there is an agent of this identity.
    pub fn has_agent(&self, agent_id: &str) -> bool {
        self.state.agents.iter().any(|agent| &*agent.id == agent_id && !agent.deleted)
    }

    /// Lets a row die before its time. False if there is no such open row.
    pub fn expire_row(&mut self, now_ms: i64, agent_id: &str, seq: u64) -> bool {
        let Some(key) = self.state.agent_by_id(agent_id) else {
            return false;
        };
        self.bury(now_ms, key, seq)
    }

    /// Forgets the terminal rows of an agent, as the engine's retention does.
    pub fn prune_mailbox(&mut self, agent_id: &str) {
        if let Some(key) = self.state.agent_by_id(agent_id) {
            self.state.agents[key.0].mailbox.prune();
        }
    }

    /// Gives a node another token, which is returned: the next upgrade with the old one is a 401.
    pub fn rotate_node_token(&mut self, now_ms: i64, node_id: &str) -> String {
        let token = self.ids.token(ids::TokenKind::Node);
        if let Some(node) = self.state.nodes.iter_mut().find(|node| node.id == node_id) {
            node.token.clone_from(&token);
            node.token_at = now_ms;
        }
        token
    }

    /// The token of a node, as a copy of its files has it.
    pub fn node_token(&self, node_id: &str) -> Option<&str> {
        self.state.node_by_id(node_id).map(|key| self.state.nodes[key.0].token.as_str())
    }

    /// The id of the node that an agent lives on.
    pub fn node_of_agent(&self, agent_id: &str) -> Option<&str> {
        let node = self.state.node_of(self.state.agent_by_id(agent_id)?)?;
        Some(&self.state.nodes[node.0].id)
    }

    /// The name of a node.
    pub fn node_name(&self, node_id: &str) -> Option<&str> {
        self.state.node_by_id(node_id).map(|key| self.state.nodes[key.0].name.as_str())
    }

    /// Drops every socket of a node with a close frame.
    pub fn force_disconnect(&mut self, now_ms: i64, node_id: &str) {
        let of_node = |connection: &Connection| self.state.nodes[connection.node.0].id == node_id;
        let doomed: Vec<_> =
            self.connections.iter().filter(|(_, other)| of_node(other)).map(|(id, _)| *id).collect();
        for connection in doomed {
            self.out.push_back(Output::Close { connection, code: 1000, reason: "force-disconnect" });
            self.closed(now_ms, connection);
        }
    }

    /// The process ends and is started again: no socket is left, nobody is told of it, and what is stored
    /// stays as it was.
    pub fn restart(&mut self, now_ms: i64) {
        for connection in std::mem::take(&mut self.connections).into_keys() {
            self.journal.push(now_ms, Event::Closed { connection });
        }
        for provider in self.state.nodes.iter_mut().flat_map(|node| node.providers.values_mut()) {
            provider.connection = None;
        }
        (self.held_back, self.out) = (None, VecDeque::new());
        self.replays.forget();
    }

    /// Until then what nodes ask for is refused for no fault of theirs.
    pub fn overload_until(&mut self, end_ms: i64) {
        self.overloaded_until = end_ms;
    }

    /// From now on every second live frame of an agent overtakes the one before it, and all of them replays.
    pub fn reorder_live_frames(&mut self, now_ms: i64, reorder: bool) {
        self.reorder = reorder;
        self.release_held_back(now_ms);
    }

    /// Sends an open invocation again, as engines do after a lost result. False if none left.
    pub fn resend_invocation(&mut self, now_ms: i64, invocation_id: &str) -> bool {
        let before = self.out.len();
        if let Some(key) = self.state.invocation_by_id(invocation_id) {
            self.send_invocation(now_ms, key);
        }
        self.out.len() > before
    }

    /// The open connections of all nodes.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }
}
