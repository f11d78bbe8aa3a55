//! From nothing to a confirmed registration, and back again after every loss.

use crate::support::{Agents, BASE, Disk, Engine, Event, KEY, Mints, Registers, Rig, Upgrade, config};
use relay_core::time::{Mono, Span};
use relay_core::{Access, FaultKind, Secret};
use serde_json::json;

const SECOND: Span = Span::secs(1);

/// The disk of a broker that has been registered once.
fn used_disk() -> Disk {
    Rig::online().disk
}

fn gaps(times: &[Mono]) -> Vec<Span> {
    times.windows(2).map(|pair| pair[1].since(pair[0])).collect()
}

#[test]
fn a_cold_start_registers_itself_mints_and_opens_in_order() {
    let mut rig = Rig::new();
    rig.advance(SECOND);
    let calls: Vec<_> = rig.calls.iter().map(|call| (call.method, call.path.as_str())).collect();
    assert_eq!(calls, [("POST", "/v1/agents"), ("POST", "/v1/nodes")]);
    assert!(rig.calls.iter().all(|call| call.bearer == KEY));
    assert_eq!(rig.calls[0].body, json!({ "name": "relay", "type": "human" }));
    let mint = &rig.calls[1].body;
    assert_eq!((&mint["kind"], &mint["role"]), (&json!("ws"), &json!("broker")));
    assert_eq!(rig.opens.len(), 1);
    assert_eq!(rig.opens[0].url, "ws://engine.test/v1/node/ws");
    assert_eq!(rig.opens[0].token, "nt_live_0000000000000001");
    assert_eq!(rig.types(), ["node.register", "node.heartbeat", "inventory.sync"]);
    let register = rig.last_sent("node.register");
    assert_eq!(register["node_id"], mint["node_id"]);
    assert_eq!(register["provider"]["name"], "broker");
    let names: Vec<_> = register["capabilities"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["spawn:claude", "spawn:codex", "release", "relay:delivery-cursor-v1"]);
    assert_eq!(rig.last_sent("inventory.sync")["agents"], json!([]), "also when it is empty");
    assert!(rig.last_sent("node.heartbeat")["load"].is_number());
}

#[test]
fn the_opening_brings_leavings_cursors_a_heartbeat_the_inventory_results_and_cursors_once_more() {
    let mut rig = Rig::online();
    let stays = rig.spawn("stays");
    let goes = rig.spawn("goes");
    let released = rig.spawn("released");
    rig.deliver(&stays, 1, "one");
    rig.advance(SECOND);
    assert_eq!(rig.acks(&stays), [1]);
    rig.program(released.process).mortal = false;
    rig.invoke("inv_release", "release", json!({ "name": "released" }));
    rig.engine.upgrade = Upgrade::Status(503);
    rig.cut();
    rig.exits(goes.process, 0);
    rig.advance(Span::secs(5));
    assert!(rig.sent("action.result").is_empty(), "it ended while the link was down");
    rig.sent.clear();
    rig.engine.upgrade = Upgrade::Accept;
    rig.advance(Span::secs(40));
    let opening = [
        "node.register",
        "agent.deregister",
        "delivery.ack",
        "node.heartbeat",
        "inventory.sync",
        "action.result",
        "agent.deregister",
        "delivery.ack",
    ];
    assert_eq!(rig.types()[..8], opening);
    assert_eq!(rig.last_sent("action.result")["invocation_id"], "inv_release");
    let left: Vec<_> = rig.sent("agent.deregister").iter().map(|frame| frame["agent_id"].clone()).collect();
    assert_eq!(left, [goes.id.as_str(), released.id.as_str()], "the released one behind the result");
    assert_eq!(rig.last_sent("delivery.ack")["up_to_seq"], 1);
    let agents = &rig.sent("inventory.sync")[0]["agents"];
    assert_eq!(agents, &json!([{ "agent_id": stays.id, "name": "stays" }]));
}

#[test]
fn a_saved_identity_and_token_need_no_call_before_the_socket() {
    let mut rig = Rig::start(config(), used_disk(), Engine::default());
    assert_eq!(rig.opens.len(), 1, "the socket is opened at once");
    rig.advance(SECOND);
    assert!(rig.calls.is_empty(), "{:?}", rig.calls);
    assert_eq!(rig.health()["status"], "ok");
}

