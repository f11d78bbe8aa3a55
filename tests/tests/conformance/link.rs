//! The real binary and its link: tokens, refusals, dialects, and its end.

use crate::world::{OUTAGE, connected, health};
use crate::{Scenario, scenarios};
use relay_sim::engine::{Event, ProfileName};
use relay_tests::agent::Agent;
use relay_tests::binary::Driver;
use relay_tests::engine::{Refuse, ScriptedEngine, What};
use relay_tests::place::{Broker, Place};
use relay_tests::wait::{soon, within};
use serde_json::json;
use std::path::Path;

pub(crate) const ALL: &[Scenario] = scenarios![
    a_cold_start_makes_an_identity_mints_a_token_and_registers,
    a_cached_token_is_used_again_and_a_dead_one_is_replaced,
    five_refused_tokens_are_replaced_until_one_is_good,
    tokens_that_are_refused_for_ever_disable_delivery_and_say_so,
    an_engine_that_does_not_know_providers_is_spoken_to_as_it_understands,
    sigterm_leaves_no_process_and_says_goodbye_at_the_engine,
    an_engine_that_fails_at_first_is_asked_again,
    a_rejected_workspace_key_is_an_error_and_never_a_new_workspace,
];

fn broker(place: &Place, engine: &ScriptedEngine) -> Broker {
    place.broker(&engine.base_url(), &engine.workspace_key)
}

fn mints(engine: &ScriptedEngine) -> usize {
    requests(engine, "POST /v1/nodes").len()
}

fn requests(engine: &ScriptedEngine, wanted: &str) -> Vec<u16> {
    engine.all(|what| match what {
        What::Http { line, status } if line == wanted => Some(*status),
        _ => None,
    })
}

fn upgrades(engine: &ScriptedEngine) -> Vec<u16> {
    engine.all(|what| match what {
        What::Upgrade(status) => Some(*status),
        _ => None,
    })
}

fn a_cold_start_makes_an_identity_mints_a_token_and_registers(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    let broker = broker(&place, &engine);
    connected(&broker);
    assert_eq!(requests(&engine, "POST /v1/agents"), [201]);
    assert_eq!(requests(&engine, "POST /v1/nodes"), [201]);
    assert_eq!(upgrades(&engine), [101]);
    let register = engine.frame("node.register");
    let names: Vec<_> = register["capabilities"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert!(names.contains(&&json!("spawn:claude")) && names.contains(&&json!("release")), "{register}");
    assert!(!names.contains(&&json!("spawn")), "{register}");
    engine.frame("node.heartbeat");
    let health = soon("good health", || Some(health(&broker)).filter(|health| health["status"] == "ok"));
    assert_eq!(health["problems"], json!([]));
}

fn a_cached_token_is_used_again_and_a_dead_one_is_replaced(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    let first = broker(&place, &engine);
    connected(&first);
    let node_id = engine.frame("node.register")["node_id"].as_str().unwrap().to_owned();
    assert!(first.stop().success());

    let second = broker(&place, &engine);
    connected(&second);
    assert_eq!((mints(&engine), upgrades(&engine)), (1, vec![101, 101]));
    assert!(second.stop().success());

    engine.act(|model, now| model.rotate_node_token(now, &node_id));
    let third = broker(&place, &engine);
    connected(&third);
    assert_eq!((mints(&engine), upgrades(&engine)), (2, vec![101, 101, 401, 101]));
}

fn five_refused_tokens_are_replaced_until_one_is_good(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    let mut refusals = 5;
    engine.script(|script| {
        script.upgrade = Some(Box::new(move || {
            let refuse = refusals > 0;
            refusals -= i32::from(refuse);
            refuse.then_some(Refuse::Status(401))
        }));
    });
    let broker = broker(&place, &engine);
    connected(&broker);
    assert_eq!(upgrades(&engine).iter().filter(|status| **status == 101).count(), 1);
    assert!(mints(&engine) <= 6, "the first one and five more: {}", mints(&engine));
}

fn tokens_that_are_refused_for_ever_disable_delivery_and_say_so(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    engine.script(|script| script.upgrade = Some(Box::new(|| Some(Refuse::Status(401)))));
    let broker = broker(&place, &engine);
    let health = within(OUTAGE, "delivery_disabled", || {
        Some(health(&broker)).filter(|health| health["nodeDelivery"]["state"] == "delivery_disabled")
    });
    assert_eq!(health["status"], "degraded");
    assert!(!health["problems"].as_array().unwrap().is_empty(), "{health}");
    assert_eq!(mints(&engine), 6, "the first one and five more");
    assert_eq!(broker.api.get("/api/session").status, 200, "its API works all the same");
}

fn an_engine_that_does_not_know_providers_is_spoken_to_as_it_understands(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V5_0_5), Place::of(driver));
    let broker = broker(&place, &engine);
    connected(&broker);
    let refused = engine.all(|what| match what {
        What::Model(Event::Rejected { code, .. }) => Some(*code),
        _ => None,
    });
    assert_eq!(refused, ["invalid_message"]);
    let agent = Agent::spawn(&broker, &place, "worker");
    engine.sender("alice").dm("worker", "by the old rules");
    agent.read("by the old rules");
    engine.acked("worker", 1);
}

fn sigterm_leaves_no_process_and_says_goodbye_at_the_engine(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    let broker = broker(&place, &engine);
    connected(&broker);
    for name in ["one", "two"] {
        Agent::spawn(&broker, &place, name);
    }
    let listed = broker.api.get("/api/spawned").json();
    let pids: Vec<u64> =
        listed["agents"].as_array().unwrap().iter().filter_map(|a| a["pid"].as_u64()).collect();
    assert_eq!(pids.len(), 2, "{listed}");
    assert!(broker.stop().success());
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
    let code = engine.await_that("the end of the socket", |what| match what {
        What::Closed(code) => Some(*code),
        _ => None,
    });
    assert_eq!(code, Some(1000));
    let kinds = engine.all(|what| match what {
        What::In(frame) => frame["type"].as_str().map(str::to_owned),
        _ => None,
    });
    assert_eq!(&kinds[kinds.len() - 3..], ["agent.deregister", "agent.deregister", "node.deregister"]);
}

fn an_engine_that_fails_at_first_is_asked_again(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    let mut failures =
        vec![(429, "rate_limit_exceeded"), (503, "workspace_storage_unavailable"), (500, "internal_error")];
    engine.script(|script| {
        script.http = Some(Box::new(move |request| {
            let (status, code) = failures.pop().filter(|_| request.method == "POST")?;
            Some((
                status,
                json!({ "ok": false, "error": { "code": code, "message": "not now" } }).to_string(),
            ))
        }));
    });
    let broker = broker(&place, &engine);
    connected(&broker);
    assert_eq!(requests(&engine, "POST /v1/agents").last(), Some(&201));
}

fn a_rejected_workspace_key_is_an_error_and_never_a_new_workspace(driver: &Driver) {
    let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
    let key = "rk_live_00000000000000000000000000000000";
    let mut broker = place.broker(&engine.base_url(), key);
    let status = broker.process.exit(OUTAGE);
    assert_eq!(status.code(), Some(1));
    let said = broker.process.stderr();
    assert!(
        said.contains(&engine.base_url()) && said.contains("401") && said.contains("RELAY_API_KEY"),
        "{said}"
    );
    assert!(!said.contains(key), "{said}");
    assert!(requests(&engine, "POST /v1/workspaces").is_empty());
}
