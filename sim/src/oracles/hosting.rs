//! S3, S14, L8 and N2: whom the broker speaks for.
//!
//! Would catch: a spawn through the local API that no inventory lists, so that the engine takes a live
//! agent offline after a reconnect; no inventory where nobody lives here, so that the engine keeps those of before;
//! everybody left out because one was refused; an agent listed again after its release; a cursor acked again
//! for an agent that has left; an agent left out for ever because another node had it once; a name
//! registered a second time, which ends its owner's token.
//!
//! 1. S3: an ack names an agent that this life has registered and not taken leave of.
//! 2. S14: an inventory lists every such agent that runs, and no other. After the engine has refused
//!    one, entries may be left out until the next refresh: what it held against them may have passed. No more
//!    of them than inventories were refused: the engine names one, or one after the other is tried.
//! 3. L8: a link has its first inventory, and each further one, in time, whoever lives here: only one that lists
//!    nobody tells that. A broker that stops sends none any more.
//! 4. N2: no frame registers a name whose process runs here. What calls do is judged with the identity.

use super::At;
use super::facts::Frame;
use super::scene::{Link, Scene};
use relay_core::limits::INVENTORY_REFRESH;

/// Judges a frame before it becomes part of the scene.
pub(super) fn frame(at: At, scene: &Scene, frame: &Frame<'_>) -> Result<(), (&'static str, String)> {
    match frame.kind() {
        "delivery.ack" => {
            let name = frame.agent.as_deref().unwrap_or_default();
            if !scene.hosts(name) {
                return Err(("S3", format!("an ack for {name:?}, which is not hosted here")));
            }
        }
        "inventory.sync" => return inventory(at, scene, frame).map_err(|why| ("S14", why)),
        "agent.register" | "agent.recover" => {
            let name = frame.name.as_deref().unwrap_or_default();
            if scene.runs(name) && scene.hosts(name) {
                return Err(("N2", format!("{name:?} is registered while it runs")));
            }
        }
        _ => {}
    }
    Ok(())
}

fn inventory(at: At, scene: &Scene, frame: &Frame<'_>) -> Result<(), String> {
    let listed = |id: &str| frame.agents.iter().any(|entry| entry.agent_id.as_deref() == Some(id));
    for entry in &frame.agents {
        let id = entry.agent_id.as_deref().unwrap_or_default();
        let name = entry.name.as_deref().unwrap_or_default();
        if scene.name_of(id) != Some(name) {
            return Err(format!("the inventory lists {name:?} ({id}), which does not live here"));
        }
    }
    let recent = |link: &&Link| link.refused_at.is_some_and(|since| at.now <= since + INVENTORY_REFRESH.0);
    let refusals = scene.link.as_ref().filter(recent).map_or(0, |link| link.refusals);
    match scene.running().filter(|(id, _)| !listed(id)).nth(refusals) {
        Some((id, name)) => Err(format!(
            "the inventory leaves out {name:?} ({id}), which runs, behind {refusals} that were refused"
        )),
        None => Ok(()),
    }
}