#[test]
fn a_cached_token_counts_only_for_its_node_workspace_and_engine() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change, usize); 4] = [
        ("as it is", |_| {}, 0),
        ("another node", |token| token["node_id"] = json!("node_other"), 1),
        ("another workspace", |token| token["workspace_id"] = json!("ws_2"), 1),
        ("another engine", |token| token["base_url"] = json!("http://other.test"), 1),
    ];
    for (case, change, mints) in changes {
        let mut disk = used_disk();
        for content in disk.tokens.values_mut() {
            let mut token = serde_json::from_str(content).unwrap();
            change(&mut token);
            *content = token.to_string();
        }
        let mut rig = Rig::start(config(), disk, Engine::default());
        rig.advance(SECOND);
        assert_eq!(rig.calls_to("/v1/nodes").len(), mints, "{case}");
    }
}

#[test]
fn nothing_but_the_registration_is_sent_before_its_reply() {
    let mut rig = Rig::with(|_, engine| engine.registers = Registers::Hold);
    rig.ask_spawn("bob");
    rig.advance(SECOND);
    rig.invoke("inv_1", "release", json!({ "name": "nobody" }));
    rig.advance(Span::secs(8));
    assert_eq!(rig.types(), ["node.register"]);
    assert_eq!(rig.health()["relaycastConnected"], false);
    let register = rig.last_sent("node.register");
    rig.reply(&register["id"], json!({ "id": register["node_id"] }));
    rig.advance(SECOND);
    for sent in ["agent.register", "action.result"] {
        assert!(rig.types().contains(&sent.to_string()), "{:?}", rig.types());
    }
}

#[test]
fn a_young_token_is_tried_once_more_before_another_is_minted() {
    let mut rig = Rig::with(|_, engine| engine.upgrade = Upgrade::Status(401));
    rig.advance(Span::millis(1_100));
    let tokens: Vec<_> = rig.opens.iter().take(2).map(|open| open.token.clone()).collect();
    assert_eq!(tokens, ["nt_live_0000000000000001", "nt_live_0000000000000001"]);
    rig.advance(Span::secs(5));
    assert_eq!(rig.opens[2].token, "nt_live_0000000000000002");
}

#[test]
fn five_remints_are_followed_by_one_probe_a_minute_and_one_mint_in_ten() {
    let mut rig = Rig::with(|_, engine| engine.upgrade = Upgrade::Status(401));
    for _ in 0..300 {
        if rig.delivery_state() == "delivery_disabled" {
            break;
        }
        rig.advance(SECOND);
    }
    assert_eq!(rig.delivery_state(), "delivery_disabled");
    assert_eq!(rig.calls_to("/v1/nodes").len(), 6, "the first mint and five more");
    assert!(rig.health()["nodeDelivery"]["reason"].as_str().unwrap().contains("401"));
    assert_eq!(rig.said("delivery_disabled"), 1);
    let (opens, mints) = (rig.opens.len(), rig.calls_to("/v1/nodes").len());
    rig.advance(Span::secs(1_800));
    let probes = rig.opens.len() - opens;
    assert!((27..=33).contains(&probes), "{probes} probes in 30 minutes");
    let extra = rig.calls_to("/v1/nodes").len() - mints;
    assert!((2..=3).contains(&extra), "{extra} mints in 30 minutes");
    assert_eq!(rig.said("delivery_disabled"), 1, "said once");
    rig.engine.upgrade = Upgrade::Accept;
    rig.advance(Span::secs(61));
    assert_eq!(rig.delivery_state(), "ok", "a probe that succeeds ends it");
}

