//! The node token: where it comes from, and what a refused one leads to.
//!
//! Owns: the token in use, its cache record, minting, and the budget of re-mints.
//! Must not know: sockets and delays.
//!
//! 1. Order: the operator's token, the cache, a mint. A cached token counts only for the same node,
//!    workspace and base URL.
//! 2. At most [`limits::REMINTS`] re-mints per outage; the first mint of a start is not one. Only a
//!    confirmed registration gives the budget back, never a mint or an open socket.
//! 3. The operator's token is never written; nor is what replaces it.
//! 4. A rejected token is kept as proof until it has a successor.
//! 5. A mint carries a key that follows from its body and its proof: repeated after its answer was
//!    lost, also by the next life of this broker, it yields the same token.
//!
//! The rules are those of `core/PROTOCOL.md` §2 and §10.

use super::answer::{Answer, Refused};
use crate::command::{CallRequest, StoreAction, StoreFile, Text};
use crate::cx::Cx;
use crate::edge;
use crate::ids::{NodeId, WorkspaceId};
use crate::input::CallReply;
use crate::limits;
use crate::marks::Mark;
use crate::purpose::{CallFor, StoreFor};
use crate::secret::Secret;
use crate::time::Mono;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Proof of ownership that engines from 9.0 ask for (`core/PROTOCOL.md` §10).
const PROOF_HEADER: &str = "x-relaycast-node-token";

/// Makes a repeated mint yield what the first one made (`core/PROTOCOL.md` §10).
const KEY_HEADER: &str = "idempotency-key";

/// One file of the token cache.
#[derive(Serialize, Deserialize)]
struct Cached {
    node_id: NodeId,
    workspace_id: WorkspaceId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    token: String,
}

/// What the token is scoped to, and what a mint asks for.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) node_id: NodeId,
    pub(super) name: String,
    pub(super) workspace: WorkspaceId,
    pub(super) base_url: String,
    pub(super) version: String,
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    minted_at: Option<Mono>,
    /// The one more try of a young token is spent.
    retried: bool,
}

#[derive(Debug)]
pub(super) struct Tokens {
    scope: Scope,
    key: Option<Secret>,
    pinned: bool,
    current: Option<Token>,
    previous: Option<Secret>,
    remints: u32,
    /// Past the budget: since when, and the last mint.
    exhausted: Option<Mono>,
    /// The current token could not be written.
    unwritten: bool,
}

/// What to do about a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try the same token once more, soon.
    TryAgain,
    /// Mint a new one.
    Mint,
    /// Give up for now: probe once in a while.
    Disabled,
}

/// What a mint led to.
#[derive(Debug)]
pub(super) enum Minted {
    /// There is a new token.
    Token,
    /// The name belongs to another node: mint again under the new name.
    Renamed,
    /// It may work later.
    Later(Refused),
    /// A person has to act.
    Refused(Refused),
}

impl Tokens {
    pub(super) fn new(scope: Scope, key: Option<Secret>, pinned: Option<Secret>, cache: &[Secret]) -> Self {
        let is_pinned = pinned.is_some();
        let cached = || cache.iter().find_map(|text| usable(text.expose(), &scope));
        let current = pinned.or_else(cached);
        Self {
            key,
            pinned: is_pinned,
            current: current.map(|secret| Token { secret, minted_at: None, retried: false }),
            previous: None,
            remints: 0,
            exhausted: None,
            unwritten: false,
            scope,
        }
    }

    pub(super) fn current(&self) -> Option<&Secret> {
        self.current.as_ref().map(|token| &token.secret)
    }

    /// The node's name, which a mint may have had to change.
    pub(super) fn name(&self) -> &str {
        &self.scope.name
    }

    pub(super) const fn node_id(&self) -> &NodeId {
        &self.scope.node_id
    }

    pub(super) const fn can_mint(&self) -> bool {
        self.key.is_some()
    }

