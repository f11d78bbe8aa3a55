//! HTTP: requests to routes, results to envelopes.
//!
//! Owns: authentication, the route table, envelopes and error forms, idempotency.
//! Must not know: what a route does.
//!
//! 1. Every answer is an envelope; every failure has a code.
//! 2. A repeated request with the same idempotency key gets the stored answer and causes nothing.

use super::Engine;
use super::ids::{AgentKey, WorkspaceKey};
use super::state::Stored;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Path with query, percent-encoded.
    pub path: &'a str,
    /// The bearer token.
    pub bearer: Option<&'a str>,
    /// Other headers, names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// More headers than the content type.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, or empty with 204.
    pub body: String,
}

/// A refusal.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

pub(super) fn refuse(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, code, message: message.into() }
}

/// A good answer: status and data.
pub(super) type Answer = Result<(u16, Data), Refusal>;

/// What an answer brings.
#[derive(serde::Serialize)]
#[serde(untagged)]
pub(super) enum Data {
    /// A value.
    Tree(Value),
    /// The same, written already: what is answered often needs no tree.
    Text(Box<RawValue>),
}

impl Data {
    pub(super) const NONE: Self = Self::Tree(Value::Null);

    pub(super) fn of(data: &impl serde::Serialize) -> Self {
        Self::Text(serde_json::value::to_raw_value(data).expect("data has string keys"))
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::Tree(Value::Null))
    }
}

impl From<Value> for Data {
    fn from(tree: Value) -> Self {
        Self::Tree(tree)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    Workspace(WorkspaceKey),
    Agent(WorkspaceKey, AgentKey),
}

impl Caller {
    pub(super) fn workspace(self) -> WorkspaceKey {
        let (Self::Workspace(workspace) | Self::Agent(workspace, _)) = self;
        workspace
    }

    /// The workspace, for calls that an agent token does not open.
    pub(super) fn owner(self) -> Result<WorkspaceKey, Refusal> {
        match self {
            Self::Workspace(workspace) => Ok(workspace),
            Self::Agent(..) => Err(refuse(401, "unauthorized", "this call needs the workspace key")),
        }
    }

    pub(super) fn agent(self) -> Result<(WorkspaceKey, AgentKey), Refusal> {
        match self {
            Self::Agent(workspace, agent) => Ok((workspace, agent)),
            Self::Workspace(_) => Err(refuse(403, "agent_token_required", "this call needs an agent token")),
        }
    }
}

/// A request after the envelope: what the routes see.
pub(super) struct Call<'a> {
    pub(super) now: i64,
    pub(super) caller: Caller,
    pub(super) query: &'a str,
    pub(super) body: Value,
    pub(super) headers: &'a [(&'a str, &'a str)],
}

impl Call<'_> {
    /// A required text of the body.
    pub(super) fn text(&self, key: &str) -> Result<&str, Refusal> {
        let text = self.body[key].as_str().filter(|text| !text.is_empty());
        text.ok_or_else(|| refuse(400, "invalid_request", format!("{key}: expected a non-empty string")))
    }

    /// A parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }
}

/// How long an idempotency key is kept.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1_000;

impl Engine {
    /// Answers a request. What it causes on sockets is polled afterwards.
    pub fn http(&mut self, now_ms: i64, request: HttpRequest<'_>) -> HttpResponse {
        self.touch(now_ms);
        let answer = self.respond(now_ms, request);
        answer.unwrap_or_else(|refusal| {
            let error = json!({ "code": refusal.code, "message": refusal.message });
            let body = json!({ "ok": false, "error": error }).to_string();
            HttpResponse { status: refusal.status, headers: Vec::new(), body }
        })
    }

