//! L1, L2, L4 and L5: what must come to pass when nothing fails any more.
//!
//! Would catch: a window that waits for a sequence that never comes; a row taken but not acked after
//! a reconnect; an injection that is never tried again; an agent that the engine believes elsewhere;
//! a broker that is never registered again; a result that never arrives; links opened, calls made or
//! files written for ever although there is nothing to do; a message that was given up and never acked, so that
//! the cursor of its agent stays where it is.
//!
//! 1. L1: every row of an agent that reads is acked, and its first task is read; one that does not read gets a
//!    dead letter. Behind a dead letter that no other open row precedes, the cursor goes on, whoever it is for.
//! 2. L2: the broker is registered. L5: no invocation is open.
//! 3. L4: when all this is so, a broker that nobody asks anything sends heartbeats and inventories,
//!    and repeats its cursors after those. After the engine has given a row up it may close one link:
//!    what is missing below that row, only a new one can tell. It may ask who is deaf. For a while it may
//!    still write what it could not, make or join channels, and note who has left for good.

use super::facts::Frame;
use super::{At, Oracles};
use crate::agents::reader::Token;
use crate::engine::Engine;
use crate::world::Of;
use relay_core::ids::ProcessId;
use relay_core::{Command, StoreAction, limits};

/// An open row of an agent that reads.
#[derive(Clone, Copy, Debug)]
pub struct Unsettled {
    /// The row's sequence.
    pub seq: u64,
    /// Whether a process of the agent has taken the message whole.
    pub taken: bool,
}

impl Oracles {
    /// The identity of an agent, but for one that somebody else has deleted: no row of that can end any more.
    fn living(&self, engine: &Engine, name: &str) -> Option<&String> {
        self.ledger.id_of(name).filter(|id| engine.agent_id(name).as_deref() == Some(*id))
    }

    /// The first open row of an agent.
    pub fn unsettled(&self, engine: &Engine, name: &str) -> Option<Unsettled> {
        let id = self.living(engine, name)?;
        // Whoever of them runs may be one that was deleted, under whose name another one lives on; an engine of
        // 5.x does not tell.
        if self.scene.ids_of(name).any(|id| !engine.has_agent(id)) {
            return None;
        }
        let identity = self.ledger.identities.get(id)?;
        let cursor = engine.ack_cursor(id);
        let mut open = engine.rows(id).filter(|row| row.state.is_open());
        open.find_map(|open| {
            let row = identity.rows.get(&open.seq)?;
            let taken = row.token.is_some_and(|token| identity.taken.contains_key(&token));
            // What an old engine stores at or below its cursor no ack can end, and it is sent once. It is read.
            let was_lost = || {
                !taken && row.token.is_some() && row.arrived.is_some_and(|at| self.was_there(id, name, at))
            };
            (open.seq > cursor || was_lost()).then_some(Unsettled { seq: open.seq, taken })
        })
    }

    /// Whether the process of an identity was there at this time, and has not thrown input away too often since.
    fn was_there(&self, id: &str, name: &str, at: At) -> bool {
        let runs = |process: Of<ProcessId>| self.scene.process(process.1) == Some(name);
        self.takes.has_since(id, at, runs) && self.takes.thrown_since(id, at) < u64::from(limits::ATTEMPTS)
    }

    /// Whether a message for an agent that does not read was given up, if there is one.
    pub fn has_dead_letter(&self, engine: &Engine, name: &str) -> bool {
        let Some(id) = self.living(engine, name) else {
            return true;
        };
        // What came before it, be it outside of the sequence, is given up first.
        !engine.rows(id).any(|row| row.state.is_open()) || self.ledger.has_buried(id)
    }

    /// The first open row of an agent, if its message was given up.
    pub fn unsettled_letter(&self, engine: &Engine, name: &str) -> Option<u64> {
        let id = self.living(engine, name)?;
        if self.scene.ids_of(name).any(|id| !engine.has_agent(id)) {
            return None;
        }
        let (identity, cursor) = (self.ledger.identities.get(id)?, engine.ack_cursor(id));
        let first = engine.rows(id).find(|row| row.state.is_open() && row.seq > cursor)?;
        identity.rows.get(&first.seq).filter(|row| self.ledger.is_buried(row)).map(|_| first.seq)
    }

    /// Somebody whom the engine still has on this node although the broker has taken leave.
    pub fn bound_behind_leave(&self, engine: &Engine, node: &str) -> Option<&str> {
        self.leaves.first_bound(engine, node)
    }

    /// Whether the broker's registration is confirmed.
    pub fn is_registered(&self) -> bool {
        self.scene.is_confirmed()
    }

    /// An invocation that the broker was given and the engine has not ended.
    pub fn open_invocation(&self) -> Option<&str> {
        self.invocations.first_open()
    }

    /// From `now` on there is nothing to do for the broker, or with `None` there is. Whether there was
    /// nothing before, and the engine has asked it for nothing since.
    pub fn expect_quiet(&mut self, now: Option<u64>) -> bool {
        let since = self.quiet_since;
        self.quiet_since = now.map(|now| since.unwrap_or(now));
        since.is_some()
    }

