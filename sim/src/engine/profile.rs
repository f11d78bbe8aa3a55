//! Engine versions: every rule that differs between releases, as a value.
//!
//! Owns: which release behaves how.
//! Must not know: engine state. The rest of the model asks a [`Profile`] and never compares versions.
//!
//! 1. Two profiles differ only by the values of their fields.
//! 2. A rule that is the same in every supported release has no field here.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The releases that the model can imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ProfileName {
    /// One socket per node, replay of everything, upserting registration.
    V5_0_5,
    /// Named providers, cursor handshake, upserting registration.
    V6_0_3,
    /// Create-only registration, isolated inventory conflicts.
    V8_2_2,
    /// Every inventory of a cursor connection replays everything unacked.
    V8_11_4,
    /// A node token is replaced only against proof of the current one.
    V9_0_0,
}

impl ProfileName {
    /// All names, oldest first.
    pub const ALL: [Self; 5] = [Self::V5_0_5, Self::V6_0_3, Self::V8_2_2, Self::V8_11_4, Self::V9_0_0];

    /// The release number.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V5_0_5 => "5.0.5",
            Self::V6_0_3 => "6.0.3",
            Self::V8_2_2 => "8.2.2",
            Self::V8_11_4 => "8.11.4",
            Self::V9_0_0 => "9.0.0",
        }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProfileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|name| name.as_str()).collect();
            format!("unknown engine profile {text:?}: use one of {}", known.join(", "))
        })
    }
}

impl TryFrom<String> for ProfileName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.as_str().into()
    }
}

/// When a socket takes the place of an older one of the same node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// At the upgrade, unconditionally; frames flow from then on.
    AtUpgrade,
    /// At `node.register`, per provider name. Another instance that sent a frame within
    /// `window_ms` keeps its place.
    AtRegister {
        /// Milliseconds since the incumbent's last frame.
        window_ms: i64,
    },
}

/// What `agent.register` does with a name that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Takes it over with a new token, unless it is active elsewhere.
    Upsert,
    /// Refuses; `agent.recover` exists.
    CreateOnly,
}

/// Which pending rows a registration frame sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Every agent of the node.
    Node,
    /// Only the agents that this frame made reachable.
    Newly,
    /// Every agent that the frame certified, on a cursor connection; else as [`Replay::Newly`].
    Certified,
}

/// What one unacceptable entry does to an `inventory.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Fails all of it.
    FailAll,
    /// Is skipped and counted.
    Skip,
}

/// What becomes of a release whose agent does not live on the releasing node any more when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateRelease {
    /// It completes, and nothing is done.
    Completes,
    /// It has failed.
    Fails,
}

/// How the next sequence of an agent is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// One more than the greatest stored row: pruning can make it repeat.
    StoredMax,
    /// One more than anything allocated or acked.
    Monotonic,
}

/// How `POST /v1/nodes` finds the row to rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeLookup {
    /// By name only; a clashing id is an internal error.
    Name,
    /// By id, then by name; a name held by another id is a conflict.
    IdThenName,
}

/// The optional parts of the inbound frame schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRules {
    /// `provider`, `machine_id`, capability `global` and `queue`, the closed set of capability kinds.
    pub providers: bool,
    /// `node.spawn`, `node.message`.
    pub node_requests: bool,
    /// `load` may be absent or null, `load_reported` exists.
    pub optional_load: bool,
    /// `repo_keys` in `node.register`.
    pub repo_keys: bool,
    /// `agent.recover`.
    pub recover: bool,
    /// `auto_join_general` in `agent.register` and `POST /v1/agents`.
    pub auto_join: bool,
}

/// One release as a set of values. In files it stands as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ProfileName", into = "ProfileName")]
pub struct Profile {
    /// The release this imitates.
    pub name: ProfileName,
    /// Inbound frame schemas.
    pub frames: FrameRules,
    /// Socket replacement.
    pub attach: Attach,
    /// Names that exist.
    pub registration: Registration,
    /// `relay:delivery-cursor-v1` is understood; acks, results and inventories are scoped to a provider,
    /// and an inventory counts the entries that it knows instead of all.
    pub cursor: bool,
    /// Replay after `agent.register`.
    pub replay_on_register: Replay,
    /// Replay after `inventory.sync`.
    pub replay_on_inventory: Replay,
    /// A replay ends with the first send that fails; otherwise it goes on behind that.
    pub replay_stops: bool,
    /// Replays on one socket come one after the other, and those that wait are one; before, frames are handled side
    /// by side, and so are the replays behind them.
    pub replays_in_turn: bool,
    /// Conflicts in `inventory.sync`.
    pub inventory_conflict: Conflict,
    /// Sequence allocation.
    pub sequence: Sequence,
    /// Registering again on the same connection keeps the agents that are ready on it.
    pub reregister_keeps_ready: bool,
    /// `inventory.sync` adopts agents of the same node that no provider registered.
    pub inventory_adopts: bool,
    /// Enrolment lookup.
    pub node_lookup: NodeLookup,
    /// A machine that enrols under new names gets its dead node back.
    pub machine_reuse: bool,
    /// One provider without a limit makes its node unlimited; before, limits are just added.
    pub one_unlimited: bool,
    /// Enrolling over a node needs its token in `x-relaycast-node-token`, and honours `Idempotency-Key`.
    pub node_token_proof: bool,
    /// How long a rotated agent token keeps working, in milliseconds.
    pub token_grace_ms: i64,
    /// Every heartbeat sends the pending invocations again.
    pub drain_on_heartbeat: bool,
    /// Queued rows are tried again by the sweep, 30 s after a failed dispatch.
    pub redrive: bool,
    /// Reading the inbox or the deliveries expires rows; later, the sweep does.
    pub expire_on_read: bool,
    /// `POST /v1/agents/disconnect` moves the agent to its direct node.
    pub disconnect_rehomes: bool,
    /// `agent.exited` tells the agent that had another one spawned of its end.
    pub exit_events: bool,
    /// `agent.deregister` with an id is answered.
    pub deregister_reply: bool,
    /// Never dispatched invocations fail after 72 h; invoking honours `Idempotency-Key`.
    pub bounded_invocations: bool,
    /// Names with `#released-` belong to released agents.
    pub reserved_names: bool,
    /// Direct messages carry `metadata`.
    pub dm_metadata: bool,
    /// The reply to `node.register` carries `registration_contract`.
    pub registration_contract: bool,
    /// `POST /v1/nodes/:name/agents` adopts a live provider.
    pub bind_adopts_provider: bool,
    /// A release of an agent whose node is away is refused, or completes at once where the agent is to be
    /// deleted.
    pub local_release: bool,
    /// A release that was dispatched is never sent again.
    pub release_sticks: bool,
    /// The agent has left before its release is answered.
    pub late_release: LateRelease,
    /// The harnesses that `POST /v1/agents/spawn` takes for its `cli`, which is required then; without a
    /// list it takes any, or none.
    pub spawn_harnesses: Option<&'static [&'static str]>,
}