    fn respond(&mut self, now: i64, request: HttpRequest<'_>) -> Result<HttpResponse, Refusal> {
        let (path, query) = request.path.split_once('?').unwrap_or((request.path, ""));
        let segments: Vec<Cow<'_, str>> =
            path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let Some(("v1", route)) = segments.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(refuse(404, "not_found", "no such route"));
        };
        let body = if request.body.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(request.body)
                .map_err(|error| refuse(400, "invalid_request", format!("body: {error}")))?
        };
        if (request.method, route) == ("POST", &["workspaces"]) {
            return self.post_workspace(now, request.bearer, &body).map(good);
        }
        let caller = self.authenticate(now, request.bearer)?;
        let call = Call { now, caller, query, body, headers: request.headers };
        self.check_seen(route, &call)?;
        let key = call.header("idempotency-key").map(str::to_owned);
        match key.filter(|_| self.is_idempotent(request.method, route)) {
            Some(key) => self.once(&key, request.method, route, &call),
            None => self.route(request.method, route, &call).map(good),
        }
    }

    /// Invariant 2.
    fn once(
        &mut self,
        key: &str,
        method: &str,
        route: &[&str],
        call: &Call<'_>,
    ) -> Result<HttpResponse, Refusal> {
        if key.is_empty() || key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse(400, "invalid_idempotency_key", "1 to 255 visible ASCII characters"));
        }
        let actor = match call.caller {
            Caller::Workspace(_) => String::new(),
            Caller::Agent(_, agent) => self.state.agents[agent.0].id.to_string(),
        };
        let scope = (call.caller.workspace(), format!("{actor}/{}/{key}", route.join("/")));
        let mut fingerprint = call.body.clone();
        if fingerprint["mode"] == "wait"
            && let Some(body) = fingerprint.as_object_mut()
        {
            body.remove("mode");
        }
        let fingerprint = fingerprint.to_string();
        if let Some(stored) =
            self.state.idempotency.get(&scope).filter(|stored| call.now - stored.at < IDEMPOTENCY_MS)
        {
            if stored.fingerprint != fingerprint {
                return Err(refuse(409, "idempotency_key_reused", "the key was used for another request"));
            }
            let mut response = stored.response.clone();
            response.headers.push(("idempotency-replayed", "true".into()));
            return Ok(response);
        }
        let response = self.route(method, route, call).map(good)?;
        let stored = Stored { fingerprint, response: response.clone(), at: call.now };
        self.state.idempotency.insert(scope, stored);
        Ok(response)
    }

    fn is_idempotent(&self, method: &str, route: &[&str]) -> bool {
        let known = match route {
            ["channels", _, "messages"] | ["messages", _, "replies"] | ["dm"] | ["dm", _, "messages"] => true,
            ["actions", _, "invoke"] => self.options.profile.bounded_invocations,
            ["nodes"] => self.options.profile.node_token_proof,
            _ => false,
        };
        known && method == "POST"
    }

    /// Stored answers whose key may be used for something else now.
    pub(super) fn forget_answers(&mut self, now: i64) {
        self.state.idempotency.retain(|_, stored| now - stored.at < IDEMPOTENCY_MS);
    }

    fn authenticate(&mut self, now: i64, bearer: Option<&str>) -> Result<Caller, Refusal> {
        let unauthorized = |code, why: &str| refuse(401, code, why);
        let token = bearer.ok_or_else(|| unauthorized("unauthorized", "missing bearer token"))?;
        if token.starts_with("rk_live_") {
            let found = self.state.workspaces.iter().position(|workspace| workspace.key == token);
            return found
                .map(|index| Caller::Workspace(WorkspaceKey(index)))
                .ok_or_else(|| unauthorized("unauthorized", "unknown workspace key"));
        }
        if token.starts_with("nt_live_") {
            return Err(unauthorized("node_token_forbidden", "a node token opens only the node socket"));
        }
        if token.starts_with("ot_live_") {
            return Err(unauthorized("observer_token_forbidden", "an observer token only reads"));
        }
        if !token.starts_with("at_live_") {
            return Err(unauthorized("unauthorized", "not a token of this engine"));
        }
        let invalid = || unauthorized("agent_token_invalid", "unknown agent token");
        let key = self.state.tokens.get(token).copied().ok_or_else(invalid)?;
        let agent = &mut self.state.agents[key.0];
        let in_grace = agent.previous.as_ref().is_some_and(|(old, until)| old == token && now < *until);
        let (is_current, made_at) = (agent.token == token, agent.token_at);
        if agent.deleted || !(is_current || in_grace) {
            return Err(invalid());
        }
        if is_current && self.is_unseen(now, made_at, "an agent's token") {
            return Err(invalid());
        }
        let agent = &mut self.state.agents[key.0];
        agent.last_seen = now;
        agent.active = true;
        Ok(Caller::Agent(agent.workspace, key))
    }

    fn route(&mut self, method: &str, route: &[&str], call: &Call<'_>) -> Answer {
        match (method, route) {
            ("POST", ["agents"]) => self.post_agent(call),
            ("GET", ["agents"]) => Ok((200, self.agent_list(call).into())),
            ("GET", ["agent"]) => self.own_agent(call),
            ("POST", ["agent", "node-token"]) => self.direct_token(call),
            ("POST", ["agents", "spawn"]) => self.post_spawn(call),
            ("POST", ["agents", "release"]) => self.post_release(call),
            ("POST", ["agents", "heartbeat"]) => Ok((200, Data::NONE)),
            ("POST", ["agents", "disconnect"]) => self.disconnect(call),
            ("GET", ["agents", name]) => self.get_agent(call, name),
            ("PATCH", ["agents", name]) => self.patch_agent(call, name),
            ("DELETE", ["agents", name]) => self.delete_agent(call, name),
            ("POST", ["agents", name, "rotate-token"]) => self.rotate_token(call, name),
            ("POST", ["agents", name, "takeover"]) => self.take_over(call, name),
            ("POST", ["agents", name, "events"]) => self.agent_event(call, name),
            ("POST", ["nodes"]) => self.post_node(call),
            ("GET", ["nodes"]) => Ok((200, self.node_list(call).into())),
            ("GET", ["nodes", name]) => self.get_node(call, name),
            ("GET", ["nodes", name, "agents"]) => self.node_agents(call, name),
            ("POST", ["nodes", name, "agents"]) => self.bind(call, name),
            ("DELETE", ["nodes", name, "agents", agent]) => self.unbind(call, name, agent),
            ("POST", ["channels"]) => self.post_channel(call),
            ("GET", ["channels"]) => Ok((200, self.channel_list(call).into())),
            ("GET", ["channels", name, "members"]) => self.channel_members(call, name),
            ("POST", ["channels", name, "join"]) => self.join_channel(call, name),
            ("POST", ["channels", name, "leave"]) => self.leave_channel(call, name),
            ("POST", ["channels", name, "mute"]) => self.mute_channel(call, name, true),
            ("POST", ["channels", name, "unmute"]) => self.mute_channel(call, name, false),
            ("POST", ["channels", name, "messages"]) => self.post_message(call, name),
            ("POST", ["messages", id, "replies"]) => self.post_reply(call, id),
            ("POST", ["messages", id, "read"]) => self.post_read(call, id),
            ("POST", ["messages", id, "reactions"]) => self.post_reaction(call, id),
            ("DELETE", ["messages", id, "reactions", emoji]) => self.delete_reaction(call, id, emoji),
            ("POST", ["dm"]) => self.post_dm(call),
            ("POST", ["dm", "group"]) => self.post_group(call),
            ("POST", ["dm", id, "messages"]) => self.post_group_message(call, id),
            ("GET", ["dm", "conversations"]) => Ok((200, json!([]).into())),
            ("GET", ["inbox"]) => self.inbox(call),
            ("GET", ["deliveries"]) => self.deliveries(call),
            ("POST", ["deliveries", id, verb]) => self.settle_delivery(call, id, verb),
            ("POST", ["actions", name, "invoke"]) => self.invoke(call, name),
            ("GET", ["actions", _, "invocations", id]) => self.get_invocation(call, id),
            _ => Err(refuse(404, "not_found", "no such route")),
        }
    }
}

/// The body of a good answer.
#[derive(serde::Serialize)]
struct Good {
    #[serde(skip_serializing_if = "Data::is_none")]
    data: Data,
    ok: bool,
}

fn good((status, data): (u16, Data)) -> HttpResponse {
    let body = if status == 204 {
        String::new()
    } else {
        serde_json::to_string(&Good { data, ok: true }).expect("a value is JSON")
    };
    HttpResponse { status, headers: Vec::new(), body }
}

/// A percent-decoded path segment; what cannot be decoded stays as it is.
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'%').then(|| tail.get(..2)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(segment), Cow::Owned)
}