/// L8: inventories leave in time.
pub(super) fn on_time(at: At, scene: &Scene) -> Result<(), String> {
    let confirmed = scene.link.as_ref().filter(|link| link.confirmed_at.is_some() && !scene.stops);
    match confirmed.filter(|link| at.mono > link.inventory_due) {
        Some(link) => {
            Err(format!("{:?} has no inventory in time, and the engine keeps who was there", link.id))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::Command;
    use relay_core::ids::{LinkId, ProcessId};
    use relay_core::time::Mono;
    use relay_core::{Child, Input, Secret, Text};

    const AT: At = At { life: 1, mono: 5, now: 5 };
    const LINK: LinkId = LinkId(1);
    const BOB: ProcessId = ProcessId(2);

    fn sends(scene: &mut Scene, text: &str) -> Result<(), (&'static str, String)> {
        let facts = Frame::read(text);
        let judged = frame(AT, scene, &facts);
        scene.command(AT, &Command::LinkSend { link: LINK, text: text.into() }, Some(&facts));
        judged
    }

    fn rule(judged: Result<(), (&'static str, String)>) -> &'static str {
        judged.err().map_or("", |(rule, _)| rule)
    }

    /// A broker with a link on which `bob` is registered, and his process.
    fn scene() -> Scene {
        let mut scene = Scene::default();
        let token = Secret::new("nt_live_1").expect("not empty");
        let open = Command::LinkOpen { link: LINK, url: "ws://x".into(), token, deadline: Mono(9) };
        scene.command(AT, &open, None);
        assert_eq!(sends(&mut scene, r#"{"type":"agent.register","id":"r1","name":"bob"}"#), Ok(()));
        let text = r#"{"type":"reply","id":"r1","data":{"agent_id":"77"}}"#;
        scene.input(AT, &Input::LinkText { link: LINK, text }, Some(&Frame::read(text)));
        starts(&mut scene);
        scene
    }

    fn starts(scene: &mut Scene) {
        start(scene, BOB, "bob");
    }

    fn start(scene: &mut Scene, process: ProcessId, name: &str) {
        let env = vec![("RELAY_AGENT_NAME".into(), Text::Plain(name.into()))];
        let child = Child { argv: vec![], env, env_remove: vec![], cwd: None, rows: 1, cols: 1 };
        scene.command(AT, &Command::Spawn { process, child, deadline: Mono(9) }, None);
        scene.input(AT, &Input::Spawned { process, result: Ok(3) }, None);
    }

    #[test]
    fn an_ack_is_for_who_lives_here_until_the_broker_takes_leave_of_it() {
        let mut scene = scene();
        let ack = r#"{"type":"delivery.ack","agent":"bob","up_to_seq":1}"#;
        assert_eq!(sends(&mut scene, ack), Ok(()));
        assert_eq!(rule(sends(&mut scene, &ack.replace("bob", "eve"))), "S3");
        sends(&mut scene, r#"{"type":"agent.deregister","agent_id":"77"}"#).expect("it may leave");
        assert_eq!(rule(sends(&mut scene, ack)), "S3");
    }

    #[test]
    fn an_inventory_lists_who_runs_here_and_nobody_else() {
        let mut scene = scene();
        let full = r#"{"type":"inventory.sync","id":"i1","agents":[{"agent_id":"77","name":"bob"}]}"#;
        let empty = r#"{"type":"inventory.sync","id":"i2","agents":[]}"#;
        assert_eq!(sends(&mut scene, full), Ok(()));
        assert_eq!(rule(sends(&mut scene, empty)), "S14");
        scene.command(AT, &Command::PtyForget { process: BOB }, None);
        assert_eq!(sends(&mut scene, empty), Ok(()));
        assert_eq!(rule(sends(&mut scene, full)), "S14");
    }

    #[test]
    fn one_refused_inventory_is_no_reason_to_leave_out_two() {
        let mut scene = scene();
        assert_eq!(sends(&mut scene, r#"{"type":"agent.register","id":"r2","name":"eve"}"#), Ok(()));
        let text = r#"{"type":"reply","id":"r2","data":{"agent_id":"78"}}"#;
        scene.input(AT, &Input::LinkText { link: LINK, text }, Some(&Frame::read(text)));
        start(&mut scene, ProcessId(3), "eve");
        let full = r#"{"type":"inventory.sync","id":"i1","agents":[{"agent_id":"77","name":"bob"},{"agent_id":"78","name":"eve"}]}"#;
        let one = r#"{"type":"inventory.sync","id":"i2","agents":[{"agent_id":"77","name":"bob"}]}"#;
        let empty = r#"{"type":"inventory.sync","id":"i3","agents":[]}"#;
        assert_eq!(sends(&mut scene, full), Ok(()));
        let refused = |scene: &mut Scene, id: &str| {
            let text = format!(r#"{{"type":"error","id":"{id}","code":"agent_location_conflict"}}"#);
            scene.input(AT, &Input::LinkText { link: LINK, text: &text }, Some(&Frame::read(&text)));
        };
        refused(&mut scene, "i1");
        assert_eq!(rule(sends(&mut scene, empty)), "S14");
        assert_eq!(sends(&mut scene, one), Ok(()));
        refused(&mut scene, "i2");
        assert_eq!(sends(&mut scene, empty), Ok(()));
        assert_eq!(sends(&mut scene, full), Ok(()));
        assert_eq!(rule(sends(&mut scene, one)), "S14", "all were listed since");
    }

    #[test]
    fn a_link_has_inventories_in_time_also_when_nobody_lives_here() {
        let mut scene = scene();
        let text = r#"{"type":"reply","data":{"id":"node_1"}}"#;
        scene.input(AT, &Input::LinkText { link: LINK, text }, Some(&Frame::read(text)));
        let at = |seconds: u64| At { mono: AT.mono + seconds * 1_000_000, ..AT };
        assert_eq!(on_time(at(51), &scene), Ok(()));
        assert!(on_time(at(52), &scene).is_err());
        sends(&mut scene, r#"{"type":"inventory.sync","id":"i1","agents":[{"agent_id":"77","name":"bob"}]}"#)
            .expect("he runs");
        assert_eq!(on_time(at(111), &scene), Ok(()));
        assert!(on_time(at(112), &scene).is_err());
        scene.input(at(300), &Input::Tick, None);
        assert_eq!(on_time(at(300), &scene), Ok(()), "the machine slept");
        scene.input(at(302), &Input::Terminate, None);
        assert_eq!(on_time(at(302), &scene), Ok(()));
    }

    #[test]
    fn an_identity_that_was_replaced_before_the_start_is_not_the_one_that_runs() {
        for in_order in [true, false] {
            let mut scene = Scene::default();
            let token = Secret::new("nt_live_1").expect("not empty");
            let open = Command::LinkOpen { link: LINK, url: "ws://x".into(), token, deadline: Mono(9) };
            scene.command(AT, &open, None);
            for request in ["r1", "r2"] {
                let register = format!(r#"{{"type":"agent.register","id":"{request}","name":"bob"}}"#);
                assert_eq!(sends(&mut scene, &register), Ok(()));
            }
            let mut answers = [("r1", "77"), ("r2", "78")];
            if !in_order {
                answers.reverse();
            }
            for (request, id) in answers {
                let text = format!(r#"{{"type":"reply","id":"{request}","data":{{"agent_id":"{id}"}}}}"#);
                scene.input(AT, &Input::LinkText { link: LINK, text: &text }, Some(&Frame::read(&text)));
            }
            if !in_order {
                sends(&mut scene, r#"{"type":"agent.deregister","agent_id":"77"}"#)
                    .expect("it came too late");
            }
            starts(&mut scene);
            let new = r#"{"type":"inventory.sync","id":"i1","agents":[{"agent_id":"78","name":"bob"}]}"#;
            assert_eq!(sends(&mut scene, new), Ok(()));
            assert_eq!(rule(sends(&mut scene, &new.replace("78", "77"))), "S14");
            let ack = r#"{"type":"delivery.ack","agent":"bob","up_to_seq":1}"#;
            assert_eq!(sends(&mut scene, ack), Ok(()));
        }
    }

    #[test]
    fn a_name_that_runs_is_not_registered_again() {
        let mut scene = scene();
        let register = r#"{"type":"agent.register","id":"r2","name":"bob"}"#;
        assert_eq!(rule(sends(&mut scene, register)), "N2");
        scene.command(AT, &Command::PtyForget { process: BOB }, None);
        assert_eq!(sends(&mut scene, register), Ok(()));
    }
}
