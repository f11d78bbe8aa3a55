//! What the events say about the deliveries of one message.
//!
//! Owns: the state of each delivery and the verdict. Must not know: time limits, sockets, printing.
//!
//! 1. A delivery is known from the first event that names the message and an agent.
//! 2. A delivery that is over stays over.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How one delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Queued or typed, not acked.
    Open,
    /// Taken by the program and acked to the engine.
    Acked,
    /// Given up by the broker: a dead letter.
    Failed,
    /// The agent ended before it took the message.
    Ended,
}

impl State {
    /// The word of the machine form.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acked => "acked",
            Self::Failed => "failed",
            Self::Ended => "ended",
        }
    }
}

/// One delivery of the message.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) state: State,
    /// How the broker knows that the program took it: `screen`, `activity`, `taken`.
    pub(super) verification: Option<String>,
    /// Why it was given up or, while it is open, why the last attempt failed.
    pub(super) reason: Option<String>,
    /// From the start of the publish to the end of the delivery.
    pub(super) took: Option<Duration>,
}

impl Delivery {
    fn end(&mut self, state: State, took: Duration) -> bool {
        let open = self.state == State::Open;
        if open {
            self.state = state;
            self.took = Some(took);
        }
        open
    }
}

/// The deliveries of one message, by agent.
#[derive(Debug)]
pub(super) struct Follow {
    message: String,
    deliveries: BTreeMap<String, Delivery>,
}

impl Follow {
    /// Nothing is known yet of the message with this id.
    pub(super) fn new(message: &str) -> Self {
        Self { message: message.to_owned(), deliveries: BTreeMap::new() }
    }

    /// Takes one event that came `took` after the publish began; tells whether a delivery began or ended.
    pub(super) fn event(&mut self, event: &Value, took: Duration) -> bool {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let (Some(kind), Some(name)) = (text("kind"), text("name")) else {
            return false;
        };
        if matches!(kind, "agent_exited" | "agent_released") {
            // Of a delivery that has not begun, this could be an older agent of that name.
            return self.deliveries.get_mut(name).is_some_and(|delivery| delivery.end(State::Ended, took));
        }
        if text("event_id") != Some(&self.message) {
            return false;
        }
        let began = !self.deliveries.contains_key(name);
        let delivery = self.deliveries.entry(name.to_owned()).or_insert_with(|| Delivery {
            state: State::Open,
            verification: None,
            reason: None,
            took: None,
        });
        if let Some(verification) = text("verification") {
            delivery.verification = Some(verification.to_owned());
        }
        if delivery.state == State::Open
            && let Some(reason) = text("reason").or_else(|| text("lastError"))
        {
            delivery.reason = Some(reason.to_owned());
        }
        let ended = match kind {
            "delivery_ack" => delivery.end(State::Acked, took),
            "dead_letter_added" | "message_delivery_failed" => delivery.end(State::Failed, took),
            _ => false,
        };
        began || ended
    }

    /// Whether the delivery to `agent` is over.
    pub(super) fn is_over(&self, agent: &str) -> bool {
        self.deliveries.get(agent).is_some_and(|delivery| delivery.state != State::Open)
    }

    /// Whether every delivery that began is over.
    pub(super) fn all_over(&self) -> bool {
        self.deliveries.values().all(|delivery| delivery.state != State::Open)
    }

    /// Every delivery that began, by agent.
    pub(super) fn deliveries(&self) -> &BTreeMap<String, Delivery> {
        &self.deliveries
    }

    /// The machine form: a list, sorted by agent.
    pub(super) fn to_json(&self) -> Value {
        let delivery = |(agent, delivery): (&String, &Delivery)| {
            json!({
                "agent": agent,
                "state": delivery.state.word(),
                "verification": delivery.verification,
                "reason": delivery.reason,
                "ms": delivery.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            })
        };
        self.deliveries.iter().map(delivery).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(events: &[Value]) -> Follow {
        let mut follow = Follow::new("m1");
        for (n, event) in events.iter().enumerate() {
            follow.event(event, Duration::from_millis(n as u64));
        }
        follow
    }

    fn event(kind: &str, name: &str, message: &str) -> Value {
        json!({"kind": kind, "name": name, "delivery_id": "d", "event_id": message})
    }

    #[test]
    fn an_ack_ends_a_delivery_and_a_verification_says_how() {
        let mut verified = event("delivery_verified", "bob", "m1");
        verified["verification"] = json!("screen");
        let follow =
            follow(&[event("delivery_queued", "bob", "m1"), verified, event("delivery_ack", "bob", "m1")]);
        assert!(follow.is_over("bob"));
        let expected =
            json!([{"agent": "bob", "state": "acked", "verification": "screen", "reason": null, "ms": 2}]);
        assert_eq!(follow.to_json(), expected);
    }

    #[test]
    fn other_messages_and_other_agents_do_not_count() {
        let follow = follow(&[event("delivery_ack", "bob", "m0"), event("delivery_queued", "eve", "m1")]);
        assert!(!follow.is_over("bob"));
        assert!(!follow.all_over());
        assert_eq!(follow.deliveries().len(), 1);
    }

    #[test]
    fn a_failed_attempt_is_not_the_end_but_a_dead_letter_is() {
        let mut attempt = event("delivery_failed", "bob", "m1");
        attempt["reason"] = json!("queue still full");
        let mut given_up = event("dead_letter_added", "bob", "m1");
        given_up["reason"] = json!("never taken");
        let one = follow(std::slice::from_ref(&attempt));
        assert!(!one.is_over("bob"));
        assert_eq!(one.deliveries()["bob"].reason.as_deref(), Some("queue still full"));
        let all = follow(&[attempt, given_up, event("delivery_ack", "bob", "m1")]);
        assert_eq!(all.deliveries()["bob"].state, State::Failed);
        assert_eq!(all.deliveries()["bob"].reason.as_deref(), Some("never taken"));
    }

    #[test]
    fn only_the_end_of_an_agent_with_an_open_delivery_ends_it() {
        let exit = json!({"kind": "agent_exited", "name": "bob", "code": 1});
        let queued = event("delivery_queued", "bob", "m1");
        assert!(!follow(&[exit.clone(), queued.clone()]).is_over("bob"));
        assert_eq!(follow(&[queued, exit]).deliveries()["bob"].state, State::Ended);
    }
}
