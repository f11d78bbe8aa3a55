//! The verdict, from an independent record: what the agents wrote down themselves, and what the
//! engine saw.
//!
//! Owns: matching messages with lines and acks, and what counts as a failure.
//! Must not know: the broker. Nothing that it says about itself is looked at.
//!
//! 1. A delivery is good when the agent has read its text exactly once, and not later than the ack
//!    arrived at the engine. Both times are of the same clock.

use super::agent::Entry;
use crate::engine_host::Noted;
use relay_sim::engine::Event;
use std::collections::BTreeMap;

/// A message that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// When the engine was asked to send it, in Unix nanoseconds.
    pub(super) at_ns: u64,
    /// Its id.
    pub(super) id: String,
    /// What it is, for people: `DM to shell`.
    pub(super) what: String,
    /// Its text, unlike that of any other message.
    pub(super) text: String,
    /// The agents that must get it.
    pub(super) to: Vec<&'static str>,
    /// There was no connection to the engine then.
    pub(super) during_cut: bool,
}

/// One message on its way to one agent.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Position of its message among those sent.
    pub(super) message: usize,
    /// To whom.
    pub(super) agent: &'static str,
    /// Its number in the agent's mailbox.
    pub(super) seq: Option<u64>,
    /// When the agent first had it.
    pub(super) taken_ns: Option<u64>,
    /// When the engine got an ack for it.
    pub(super) acked_ns: Option<u64>,
}

/// All deliveries, and everything that is wrong with them.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// In the order in which they were sent.
    pub(super) deliveries: Vec<Delivery>,
    /// One sentence each.
    pub(super) problems: Vec<String>,
}

/// What the agents have read, by name.
pub(super) type Records = BTreeMap<&'static str, Vec<Entry>>;

/// Compares what was sent with the two records.
pub(super) fn judge(sent: &[Sent], records: &Records, journal: &[Noted]) -> Verdict {
    let mut verdict = Verdict::default();
    for (message, sent) in sent.iter().enumerate() {
        for &agent in &sent.to {
            let lines = records.get(agent).map_or(&[][..], Vec::as_slice);
            let taken: Vec<u64> = lines
                .iter()
                .filter(|entry| entry.line.ends_with(&sent.text))
                .map(|entry| entry.at_ns)
                .collect();
            let seq = sequence(journal, agent, &sent.id);
            let delivery = Delivery {
                message,
                agent,
                seq,
                taken_ns: taken.first().copied(),
                acked_ns: seq.and_then(|seq| acked(journal, agent, seq)),
            };
            let name = format!("the {} {:?}, for {agent}", sent.what, sent.text);
            verdict.problems.extend(problem(&name, &delivery, taken.len()));
            verdict.deliveries.push(delivery);
        }
    }
    for (agent, lines) in records {
        let unknown = lines.iter().filter(|entry| {
            let mine = |sent: &&Sent| sent.to.contains(agent);
            !sent.iter().filter(mine).any(|sent| entry.line.ends_with(&sent.text))
        });
        let said = |entry: &Entry| format!("{agent} read something that was not for it: {:?}", entry.line);
        verdict.problems.extend(unknown.map(said));
    }
    verdict
}

fn problem(name: &str, delivery: &Delivery, times: usize) -> Option<String> {
    match (delivery.taken_ns, delivery.acked_ns) {
        (None, None) => Some(format!("{name} was lost: neither taken nor acked")),
        (None, Some(_)) => Some(format!("{name} was acked, but never taken")),
        (Some(_), None) => Some(format!("{name} was taken, but never acked")),
        _ if times > 1 => Some(format!("{name} was taken {times} times")),
        (Some(taken), Some(acked)) if acked < taken => {
            Some(format!("{name} was acked {:.3} ms before it was taken", (taken - acked) as f64 / 1e6))
        }
        _ => None,
    }
}

/// Whether the engine has the acks of all of them.
pub(super) fn all_acked(sent: &[Sent], journal: &[Noted]) -> bool {
    sent.iter().all(|sent| {
        let acked_for = |agent: &&str| {
            let seq = sequence(journal, agent, &sent.id);
            seq.is_some_and(|seq| acked(journal, agent, seq).is_some())
        };
        sent.to.iter().all(acked_for)
    })
}

