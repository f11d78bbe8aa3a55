//! S4 and S5: who reads a message, and how often.
//!
//! Would catch: routing by name after a name has passed on; text for an agent typed into another's
//! terminal; a replayed row typed again; typing again after a write whose end was misread.
//!
//! 1. S4: a message is read only by processes of an identity that it has a row for.
//! 2. S5: a process reads it whole at most once, and once more per time that it threw input away;
//!    an identity at most once per process and such time.

use super::ledger::Ledger;
use crate::agents::reader::Token;
use crate::world::Of;
use relay_core::ids::ProcessId;
use std::collections::BTreeMap;

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
}

impl Takes {
    pub(super) fn started(&mut self, ledger: &mut Ledger, process: Of<ProcessId>, name: &str) {
        let id = ledger.id_of(name).cloned();
        if let Some(identity) = id.as_ref().and_then(|id| ledger.identities.get_mut(id)) {
            identity.processes += 1;
        }
        let name = name.to_owned();
        let taken = BTreeMap::new();
        self.processes.insert(process, Process { name, id, taken });
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
    ) -> Result<(), (&'static str, String)> {
        let Some(known) = self.processes.get_mut(&process) else {
            return Ok(());
        };
        self.count += 1;
        let name = &known.name;
        let identity = known.id.as_ref().and_then(|id| ledger.identities.get_mut(id));
        let Some(identity) = identity.filter(|identity| identity.addressed.contains(&token)) else {
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Event;

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
        takes.started(&mut ledger, PROCESS, "bob");
        (ledger, takes)
    }

    #[test]
    fn a_message_for_somebody_else_is_a_violation() {
        let (mut ledger, mut takes) = started();
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 0), Ok(()));
        assert_eq!(takes.took(&mut ledger, PROCESS, 6, 0).unwrap_err().0, "S4");
    }

    #[test]
    fn a_message_may_be_read_again_only_after_input_was_thrown_away() {
        let (mut ledger, mut takes) = started();
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 1), Ok(()));
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 1), Ok(()));
        assert_eq!(takes.took(&mut ledger, PROCESS, 5, 1).unwrap_err().0, "S5");
    }
}