#[test]
fn only_a_confirmed_registration_gives_the_budget_back() {
    // Every second attempt opens a socket that is never registered.
    let mut rig = Rig::with(|_, engine| {
        engine.registers = Registers::Hold;
        engine.upgrades = [Upgrade::Status(401), Upgrade::Accept].repeat(60).into();
        engine.upgrade = Upgrade::Status(401);
    });
    rig.advance(Span::secs(1_500));
    let mints = rig.calls_to("/v1/nodes").len();
    assert!(mints <= 6 + 3, "{mints} mints: an open socket must not give the budget back");
    // A good connection in between does.
    let mut rig = Rig::with(|_, engine| {
        engine.upgrades = [Upgrade::Status(401); 6].into();
    });
    rig.advance(Span::secs(120));
    assert_eq!(rig.delivery_state(), "ok");
    let before = rig.calls_to("/v1/nodes").len();
    rig.engine.upgrade = Upgrade::Status(401);
    rig.cut();
    rig.advance(Span::secs(300));
    assert_eq!(rig.calls_to("/v1/nodes").len() - before, 5, "five again");
}

#[test]
fn reconnect_delays_stay_in_the_envelope_and_become_short_after_a_good_minute() {
    let mut rig = Rig::online();
    rig.advance(Span::secs(70));
    rig.engine.upgrade = Upgrade::Status(503);
    let cut = rig.now.mono;
    rig.cut();
    rig.advance(Span::secs(600));
    let attempts = rig.opens.iter().skip(1).map(|open| open.at);
    let times: Vec<Mono> = std::iter::once(cut).chain(attempts).collect();
    let mut ceiling = SECOND;
    for (number, gap) in gaps(&times).into_iter().enumerate() {
        assert!(gap <= ceiling, "delay {number} is {gap:?}, over {ceiling:?}");
        ceiling = ceiling.doubled(Span::secs(30));
    }
    assert!(rig.opens.len() > 20, "{} attempts in ten minutes", rig.opens.len());
    rig.engine.upgrade = Upgrade::Accept;
    rig.advance(Span::secs(31 + 61));
    assert_eq!(rig.delivery_state(), "ok");
    let (cut, opens) = (rig.now.mono, rig.opens.len());
    rig.cut();
    rig.advance(SECOND);
    assert_eq!(rig.opens.len(), opens + 1);
    assert!(rig.opens[opens].at.since(cut) <= SECOND);
}

#[test]
fn links_that_are_lost_within_a_minute_do_not_make_delays_short() {
    let mut rig = Rig::online();
    let mut delays = Vec::new();
    for _ in 0..30 {
        let (cut, opens) = (rig.now.mono, rig.opens.len());
        rig.cut();
        rig.advance(Span::secs(30));
        delays.push(rig.opens[opens].at.since(cut));
    }
    let longest = delays.iter().max().unwrap();
    assert!(*longest > Span::secs(8), "flapping keeps the delays long: {delays:?}");
}

#[test]
fn an_engine_that_cannot_read_the_registration_gets_the_older_form_on_the_same_socket() {
    let mut rig = Rig::with(|_, engine| engine.register_refusals.push_back("invalid_message"));
    rig.advance(SECOND);
    assert_eq!(rig.delivery_state(), "ok");
    assert_eq!(rig.opens.len(), 1);
    let registers = rig.sent("node.register");
    assert_eq!(registers.len(), 2);
    assert!(registers[0].get("provider").is_some());
    assert!(registers[1].get("provider").is_none());
    assert!(!registers[1].to_string().contains("delivery-cursor"));
    assert!(rig.last_sent("node.heartbeat").get("provider").is_none());
    rig.reconnect();
    assert!(rig.last_sent("node.register").get("provider").is_none(), "remembered while it lives");
}

#[test]
fn an_instance_conflict_is_tried_again_on_the_same_socket() {
    let mut rig = Rig::with(|_, engine| {
        engine.register_refusals = ["provider_instance_conflict"; 3].into();
    });
    rig.advance(Span::secs(10));
    assert_eq!(rig.opens.len(), 1);
    assert_eq!(rig.delivery_state(), "ok");
    let instances: Vec<_> =
        rig.sent("node.register").iter().map(|frame| frame["provider"]["instance_id"].clone()).collect();
    assert_eq!(instances.len(), 4);
    assert!(instances.iter().all(|instance| *instance == instances[0]));
}

