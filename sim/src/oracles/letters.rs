//! S1: a message is given up only after everything was tried.
//!
//! Would catch: a message buried after a minute because its agent was busy; one that is buried the first time
//! that its program throws input away, which every program does that starts its screen anew.
//!
//! 1. `not_taken` is said of a message that has been here for [`UNVERIFIED`] at least, by the broker's clock.
//! 2. `thrown_away` is said of one since whose arrival its programs have thrown input away [`ATTEMPTS`] times at
//!    least.
//! 3. There is no other reason.
//!
//! What comes outside of the sequence is not looked at: nothing but its number tells it from a row.

use super::At;
use super::ledger::Ledger;
use super::takes::Takes;
use relay_core::limits::{ATTEMPTS, UNVERIFIED};
use serde_json::Value;

/// In a record: it is of a message that was given up.
const DEAD: &str = r#""record":"dead""#;

/// Records are on their way to the disk.
pub(super) fn written(at: At, ledger: &Ledger, takes: &Takes, lines: &str) -> Result<(), String> {
    for line in lines.lines().filter(|line| line.contains(DEAD)) {
        let record: Value = serde_json::from_str(line).unwrap_or_default();
        letter(at, ledger, takes, &record)?;
    }
    Ok(())
}

fn letter(at: At, ledger: &Ledger, takes: &Takes, record: &Value) -> Result<(), String> {
    let (Some(id), Some(seq)) = (record["agent_id"].as_str(), record["seq"].as_u64()) else {
        return Ok(());
    };
    let row = ledger.identities.get(id).and_then(|identity| identity.rows.get(&seq));
    let row = row.filter(|row| row.delivery_id.as_deref() == record["delivery_id"].as_str());
    let Some(came) = row.and_then(|row| row.arrived).filter(|came| came.life == at.life) else {
        return Ok(());
    };
    match record["reason"].as_str().unwrap_or_default() {
        "not_taken" => match at.mono.saturating_sub(came.mono) {
            waited if waited < UNVERIFIED.0 => {
                Err(format!("row {seq} of {id} is given up as not taken after {waited} µs"))
            }
            _ => Ok(()),
        },
        "thrown_away" => match takes.thrown_since(id, came) {
            times if times < u64::from(ATTEMPTS) => {
                Err(format!("row {seq} of {id} is given up as thrown away, which happened {times} times"))
            }
            _ => Ok(()),
        },
        reason => Err(format!("row {seq} of {id} is given up for no reason that there is: {reason:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ConnectionId, Event};
    use relay_core::ids::ProcessId;

    const CAME: At = At { life: 1, mono: 5, now: 1_000_000_000 };

    fn arrived() -> (Ledger, Takes) {
        let (mut ledger, mut takes) = (Ledger::default(), Takes::default());
        let (agent_id, connection) = ("77", ConnectionId(1));
        ledger.engine(&Event::AgentRegistered {
            agent_id: agent_id.into(),
            name: "bob".into(),
            connection: None,
        });
        ledger.engine(&Event::Stored { agent_id: agent_id.into(), seq: 1, msg_id: "901".into() });
        ledger.engine(&Event::Delivered {
            connection,
            agent_id: agent_id.into(),
            seq: 1,
            delivery_id: "del_1".into(),
            msg_id: "901".into(),
            replay: false,
        });
        takes.started(&mut ledger, CAME, (1, ProcessId(7)), "bob", false);
        takes.threw(1, (1, ProcessId(7)));
        ledger.arrived(CAME, agent_id, 1, Some("del_1"));
        (ledger, takes)
    }

    fn given_up(state: &(Ledger, Takes), waited: u64, reason: &str) -> bool {
        let at = At { mono: CAME.mono + waited, ..CAME };
        let delivery = r#""delivery_id":"del_1","agent_id":"77","seq":1"#;
        let line = format!("{{\"record\":\"dead\",{delivery},\"reason\":\"{reason}\"}}\n");
        written(at, &state.0, &state.1, &line).is_ok()
    }

    #[test]
    fn a_message_is_not_given_up_as_not_taken_before_its_time() {
        let state = arrived();
        assert!(!given_up(&state, UNVERIFIED.0 - 1, "not_taken"));
        assert!(given_up(&state, UNVERIFIED.0, "not_taken"));
        assert!(!given_up(&state, UNVERIFIED.0, "tired"));
    }

    #[test]
    fn a_message_is_not_given_up_as_thrown_away_more_often_than_it_was() {
        let mut state = arrived();
        for _ in 0..ATTEMPTS {
            assert!(!given_up(&state, 1, "thrown_away"));
            state.1.threw(CAME.now + 1, (1, ProcessId(7)));
        }
        assert!(given_up(&state, 1, "thrown_away"));
    }
}
