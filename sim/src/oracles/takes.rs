//! S4 and S5: who reads a message, and how often.
//!
//! Would catch: routing by name after a name has passed on; text for an agent typed into another's
//! terminal; a replayed row typed again; typing again after a write whose end was misread.
//!
//! 1. S4: a message is read only by processes of an identity that it has a row for.
//! 2. S5: a process reads it whole at most once, and once more per time that it threw input away since the
//!    message came, or so shortly before that the broker did not know. Without faults it is read exactly once.

use super::ledger::Ledger;
use super::{At, Broken};
use crate::agents::reader::Token;
use crate::world::Of;
use relay_core::ids::ProcessId;
use std::collections::BTreeMap;

/// What a program did is surely known to the broker after this, however slowly its output comes, in virtual µs.
const KNOWN: u64 = 10_000_000;

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
    /// When it was started.
    since: At,
    /// When it threw input away, in virtual µs.
    thrown: Vec<u64>,
}

impl Process {
    /// How often it has thrown away, perhaps, what came at this time.
    fn thrown_since(&self, came: Option<At>) -> u64 {
        let since = came.map_or(0, |at| at.now.saturating_sub(KNOWN));
        self.thrown.iter().filter(|at| **at >= since).count() as u64
    }
}

impl Takes {
    pub(super) fn started(
        &mut self,
        ledger: &mut Ledger,
        at: At,
        process: Of<ProcessId>,
        name: &str,
        deaf: bool,
    ) {
        let id = ledger.id_of(name).cloned();
        if let Some(identity) = id.as_ref().and_then(|id| ledger.identities.get_mut(id)) {
            identity.processes += 1;
        }
        let name = name.to_owned();
        let (taken, thrown) = (BTreeMap::new(), Vec::new());
        self.processes.insert(process, Process { name, id, taken, deaf, since: at, thrown });
    }

    /// A process throws away what it has not read.
    pub(super) fn threw(&mut self, now: u64, process: Of<ProcessId>) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.thrown.push(now);
        }
    }

    /// How often a process has thrown away what it had not read.
    pub(super) fn thrown(&self, process: Of<ProcessId>) -> u64 {
        self.processes.get(&process).map_or(0, |known| known.thrown.len() as u64)
    }

    /// How often a process has thrown away, perhaps, what came then.
    pub(super) fn thrown_by(&self, process: Of<ProcessId>, came: At) -> u64 {
        self.processes.get(&process).map_or(0, |known| known.thrown_since(Some(came)))
    }

    /// Whose process it is.
    pub(super) fn name_of(&self, process: Of<ProcessId>) -> &str {
        self.processes.get(&process).map_or("", |known| known.name.as_str())
    }

    /// Whether a process of an identity was there then that still `runs`: none does whose life is over.
    pub(super) fn has_since(&self, id: &str, at: At, runs: impl Fn(Of<ProcessId>) -> bool) -> bool {
        let was_there = |known: &Process| known.id.as_deref() == Some(id) && known.since.now <= at.now;
        let next_life = (at.life + 1, ProcessId(0));
        let is_over = self.processes.range(next_life..).next().is_some();
        let mut of_this_life = self.processes.range((at.life, ProcessId(0))..next_life);
        !is_over && of_this_life.any(|(process, known)| was_there(known) && runs(*process))
    }

    /// How often the processes that this life has started of an identity have thrown away, perhaps, what came then.
    pub(super) fn thrown_since(&self, id: &str, came: At) -> u64 {
        let of_it = |process: &&Process| process.id.as_deref() == Some(id);
        let of_this_life = self.processes.range((came.life, ProcessId(0))..).map(|(_, process)| process);
        of_this_life.filter(of_it).map(|process| process.thrown_since(Some(came))).sum()
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn took(
        &mut self,
        ledger: &mut Ledger,
        process: Of<ProcessId>,
        token: Token,
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
        let came = identity.rows.get(&seq).and_then(|row| row.arrived).filter(|at| at.life == process.0);
        let again = known.thrown_since(came);
        let times = known.taken.entry(token).or_default();
        *times += 1;
        if *times > 1 + again {
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
        ledger.posted("901", 5, None);
        ledger.engine(&Event::Stored { agent_id: "77".into(), seq: 1, msg_id: "901".into() });
        takes.started(&mut ledger, At { life: 1, mono: 0, now: 0 }, PROCESS, "bob", false);
        (ledger, takes)
    }

    #[test]
    fn a_message_for_somebody_else_is_a_violation() {
        let (mut ledger, mut takes) = started();
        assert_eq!(takes.took(&mut ledger, PROCESS, 5), Ok(Some(("77".into(), 1))));
        assert_eq!(takes.took(&mut ledger, PROCESS, 6).unwrap_err().0, "S4");
    }

    #[test]
    fn without_faults_a_message_is_read_exactly_once() {
        let (mut ledger, mut takes) = started();
        assert!(takes.exactly_once(&ledger, |_, _| true).is_err());
        takes.took(&mut ledger, PROCESS, 5).expect("the first time");
        assert_eq!(takes.exactly_once(&ledger, |_, _| true), Ok(()));
        takes.threw(1, PROCESS);
        takes.took(&mut ledger, PROCESS, 5).expect("input was thrown away");
        assert!(takes.exactly_once(&ledger, |_, _| true).is_err());
    }

    #[test]
    fn a_message_may_be_read_again_only_after_input_was_thrown_away() {
        let (mut ledger, mut takes) = started();
        let came = At { life: 1, mono: 0, now: 10 * KNOWN };
        ledger.arrived(came, "77", 1, None);
        takes.threw(came.now - KNOWN - 1, PROCESS);
        assert_eq!(takes.took(&mut ledger, PROCESS, 5), Ok(Some(("77".into(), 1))));
        takes.threw(came.now - KNOWN, PROCESS);
        assert_eq!(takes.took(&mut ledger, PROCESS, 5), Ok(None));
        assert_eq!(takes.took(&mut ledger, PROCESS, 5).unwrap_err().0, "S5");
    }

    #[test]
    fn what_was_read_once_and_acked_long_ago_is_forgotten_and_must_not_come_again() {
        let (mut ledger, mut takes) = started();
        let connection = ConnectionId(1);
        for seq in 2..=10_000 {
            let (msg_id, token) = (format!("90{seq:05}"), 4 + seq);
            ledger.posted(&msg_id, token, None);
            ledger.engine(&Event::Stored { agent_id: "77".into(), seq, msg_id: msg_id.into() });
            assert_eq!(takes.took(&mut ledger, PROCESS, token), Ok(Some(("77".into(), seq))));
            let matched = Some("77".into());
            ledger.engine(&Event::Acked { connection, agent: "bob".into(), up_to_seq: seq, matched });
        }
        assert_eq!(ledger.identities["77"].rows.len(), 10_000, "the first row was not read");
        takes.took(&mut ledger, PROCESS, 5).expect("the first time");
        takes.threw(1, PROCESS);
        takes.took(&mut ledger, PROCESS, 10_004).expect("input was thrown away");
        let identity = &ledger.identities["77"];
        let held = [identity.rows.len(), identity.addressed.len(), identity.taken.len()];
        assert!(held.iter().all(|held| (1_000..1_100).contains(held)), "{held:?}");
        assert_eq!(takes.processes[&PROCESS].taken.len(), identity.taken.len());
        assert!(takes.exactly_once(&ledger, |_, _| true).is_err(), "the newest was read twice");
        assert_eq!(takes.took(&mut ledger, PROCESS, 5).unwrap_err().0, "S4");
    }
}
