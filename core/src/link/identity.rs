//! The broker's own identity: its workspace and its own agent.
//!
//! Owns: the saved identities, and the calls that make one.
//! Must not know: node tokens and sockets.
//!
//! 1. With a saved identity for the key and base URL in use, no call is made.
//! 2. A name that is taken is left alone: a live token is never rotated.
//! 3. The instance id is made once and saved with the identity, so that a reconnect takes over at once.
//!
//! The rules are those of `core/PROTOCOL.md` §10.

use crate::command::CallRequest;
use crate::config::{Access, Config};
use crate::cx::Cx;
use crate::edge;
use crate::ids::{AgentId, AgentName, WorkspaceId};
use crate::input::CallReply;
use crate::limits;
use crate::link::answer::{Answer, Refused};
use crate::purpose::{CallFor, StoreFor};
use crate::rng::{Stream, hex};
use crate::secret::Secret;
use crate::{StoreAction, StoreFile};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Identities kept in the file: one per key and engine that was used in this directory.
const SAVED: usize = 16;
/// Names tried when the wanted one is taken.
const NAMES: u32 = 3;

/// The content of `identity.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    instance_id: Option<String>,
    #[serde(default)]
    identities: Vec<Saved>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Saved {
    /// SHA-256 of key and base URL.
    scope: String,
    workspace_id: WorkspaceId,
    /// Only for a workspace that this broker created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workspace_key: Option<String>,
    agent_id: AgentId,
    agent_name: AgentName,
    agent_token: String,
}

impl core::fmt::Debug for Saved {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Saved({:?}, {:?}, {:?})", self.workspace_id, self.agent_id, self.agent_name)
    }
}

/// The broker's own agent.
#[derive(Clone, Debug)]
pub(crate) struct OwnAgent {
    pub(crate) id: AgentId,
    pub(crate) name: AgentName,
    pub(crate) token: Secret,
}

/// Where the broker belongs.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) workspace: WorkspaceId,
    /// `None` with a fixed node token and nothing else.
    pub(crate) own: Option<OwnAgent>,
}

#[derive(Debug)]
pub(super) struct Identity {
    base_url: String,
    instance: String,
    agent_type: String,
    create: Option<String>,
    key: Option<Secret>,
    scope: Secret,
    file: File,
    membership: Option<Membership>,
    names_tried: u32,
    /// Another token of the own agent is asked for.
    renewing: bool,
    /// The file could not be written.
    unwritten: bool,
}

/// What a call about the identity led to.
#[derive(Debug)]
pub(super) enum Step {
    /// The membership is known.
    Known,
    /// The next call is to be made at once.
    Next,
    /// It may work later.
    Later(Refused),
    /// It will not work: a person has to act.
    Fatal(Refused),
}

impl Identity {
    pub(super) fn new(cx: &mut Cx, config: &Config, saved: Option<&str>) -> Self {
        let mut file: File = saved.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let has_instance = file.instance_id.is_some();
        let instance_id = || format!("broker_{}", cx.rng.hex(Stream::Instance, 0, 16));
        file.instance_id.get_or_insert_with(instance_id);
        let (key, create) = match &config.access {
            Access::Key(key) => (Some(key.clone()), None),
            Access::Create { name } => (None, Some(name.clone())),
            Access::TokenOnly => (None, None),
        };
        let scope = fingerprint(key.as_ref(), &config.base_url);
        let mut identity = Self {
            base_url: config.base_url.clone(),
            instance: config.instance.clone(),
            agent_type: config.agent_type.clone(),
            create,
            key,
            scope,
            file,
            membership: None,
            names_tried: 0,
            renewing: false,
            unwritten: false,
        };
        identity.adopt_saved();
        if let Access::TokenOnly = config.access {
            identity.membership = Some(Membership { workspace: WorkspaceId(String::new()), own: None });
        }
        // Otherwise it is saved with the identity that is yet to be made.
        if !has_instance && identity.membership.is_some() {
            identity.save(cx);
        }
        identity
    }

    fn adopt_saved(&mut self) {
        let Some(saved) = self.file.identities.iter().find(|saved| saved.scope == self.scope.expose()) else {
            return;
        };
        let Some(token) = Secret::new(&saved.agent_token) else {
            return;
        };
        if let Some(key) = saved.workspace_key.as_deref().and_then(Secret::new) {
            self.key = Some(key);
        }
        let own = OwnAgent { id: saved.agent_id.clone(), name: saved.agent_name.clone(), token };
        self.membership = Some(Membership { workspace: saved.workspace_id.clone(), own: Some(own) });
    }

    pub(super) const fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    pub(super) const fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    pub(super) fn instance_id(&self) -> &str {
        self.file.instance_id.as_deref().unwrap_or_default()
    }

    /// Makes the call that is needed next.
    pub(super) fn call(&self, cx: &mut Cx) {
        let (purpose, segments, body): (_, &[&str], _) = match (&self.key, &self.create) {
            (None, Some(name)) => {
                let name =
                    if self.names_tried == 0 { name.clone() } else { format!("{name}-{}", self.suffix(cx)) };
                (CallFor::Workspace, &["v1", "workspaces"], json!({ "name": name }))
            }
            _ => {
                let body = json!({ "name": self.name(cx), "type": self.agent_type });
                (CallFor::OwnAgent, &["v1", "agents"], body)
            }
        };
        let request = CallRequest {
            method: "POST",
            url: edge::http_url(&self.base_url, segments),
            bearer: self.key.clone(),
            headers: Vec::new(),
            body: Some(body.to_string()),
        };
        cx.call(purpose, request, limits::CALL);
    }

