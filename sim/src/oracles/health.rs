//! S13: "ok" means that messages come through.
//!
//! Would catch: a health that says "connected" as soon as a socket is open, or for ever; one that a pong
//! satisfies while the engine behind the socket is dead; one that does not know of an agent which
//! another node has, whose identity was deleted, or which has not read its terminal for minutes.
//!
//! 1. "ok" is said only while the registration of the open link is confirmed, and a correlated answer
//!    has come within its limit.
//! 2. A link on which no answer has come within its limit is given up, whatever pongs come.
//! 3. "ok" is not said while the latest answered inventory lacks an agent that runs, or the engine has
//!    passed over one, or does not know one: nobody sends it messages.
//! 4. "ok" is not said while an agent that reads nothing has had a message waiting for `STUCK`.

use super::At;
use super::facts::Frame;
use super::scene::Scene;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The broker may take this long to find out that a program reads nothing: it may wait a minute for a
/// program that it does not know to look ready, and then types. In virtual µs.
const STUCK: u64 = 180 * 1_000_000;

/// Between a limit and the timer that stands for it, in µs.
const SLACK: u64 = 1_000_000;

#[derive(Deserialize)]
struct Said {
    status: String,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    /// Identities whose process never reads, with the arrival of the first message that waits.
    deaf: BTreeMap<String, Option<u64>>,
}

impl Health {
    /// A process of an identity begins.
    pub(super) fn started(&mut self, id: &str, deaf: bool) {
        self.deaf.remove(id);
        if deaf {
            self.deaf.insert(id.to_owned(), None);
        }
    }

    /// A row reaches the broker in a frame. One that is not for reading keeps nobody waiting.
    pub(super) fn arrived(&mut self, at: At, id: &str, frame: &Frame<'_>) {
        if let Some(since) = self.deaf.get_mut(id).filter(|since| since.is_none()) {
            *since = frame.is_shown().then_some(at.now);
        }
    }

    /// A message of this identity was given up.
    pub(super) fn buried(&mut self, id: &str) {
        if let Some(since) = self.deaf.get_mut(id) {
            *since = None;
        }
    }

    pub(super) fn died(&mut self) {
        self.deaf.clear();
    }

    /// A link that answers nothing is given up.
    pub(super) fn kept(at: At, scene: &Scene) -> Result<(), String> {
        let confirmed = scene.link.as_ref().filter(|link| link.confirmed_at.is_some());
        match confirmed.filter(|link| at.mono > link.answer_by + SLACK) {
            Some(link) => Err(format!("{:?} is kept, and the engine answers nothing on it", link.id)),
            None => Ok(()),
        }
    }

    /// Judges an answer to `GET /health`.
    pub(super) fn said(&self, at: At, scene: &Scene, body: &str) -> Result<(), String> {
        let said: Said = serde_json::from_str(body).map_err(|error| format!("no health: {error}"))?;
        if said.status != "ok" {
            return Ok(());
        }
        let Some(link) = scene.link.as_ref().filter(|link| link.confirmed_at.is_some()) else {
            return Err("health is ok, and there is no confirmed registration".into());
        };
        if at.mono > link.answer_by {
            return Err("health is ok, and the engine has answered nothing within the limit".into());
        }
        if let Some(deaf) = scene.deaf() {
            return Err(format!(
                "health is ok, and the engine has another node serve {deaf} of the inventory"
            ));
        }
        if scene.has_unknown() {
            return Err(
                "health is ok, and the engine does not know everybody that the inventory listed".into()
            );
        }
        let stuck = |(id, since): (&String, &Option<u64>)| {
            let waits = since.is_some_and(|since| at.now > since + STUCK);
            scene.name_of(id).filter(|name| waits && scene.runs(name)).map(str::to_owned)
        };
        match self.deaf.iter().find_map(stuck) {
            Some(name) => Err(format!("health is ok, and {name} has read nothing for long")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::facts::Frame;
    use relay_core::ids::LinkId;
    use relay_core::time::Mono;
    use relay_core::{Command, Input, Secret};

    fn at(seconds: u64) -> At {
        At { life: 1, mono: seconds * 1_000_000, now: seconds * 1_000_000 }
    }

    fn confirmed() -> Scene {
        let mut scene = Scene::default();
        let token = Secret::new("nt_live_1").expect("not empty");
        let (link, url) = (LinkId(1), "ws://x".to_owned());
        scene.command(at(1), &Command::LinkOpen { link, url, token, deadline: Mono(0) }, None);
        let text = r#"{"type":"node.register","id":"n1"}"#.to_owned();
        let frame = Frame::read(&text);
        scene.command(at(1), &Command::LinkSend { link, text: text.clone() }, Some(&frame));
        let text = r#"{"type":"reply","id":"n1","data":{}}"#;
        scene.input(at(1), &Input::LinkText { link, text }, Some(&Frame::read(text)));
        scene
    }

    #[test]
    fn only_what_is_to_be_read_keeps_an_agent_waiting() {
        for (kind, waits) in [("dm.received", true), ("canvas.painted", false)] {
            let mut health = Health::default();
            health.started("7", true);
            let payload = format!(r#"{{"type":"{kind}","text":"hi"}}"#);
            let text = format!(r#"{{"type":"deliver","payload":{payload}}}"#);
            health.arrived(at(1), "7", &Frame::read(&text));
            assert_eq!(health.deaf["7"].is_some(), waits, "{kind}");
        }
    }

    #[test]
    fn a_link_has_its_time_from_when_it_is_open() {
        let mut scene = Scene::default();
        let (link, url) = (LinkId(1), "ws://x".to_owned());
        let token = Secret::new("nt_live_1").expect("not empty");
        scene.command(at(1), &Command::LinkOpen { link, url, token, deadline: Mono(0) }, None);
        for seconds in 1..9 {
            scene.input(at(seconds), &Input::Tick, None);
        }
        scene.input(at(9), &Input::LinkUp { link }, None);
        let text = r#"{"type":"reply","data":{"id":"node_1"}}"#;
        scene.input(at(9), &Input::LinkText { link, text }, Some(&Frame::read(text)));
        assert_eq!(Health::kept(at(139), &scene), Ok(()));
        assert!(Health::kept(at(141), &scene).is_err());
    }

    #[test]
    fn ok_needs_a_confirmed_registration_and_answers() {
        let (health, ok, bad) = (Health::default(), r#"{"status":"ok"}"#, r#"{"status":"degraded"}"#);
        assert!(health.said(at(1), &Scene::default(), ok).is_err());
        assert_eq!(health.said(at(1), &Scene::default(), bad), Ok(()));
        let mut scene = confirmed();
        assert_eq!(health.said(at(130), &scene, ok), Ok(()));
        assert!(health.said(at(132), &scene, ok).is_err());
        assert_eq!(Health::kept(at(130), &scene), Ok(()));
        assert!(Health::kept(at(133), &scene).is_err());
        let link = LinkId(1);
        scene.input(at(2), &Input::LinkDown { link, why: "" }, None);
        assert!(health.said(at(2), &scene, ok).is_err());
    }
}
