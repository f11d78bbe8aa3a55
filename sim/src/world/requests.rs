//! Requests on the local API: the operator's, and those of clients of every kind.
//!
//! Owns: numbers of requests, how odd ones look, what they must be answered, and clients that leave.
//! Must not know: what the broker does about them.
//!
//! 1. A request is answered within `ANSWER`, unless its client left before.
//! 2. What is wrong about a request decides the status of its answer, whatever state the broker is in.

use super::World;
use super::event::{Asked, Completion, Event, Of};
use super::marks::FaultMark;
use crate::oracles::Class;
use crate::plan::{Ask, SECOND};
use crate::rng::{Stream, key};
use relay_core::ids::RequestId;
use relay_core::{Auth, limits};
use serde_json::json;
use std::collections::BTreeMap;

/// A request of the local API is answered within this time.
const ANSWER: u64 = 30 * SECOND;
/// A client that leaves does so within this time.
const LEAVE: u64 = 8 * SECOND;
/// Bodies that nobody can mean.
const MALFORMED: [&str; 8] = [
    "",
    "{",
    "[]",
    "null",
    "{\"name\":5,\"to\":5,\"data\":5,\"rows\":\"x\"}",
    "{\"name\":\"\",\"to\":\"\",\"data\":\"\",\"rows\":0,\"cols\":0}",
    "{\"name\":\"\\ud800\",\"to\":\"\\ud800\"}",
    "\u{0}",
];
/// Where a body is needed.
const POSTS: [&str; 4] = ["/api/spawn", "/api/send", "/api/input/agent-0", "/api/resize/agent-0"];

#[derive(Debug, Default)]
pub(super) struct Requests {
    count: u64,
    /// Statuses that requests must be answered with: those from the first to the second.
    wanted: BTreeMap<Of<RequestId>, (u16, u16)>,
}

impl World<'_> {
    /// A request of somebody who knows the API.
    pub(super) fn ask(&mut self, method: &'static str, target: &str, body: &str) -> Option<RequestId> {
        let (target, body) = (target.to_owned(), body.to_owned());
        self.request(Asked { auth: Auth::Ok, method, target, body, upgrade: false })
    }

    pub(super) fn request(&mut self, asked: Asked) -> Option<RequestId> {
        let life = self.life.as_ref()?.number;
        self.requests.count += 1;
        let request = RequestId(self.requests.count);
        self.heap.put(self.now + ANSWER, Event::ApiDeadline((life, request)));
        if self.now < self.faults.leaving {
            let key = key(self.requests.count, 81);
            let after = self.rng.skewed(Stream::Fault, key, 1, LEAVE);
            self.heap.put(self.now + after, Event::ApiLeave((life, request)));
        }
        self.heap.put(self.now, Event::Input(life, Completion::Api(request, asked)));
        Some(request)
    }

    pub(super) fn on_reply(&mut self, request: Of<RequestId>, status: u16, body: &str) {
        self.clients.spawning.retain(|_, other| *other != request.1);
        if status == 503 && body.contains("too_many_requests") {
            self.mark(FaultMark::TooManyRequests);
        }
        if status == 503 && body.contains("too_many_streams") {
            self.mark(FaultMark::TooManyStreams);
        }
        if let Some((low, high)) = self.requests.wanted.remove(&request)
            && !(low..=high).contains(&status)
        {
            let message = format!("{request:?} was answered with {status} and not {low} to {high}: {body}");
            self.fail(Class::Safety, "S10", message);
        }
    }

    /// The client of a request goes away, if it still waits.
    pub(super) fn on_leave(&mut self, request: Of<RequestId>) {
        if self.oracles.left(request) {
            self.mark(FaultMark::ClientLeft);
            self.clients.spawning.retain(|_, other| *other != request.1);
            self.requests.wanted.remove(&request);
            self.feed(request.0, &Completion::ApiGone(request.1));
        }
    }

    /// Many requests at once: each is a line typed into an agent.
    pub(super) fn flood(&mut self, agent: usize, count: usize) {
        let target = format!("/api/input/{}", self.plan.agents[agent].name);
        let body = json!({ "data": "\r" }).to_string();
        for _ in 0..count {
            self.ask("POST", &target, &body);
        }
    }

    /// A request of somebody who looks around, or does not know the API.
    pub(super) fn pester(&mut self, number: usize, name: &str, what: Ask) {
        let draw = self.rng.word(Stream::Step, key(number as u64, 91));
        let mut asked = Asked {
            auth: Auth::Ok,
            method: "GET",
            target: "/api/status".into(),
            body: String::new(),
            upgrade: false,
        };
        let mut wanted = (200, 200);
        match what {
            Ask::Look => {
                const VIEWS: [&str; 6] = [
                    "/health",
                    "/api/session",
                    "/api/status",
                    "/api/spawned",
                    "/api/dead-letters",
                    "/health?x=%zz",
                ];
                asked.target = VIEWS[draw as usize % VIEWS.len()].into();
            }
            Ask::Snapshot => {
                let format = ["plain", "ansi"][draw as usize % 2];
                asked.target = format!("/api/spawned/{name}/snapshot?format={format}");
                wanted = (200, 404);
            }
            Ask::Resize => {
                let (rows, cols) = (draw % 120 + 1, (draw >> 8) % 300 + 1);
                (asked.method, asked.target) = ("POST", format!("/api/resize/{name}"));
                asked.body = json!({ "rows": rows, "cols": cols }).to_string();
                wanted = (200, 404);
            }
            Ask::Stranger => {
                asked.auth = [Auth::Missing, Auth::Wrong][draw as usize % 2];
                asked.target = ["/api/status", "/ws", "/api/nothing", "/"][(draw >> 8) as usize % 4].into();
                wanted = (401, 401);
            }
            Ask::Nowhere => {
                asked.target = ["/", "/api", "/api/spawned/a/b/c", "/v1/dm", ""][draw as usize % 5].into();
                wanted = (404, 404);
            }
            Ask::Method => {
                asked.method = "PUT";
                wanted = (405, 405);
            }
            Ask::Malformed => {
                asked.method = "POST";
                asked.target = POSTS[draw as usize % POSTS.len()].into();
                asked.body = MALFORMED[(draw >> 8) as usize % MALFORMED.len()].into();
                wanted = (400, 404);
            }
            Ask::Huge => {
                (asked.method, asked.target) = ("POST", POSTS[draw as usize % POSTS.len()].into());
                asked.body = "x".repeat(limits::API_BODY + 1);
                wanted = (413, 413);
            }
        }
        if !matches!(what, Ask::Look | Ask::Snapshot | Ask::Resize) {
            self.mark(FaultMark::OddRequest);
        }
        let life = self.life.as_ref().map_or(0, |life| life.number);
        if let Some(request) = self.request(asked) {
            self.requests.wanted.insert((life, request), wanted);
        }
    }
}