/// The number that a message has in an agent's mailbox.
fn sequence(journal: &[Noted], agent: &str, message: &str) -> Option<u64> {
    journal.iter().find_map(|noted| match &noted.event {
        Event::Stored { agent_id, seq, msg_id } if &**msg_id == message => {
            (agent_name(journal, agent_id)? == agent).then_some(*seq)
        }
        _ => None,
    })
}

/// When the first ack arrived that covers `seq`.
fn acked(journal: &[Noted], agent: &str, seq: u64) -> Option<u64> {
    let mut stored = false;
    journal.iter().find_map(|noted| match &noted.event {
        // What was acked before the row was there does not count.
        Event::Stored { agent_id, seq: this, .. } => {
            stored |= *this == seq && agent_name(journal, agent_id) == Some(agent);
            None
        }
        Event::Acked { agent: name, up_to_seq, matched: Some(_), .. }
            if stored && name == agent && *up_to_seq >= seq =>
        {
            Some(noted.at_ns)
        }
        _ => None,
    })
}

/// The name under which an identity was registered.
pub(super) fn agent_name<'a>(journal: &'a [Noted], id: &str) -> Option<&'a str> {
    journal.iter().find_map(|noted| match &noted.event {
        Event::AgentRegistered { agent_id, name, .. } if &**agent_id == id => Some(&**name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_sim::engine::ConnectionId;

    const SOCKET: ConnectionId = ConnectionId(1);

    fn sent() -> Vec<Sent> {
        vec![Sent {
            at_ns: 10,
            id: "901".into(),
            what: "DM".into(),
            text: "hello".into(),
            to: vec!["shell"],
            during_cut: false,
        }]
    }

    fn taken(at: &[u64]) -> Records {
        let entry = |at_ns: &u64| Entry { at_ns: *at_ns, line: "Relay message from you [901]: hello".into() };
        Records::from([("shell", at.iter().map(entry).collect())])
    }

    fn journal(acked_at: Option<u64>) -> Vec<Noted> {
        let registered =
            Event::AgentRegistered { agent_id: "7".into(), name: "shell".into(), connection: Some(SOCKET) };
        let stored = Event::Stored { agent_id: "7".into(), seq: 4, msg_id: "901".into() };
        let early = acked(3);
        let mut journal = vec![noted(1, registered), noted(9, early), noted(10, stored)];
        journal.extend(acked_at.map(|at| noted(at, acked(5))));
        journal
    }

    fn acked(up_to_seq: u64) -> Event {
        Event::Acked { connection: SOCKET, agent: "shell".into(), up_to_seq, matched: Some("7".into()) }
    }

    fn noted(at_ns: u64, event: Event) -> Noted {
        Noted { at_ns, event }
    }

    fn problems(records: &Records, journal: &[Noted]) -> Vec<String> {
        judge(&sent(), records, journal).problems
    }

    #[test]
    fn taken_and_then_acked_is_good() {
        let verdict = judge(&sent(), &taken(&[20]), &journal(Some(20)));
        assert_eq!(verdict.problems, [""; 0]);
        let delivery = &verdict.deliveries[0];
        assert_eq!((delivery.seq, delivery.taken_ns, delivery.acked_ns), (Some(4), Some(20), Some(20)));
    }

    #[test]
    fn every_other_end_is_named() {
        for (taken_at, acked_at, said) in [
            (&[21_000_000][..], Some(20_000_000), "acked 1.000 ms before it was taken"),
            (&[20, 21], Some(30), "taken 2 times"),
            (&[20], None, "never acked"),
            (&[], Some(20), "never taken"),
            (&[], None, "lost"),
        ] {
            let problems = problems(&taken(taken_at), &journal(acked_at));
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(said), "{problems:?}");
            assert!(problems[0].contains("hello") && problems[0].contains("shell"), "{problems:?}");
        }
    }

    #[test]
    fn what_nobody_sent_is_named() {
        let mut records = taken(&[20]);
        let stray = Entry { at_ns: 1, line: "half a mess".into() };
        records.get_mut("shell").unwrap().push(stray);
        let problems = problems(&records, &journal(Some(30)));
        assert!(problems.len() == 1 && problems[0].contains("half a mess"), "{problems:?}");
    }
}
