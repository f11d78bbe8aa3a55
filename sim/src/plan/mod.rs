//! Plans: what a simulated case consists of.
//!
//! Owns: the vocabulary of a case (its agents, steps and faults), and its length in virtual time.
//! Must not know: how a plan comes about, or how a step is carried out.
//!
//! 1. A plan is complete before the world begins. Together with its seed, which keys the delays, it
//!    says everything: two runs of one plan are the same.
//! 2. Steps name agents by their place in [`Plan::agents`], so a step can be left out without
//!    changing the others.
//! 3. A plan is also the content of a scenario file: a field that is added has a default, so that the
//!    files that are there still say the same. In steps and faults, `to` and `agent` are places of
//!    agents, `size` is bytes, `count` a number of messages, and other numbers are times or small.

mod calm;
mod classes;
mod draw;

pub use calm::calm;
pub use draw::{draw, draw_with};

use crate::agents::Kind;
use crate::engine::Profile;
use serde::{Deserialize, Serialize};

/// One second in µs, the unit of a world's time.
pub const SECOND: u64 = 1_000_000;

/// A whole case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where it came from.
    pub seed: u64,
    /// The engine's release.
    pub profile: Profile,
    /// Agents that the operator wants.
    pub agents: Vec<AgentPlan>,
    /// What happens, by time in µs.
    pub steps: Vec<(u64, Step)>,
    /// From here on nothing fails any more.
    pub calm_at: u64,
    /// Longest way of a frame, in µs.
    pub network: u64,
    /// Longest operation of the operating system, in µs.
    pub system: u64,
    /// In 1 000 processes so many end by themselves.
    pub dying: u64,
    /// Whether the case goes on until agents that never read have got their first dead letter.
    pub patient: bool,
}

impl Plan {
    /// Whether anything goes wrong in it.
    pub fn has_faults(&self) -> bool {
        self.dying > 0 || self.steps.iter().any(|(_, step)| matches!(step, Step::Fault(_)))
    }
}

/// An agent that the operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentPlan {
    /// Its name.
    pub name: String,
    /// Its program.
    pub kind: Kind,
    /// Started by an invocation at first; later starts are the operator's.
    pub invoked: bool,
    /// From here on the operator wants it, in µs.
    pub from: u64,
    /// It is started with a task.
    pub task: bool,
}

/// Something that is made to happen. Agents are named by their place in [`Plan::agents`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// A direct message of about so many bytes.
    Direct { to: usize, steer: bool, size: usize },
    /// A message in the channel of all.
    Channel { size: usize },
    /// A reply to the latest message of the channel.
    Reply { size: usize },
    /// A message in the group of all.
    Group { size: usize },
    /// A message through the broker's local API.
    Send { to: usize, size: usize },
    /// Many short direct messages at once.
    Burst { to: usize, count: usize },
    /// Something typed through the local API.
    Input { to: usize },
    /// A spawn placed by the engine.
    Invoke { agent: usize },
    /// A release placed by the engine.
    InvokeRelease { agent: usize },
    /// A release through the local API.
    Release { agent: usize },
    /// A receipt for, or a reaction to, the latest message of the channel.
    React { read: bool },
    /// So many reactions to the latest message of the channel.
    Reactions { count: usize },
    /// An action that an agent asked for ends on another node, with a structured result.
    Outcome { to: usize },
    /// An agent is told that it may not ask for an action.
    Deny { to: usize },
    /// A row and a frame of types that are newer than the broker.
    Novel { to: usize },
    /// A request on the local API that changes nothing.
    Ask { agent: usize, what: Ask },
    /// A fault.
    Fault(Fault),
}

/// What is asked on the local API by somebody who looks around, or does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// One of the views.
    Look,
    /// An agent's screen.
    Snapshot,
    /// Another size of an agent's terminal.
    Resize,
    /// Something without the right key.
    Stranger,
    /// Something that there is not.
    Nowhere,
    /// Something in a wrong way.
    Method,
    /// Something without sense.
    Malformed,
    /// Something too large.
    Huge,
}

impl Ask {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Look,
        Self::Snapshot,
        Self::Resize,
        Self::Stranger,
        Self::Nowhere,
        Self::Method,
        Self::Malformed,
        Self::Huge,
    ];
}