    /// The engine refused the token at the upgrade (invariant 2).
    pub(super) fn on_unauthorized(&mut self, cx: &mut Cx) -> Verdict {
        let now = cx.now.mono;
        let Some(token) = &mut self.current else {
            return Verdict::Mint;
        };
        let young = token.minted_at.is_some_and(|at| now.since(at) < limits::TOKEN_YOUNG);
        if young && !token.retried {
            token.retried = true;
            cx.marks.hit(Mark::YoungTokenRetried);
            return Verdict::TryAgain;
        }
        if self.key.is_none() {
            return Verdict::Disabled;
        }
        if let Some(last_mint) = self.exhausted {
            if now.since(last_mint) < limits::DISABLED_MINT {
                return Verdict::Disabled;
            }
            self.exhausted = Some(now);
            return Verdict::Mint;
        }
        if self.remints == limits::REMINTS && canary!(TokenHammered) {
            return Verdict::TryAgain;
        }
        if self.remints == limits::REMINTS {
            self.exhausted = Some(now);
            cx.marks.hit(Mark::DeliveryDisabled);
            return Verdict::Disabled;
        }
        self.remints += 1;
        cx.marks.hit(Mark::Reminted);
        Verdict::Mint
    }

    /// Whether the engine has refused a token since the last registration.
    pub(super) const fn follows_refusal(&self) -> bool {
        self.remints > 0
    }

    /// A registration was confirmed: the outage is over.
    pub(super) fn on_confirmed(&mut self) {
        if canary!(BudgetNeverReset) {
            return;
        }
        self.remints = 0;
        self.exhausted = None;
    }

    /// The token belongs to another node, whatever the cache said.
    pub(super) fn distrust(&mut self) {
        if let Some(token) = &mut self.current {
            token.retried = true;
        }
    }

    /// Asks for a token.
    pub(super) fn mint(&mut self, cx: &mut Cx) {
        if let Some(rejected) = self.current.take() {
            self.previous = Some(rejected.secret);
        }
        cx.stats.mints += 1;
        let body = json!({
            "node_id": self.scope.node_id,
            "name": self.scope.name,
            "kind": "ws",
            "role": "broker",
            "version": self.scope.version,
        })
        .to_string();
        let key = mint_key(&body, self.previous.as_ref()).map(|key| (KEY_HEADER, Text::Secret(key)));
        let proof = self.previous.clone().map(|token| (PROOF_HEADER, Text::Secret(token)));
        let request = CallRequest {
            method: "POST",
            url: edge::http_url(&self.scope.base_url, &["v1", "nodes"]),
            bearer: self.key.clone(),
            headers: key.into_iter().chain(proof).collect(),
            body: Some(body),
        };
        cx.call(CallFor::Mint, request, limits::CALL);
    }

    /// The answer to a mint.
    pub(super) fn on_minted(&mut self, cx: &mut Cx, reply: Result<CallReply<'_>, Refused>) -> Minted {
        let answer = match reply.and_then(Answer::read) {
            Ok(answer) => answer,
            Err(refused) => return self.judge(refused),
        };
        let Some(secret) = answer.text("token").and_then(|token| Secret::new(&token)) else {
            return Minted::Later(Refused::malformed("POST /v1/nodes", "token"));
        };
        // Older engines look a node up by its name alone and answer with the other node's id.
        if answer.text("id").is_some_and(|id| id != self.scope.node_id.0) {
            return self.rename();
        }
        if !self.pinned {
            self.save(cx, &secret);
        }
        self.current = Some(Token { secret, minted_at: Some(cx.now.mono), retried: false });
        if canary!(MintResetsBudget) {
            self.remints = 0;
        }
        Minted::Token
    }

    fn judge(&mut self, refused: Refused) -> Minted {
        match refused.status {
            Some(409) if refused.code == "node_name_conflict" => self.rename(),
            Some(409) if refused.code == "idempotency_in_progress" => Minted::Later(refused),
            Some(status) if (400..500).contains(&status) && status != 408 && status != 429 => {
                Minted::Refused(refused)
            }
            _ if canary!(TroubleIsRefusal) => Minted::Refused(refused),
            _ => Minted::Later(refused),
        }
    }

