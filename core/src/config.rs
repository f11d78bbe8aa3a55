//! Configuration: what the operator decided, and what the driver found at start.
//!
//! Owns: [`Config`] and [`Boot`].
//! Must not know: files, flags or environment variables; drivers fill these in through `edge`.
//!
//! 1. Both are complete before the broker exists; nothing is looked up later.

use crate::secret::Secret;
use crate::time::Now;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Instance name: the name of the broker's own agent, and of its files.
    pub instance: String,
    /// The node name the operator asked for. Without one it is made of the instance name and the
    /// node id, so that two brokers of one host never share it.
    pub node_name: Option<String>,
    /// Base URL of the engine, without trailing slash.
    pub base_url: String,
    /// The workspace and what gives access to it.
    pub access: Access,
    /// A fixed node id (`RELAY_NODE_ID`).
    pub node_id: Option<String>,
    /// A fixed node token (`RELAY_NODE_TOKEN`): never written anywhere.
    pub node_token: Option<Secret>,
    /// Type of the broker's own agent.
    pub agent_type: String,
    /// Harnesses that the node offers as `spawn:<harness>`.
    pub harnesses: Vec<String>,
    /// Most agents that the engine may place here; 0 is unlimited.
    pub max_agents: u32,
    /// Channels that the broker's own agent creates and joins.
    pub channels: Vec<String>,
    /// Version of this broker, as `relay-broker/<version>` on the wire.
    pub version: String,
    /// Whether the state outlives the process. Without, an owner must renew a lease.
    pub persist: bool,
}

/// How the broker gets into a workspace.
#[derive(Clone, Debug)]
pub enum Access {
    /// With this workspace key. A rejected one is an error, never a new workspace.
    Key(Secret),
    /// With the key that was saved for this base URL, else by creating a workspace of this name.
    Create {
        /// Name of the workspace to create.
        name: String,
    },
    /// With the fixed node token only: messages come in, nothing can be minted or published.
    TokenOnly,
}

/// What the driver found at start: contents of files, never paths.
#[derive(Clone)]
pub struct Boot {
    /// The first reading of the clocks.
    pub now: Now,
    /// 32 bytes from the system's entropy source.
    pub seed: [u8; 32],
    /// The machine's seed: trimmed content of its `machine-id` file.
    pub machine_seed: String,
    /// Canonical working directory.
    pub cwd: String,
    /// This process.
    pub pid: u32,
    /// Content of `identity.json`.
    pub identity: Option<String>,
    /// Contents of all files of the token cache.
    pub tokens: Vec<String>,
    /// Content of the journal.
    pub journal: String,
}

impl fmt::Debug for Boot {
    /// Files hold credentials: only their lengths are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, cwd, pid, identity, tokens, journal, .. } = self;
        let (identity, tokens, journal) = (identity.as_ref().map(String::len), tokens.len(), journal.len());
        write!(f, "Boot({now:?}, {cwd:?}, {pid}, {identity:?}, {tokens} tokens, {journal} bytes)")
    }
}