#[test]
fn a_restarted_broker_is_the_same_instance() {
    let instance = |rig: &mut Rig| {
        rig.advance(SECOND);
        rig.last_sent("node.register")["provider"]["instance_id"].clone()
    };
    let mut rig = Rig::new();
    let first = instance(&mut rig);
    assert_eq!(instance(&mut rig.restarted()), first);
}

#[test]
fn a_token_of_another_node_is_replaced() {
    let mut rig = Rig::start(config(), used_disk(), Engine::default());
    rig.engine.minted = 7;
    assert_eq!(rig.health()["status"], "ok");
    let mut rig = Rig::start(
        config(),
        used_disk(),
        Engine { register_refusals: ["node_id_mismatch"].into(), minted: 7, ..Engine::default() },
    );
    rig.advance(Span::secs(5));
    assert_eq!(rig.calls_to("/v1/nodes").len(), 1);
    assert_eq!(rig.opens.last().unwrap().token, "nt_live_0000000000000008");
    assert_eq!(rig.delivery_state(), "ok");
}

#[test]
fn a_registration_without_reply_is_given_up_after_ten_seconds() {
    let mut rig = Rig::with(|_, engine| engine.registers = Registers::Hold);
    rig.advance(Span::millis(9_900));
    assert!(rig.closes.is_empty());
    rig.advance(Span::millis(200));
    assert_eq!(rig.closes.len(), 1);
    rig.engine.registers = Registers::Confirm;
    rig.advance(Span::secs(3));
    assert_eq!(rig.delivery_state(), "ok");
}

#[test]
fn a_socket_that_is_silent_for_48_seconds_is_dead() {
    let mut rig = Rig::online();
    rig.engine.pongs = false;
    rig.engine.inventories = false;
    rig.advance(Span::millis(47_900));
    assert!(rig.closes.is_empty());
    rig.advance(Span::millis(200));
    assert_eq!(rig.closes.len(), 1);
}

#[test]
fn an_engine_that_answers_nothing_for_130_seconds_is_dead_though_pongs_come() {
    let mut rig = Rig::online();
    rig.engine.inventories = false;
    rig.advance(Span::millis(129_900));
    assert!(rig.closes.is_empty());
    assert!(rig.pings >= 10, "a ping with every heartbeat");
    assert!(rig.sent("inventory.sync").len() >= 2, "probes");
    rig.advance(Span::millis(200));
    assert_eq!(rig.closes.len(), 1);
}

#[test]
fn a_living_link_beats_every_twelve_seconds_and_refreshes_every_minute() {
    let mut rig = Rig::online();
    rig.advance(Span::secs(600));
    assert!(rig.closes.is_empty());
    assert_eq!(rig.sent("node.heartbeat").len(), 50);
    assert_eq!(rig.sent("inventory.sync").len(), 10);
    assert_eq!(rig.sent.len(), 60, "{:?}", rig.types());
}

#[test]
fn a_clock_jump_gives_the_link_a_second_chance_with_a_probe() {
    for alive in [true, false] {
        let mut rig = Rig::online();
        rig.engine.pongs = alive;
        rig.engine.inventories = alive;
        rig.jump(Span::secs(3_600));
        rig.tick();
        assert!(rig.closes.is_empty(), "not before it had a chance");
        assert!(!rig.sent("inventory.sync").is_empty(), "a probe");
        rig.advance(Span::secs(130));
        assert_eq!(rig.closes.is_empty(), alive);
    }
}

#[test]
fn a_link_whose_end_is_the_first_news_after_a_jump_of_the_clock_is_not_probed() {
    let mut rig = Rig::online();
    rig.advance(Span::secs(3));
    let link = rig.opens.last().unwrap().link;
    rig.sent.clear();
    rig.jump(Span::secs(3_600));
    rig.handle(relay_core::Input::LinkDown { link, why: "cut" });
    assert!(rig.sent.is_empty(), "{:?}", rig.sent);
}

