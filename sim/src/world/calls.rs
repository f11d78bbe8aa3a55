//! Calls: requests over HTTP, of the broker and of everybody else.
//!
//! Owns: how a call of the broker ends, and what it gets to read.
//! Must not know: what is asked for; only that a request with a simulated body names its message.
//!
//! 1. A call ends once, at its deadline at the latest.

use super::event::{CallOut, Completion, Event, Fate};
use super::marks::FaultMark;
use super::{BASE_URL, World};
use crate::agents::reader::token_of;
use crate::engine::{HttpRequest, HttpResponse};
use crate::plan::SECOND;
use crate::rng::Stream;
use relay_core::ids::CallId;
use relay_core::time::Mono;
use relay_core::{CallRequest, FaultKind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// An engine that took frames late is not itself for so much longer.
const LATE: u64 = 20 * SECOND;
/// Statuses of an engine that is busy, or in trouble.
pub(super) const TROUBLE: [u16; 4] = [429, 500, 502, 503];

/// What a request has made.
#[derive(Deserialize)]
pub(super) struct Made<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    /// Who made it, if it is a message: it is told of the message, or within it.
    #[serde(borrow)]
    agent_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<By<'a>>,
}

#[derive(Deserialize)]
struct By<'a> {
    #[serde(borrow)]
    agent_name: Option<Cow<'a, str>>,
}

impl Made<'_> {
    fn sender(&self) -> Option<&str> {
        let within = || self.message.as_ref()?.agent_name.as_deref();
        self.agent_name.as_deref().or_else(within)
    }
}

/// What a request has made.
pub(super) fn made(answer: &str) -> Option<Made<'_>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Made<'a>,
    }
    Some(serde_json::from_str::<Answer<'_>>(answer).ok()?.data)
}

impl World<'_> {
    pub(super) fn call(&mut self, life: u64, call: CallId, request: CallRequest, deadline: Mono) {
        let path = request.url.strip_prefix(BASE_URL).unwrap_or(&request.url);
        // An engine that is late on its sockets is the one that agents are bound over HTTP with.
        let binds = path.contains("/nodes/") && path.ends_with("/agents");
        let fate = match self.fate(deadline) {
            Fate::Good if binds && self.now < self.faults.hold + LATE => Fate::Status(503),
            fate => fate,
        };
        let out = CallOut {
            method: request.method,
            path: path.to_owned(),
            bearer: request.bearer.map(|bearer| bearer.expose().to_owned()),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.expose().to_owned()))
                .collect(),
            body: request.body,
            fate,
        };
        let at = self.now + self.network_delay();
        self.heap.put(at, Event::Call(life, call, Box::new(out)));
    }

    fn fate(&mut self, deadline: Mono) -> Fate {
        let key = self.key();
        if self.now >= self.faults.calls || self.rng.chance(Stream::Call, key, 400) {
            return Fate::Good;
        }
        let draw = self.rng.word(Stream::Call, crate::rng::key(key, 1));
        let status = TROUBLE[(draw >> 8) as usize % TROUBLE.len()];
        match draw % 4 {
            0 => Fate::Status(status),
            1 => Fate::StatusAfter(status),
            2 => Fate::Broken,
            _ => Fate::Lost(self.virtual_time(deadline)),
        }
    }

    /// Somebody enrols a node under the name that the broker is about to ask for.
    fn take_name(&mut self, body: Option<&str>) {
        let wish: Value = serde_json::from_str(body.unwrap_or_default()).unwrap_or_default();
        if self.network.node_id.is_some() {
            return;
        }
        let (key, wish) = (self.api_key.clone(), json!({ "name": wish["name"] }).to_string());
        if self.http("POST", "/v1/nodes", Some(&key), &[], Some(&wish)).status == 201 {
            self.mark(FaultMark::NameTaken);
        }
    }

    pub(super) fn on_call(&mut self, life: u64, call: CallId, out: &CallOut) {
        let failed = |status: u16| {
            let body = r#"{"ok":false,"error":{"code":"simulated","message":"simulated fault of at_live_0123456789abcdef"}}"#;
            Ok((status, body.to_owned()))
        };
        if out.fate != Fate::Good {
            self.mark(FaultMark::CallFailed);
        }
        let (result, at) = match out.fate {
            Fate::Status(status) => (failed(status), None),
            Fate::Broken => (Err(FaultKind::Broken), None),
            Fate::Good | Fate::StatusAfter(_) | Fate::Lost(_) => {
                if out.path == "/v1/nodes" && std::mem::take(&mut self.faults.name_taken) {
                    self.take_name(out.body.as_deref());
                }
                self.engine.read_behind(self.faults.behind(self.now));
                let answer = self.http(
                    out.method,
                    &out.path,
                    out.bearer.as_deref(),
                    &out.headers,
                    out.body.as_deref(),
                );
                self.engine.read_behind(0);
                self.oracles.called(out.method, &out.path, answer.status, &answer.body);
                match out.fate {
                    Fate::StatusAfter(status) => (failed(status), None),
                    Fate::Lost(at) => (Err(FaultKind::Deadline), Some(at)),
                    _ => (Ok((answer.status, answer.body)), None),
                }
            }
        };
        let soon = self.now + self.network_delay();
        let done = Completion::CallDone(call, result);
        self.heap.put(at.unwrap_or(soon), Event::Input(life, done));
    }

    /// A request to the engine, of the broker or of a sender.
    pub(super) fn http(
        &mut self,
        method: &str,
        path: &str,
        bearer: Option<&str>,
        headers: &[(String, String)],
        body: Option<&str>,
    ) -> HttpResponse {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request =
            HttpRequest { method, path, bearer, headers: &headers, body: body.unwrap_or("").as_bytes() };
        let answer = self.engine.http(self.now_ms(), request);
        let words = format_args!("{method} {path} -> {} {}", answer.status, answer.body);
        self.trace.line(self.now, "http", &(method, path, answer.status, &answer.body), words);
        if let (201, Some(token)) = (answer.status, body.and_then(token_of))
            && let Some(made) = made(&answer.body)
        {
            self.oracles.posted(&made.id, token, made.sender());
        }
        self.pump_engine();
        answer
    }
}
