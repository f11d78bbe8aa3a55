//! S4 and S5: who reads a message, and how often.
//!
//! Would catch: routing by name after a name has passed on; text for an agent typed into another's
//! terminal; a replayed row typed again; typing again after a write whose end was misread.
//!
//! 1. S4: a message is read only by processes of an identity that it has a row for.
//! 2. S5: a process reads it whole at most once, and once more per time that it threw input away;
//!    an identity at most once per process and such time. Without faults it is read exactly once.

use super::Broken;
use super::ledger::Ledger;
use crate::agents::reader::Token;
use crate::world::Of;
use relay_core::ids::ProcessId;
use std::collections::BTreeMap;

/// The identity and the sequence of a message that a process has read for the first time.
pub(super) type FirstRead = (String, u64);

#[derive(Debug, Default)]
pub(super) struct Takes {
    processes: BTreeMap<Of<ProcessId>, Process>,
    count: u64,
}

#[derive(Debug)]
struct Process {
    name: String,
    id: Option<String>,
    taken: BTreeMap<Token, u64>,
    deaf: bool,
}

impl Takes {
    pub(super) fn started(&mut self, ledger: &mut Ledger, process: Of<ProcessId>, name: &str, deaf: bool) {
        let id = ledger.id_of(name).cloned();
        if let Some(identity) = id.as_ref().and_then(|id| ledger.identities.get_mut(id)) {
            identity.processes += 1;
        }
        let name = name.to_owned();
        let taken = BTreeMap::new();
        self.processes.insert(process, Process { name, id, taken, deaf });
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn took(
        &mut self,
        ledger: &mut Ledger,
        process: Of<ProcessId>,
        token: Token,
        flushes: u64,
    ) -> Result<Option<FirstRead>, Broken> {
        let Some(known) = self.processes.get_mut(&process) else {
            return Ok(None);
        };
        self.count += 1;
        let name = &known.name;
        let identity = known.id.as_ref().and_then(|id| ledger.identities.get_mut(id));
        let row = identity.and_then(|identity| Some((*identity.addressed.get(&token)?, identity)));
        let Some((seq, identity)) = row else {
            let message = format!("{name} ({process:?}) read message {token}, which is not for it");
            return Err(("S4", message));
        };
        *identity.taken.entry(token).or_default() += 1;
        let times = known.taken.entry(token).or_default();
        *times += 1;
        if *times > 1 + flushes {
            let message = format!("{name} ({process:?}) read message {token} {times} times");
            return Err(("S5", message));
        }
        let first = known.id.as_ref().filter(|_| *times == 1);
        while let Some(done) = identity.forget_oldest(|token| known.taken.get(&token) == Some(&1)) {
            known.taken.remove(&done);
        }
        Ok(first.map(|id| (id.clone(), seq)))
    }

    /// Without faults every message for an identity that had one process is read once, and none is
    /// given up; `is_there`: whether the identity of a name is still there, for a release may have deleted it.
    pub(super) fn exactly_once(
        &self,
        ledger: &Ledger,
        is_there: impl Fn(&str, &str) -> bool,
    ) -> Result<(), String> {
        let undisturbed = |process: &&Process| {
            let id = process.id.as_deref().filter(|id| is_there(&process.name, id));
            let identity = id.and_then(|id| ledger.identities.get(id));
            !process.deaf && identity.is_some_and(|identity| identity.processes == 1)
        };
        for process in self.processes.values().filter(undisturbed) {
            let identity = process.id.as_ref().and_then(|id| ledger.identities.get(id));
            for (seq, row) in identity.into_iter().flat_map(|identity| &identity.rows) {
                let times = row.token.map_or(1, |token| process.taken.get(&token).copied().unwrap_or(0));
                if times != 1 || ledger.is_buried(row) {
                    return Err(format!("nothing failed, and {} read row {seq} {times} times", process.name));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ConnectionId, Event};

    const PROCESS: Of<ProcessId> = (1, ProcessId(7));

    fn started() -> (Ledger, Takes) {
        let (mut ledger, mut takes) = (Ledger::default(), Takes::default());
        ledger.engine(&Event::AgentRegistered {
            agent_id: "77".into(),
            name: "bob".into(),
            connection: None,
        });
        ledger.posted("901", 5);
        ledger.engine(&Event::Stored { agent_id: "77".into(), seq: 1, msg_id: "901".into() });
        takes.started(&mut ledger, PROCESS, "bob", false);
        (ledger, takes)
    }

    #[test]
    fn a_message_for_somebody_else_is_a_violation() {
        let (mut ledger, mut takes) = started();
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 0), Ok(Some(("77".into(), 1))));
        assert_eq!(takes.took(&mut ledger, PROCESS, 6, 0).unwrap_err().0, "S4");
    }

    #[test]
    fn without_faults_a_message_is_read_exactly_once() {
        let (mut ledger, mut takes) = started();
        assert!(takes.exactly_once(&ledger, |_, _| true).is_err());
        takes.took(&mut ledger, PROCESS, 5, 1).expect("the first time");
        assert_eq!(takes.exactly_once(&ledger, |_, _| true), Ok(()));
        takes.took(&mut ledger, PROCESS, 5, 1).expect("input was thrown away");
        assert!(takes.exactly_once(&ledger, |_, _| true).is_err());
    }

    #[test]
    fn a_message_may_be_read_again_only_after_input_was_thrown_away() {
        let (mut ledger, mut takes) = started();
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 1), Ok(Some(("77".into(), 1))));
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 1), Ok(None));
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 1).unwrap_err().0, "S5");
    }

    #[test]
    fn what_was_read_once_and_acked_long_ago_is_forgotten_and_must_not_come_again() {
        let (mut ledger, mut takes) = started();
        let connection = ConnectionId(1);
        for seq in 2..=10_000 {
            let (msg_id, token) = (format!("90{seq:05}"), 4 + seq);
            ledger.posted(&msg_id, token);
            ledger.engine(&Event::Stored { agent_id: "77".into(), seq, msg_id: msg_id.into() });
            assert_eq!(takes.took(&mut ledger, PROCESS, token, 9), Ok(Some(("77".into(), seq))));
            let matched = Some("77".into());
            ledger.engine(&Event::Acked { connection, agent: "bob".into(), up_to_seq: seq, matched });
        }
        assert_eq!(ledger.identities["77"].rows.len(), 10_000, "the first row was not read");
        takes.took(&mut ledger, PROCESS, 5, 9).expect("the first time");
        takes.took(&mut ledger, PROCESS, 10_004, 9).expect("input was thrown away");
        let identity = &ledger.identities["77"];
        let held = [identity.rows.len(), identity.addressed.len(), identity.taken.len()];
        assert!(held.iter().all(|held| (1_000..1_100).contains(held)), "{held:?}");
        assert_eq!(takes.processes[&PROCESS].taken.len(), identity.taken.len());
        assert!(takes.exactly_once(&ledger, |_, _| true).is_err(), "the newest was read twice");
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 9).unwrap_err().0, "S4");
    }
}