const FRAMES_5: FrameRules = FrameRules {
    providers: false,
    node_requests: false,
    optional_load: false,
    repo_keys: false,
    recover: false,
    auto_join: false,
};

const FRAMES_6: FrameRules = FrameRules { providers: true, node_requests: true, ..FRAMES_5 };

const FRAMES_8_2: FrameRules = FrameRules { optional_load: true, repo_keys: true, recover: true, ..FRAMES_6 };

const FRAMES_8_11: FrameRules = FrameRules { auto_join: true, ..FRAMES_8_2 };

const V5_0_5: Profile = Profile {
    name: ProfileName::V5_0_5,
    frames: FRAMES_5,
    attach: Attach::AtUpgrade,
    registration: Registration::Upsert,
    cursor: false,
    replay_on_register: Replay::Node,
    replay_on_inventory: Replay::Node,
    replay_stops: false,
    replays_in_turn: false,
    inventory_conflict: Conflict::FailAll,
    sequence: Sequence::StoredMax,
    reregister_keeps_ready: false,
    inventory_adopts: false,
    node_lookup: NodeLookup::Name,
    machine_reuse: false,
    one_unlimited: false,
    node_token_proof: false,
    token_grace_ms: 0,
    drain_on_heartbeat: true,
    redrive: false,
    expire_on_read: true,
    disconnect_rehomes: true,
    exit_events: false,
    deregister_reply: false,
    bounded_invocations: false,
    reserved_names: false,
    dm_metadata: false,
    registration_contract: false,
    bind_adopts_provider: false,
    local_release: false,
    release_sticks: false,
    late_release: LateRelease::Completes,
    spawn_harnesses: Some(&["claude", "codex", "gemini", "aider", "goose", "opencode", "grok"]),
};

const V6_0_3: Profile = Profile {
    name: ProfileName::V6_0_3,
    frames: FRAMES_6,
    attach: Attach::AtRegister { window_ms: 35_000 },
    cursor: true,
    replay_on_register: Replay::Newly,
    replay_on_inventory: Replay::Newly,
    replays_in_turn: true,
    sequence: Sequence::Monotonic,
    spawn_harnesses: None,
    ..V5_0_5
};

const V8_2_2: Profile = Profile {
    name: ProfileName::V8_2_2,
    frames: FRAMES_8_2,
    registration: Registration::CreateOnly,
    inventory_conflict: Conflict::Skip,
    reregister_keeps_ready: true,
    node_lookup: NodeLookup::IdThenName,
    one_unlimited: true,
    token_grace_ms: 60_000,
    drain_on_heartbeat: false,
    redrive: true,
    expire_on_read: false,
    disconnect_rehomes: false,
    exit_events: true,
    bounded_invocations: true,
    reserved_names: true,
    dm_metadata: true,
    local_release: true,
    release_sticks: true,
    ..V6_0_3
};

const V8_11_4: Profile = Profile {
    name: ProfileName::V8_11_4,
    frames: FRAMES_8_11,
    replay_on_inventory: Replay::Certified,
    replay_stops: true,
    machine_reuse: true,
    deregister_reply: true,
    registration_contract: true,
    bind_adopts_provider: true,
    ..V8_2_2
};

const V9_0_0: Profile = Profile {
    name: ProfileName::V9_0_0,
    inventory_adopts: true,
    node_token_proof: true,
    late_release: LateRelease::Fails,
    ..V8_11_4
};

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::V5_0_5 => V5_0_5,
            ProfileName::V6_0_3 => V6_0_3,
            ProfileName::V8_2_2 => V8_2_2,
            ProfileName::V8_11_4 => V8_11_4,
            ProfileName::V9_0_0 => V9_0_0,
        }
    }
}

impl From<Profile> for ProfileName {
    fn from(profile: Profile) -> Self {
        profile.name
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(ProfileName::into)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_reads_back_from_its_display_form() {
        for name in ProfileName::ALL {
            let profile: Profile = name.to_string().parse().unwrap();
            assert_eq!(profile, Profile::from(name));
            assert_eq!(profile.to_string(), name.as_str());
        }
    }

    #[test]
    fn an_unknown_profile_is_refused_with_the_known_ones() {
        let message = "7.0.0".parse::<Profile>().unwrap_err();
        assert!(message.contains("5.0.5") && message.contains("9.0.0"), "{message}");
    }
}
