use super::*;
use alloc::string::ToString;
use alloc::vec;

fn body(reply: &Reply) -> Value {
    assert_eq!((reply.status, reply.content_type), (200, "application/json"));
    serde_json::from_str(&reply.body).unwrap()
}

fn agent<'a>(name: &'a AgentName, id: &'a AgentId, channels: &'a [String]) -> AgentView<'a> {
    AgentView {
        name,
        id: Some(id),
        cli: "cat",
        model: None,
        channels,
        session_ref: Some("s1"),
        pid: Some(41),
        state: AgentState::Blocked,
        pending: 3,
        quiet: Some(Span::millis(1_500)),
    }
}

#[test]
fn health_has_the_keys_of_existing_clients_with_real_numbers() {
    let workspace = WorkspaceId::from("ws_1");
    let problems = ["the engine refuses the key".to_string()];
    let mut view = HealthView {
        status: HealthStatus::Degraded,
        version: "0.1.0",
        uptime: Span::millis(2_345),
        workspace: Some(&workspace),
        agents: 2,
        pending: 5,
        streams: 1,
        connected: true,
        confirmed: false,
        delivery: "connecting",
        delivery_reason: Some("waiting"),
        dead_letters: 4,
        problems: &problems,
    };
    assert_eq!(
        body(&view.reply()),
        json!({
            "status": "degraded", "service": "agent-relay-listen", "version": "0.1.0", "uptimeMs": 2345,
            "workspaceId": "ws_1", "defaultWorkspaceId": "ws_1",
            "memberships": [{"workspace_id": "ws_1", "is_default": true}],
            "agentCount": 2, "pendingDeliveryCount": 5, "wsConnections": 1,
            "relaycastConnected": false, "nodeConnected": true,
            "nodeDelivery": {"state": "connecting", "reason": "waiting"},
            "deadLetterCount": 4, "problems": ["the engine refuses the key"],
        })
    );
    view.workspace = None;
    view.status = HealthStatus::Starting;
    view.delivery_reason = None;
    let early = body(&view.reply());
    assert_eq!(early["status"], "starting");
    assert_eq!((&early["workspaceId"], &early["memberships"]), (&json!("ws_unknown"), &json!([])));
    assert_eq!(early["nodeDelivery"], json!({"state": "connecting"}));
}

#[test]
fn the_session_names_workspace_and_mode() {
    let key = Secret::new("rk_live_0123456789").unwrap();
    let view = SessionView {
        version: "0.1.0",
        workspace_key: Some(&key),
        base_url: "http://127.0.0.1:7528",
        workspace: None,
        persist: true,
        uptime: Span::secs(9),
        degraded: false,
        node: None,
        node_name: Some("n"),
    };
    assert_eq!(
        body(&view.reply()),
        json!({
            "broker_version": "0.1.0", "protocol_version": 2, "workspace_key": "rk_live_0123456789",
            "relay_base_url": "http://127.0.0.1:7528", "default_workspace_id": null, "mode": "persist",
            "uptime_secs": 9, "degraded": false, "node_id": null, "node_name": "n",
        })
    );
}

#[test]
fn an_agent_in_a_list_has_the_keys_of_existing_clients() {
    let (name, id, channels) = ("w1".into(), "ag_1".into(), vec!["general".to_string()]);
    let reply = body(&agents_reply(&[agent(&name, &id, &channels)]));
    assert_eq!(
        reply,
        json!({"agents": [{
            "name": "w1", "agent_id": "ag_1", "runtime": "pty", "cli": "cat", "provider": null, "model": null,
            "team": null, "channels": ["general"], "parent": null, "pid": 41, "workerPid": 41, "sessionId": "s1",
            "current_state": "blocked_on_send", "context_budget_pct": null, "last_activity_ms": 1500,
            "pending_delivery_count": 3,
        }]})
    );
}

