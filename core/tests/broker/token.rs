//! The node token where a mint needs proof of the one before: lost answers, lost files, lost tokens.

use crate::support::{Event, Mints, Rig, Upgrade};
use relay_core::time::Span;
use relay_core::{Access, FaultKind, Secret};

const SECOND: Span = Span::secs(1);
const MINUTE: Span = Span::secs(60);
const PROOF: &str = "x-relaycast-node-token";
const KEY: &str = "idempotency-key";

/// A header of every mint so far, empty where it had none.
fn of_mints(rig: &Rig, header: &str) -> Vec<String> {
    let header = |headers: &std::collections::BTreeMap<String, String>| headers.get(header).cloned();
    rig.calls_to("/v1/nodes").iter().map(|call| header(&call.headers).unwrap_or_default()).collect()
}

/// A broker whose first mint is not answered.
fn minting() -> Rig {
    let mut rig = Rig::with(|_, engine| engine.mints = Mints::Hold);
    rig.advance(Span::millis(10));
    rig
}

fn last_call(rig: &Rig) -> relay_core::ids::CallId {
    rig.calls.last().unwrap().id
}

#[test]
fn a_mint_whose_answer_is_lost_is_repeated_with_its_key_also_by_the_next_life() {
    let mut rig = minting();
    rig.feed(Event::Answered(last_call(&rig), Err(FaultKind::Deadline)));
    rig.advance(MINUTE);
    let keys = of_mints(&rig, KEY);
    assert!(keys.len() == 2 && keys[0] == keys[1] && keys[0].len() > 40, "{keys:?}");
    let mut next = rig.restarted();
    next.advance(SECOND);
    assert_eq!(of_mints(&next, KEY), [keys[0].clone()]);
}

#[test]
fn every_token_has_a_successor_of_its_own() {
    let mut rig = Rig::with(|_, engine| engine.upgrade = Upgrade::Status(401));
    rig.advance(MINUTE);
    let (keys, proofs) = (of_mints(&rig, KEY), of_mints(&rig, PROOF));
    assert!(keys.len() >= 3);
    assert_ne!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    assert_eq!(proofs[..3], ["", "nt_live_0000000000000001", "nt_live_0000000000000002"]);
    assert!(keys.iter().all(|key| !key.contains("nt_live_")));
}

#[test]
fn a_token_that_is_being_stored_while_it_is_refused_stays_the_proof() {
    let mut rig = Rig::with(|_, engine| engine.upgrades = [Upgrade::Status(401); 2].into());
    rig.engine.mints = Mints::Hold;
    rig.advance(Span::secs(5));
    rig.feed(Event::Answered(last_call(&rig), Err(FaultKind::Broken)));
    rig.advance(MINUTE);
    assert_eq!(of_mints(&rig, PROOF)[1..3], ["nt_live_0000000000000001"; 2]);
}

#[test]
fn a_token_that_nobody_can_prove_is_a_stable_explained_state_that_heals_when_the_node_is_deleted() {
    let mut rig = minting();
    rig.refuse(last_call(&rig), 409, "node_token_proof_required");
    assert_eq!(rig.delivery_state(), "delivery_disabled");
    let reason = rig.health()["nodeDelivery"]["reason"].to_string();
    for word in ["node_token_proof_required", "RELAY_NODE_TOKEN", "RELAY_NODE_ID=node_"] {
        assert!(reason.contains(word), "{reason}");
    }
    for _ in 0..9 {
        rig.advance(MINUTE);
        rig.refuse(last_call(&rig), 409, "node_token_proof_required");
    }
    let mints = rig.calls_to("/v1/nodes").len();
    assert!((9..=11).contains(&mints), "{mints} mints in 10 minutes");
    assert_eq!(rig.said("delivery_disabled"), 1, "said once");
    rig.engine.mints = Mints::Token;
    rig.advance(MINUTE);
    rig.advance(MINUTE);
    assert_eq!(rig.delivery_state(), "ok");
}

#[test]
fn a_mint_that_is_still_under_way_is_asked_for_again() {
    let mut rig = minting();
    rig.refuse(last_call(&rig), 409, "idempotency_in_progress");
    assert_ne!(rig.delivery_state(), "delivery_disabled");
    rig.engine.mints = Mints::Token;
    rig.advance(MINUTE);
    assert_eq!(rig.delivery_state(), "ok");
}

#[test]
fn identity_and_token_that_could_not_be_written_are_written_later() {
    let mut rig = Rig::with(|_, engine| engine.own_agent = 500);
    rig.disk_fault = Some(FaultKind::NoSpace);
    rig.engine.own_agent = 201;
    rig.advance(MINUTE);
    assert_eq!(rig.delivery_state(), "ok");
    assert!(rig.disk.tokens.is_empty() && rig.disk.identity.is_none());
    rig.disk_fault = None;
    rig.advance(MINUTE);
    assert!(!rig.disk.tokens.is_empty() && rig.disk.identity.is_some());
}

#[test]
fn the_instance_is_kept_also_with_nothing_but_a_token() {
    let mut rig = Rig::with(|config, _| {
        config.access = Access::TokenOnly;
        config.node_token = Secret::new("nt_live_feedfeedfeedfeed");
    });
    rig.advance(SECOND);
    let instance = |rig: &Rig| rig.last_sent("node.register")["provider"]["instance_id"].clone();
    let first = instance(&rig);
    let disk = rig.disk.clone();
    assert!(disk.identity.unwrap().contains(first.as_str().unwrap()));
    let mut next = rig.restarted();
    next.advance(SECOND);
    assert_eq!(instance(&next), first);
}