    /// A process of this agent that has not read its first task.
    pub fn unread_task(&self, name: &str) -> Option<Of<ProcessId>> {
        let is_there = |process: &Of<ProcessId>| self.scene.process(process.1) == Some(name);
        self.tasks.unread(|process| is_there(&process).then(|| self.takes.thrown(process)))
    }

    /// A result that reached the broker for an agent and was not read by it.
    pub fn unread_result(&self, name: &str) -> Option<Token> {
        let thrown = |came| self.ledger.id_of(name).map_or(0, |id| self.takes.thrown_since(id, came));
        self.results.unread(name, thrown)
    }

    /// Nothing went wrong in this case: every message was read once.
    pub fn expect_exactly_once(&mut self, engine: &Engine) {
        let is_there = |name: &str, id: &str| engine.agent_id(name).as_deref() == Some(id);
        let judged = self.takes.exactly_once(&self.ledger, is_there);
        self.note("S5", judged);
    }
}

/// For so long a broker may still repeat what it could not write while things failed: what it began to
/// write then is given up after one limit, and written again after the other. In virtual µs.
const REWRITE: u64 = limits::STORE.0 + limits::REWRITE.0 + 1_000_000;

/// For so long a broker may still note who has left for good and which release is surely answered: where an
/// engine handles frames side by side, the answers to two refreshes prove that it knows.
const PROOF: u64 = 2 * limits::INVENTORY_REFRESH.0 + 1_000_000;

/// In a record of the journal: a leave or a release that the engine surely knows the end of.
const PROVEN: [&str; 2] = [r#""record":"paid""#, r#""record":"answered""#];

/// For so long it may still make or join channels that it could not.
const JOIN: u64 = limits::JOIN_TRIES as u64 * (limits::CALL.0 + limits::JOIN_RETRY.0) + 1_000_000;

/// Results that may have gone down with a link, and leaves behind those of releases, follow the first inventory
/// of the next one.
const OPENED: u64 = limits::INVENTORY_DELAY.0 + 1_000_000;

/// L4: judges what a broker does that has had nothing to do for so long, in virtual µs.
pub(super) fn quiet(lasts: u64, command: &Command, frame: Option<&Frame<'_>>) -> Result<(), String> {
    let kind = frame.map_or("", Frame::kind);
    match command {
        Command::LinkSend { .. } if matches!(kind, "node.heartbeat" | "inventory.sync" | "delivery.ack") => {
            Ok(())
        }
        Command::LinkSend { .. }
            if matches!(kind, "action.result" | "agent.deregister") && lasts < OPENED =>
        {
            Ok(())
        }
        Command::Store { .. } if lasts < REWRITE => Ok(()),
        Command::Store { action: StoreAction::Append { lines }, .. }
            if lasts < PROOF
                && lines.lines().all(|line| PROVEN.iter().any(|record| line.contains(record))) =>
        {
            Ok(())
        }
        Command::Call { request, .. } if lasts < JOIN && request.url.contains("/v1/channels") => Ok(()),
        // Behind each inventory that lists somebody whom the engine does not know.
        Command::Call { request, .. } if request.method == "GET" && request.url.contains("/v1/nodes/") => {
            Ok(())
        }
        Command::LinkPing { .. } | Command::ApiReply { .. } | Command::Log(_) => Ok(()),
        // Programs live a life of their own: readers of events are shown it, and it is looked into.
        Command::StreamSend { .. } | Command::PtyCheck { .. } | Command::PtyWrite { .. } => Ok(()),
        _ => Err(format!("there is nothing to do, and the broker wants {command:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::{LinkId, OpId, StoreId};
    use relay_core::time::Mono;

    #[test]
    fn a_broker_without_work_shows_that_it_lives_and_does_no_more() {
        let judge = |text: &str| {
            let command = Command::LinkSend { link: LinkId(1), text: text.into() };
            quiet(0, &command, Some(&Frame::read(text)))
        };
        assert_eq!(judge(r#"{"type":"node.heartbeat"}"#), Ok(()));
        assert_eq!(judge(r#"{"type":"inventory.sync","id":"1","agents":[]}"#), Ok(()));
        assert_eq!(judge(r#"{"type":"delivery.ack","agent":"bob","up_to_seq":1}"#), Ok(()));
        assert!(judge(r#"{"type":"agent.register","id":"2","name":"bob"}"#).is_err());
        assert_eq!(quiet(0, &Command::PtyCheck { process: ProcessId(1), op: OpId(1) }, None), Ok(()));
        let stores = |lasts, lines: &str| {
            let action = StoreAction::Append { lines: lines.into() };
            quiet(lasts, &Command::Store { store: StoreId(1), action, deadline: Mono(1) }, None)
        };
        let result = r#"{"type":"action.result","invocation_id":"i1","output":null}"#;
        assert_eq!(judge(result), Ok(()));
        assert_eq!(stores(0, "{}\n"), Ok(()));
        assert!(stores(REWRITE, "{}\n").is_err());
        let paid = "{\"record\":\"paid\",\"agent_id\":\"7\"}\n";
        assert_eq!(stores(REWRITE, paid), Ok(()));
        assert!(stores(REWRITE, &format!("{paid}{{}}\n")).is_err());
        assert!(stores(PROOF, paid).is_err());
    }
}