/// Something that goes wrong. Times are in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The link breaks.
    Cut,
    /// Nothing passes the link any more, unnoticed, until it breaks.
    HalfOpen { lasts: u64 },
    /// Connections are refused.
    Refuse { lasts: u64 },
    /// Upgrades are answered with 401.
    Unauthorized { lasts: u64 },
    /// Upgrades are answered with 429, or with a failure of the engine.
    Unavailable { lasts: u64 },
    /// Upgrades take seconds.
    SlowHandshake { lasts: u64 },
    /// The engine takes frames late.
    HoldReplies { lasts: u64 },
    /// What the engine sends comes late.
    HoldDown { lasts: u64 },
    /// The engine cannot do what it is asked for, and says so.
    Overload { lasts: u64 },
    /// The engine is started again: connections end, what it knows stays.
    EngineRestart,
    /// Live frames overtake each other, and replays.
    Reorder { lasts: u64 },
    /// Everything unacked is sent again.
    Replay { agent: usize },
    /// A row expires that is not acked.
    Expire { agent: usize },
    /// The engine forgets an agent's rows that are over; an old one then numbers from the start again.
    Prune { agent: usize },
    /// Calls to the engine fail.
    Calls { lasts: u64 },
    /// An agent's process is killed.
    Kill { agent: usize },
    /// Output of terminals comes byte by byte.
    Dribble { lasts: u64 },
    /// An agent's terminal takes some bytes and then no more.
    Stall { agent: usize, lasts: u64 },
    /// A child of a process that ends keeps its terminal open.
    Orphans { lasts: u64 },
    /// Processes cannot be started.
    SpawnFails { lasts: u64 },
    /// Processes end as soon as they are started.
    ShortLived { lasts: u64 },
    /// An agent is busy and does not read.
    Busy { agent: usize, lasts: u64 },
    /// An agent switches bracketed paste off, or on again.
    TogglePaste { agent: usize },
    /// Events outside of the sequence come twice.
    Echo { lasts: u64 },
    /// Replies do not say to what.
    Nameless { lasts: u64 },
    /// Frames are spelled oddly, and some have no sense.
    Garble { lasts: u64 },
    /// A binary and a giant message.
    Noise,
    /// The engine answers nothing but pings, until the link breaks.
    HalfDead { lasts: u64 },
    /// Many requests at once on the local API.
    Flood { agent: usize, count: usize },
    /// Clients of the local API do not wait for their answers.
    Leaving { lasts: u64 },
    /// Whoever follows the events does not read them.
    SlowReaders { lasts: u64 },
    /// Whoever follows the events leaves, and so many others come.
    Readers { count: u64 },
    /// The machine's seed cannot be read, and the broker is started again.
    SeedUnreadable { lasts: u64 },
    /// Files cannot be written.
    Store { lasts: u64 },
    /// Changes of files take longer than anybody waits.
    SlowDisk { lasts: u64 },
    /// The broker's process dies when it has carried out so many more commands.
    Crash { commands: u64 },
    /// The broker's process dies as soon as it next wants a file changed.
    CrashOnStore,
    /// The broker is asked to stop, and is started again.
    Terminate,
    /// The broker is asked to stop, and asked again after this time.
    TerminateTwice { after: u64 },
    /// The wall clock steps by so many milliseconds.
    WallStep { by: i64 },
    /// The machine sleeps.
    Suspend { lasts: u64 },
    /// The node's token is replaced, and the link breaks.
    Rotate,
    /// An agent is bound to another node, which keeps it for a while.
    TakeOver { agent: usize, lasts: u64 },
    /// The identity of an agent that runs is deleted; so long after that it is started anew.
    Delete { agent: usize, lasts: u64 },
    /// An agent is not wanted any more, and is released for good.
    Retire { agent: usize },
    /// Another node offers the broker's programs for a while, and runs what is placed there.
    Neighbour { lasts: u64 },
    /// Another instance serves the broker's node for a while, if it can.
    Double { lasts: u64 },
    /// The latest invocation is sent again.
    Resend,
    /// What answers the broker does not see yet what was made `behind` ago or later.
    Lag { lasts: u64, behind: u64 },
    /// Another node has the broker's name when that is first enrolled.
    NameTaken,
    /// Rows, events and invocations are lost on links that live on.
    Lose { lasts: u64 },
    /// Replays leave in pieces, and other frames come between them.
    SlowReplay { lasts: u64 },
}