    fn name(&self, cx: &Cx) -> String {
        match self.names_tried {
            0 => self.instance.clone(),
            _ => format!("{}-{}", self.instance, self.suffix(cx)),
        }
    }

    fn suffix(&self, cx: &Cx) -> String {
        cx.rng.hex(Stream::NameSuffix, u64::from(self.names_tried), 4)
    }

    /// The answer about a workspace.
    pub(super) fn on_workspace(&mut self, reply: Result<CallReply<'_>, Refused>) -> Step {
        let answer = match self.judge(reply) {
            Ok(answer) => answer,
            Err(step) => return step,
        };
        match answer.text("api_key").and_then(|key| Secret::new(&key)) {
            Some(key) => {
                self.key = Some(key);
                self.names_tried = 0;
                Step::Next
            }
            None => Step::Later(Refused::malformed("POST /v1/workspaces", "api_key")),
        }
    }

    /// The answer about the own agent.
    pub(super) fn on_own_agent(&mut self, cx: &mut Cx, reply: Result<CallReply<'_>, Refused>) -> Step {
        let answer = match self.judge(reply) {
            Ok(answer) => answer,
            Err(step) => return step,
        };
        let token = answer.text("token").and_then(|token| Secret::new(&token));
        let (Some(id), Some(token)) = (answer.text("id"), token) else {
            return Step::Later(Refused::malformed("POST /v1/agents", "id and token"));
        };
        // Without the workspace's id, the agent's tells workspaces apart just as well.
        let workspace = answer.text("workspace_id").unwrap_or_else(|| format!("agent_{id}"));
        let name = answer.text("name").unwrap_or_else(|| self.name(cx));
        let own = OwnAgent { id: AgentId(id), name: AgentName(name), token };
        self.membership = Some(Membership { workspace: WorkspaceId(workspace), own: Some(own) });
        self.save(cx);
        Step::Known
    }

    /// Asks for another token of the own agent, whose token is refused; false without a key to ask with.
    pub(super) fn renew(&mut self, cx: &mut Cx) -> bool {
        let own = self.membership.as_ref().and_then(|membership| membership.own.as_ref());
        let (Some(own), Some(key)) = (own, &self.key) else {
            return false;
        };
        if core::mem::replace(&mut self.renewing, true) {
            return true;
        }
        let request = CallRequest {
            method: "POST",
            url: edge::http_url(&self.base_url, &["v1", "agents", &own.name.0, "rotate-token"]),
            bearer: Some(key.clone()),
            headers: Vec::new(),
            body: Some("{}".to_string()),
        };
        cx.call(CallFor::OwnToken, request, limits::CALL);
        true
    }

    /// The answer about another token: the token.
    pub(super) fn on_renewed(
        &mut self,
        cx: &mut Cx,
        reply: Result<CallReply<'_>, Refused>,
    ) -> Result<Secret, Refused> {
        self.renewing = false;
        let token = reply.and_then(Answer::read)?.text("token").and_then(|token| Secret::new(&token));
        let token = token.ok_or_else(|| Refused::malformed("POST /v1/agents/…/rotate-token", "token"))?;
        if let Some(own) = self.membership.as_mut().and_then(|membership| membership.own.as_mut()) {
            own.token = token.clone();
            self.save(cx);
        }
        Ok(token)
    }

    /// Sorts an answer: usable, taken name, for later, or hopeless.
    fn judge<'a>(&mut self, reply: Result<CallReply<'a>, Refused>) -> Result<Answer<'a>, Step> {
        let refused = match reply.and_then(Answer::read) {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        Err(match refused.status {
            Some(409) if self.names_tried < NAMES => {
                self.names_tried += 1;
                Step::Next
            }
            _ if refused.is_transient() => Step::Later(refused),
            _ => Step::Fatal(refused),
        })
    }

    pub(super) const fn on_unwritten(&mut self) {
        self.unwritten = true;
    }

    /// Writes `identity.json`, if that failed before.
    pub(super) fn rewrite(&mut self, cx: &mut Cx) {
        if core::mem::take(&mut self.unwritten) {
            self.save(cx);
        }
    }

    /// Writes `identity.json`.
    fn save(&mut self, cx: &mut Cx) {
        if let Some(Membership { workspace, own: Some(own) }) = &self.membership {
            let created =
                self.create.is_some().then(|| self.key.as_ref().map(|key| key.expose().to_string()));
            let saved = Saved {
                scope: self.scope.expose().to_string(),
                workspace_id: workspace.clone(),
                workspace_key: created.flatten(),
                agent_id: own.id.clone(),
                agent_name: own.name.clone(),
                agent_token: own.token.expose().to_string(),
            };
            self.file.identities.retain(|other| other.scope != self.scope.expose());
            self.file.identities.push(saved);
            let surplus = self.file.identities.len().saturating_sub(SAVED);
            self.file.identities.drain(..surplus);
        }
        let text = serde_json::to_string_pretty(&self.file).expect("text keys only");
        if let Some(content) = Secret::new(&text) {
            cx.store(StoreFor::Identity, StoreAction::Replace { file: StoreFile::Identity, content });
        }
    }
}

/// A hash of a secret, or of none, and a text: a saved identity belongs to that of the key in use, or of
/// none for a workspace of our own, and the engine; a mint is recognised by that of its proof and body.
/// A hash of a secret is one too: no digest may depend on it.
pub(crate) fn fingerprint(secret: Option<&Secret>, text: &str) -> Secret {
    let mut hash = Sha256::new();
    hash.update(secret.map_or("", Secret::expose));
    hash.update([0]);
    hash.update(text);
    Secret::new(&hex(&hash.finalize())).expect("a hash is not blank")
}
