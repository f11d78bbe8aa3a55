//! What becomes of a command: done as it was meant, failed, or answered with anything.
//!
//! Owns: one completion for each thing that is owed. Must not know: when it comes.

use super::life::{Life, Owed};
use relay_core::{CallReply, CallRequest, ExitStatus, Fault, FaultKind, Input, Refusal, TtyState};
use serde_json::{Value, json};

/// Names that agents here have; the place of one makes its id.
pub(super) const NAMES: [&str; 4] = ["otto", "ines", "fuzz", "uma-\u{fc}"];

/// The id of the agent of this name.
pub(super) fn agent_id(name: &str) -> String {
    let place = NAMES.iter().position(|other| *other == name).unwrap_or(NAMES.len());
    (4102 + place).to_string()
}

impl Life {
    /// Does the thing at this place as it was meant.
    pub(super) fn answer(&mut self, place: usize) {
        let Some(owed) = self.owe(place) else { return };
        match owed {
            Owed::Reply(_, frame) => {
                let reply =
                    json!({"v": 1, "type": "reply", "id": frame["id"], "ok": true, "data": data(&frame)});
                self.text(&reply.to_string());
            }
            Owed::Called(call, request) => {
                let body = called(&request).to_string();
                let result = Ok(CallReply { status: 201, body: body.as_bytes() });
                self.feed(Input::CallDone { call, result });
            }
            other => self.complete(other, None),
        }
    }

    /// Lets the thing at this place fail.
    pub(super) fn fail(&mut self, place: usize, kind: FaultKind) {
        if let Some(owed) = self.owe(place) {
            self.complete(owed, Some(Fault { kind, detail: "it rk_live_00112233445566778899 failed" }));
        }
    }

    /// Answers the thing at this place with this status, text and number.
    pub(super) fn answer_oddly(&mut self, place: usize, status: u16, text: &str) {
        let Some(owed) = self.owe(place) else { return };
        match owed {
            Owed::Called(call, _) => {
                let result = Ok(CallReply { status, body: text.as_bytes() });
                self.feed(Input::CallDone { call, result });
            }
            Owed::Reply(_, frame) => {
                let kind = if status.is_multiple_of(2) { "reply" } else { "error" };
                let head = json!({"type": kind, "id": frame["id"]}).to_string();
                self.text(&format!("{},{text}}}", head.trim_end_matches('}')));
            }
            Owed::Up(link) => self.feed(Input::LinkRefused { link, why: Refusal::Status(status) }),
            Owed::Written(process, op, len) => {
                let written = usize::from(status).min(len);
                let fault = (written < len).then_some(Fault { kind: FaultKind::Deadline, detail: text });
                self.feed(Input::PtyWritten { process, op, written, fault });
            }
            Owed::Exited(process) => {
                self.feed(Input::PtyExited { process, status: ExitStatus::Signal(i32::from(status)) });
            }
            other => self.complete(other, None),
        }
    }

    fn owe(&mut self, place: usize) -> Option<Owed> {
        (!self.owed.is_empty()).then(|| self.owed.remove(place % self.owed.len()))
    }

    fn complete(&mut self, owed: Owed, fault: Option<Fault<'_>>) {
        let input = match owed {
            Owed::Up(link) => match fault {
                Some(fault) => Input::LinkRefused { link, why: Refusal::Fault(fault) },
                None => Input::LinkUp { link },
            },
            Owed::Reply(_, frame) => {
                let error =
                    json!({"type": "error", "id": frame["id"], "code": "name_conflict", "message": "no"});
                return self.text(&error.to_string());
            }
            Owed::Drained(link, bytes) => Input::LinkDrained { link, bytes },
            Owed::Pong(link) => Input::LinkPong { link },
            Owed::Down(link) => Input::LinkDown { link, why: "closed" },
            Owed::Called(call, _) => {
                let fault = fault.unwrap_or(Fault { kind: FaultKind::Other, detail: "" });
                Input::CallDone { call, result: Err(fault) }
            }
            Owed::Started(process) => Input::Spawned { process, result: fault.map_or(Ok(77), Err) },
            Owed::Written(process, op, len) => {
                let written = if fault.is_some() { len / 2 } else { len };
                Input::PtyWritten { process, op, written, fault }
            }
            Owed::State(process, op) => {
                let state = TtyState { unread: self.unread, canonical: false, echo: true };
                Input::PtyState { process, op, state: fault.is_none().then_some(state) }
            }
            Owed::Exited(process) => Input::PtyExited { process, status: ExitStatus::Code(0) },
            Owed::Stored(store) => Input::Stored { store, result: fault.map_or(Ok(()), Err) },
            Owed::Streamed(subscriber, bytes) => Input::StreamDrained { subscriber, bytes },
            Owed::StreamGone(subscriber) => Input::StreamGone { subscriber },
        };
        self.feed(input);
    }
}

/// The data of a good reply to a frame.
fn data(frame: &Value) -> Value {
    let name = frame["name"].as_str().unwrap_or_default();
    match frame["type"].as_str() {
        Some("node.register") => json!({"id": frame["node_id"], "name": name}),
        Some("agent.register" | "agent.recover") => json!({
            "agent_id": agent_id(name), "name": name, "token": "at_live_0123456789abcdef", "delivery_ack_seq": 0,
        }),
        _ => json!({}),
    }
}

/// A good answer to a call.
fn called(request: &CallRequest) -> Value {
    let body = request.body.as_deref().and_then(|body| serde_json::from_str::<Value>(body).ok());
    let body = body.unwrap_or_default();
    let name = body["name"].as_str().unwrap_or_default();
    let data = match request.url.rsplit('/').next() {
        Some("agents") => json!({
            "id": agent_id(name), "name": name, "token": "at_live_0123456789abcdef", "workspace_id": "ws_1",
        }),
        Some("nodes") => json!({"id": body["node_id"], "token": "nt_live_0123456789abcdef"}),
        _ => json!({"id": "88011"}),
    };
    json!({"ok": true, "data": data})
}
