//! S10, S14 and S16: how a broker ends.
//!
//! Owns: what a life has said to its engine and to its clients before its process ends by itself.
//! Must not know: why it ends.
//!
//! Would catch: a broker that is asked to stop and leaves its engine as one does that has died, so that the
//! engine goes on placing work there until it misses the heartbeats; clients that hang until their own limit
//! because the broker that they wait for has left; a broker that takes an engine in trouble for one that refuses
//! it, and ends although it is wanted.
//!
//! 1. S14: a link with a confirmed registration that is closed because the broker stops has got `node.deregister`
//!    as its last frame, and none is left open.
//! 2. S10: whoever asked the local API and still waits is answered before an orderly end, but for whoever asked
//!    for the end of an agent: its process may outlive every limit.
//! 3. S16: nobody but an operator who asks a second time, and an engine that refuses this broker's own
//!    registration, ends a broker otherwise than orderly. An engine that fails, is busy or is not reached has not
//!    refused it.

use super::facts::Frame;
use super::reconnect::is_refusal;
use super::scene::Scene;
use relay_core::ids::CallId;
use relay_core::{Command, Input};
use std::collections::BTreeSet;

/// What a close says when the broker stops; any other is followed by another link.
const STOPS: &str = "shutting down";

/// Where a broker registers itself.
const OWN: [&str; 2] = ["/v1/agents", "/v1/workspaces"];

#[derive(Debug, Default)]
pub(super) struct Farewell {
    /// The frame sent last was `node.deregister`.
    told: bool,
    /// How often the broker was asked to stop.
    asked: u32,
    /// Registrations over HTTP that are not answered.
    calls: BTreeSet<CallId>,
    /// The engine has refused one of these.
    refused: bool,
}

impl Farewell {
    pub(super) fn input(&mut self, input: &Input<'_>) {
        match input {
            Input::Terminate => self.asked += 1,
            Input::CallDone { call, result } if self.calls.remove(call) => {
                self.refused |= result.as_ref().is_ok_and(|reply| is_refusal(reply.status));
            }
            _ => {}
        }
    }

    /// Before the scene learns of it; `waits`: what a client waits for.
    pub(super) fn command(
        &mut self,
        scene: &Scene,
        command: &Command,
        frame: Option<&Frame<'_>>,
        waits: Option<&str>,
    ) -> Result<(), (&'static str, String)> {
        match command {
            Command::LinkOpen { .. } => self.told = false,
            Command::LinkSend { .. } => {
                self.told = frame.is_some_and(|frame| frame.kind() == "node.deregister");
            }
            Command::LinkClose { reason, .. } if *reason == STOPS && scene.is_confirmed() && !self.told => {
                return Err(("S14", "a broker that stops leaves without node.deregister".into()));
            }
            Command::Call { call, request, .. }
                if request.method == "POST" && OWN.iter().any(|path| request.url.ends_with(path)) =>
            {
                self.calls.insert(*call);
            }
            Command::Exit { code: 0 } if scene.is_confirmed() => {
                return Err(("S14", "a broker ends orderly and leaves its link open".into()));
            }
            Command::Exit { code: 0 } => {
                if let Some(what) = waits {
                    return Err(("S10", format!("a broker ends orderly, and {what} is not answered")));
                }
            }
            Command::Exit { code } if self.asked < 2 && !self.refused => {
                return Err(("S16", format!("a broker ends with {code}, and nobody has refused it")));
            }
            _ => {}
        }
        Ok(())
    }

    /// The broker is gone.
    pub(super) fn died(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::At;
    use relay_core::ids::LinkId;
    use relay_core::time::Mono;
    use relay_core::{CallReply, CallRequest, Secret};

    const AT: At = At { life: 1, mono: 5, now: 5 };
    const LINK: LinkId = LinkId(1);

    /// A broker whose registration is confirmed, and which has sent these frames since.
    fn farewell(frames: &[&str]) -> (Farewell, Scene) {
        let (mut farewell, mut scene) = (Farewell::default(), Scene::default());
        let token = Secret::new("nt_live_1").expect("not empty");
        let open = Command::LinkOpen { link: LINK, url: "ws://x".into(), token, deadline: Mono(9) };
        scene.command(AT, &open, None);
        assert_eq!(farewell.command(&scene, &open, None, None), Ok(()));
        let text = r#"{"type":"reply","data":{"id":"node_1"}}"#;
        scene.input(AT, &Input::LinkText { link: LINK, text }, Some(&Frame::read(text)));
        for text in frames {
            let send = Command::LinkSend { link: LINK, text: (*text).to_owned() };
            assert_eq!(farewell.command(&scene, &send, Some(&Frame::read(text)), None), Ok(()));
        }
        (farewell, scene)
    }

    fn closed(reason: &'static str, frames: &[&str]) -> bool {
        let (mut farewell, scene) = farewell(frames);
        let close = Command::LinkClose { link: LINK, code: 1000, reason, deadline: Mono(9) };
        farewell.command(&scene, &close, None, None).is_ok()
    }

    #[test]
    fn a_broker_that_stops_takes_leave_of_its_engine() {
        let (bye, beat) = (r#"{"type":"node.deregister"}"#, r#"{"type":"node.heartbeat"}"#);
        assert!(closed(STOPS, &[beat, bye]));
        assert!(!closed(STOPS, &[beat]));
        assert!(!closed(STOPS, &[bye, beat]), "that registers it again");
        assert!(closed("messages are missing", &[beat]), "another link follows");
        let (mut open, scene) = farewell(&[bye]);
        assert!(open.command(&scene, &Command::Exit { code: 0 }, None, None).is_err());
    }

    #[test]
    fn nobody_is_left_waiting_at_an_orderly_end() {
        let (mut farewell, scene) = (Farewell::default(), Scene::default());
        let exit = Command::Exit { code: 0 };
        assert_eq!(farewell.command(&scene, &exit, None, None), Ok(()));
        let judged = farewell.command(&scene, &exit, None, Some("POST /api/spawn"));
        assert_eq!(judged.map_err(|(rule, _)| rule), Err("S10"));
    }

    #[test]
    fn a_broker_ends_badly_only_when_it_is_refused_or_told_to() {
        let (exit, call) = (Command::Exit { code: 1 }, CallId(1));
        let request = CallRequest {
            method: "POST",
            url: "http://x/v1/agents".into(),
            bearer: None,
            headers: vec![],
            body: None,
        };
        let register = Command::Call { call, request, deadline: Mono(9) };
        for (status, may_end) in [(401, true), (429, false), (503, false)] {
            let (mut farewell, scene) = (Farewell::default(), Scene::default());
            assert_eq!(farewell.command(&scene, &register, None, None), Ok(()));
            let result = Ok(CallReply { status, body: b"" });
            farewell.input(&Input::CallDone { call, result });
            assert_eq!(farewell.command(&scene, &exit, None, None).is_ok(), may_end, "{status}");
        }
        let (mut farewell, scene) = (Farewell::default(), Scene::default());
        farewell.input(&Input::Terminate);
        assert!(farewell.command(&scene, &exit, None, None).is_err());
        farewell.input(&Input::Terminate);
        assert_eq!(farewell.command(&scene, &exit, None, None), Ok(()));
    }
}
