//! Who the broker is: its own agent, its workspace, and the name of its node.

use crate::support::{Engine, Rig, config};
use relay_core::time::Span;
use relay_core::{Access, Secret};
use serde_json::json;

const SECOND: Span = Span::secs(1);

#[test]
fn a_saved_identity_counts_only_for_its_key_and_engine() {
    let disk = Rig::online().disk;
    for (key, base_url, calls) in [
        ("rk_live_0123456789abcdef", "http://engine.test", 0),
        ("rk_live_ffffffffffffffff", "http://engine.test", 1),
        ("rk_live_0123456789abcdef", "http://other.test", 1),
    ] {
        let mut config = config();
        config.access = Access::Key(Secret::new(key).unwrap());
        config.base_url = base_url.into();
        let mut rig = Rig::start(config, disk.clone(), Engine::default());
        rig.advance(SECOND);
        assert_eq!(rig.calls_to("/v1/agents").len(), calls, "{key} {base_url}");
    }
}

#[test]
fn identities_of_several_workspaces_live_side_by_side() {
    let mut other = config();
    other.access = Access::Key(Secret::new("rk_live_ffffffffffffffff").unwrap());
    let mut rig = Rig::start(other, Rig::online().disk, Engine::default());
    rig.advance(SECOND);
    let mut back = Rig::start(config(), rig.disk, Engine::default());
    back.advance(SECOND);
    assert!(back.calls_to("/v1/agents").is_empty(), "the first is still known");
}

#[test]
fn a_taken_name_gets_a_suffix_and_nobodys_token_is_rotated() {
    let mut rig = Rig::with(|_, engine| engine.own_agent = 409);
    rig.advance(SECOND);
    let names: Vec<_> = rig.calls.iter().map(|call| call.body["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "relay");
    assert!(names[1].starts_with("relay-") && names[1].len() == "relay-".len() + 8, "{names:?}");
    assert!(rig.calls.iter().all(|call| call.path == "/v1/agents"), "no rotation");
    rig.engine.own_agent = 201;
    let mut rig = rig.restarted();
    rig.advance(SECOND);
    assert_eq!(rig.delivery_state(), "ok");
}

#[test]
fn without_a_key_a_workspace_is_made_once_and_kept() {
    let mut config = config();
    config.access = Access::Create { name: "relay-1234".into() };
    let mut rig = Rig::start(config, crate::support::Disk::default(), Engine::default());
    let call = rig.calls_to("/v1/workspaces")[0];
    assert_eq!((call.bearer.as_str(), &call.body), ("", &json!({ "name": "relay-1234" })));
    let call = call.id;
    let made = "rk_live_aaaaaaaaaaaaaaaa";
    rig.answer(call, 201, json!({ "workspace_id": "ws_9", "api_key": made }));
    rig.advance(SECOND);
    assert_eq!(rig.calls_to("/v1/agents")[0].bearer, made);
    assert_eq!(rig.delivery_state(), "ok");
    let mut next = rig.restarted();
    next.advance(SECOND);
    assert!(next.calls.is_empty());
    assert_eq!(next.get("/api/session").1["workspace_key"], made);
}

#[test]
fn a_node_name_that_is_taken_is_made_unique_on_the_same_socket() {
    let mut rig = Rig::with(|_, engine| engine.register_refusals.push_back("node_name_conflict"));
    rig.advance(SECOND);
    assert_eq!(rig.opens.len(), 1);
    let names: Vec<_> = rig.sent("node.register").iter().map(|frame| frame["name"].clone()).collect();
    assert_eq!(names[0], "node-one");
    assert!(names[1].as_str().unwrap().starts_with("node-one-"));
    assert_eq!(rig.last_sent("node.heartbeat")["name"], names[1]);
    assert_eq!(rig.delivery_state(), "ok");
}

#[test]
fn the_node_id_follows_from_machine_directory_and_workspace_unless_it_is_fixed() {
    let node = |change: fn(&mut relay_core::Config)| {
        let mut rig = Rig::with(|config, _| change(config));
        rig.advance(SECOND);
        rig.last_sent("node.register")["node_id"].as_str().unwrap().to_string()
    };
    let derived = node(|_| {});
    assert!(derived.starts_with("node_") && derived.len() == 37, "{derived}");
    assert_eq!(node(|_| {}), derived);
    assert_eq!(node(|config| config.node_id = Some("node_fixed".into())), "node_fixed");
    assert_eq!(node(|config| config.node_token = Secret::new("nt_live_feedfeedfeedfeed")), "seed");
}

#[test]
fn a_damaged_identity_file_is_replaced_and_stops_nothing() {
    for content in ["", "{", "[]", "{\"identities\":7}", "\u{0}"] {
        let mut disk = Rig::online().disk;
        disk.identity = Some(content.into());
        for token in disk.tokens.values_mut() {
            *token = content.into();
        }
        disk.journal = format!("{content}\nnot json\n");
        let mut rig = Rig::start(config(), disk, Engine::default());
        rig.advance(SECOND);
        assert_eq!(rig.delivery_state(), "ok", "{content:?}");
        assert!(rig.disk.identity.unwrap().contains("ws_1"));
    }
}
