use super::*;
use serde_json::{Value, json};

fn parsed(event: &Event<'_>) -> Value {
    let text = event.text();
    assert!(text.starts_with(r#"{"kind":""#), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_event_has_the_fields_that_clients_read() {
    let (name, delivery_id, event_id) = ("w1".into(), "d1".into(), "m1".into());
    let workspace = "ws_1".into();
    let agent = AgentFacts {
        name: &name,
        runtime: Runtime::Pty,
        cli: "cat",
        model: None,
        session_ref: Some("s1"),
        pid: 41,
    };
    let facts = DeliveryFacts { name: &name, delivery_id: &delivery_id, event_id: &event_id, at: Wall(5) };
    let about = json!({"name": "w1", "delivery_id": "d1", "event_id": "m1", "timestamp": 5});
    let cases = [
        (
            Event::AgentSpawned { agent: agent.clone(), source: "http_api", pre_registered: true },
            json!({
                "kind": "agent_spawned", "name": "w1", "runtime": "pty", "cli": "cat", "sessionId": "s1",
                "pid": 41, "source": "http_api", "pre_registered": true,
            }),
        ),
        (
            Event::WorkerReady { agent },
            json!({
                "kind": "worker_ready", "name": "w1", "runtime": "pty", "cli": "cat", "sessionId": "s1",
                "pid": 41,
            }),
        ),
        (Event::AgentReleased { name: &name }, json!({"kind": "agent_released", "name": "w1"})),
        (
            Event::agent_exited(&name, ExitStatus::Code(3), "exited"),
            json!({"kind": "agent_exited", "name": "w1", "code": 3, "reason": "exited"}),
        ),
        (
            Event::agent_exited(&name, ExitStatus::Signal(9), "killed"),
            json!({"kind": "agent_exited", "name": "w1", "signal": "9", "reason": "killed"}),
        ),
        (
            Event::agent_exited(&name, ExitStatus::Unknown, "gone"),
            json!({"kind": "agent_exited", "name": "w1", "reason": "gone"}),
        ),
        (
            Event::WorkerStream { name: &name, stream: "stdout", chunk: "\u{1b}[m" },
            json!({"kind": "worker_stream", "name": "w1", "stream": "stdout", "chunk": "\u{1b}[m"}),
        ),
        (
            Event::WorkerError { name: &name, code: "pty_write", message: "the terminal is gone" },
            json!({
                "kind": "worker_error", "name": "w1", "code": "pty_write", "message": "the terminal is gone",
            }),
        ),
        (
            Event::RelayInbound {
                event_id: &event_id,
                from: "eve",
                target: "#general",
                body: "hi",
                thread_id: Some("t1"),
                workspace_id: Some(&workspace),
                mode: "wait",
            },
            json!({
                "kind": "relay_inbound", "event_id": "m1", "from": "eve", "target": "#general", "body": "hi",
                "thread_id": "t1", "workspace_id": "ws_1", "mode": "wait",
            }),
        ),
        (
            Event::DeliveryDropped { name: &name, count: 2, reason: "released" },
            json!({"kind": "delivery_dropped", "name": "w1", "count": 2, "reason": "released"}),
        ),
        (
            Event::RegistrationWarning { name: &name, warning: "not bound" },
            json!({"kind": "registration_warning", "name": "w1", "warning": "not bound"}),
        ),
        (
            Event::NodeConnection { state: "up", reason: None },
            json!({"kind": "node_connection", "state": "up"}),
        ),
        (
            Event::NodeConnection { state: "down", reason: Some("closed") },
            json!({"kind": "node_connection", "state": "down", "reason": "closed"}),
        ),
    ];
    for (event, expected) in cases {
        assert_eq!(parsed(&event), expected);
    }

    let of_delivery = [
        (Event::DeliveryQueued(facts.clone()), json!({"kind": "delivery_queued"})),
        (Event::DeliveryInjected(facts.clone()), json!({"kind": "delivery_injected"})),
        (Event::DeliveryAck(facts.clone()), json!({"kind": "delivery_ack"})),
        (
            Event::DeliveryVerified { delivery: facts.clone(), verification: "screen" },
            json!({"kind": "delivery_verified", "verification": "screen"}),
        ),
        (
            Event::DeliveryFailed { delivery: facts.clone(), reason: "unverified" },
            json!({"kind": "delivery_failed", "reason": "unverified"}),
        ),
        (
            Event::DeadLetterAdded { delivery: facts, from: "eve", attempts: 3, reason: "unverified" },
            json!({"kind": "dead_letter_added", "from": "eve", "attempts": 3, "reason": "unverified"}),
        ),
    ];
    for (event, mut expected) in of_delivery {
        let fields = about.as_object().unwrap().clone();
        expected.as_object_mut().unwrap().extend(fields);
        assert_eq!(parsed(&event), expected);
    }
}

#[test]
fn a_reason_that_quotes_a_peer_is_masked() {
    let event = Event::NodeConnection { state: "down", reason: Some("401: nt_live_0123456789") };
    assert_eq!(parsed(&event)["reason"], "401: nt_live_***");
}