#[test]
fn the_status_lists_agents_and_what_is_held() {
    let (name, id, channels) = (AgentName::from("w1"), AgentId::from("ag_1"), vec![]);
    let agents = [agent(&name, &id, &channels)];
    let (delivery, message, workspace) = ("d1".into(), "m1".into(), "ws_1".into());
    let pending = [PendingView {
        delivery: &delivery,
        agent: &name,
        message: &message,
        from: Some("eve"),
        attempts: 2,
        queued_at: Wall(1_700_000_000_000),
        age: Span::secs(3),
        last_error: None,
    }];
    let mut view = StatusView {
        agents: &agents,
        pending_count: 7,
        pending: &pending,
        auth: Some(WorkspaceAuth { workspace: &workspace, self_name: &name, self_id: &id }),
    };
    let status = body(&view.reply());
    assert_eq!((&status["agent_count"], &status["pending_delivery_count"]), (&json!(1), &json!(7)));
    assert_eq!(status["agents"][0]["name"], "w1");
    assert_eq!(
        status["pending_deliveries"],
        json!([{
            "delivery_id": "d1", "worker_name": "w1", "event_id": "m1", "from": "eve", "to": "w1",
            "attempts": 2, "queued_at_ms": 1_700_000_000_000_i64, "age_ms": 3000, "last_error": null,
        }])
    );
    assert_eq!(
        status["auth"],
        json!({
            "authenticated": true, "workspace_count": 1, "default_workspace_id": "ws_1",
            "workspaces": [{
                "workspace_id": "ws_1", "workspace_alias": null, "self_name": "w1", "self_agent_id": "ag_1",
                "authenticated": true, "default": true,
            }],
        })
    );
    view.auth = None;
    assert_eq!(
        body(&view.reply())["auth"],
        json!({"authenticated": false, "workspace_count": 0, "default_workspace_id": null, "workspaces": []})
    );
}

#[test]
fn a_spawned_agent_has_name_and_runtime() {
    let (name, id) = (AgentName::from("w1"), AgentId::from("ag_1"));
    let mut view = SpawnedView {
        name: &name,
        id: Some(&id),
        pid: 41,
        model: None,
        session_ref: None,
        channels: &[],
        warning: None,
    };
    assert_eq!(
        body(&view.reply()),
        json!({
            "success": true, "name": "w1", "agent_id": "ag_1", "runtime": "pty", "pid": 41, "model": null,
            "sessionId": null, "channels": [], "pre_registered": true, "warning": null,
        })
    );
    view.id = None;
    view.warning = Some("not registered");
    let unregistered = body(&view.reply());
    assert_eq!(unregistered["pre_registered"], false);
    assert_eq!(unregistered["warning"], "not registered");
}

#[test]
fn a_snapshot_counts_from_one_and_hides_escapes_in_base64() {
    let mut view = SnapshotView { rows: 24, cols: 80, cursor: (0, 4), screen: Screen::Plain("$ ls") };
    assert_eq!(
        body(&view.reply()),
        json!({"format": "plain", "rows": 24, "cols": 80, "cursor": [1, 5], "screen": "$ ls"})
    );
    view.screen = Screen::Ansi(b"\x1b[m");
    let ansi = body(&view.reply());
    assert_eq!((&ansi["format"], &ansi["screen"]), (&json!("ansi"), &json!("G1tt")));
}

#[test]
fn a_dead_letter_tells_what_was_lost_and_why() {
    let (delivery, agent, agent_id, message) = ("d1".into(), "w1".into(), "ag_1".into(), "m1".into());
    let letter = DeadLetterView {
        delivery: &delivery,
        agent: &agent,
        agent_id: &agent_id,
        seq: 4,
        message: &message,
        from: Some("eve"),
        target: Some("#general"),
        body: "hi",
        reason: "unverified",
        attempts: 3,
        at: Wall(5),
    };
    assert_eq!(
        body(&dead_letters_reply(&[letter])),
        json!({"dead_letters": [{
            "delivery_id": "d1", "name": "w1", "agent_id": "ag_1", "seq": 4, "event_id": "m1", "from": "eve",
            "target": "#general", "body": "hi", "reason": "unverified", "attempts": 3, "failed_at_ms": 5,
        }]})
    );
}

#[test]
fn small_answers_have_their_exact_shape() {
    let name = AgentName::from("w1");
    let (message, workspace) = ("m1".into(), "ws_1".into());
    let sent = SentView { event: "e1", message: Some(&message), workspace: Some(&workspace) };
    let cases = [
        (
            sent.reply(),
            json!({
                "success": true, "event_id": "e1", "local": false, "relaycast_published": true,
                "message_id": "m1", "workspace_id": "ws_1",
            }),
        ),
        (
            lease_reply(false, Span::secs(120)),
            json!({"renewed": true, "expires_in_secs": 120, "persist": false}),
        ),
        (lease_reply(true, Span::secs(120)), json!({"renewed": true, "expires_in_secs": 0, "persist": true})),
        (released_reply(&name), json!({"success": true, "name": "w1"})),
        (input_reply(&name, 3), json!({"name": "w1", "bytes_written": 3})),
        (resized_reply(&name, 9, 8), json!({"name": "w1", "rows": 9, "cols": 8})),
        (shutdown_reply(), json!({"status": "shutting_down"})),
    ];
    for (reply, expected) in cases {
        assert_eq!(body(&reply), expected);
    }
}