#[test]
fn a_rejected_workspace_key_ends_the_process_and_makes_no_workspace() {
    for status in [401, 403] {
        let mut rig = Rig::with(|_, engine| engine.own_agent = status);
        rig.advance(Span::secs(120));
        assert_eq!(rig.exit, Some(1));
        assert!(rig.calls_to("/v1/workspaces").is_empty());
        assert_eq!(rig.calls.len(), 1);
        let told = rig.logs.iter().any(|(_, line)| line.contains(BASE));
        assert!(told, "names the engine: {:?}", rig.logs);
        assert!(!format!("{:?}", rig.logs).contains(KEY));
    }
}

#[test]
fn a_registration_that_meets_a_broken_engine_is_tried_for_ever() {
    for status in [429, 500, 502, 503] {
        let mut rig = Rig::with(|_, engine| engine.own_agent = status);
        rig.advance(Span::secs(3_600));
        assert_eq!(rig.exit, None);
        assert!(rig.calls.len() > 120, "{status}: {} attempts in an hour", rig.calls.len());
        assert_eq!(rig.health()["status"], "starting");
        rig.engine.own_agent = 201;
        rig.advance(Span::secs(31));
        assert_eq!(rig.delivery_state(), "ok");
    }
}

#[test]
fn an_engine_that_cannot_be_reached_is_tried_for_ever() {
    let mut rig = Rig::with(|_, engine| engine.mints = Mints::Hold);
    rig.advance(Span::millis(10));
    for kind in [FaultKind::Deadline, FaultKind::Broken, FaultKind::Other].repeat(10) {
        let call = rig.calls.last().unwrap().id;
        rig.feed(Event::Answered(call, Err(kind)));
        rig.advance(Span::secs(31));
    }
    assert_eq!(rig.calls_to("/v1/nodes").len(), 31);
    assert_eq!(rig.exit, None);
}

#[test]
fn a_mint_that_is_refused_is_a_visible_state() {
    let mut rig = Rig::with(|_, engine| engine.mints = Mints::Status(403));
    rig.advance(SECOND);
    assert_eq!(rig.delivery_state(), "delivery_disabled");
    let reason = rig.health()["nodeDelivery"]["reason"].to_string();
    assert!(reason.contains("403"), "{reason}");
}

#[test]
fn the_operators_token_is_used_first_and_never_stored() {
    const GIVEN: &str = "nt_live_feedfeedfeedfeed";
    let mut rig = Rig::with(|config, engine| {
        config.node_token = Secret::new(GIVEN);
        engine.upgrades = [Upgrade::Status(401)].into();
    });
    rig.advance(Span::secs(5));
    assert_eq!(rig.opens[0].token, GIVEN);
    assert_eq!(rig.opens[1].token, "nt_live_0000000000000001", "minted because a key exists");
    assert_eq!(rig.calls_to("/v1/nodes")[0].headers["x-relaycast-node-token"], GIVEN);
    assert_eq!(rig.delivery_state(), "ok");
    assert!(rig.disk.tokens.is_empty());
    let files = format!("{:?}{}", rig.disk.identity, rig.disk.journal);
    assert!(!files.contains("nt_live_"));
}

#[test]
fn a_token_without_a_key_is_probed_and_never_minted() {
    let mut rig = Rig::with(|config, engine| {
        config.access = Access::TokenOnly;
        config.node_token = Secret::new("nt_live_feedfeedfeedfeed");
        engine.upgrade = Upgrade::Status(401);
    });
    rig.advance(Span::secs(600));
    assert!(rig.calls.is_empty());
    assert_eq!(rig.delivery_state(), "delivery_disabled");
    assert!((9..=12).contains(&rig.opens.len()), "{} probes", rig.opens.len());
}

#[test]
fn inputs_of_an_earlier_link_change_nothing() {
    let mut rig = Rig::online();
    rig.engine.agents = Agents::Hold;
    let old = rig.link();
    rig.reconnect();
    let sent = rig.sent.len();
    rig.feed(Event::Text(
        old,
        json!({ "type": "action.invoke", "invocation_id": "x", "action": "release",
        "input": { "name": "nobody" } })
        .to_string(),
    ));
    rig.feed(Event::Down(old));
    assert_eq!(rig.sent.len(), sent);
    assert_eq!(rig.delivery_state(), "ok");
    assert!(rig.stats().stale_completions > 0);
}
