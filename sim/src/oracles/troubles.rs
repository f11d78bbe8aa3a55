//! S14: a spawn does not fail because the engine was in trouble for a moment.
//!
//! Owns: how often the registration of each agent was refused for no fault of its own, and when it may be tried
//! next.
//! Must not know: what becomes of a registration that succeeds.
//!
//! Would catch: a refusal that passes taken for a final one, so that whoever ordered an agent is told that there
//! will be none although the engine would have registered it a second later.
//!
//! 1. A spawn is answered with the code of a trouble only when the next try would come [`AGENT_REGISTER`] or more
//!    after the first one. The tries wait [`AGENT_RETRY_FIRST`], and each time twice as long as before.
//! 2. What is asked on a link before does not count: a new one begins anew.

use super::facts::Frame;
use crate::engine::OVERLOADED;
use relay_core::ids::LinkId;
use relay_core::limits::{AGENT_REGISTER, AGENT_RETRY_FIRST};
use relay_core::{Command, Input};
use serde_json::Value;
use std::collections::BTreeMap;

/// The registrations of one agent on this link. Times are the broker's clock, in µs.
#[derive(Debug, Default)]
struct Tries {
    /// The latest request.
    request: String,
    first: u64,
    /// Refusals that pass, in a row.
    refusals: u32,
    next: u64,
}

#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// The link on which was asked last.
    link: Option<LinkId>,
    /// By name.
    tries: BTreeMap<String, Tries>,
    /// Names, by the invocations that ask for them.
    orders: BTreeMap<String, String>,
}

impl Troubles {
    pub(super) fn input(&mut self, mono: u64, input: &Input<'_>, frame: Option<&Frame<'_>>) {
        match (input, frame) {
            (Input::LinkText { .. }, Some(frame)) if frame.kind() == "error" => {
                let asked = |tries: &&mut Tries| frame.id.as_deref() == Some(tries.request.as_str());
                let Some(tries) = self.tries.values_mut().find(asked) else {
                    return;
                };
                if frame.code.as_deref() == Some(OVERLOADED) {
                    tries.next = mono + (AGENT_RETRY_FIRST.0 << tries.refusals.min(9));
                    tries.refusals += 1;
                } else {
                    tries.refusals = 0;
                }
            }
            (Input::LinkDown { link, .. }, _) => self.ended(*link),
            _ => {}
        }
    }

    pub(super) fn command(
        &mut self,
        mono: u64,
        command: &Command,
        frame: Option<&Frame<'_>>,
    ) -> Result<(), String> {
        match (command, frame) {
            (Command::LinkSend { link, text }, Some(frame)) => {
                if self.link.replace(*link) != Some(*link) {
                    self.tries.clear();
                }
                self.sent(mono, frame, text)
            }
            (Command::LinkClose { link, .. }, _) => {
                self.ended(*link);
                Ok(())
            }
            (Command::ApiReply { status: 400.., body, .. }, _) if body.contains(OVERLOADED) => {
                let body: Value = serde_json::from_str(body).unwrap_or_default();
                self.failed(mono, body["name"].as_str().unwrap_or_default())
            }
            _ => Ok(()),
        }
    }

    /// An earlier link may end late.
    fn ended(&mut self, link: LinkId) {
        if self.link == Some(link) {
            self.tries.clear();
        }
    }

    fn sent(&mut self, mono: u64, frame: &Frame<'_>, text: &str) -> Result<(), String> {
        match frame.kind() {
            "agent.register" | "agent.recover" => {
                let name = frame.name.as_deref().unwrap_or_default();
                let tries = self.tries.entry(name.to_owned()).or_default();
                if tries.refusals == 0 {
                    tries.first = mono;
                }
                tries.request = frame.id.as_deref().unwrap_or_default().to_owned();
                if let Some(invocation) = frame.invocation_id.as_deref() {
                    self.orders.insert(invocation.to_owned(), name.to_owned());
                }
                Ok(())
            }
            "action.result" => {
                let name = frame.invocation_id.as_deref().and_then(|id| self.orders.remove(id));
                match name.filter(|_| text.contains(OVERLOADED)) {
                    Some(name) => self.failed(mono, &name),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// A spawn has failed because the engine was in trouble.
    fn failed(&mut self, mono: u64, name: &str) -> Result<(), String> {
        let Some(tries) = self.tries.remove(name) else {
            return Ok(());
        };
        let next = if tries.refusals > 0 { tries.next.max(mono) } else { mono };
        if next < tries.first + AGENT_REGISTER.0 {
            let tried = tries.refusals;
            return Err(format!(
                "{name:?} is not registered for a trouble that passes, which came {tried} times"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::RequestId;

    const LINK: LinkId = LinkId(1);
    const SECOND: u64 = 1_000_000;

    fn asks(troubles: &mut Troubles, mono: u64, id: &str) {
        let text = format!(r#"{{"type":"agent.register","id":"{id}","name":"bob","invocation_id":"i1"}}"#);
        let frame = Frame::read(&text);
        let send = Command::LinkSend { link: LINK, text: text.clone() };
        assert_eq!(troubles.command(mono, &send, Some(&frame)), Ok(()));
    }

    fn refused(troubles: &mut Troubles, mono: u64, id: &str) {
        let text = format!(r#"{{"type":"error","id":"{id}","code":"{OVERLOADED}","message":"later"}}"#);
        troubles.input(mono, &Input::LinkText { link: LINK, text: &text }, Some(&Frame::read(&text)));
    }

    fn fails(troubles: &mut Troubles, mono: u64) -> bool {
        let body = format!(r#"{{"success":false,"name":"bob","code":"{OVERLOADED}"}}"#);
        let content_type = "application/json";
        let reply = Command::ApiReply { request: RequestId(1), status: 409, content_type, body };
        troubles.command(mono, &reply, None).is_ok()
    }

    #[test]
    fn a_spawn_fails_only_when_there_is_no_time_for_another_try() {
        let mut troubles = Troubles::default();
        asks(&mut troubles, 0, "r0");
        refused(&mut troubles, SECOND, "r0");
        assert!(!fails(&mut troubles, SECOND));
        asks(&mut troubles, 0, "r0");
        for (at, id, next) in [(1, "r0", "r1"), (2, "r1", "r2"), (4, "r2", "r3")] {
            refused(&mut troubles, at * SECOND, id);
            asks(&mut troubles, at * SECOND, next);
            let earlier = Input::LinkDown { link: LinkId(0), why: "late" };
            troubles.input(at * SECOND, &earlier, None);
        }
        refused(&mut troubles, 7 * SECOND, "r3");
        assert!(fails(&mut troubles, 7 * SECOND), "the next would come at 11 s");
        assert!(fails(&mut troubles, 0), "nothing was asked on this link");
    }

    #[test]
    fn an_invocation_is_answered_as_the_local_api_is() {
        let mut troubles = Troubles::default();
        asks(&mut troubles, 0, "r0");
        refused(&mut troubles, SECOND, "r0");
        let text = format!(
            r#"{{"type":"action.result","invocation_id":"i1","error":"spawn_failed: {OVERLOADED}: later"}}"#
        );
        let (send, frame) = (Command::LinkSend { link: LINK, text: text.clone() }, Frame::read(&text));
        assert!(troubles.command(SECOND, &send, Some(&frame)).is_err());
    }
}