    /// Takes a name that only this node can have.
    pub(super) fn rename(&mut self) -> Minted {
        let suffix: String = self.scope.node_id.0.chars().rev().take(8).collect();
        if self.scope.name.ends_with(&suffix) {
            let message = format!("another node holds even the name {:?}", self.scope.name);
            return Minted::Refused(Refused { status: None, code: "node_name_conflict".into(), message });
        }
        self.scope.name = format!("{}-{suffix}", self.scope.name);
        Minted::Renamed
    }

    pub(super) const fn on_unwritten(&mut self) {
        self.unwritten = true;
    }

    /// Writes the current token, if that failed before.
    pub(super) fn rewrite(&mut self, cx: &mut Cx) {
        if core::mem::take(&mut self.unwritten)
            && let Some(token) = &self.current
        {
            self.save(cx, &token.secret);
        }
    }

    fn save(&self, cx: &mut Cx, secret: &Secret) {
        let cached = Cached {
            node_id: self.scope.node_id.clone(),
            workspace_id: self.scope.workspace.clone(),
            base_url: Some(self.scope.base_url.clone()),
            token: secret.expose().to_string(),
        };
        let text = serde_json::to_string(&cached).expect("text keys only");
        if let Some(content) = Secret::new(&text) {
            let file = StoreFile::NodeToken { stem: edge::token_file_stem(&self.scope.node_id) };
            cx.store(StoreFor::Token, StoreAction::Replace { file, content });
        }
    }
}

/// The idempotency key of a mint; the proof takes part, so that each token has one successor.
fn mint_key(body: &str, proof: Option<&Secret>) -> Option<Secret> {
    Secret::new(&format!("mint_{}", super::identity::fingerprint(proof, body).expose()))
}

/// The token of a cache file, if it is for this scope (invariant 1).
fn usable(text: &str, scope: &Scope) -> Option<Secret> {
    let cached: Cached = serde_json::from_str(text).ok()?;
    let same_engine = cached.base_url.is_none_or(|url| url == scope.base_url);
    let same = cached.node_id == scope.node_id && cached.workspace_id == scope.workspace && same_engine;
    (same || canary!(CacheUnscoped)).then(|| Secret::new(&cached.token))?
}

/// Kept apart from the scope so that the scope can be built before the tokens.
pub(super) fn node_name(wanted: Option<&str>, instance: &str, node_id: &NodeId) -> String {
    let short: Vec<char> = node_id.0.trim_start_matches("node_").chars().take(6).collect();
    wanted
        .map_or_else(|| format!("{instance}-{}", short.into_iter().collect::<String>()), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope() -> Scope {
        Scope {
            node_id: "node_a".into(),
            name: "a".into(),
            workspace: "ws_a".into(),
            base_url: "https://a.test".into(),
            version: "1".into(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn a_cached_token_of_another_scope_is_never_used(
            node in "node_[ab]",
            workspace in "ws_[ab]",
            url in prop::option::of("https://[ab]\\.test/?"),
            token in "nt_live_[0-9a-f]{8}",
        ) {
            let record = json!({ "node_id": node, "workspace_id": workspace, "base_url": url, "token": token });
            let used = usable(&record.to_string(), &scope());
            let same = node == "node_a"
                && workspace == "ws_a"
                && url.is_none_or(|url| url == "https://a.test");
            prop_assert_eq!(used.as_ref().map(Secret::expose), same.then_some(token.as_str()));
        }

        #[test]
        fn no_text_in_the_cache_is_taken_for_a_token(text in any::<String>(), cut in 0..90_usize) {
            prop_assert!(usable(&text, &scope()).is_none());
            let record = r#"{"node_id":"node_a","workspace_id":"ws_a","token":"nt_live_00000000"}"#;
            let torn = &record[..cut.min(record.len() - 1)];
            prop_assert!(usable(torn, &scope()).is_none());
        }
    }
}
