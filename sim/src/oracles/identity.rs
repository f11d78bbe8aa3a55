//! N1 to N4: who the broker says it is.
//!
//! Would catch: a node id drawn anew at every start, or one that ignores the workspace; a token file
//! that another workspace or engine would be offered; agents registered over HTTP beside a socket
//! that could do it, which no engine of today delivers to; a token replaced that somebody uses.
//!
//! 1. N1: over all lives of one directory there is one node id.
//! 2. N3: a token file names its node, its workspace and its engine.
//! 3. N4: on a link whose registration the engine took with the cursor capability no agent is
//!    registered over HTTP, except the broker's own.
//! 4. N2: no call replaces an agent's token, except the broker's own once that was refused: nobody else uses it. A
//!    replica that is behind refuses it although it is good, which a broker cannot tell.

use crate::engine::Event;
use relay_core::ids::CallId;
use relay_core::{Command, Input, StoreAction, StoreFile};
use serde_json::Value;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Identity {
    node: Option<String>,
    /// The latest registration was with cursors.
    cursor: bool,
    /// Tokens of the broker's own agent, as its file has them.
    own: BTreeSet<String>,
    /// Calls that are made with one of them.
    asked: BTreeSet<CallId>,
    /// One of them was refused.
    refused: bool,
}

impl Identity {
    pub(super) fn input(&mut self, input: &Input<'_>) {
        if let Input::CallDone { call, result } = input
            && self.asked.remove(call)
        {
            self.refused |= result.as_ref().is_ok_and(|reply| reply.status == 401);
        }
    }

    /// The broker is gone, with the calls that it made.
    pub(super) fn died(&mut self) {
        self.asked.clear();
        self.refused = false;
    }

    pub(super) fn engine(&mut self, event: &Event) -> Result<(), String> {
        let Event::NodeRegistered { node_id, cursor, .. } = event else {
            return Ok(());
        };
        self.cursor = *cursor;
        match &self.node {
            Some(known) if known != node_id => Err(format!("the node was {known} and is now {node_id}")),
            _ => {
                self.node = Some(node_id.clone());
                Ok(())
            }
        }
    }

    /// N2, N3 and N4.
    pub(super) fn command(
        &mut self,
        instance: &str,
        command: &Command,
    ) -> Result<(), (&'static str, String)> {
        match command {
            Command::Store { action: StoreAction::Replace { file, content }, .. } => match file {
                StoreFile::NodeToken { .. } => self.token(content.expose()).map_err(|why| ("N3", why)),
                StoreFile::Identity => {
                    self.own = own_tokens(content.expose());
                    Ok(())
                }
                StoreFile::Journal => Ok(()),
            },
            Command::Call { request, .. }
                if request.url.ends_with("/rotate-token") || request.url.ends_with("/takeover") =>
            {
                let own = format!("/v1/agents/{instance}");
                if std::mem::take(&mut self.refused) && request.url.contains(&own) {
                    return Ok(());
                }
                Err(("N2", format!("a call ends a token that may be in use: {}", request.url)))
            }
            Command::Call { call, request, .. }
                if request.bearer.as_ref().is_some_and(|token| self.own.contains(token.expose())) =>
            {
                self.asked.insert(*call);
                Ok(())
            }
            Command::Call { request, .. }
                if self.cursor && request.method == "POST" && request.url.ends_with("/v1/agents") =>
            {
                let body: Value =
                    serde_json::from_str(request.body.as_deref().unwrap_or("")).unwrap_or_default();
                let name = body["name"].as_str().unwrap_or_default();
                if name.starts_with(instance) {
                    return Ok(());
                }
                Err(("N4", format!("{name:?} is registered over HTTP, although the socket can do it")))
            }
            _ => Ok(()),
        }
    }

    fn token(&self, content: &str) -> Result<(), String> {
        let file: Value = serde_json::from_str(content).unwrap_or_default();
        let empty = |key: &&str| file[*key].as_str().is_none_or(str::is_empty);
        if let Some(key) = ["node_id", "workspace_id", "base_url", "token"].iter().find(|key| empty(key)) {
            return Err(format!("a token file has no {key}"));
        }
        match &self.node {
            Some(node) if file["node_id"] != node.as_str() => {
                Err(format!("the token file of {node} names {}", file["node_id"]))
            }
            _ => Ok(()),
        }
    }
}

/// The tokens in the file of identities.
fn own_tokens(content: &str) -> BTreeSet<String> {
    let file: Value = serde_json::from_str(content).unwrap_or_default();
    let saved = file["identities"].as_array().into_iter().flatten();
    saved.filter_map(|saved| saved["agent_token"].as_str()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ConnectionId;
    use relay_core::CallReply;
    use relay_core::ids::StoreId;
    use relay_core::time::Mono;
    use relay_core::{CallRequest, Secret};

    fn registered(node_id: &str) -> Event {
        let (connection, provider) = (ConnectionId(1), "broker".into());
        Event::NodeRegistered { connection, node_id: node_id.into(), provider, cursor: true }
    }

    #[test]
    fn a_node_keeps_its_id() {
        let mut identity = Identity::default();
        assert_eq!(identity.engine(&registered("node_1")), Ok(()));
        assert_eq!(identity.engine(&registered("node_1")), Ok(()));
        assert!(identity.engine(&registered("node_2")).is_err());
    }

    #[test]
    fn a_token_file_says_where_it_belongs() {
        let mut identity = Identity::default();
        identity.engine(&registered("node_1")).expect("the first");
        let mut write = |content: &str| {
            let content = Secret::new(content).expect("not empty");
            let file = StoreFile::NodeToken { stem: "node_1".into() };
            let action = StoreAction::Replace { file, content };
            identity.command("sim", &Command::Store { store: StoreId(1), action, deadline: Mono(1) })
        };
        let good = r#"{"node_id":"node_1","workspace_id":"w","base_url":"http://x","token":"nt_live_1"}"#;
        assert_eq!(write(good), Ok(()));
        assert!(write(&good.replace("node_1", "node_2")).is_err());
        assert!(write(&good.replace("\"workspace_id\":\"w\",", "")).is_err());
    }

    #[test]
    fn only_the_broker_itself_is_registered_over_http_while_there_are_cursors() {
        let mut identity = Identity::default();
        let call = |name: &str| Command::Call {
            call: CallId(1),
            request: CallRequest {
                method: "POST",
                url: "http://x/v1/agents".into(),
                bearer: None,
                headers: vec![],
                body: Some(format!(r#"{{"name":"{name}"}}"#)),
            },
            deadline: Mono(1),
        };
        assert_eq!(identity.command("sim", &call("bob")), Ok(()));
        identity.engine(&registered("node_1")).expect("the first");
        assert!(identity.command("sim", &call("bob")).is_err());
        assert_eq!(identity.command("sim", &call("sim-0a1b2c3d")), Ok(()));
    }

    #[test]
    fn only_the_own_token_is_replaced_and_only_when_it_was_refused() {
        let call = |number: u64, path: &str, bearer: &str| {
            let url = format!("http://x{path}");
            let bearer = Secret::new(bearer);
            let request = CallRequest { method: "POST", url, bearer, headers: vec![], body: None };
            Command::Call { call: CallId(number), request, deadline: Mono(9) }
        };
        let mut identity = Identity::default();
        let content = Secret::new(r#"{"identities":[{"agent_token":"at_own"}]}"#).expect("not empty");
        let action = StoreAction::Replace { file: StoreFile::Identity, content };
        let write = Command::Store { store: StoreId(1), action, deadline: Mono(9) };
        assert_eq!(identity.command("sim", &write), Ok(()));
        let mut rule =
            |command: &Command| identity.command("sim", command).err().map_or("", |(rule, _)| rule);
        let rotate = |name: &str| call(9, &format!("/v1/agents/{name}/rotate-token"), "rk");
        assert_eq!(rule(&rotate("sim")), "N2");
        assert_eq!([rule(&call(1, "/v1/dm", "at_own")), rule(&call(2, "/v1/dm", "at_other"))], ["", ""]);
        let refused = |call| Input::CallDone { call, result: Ok(CallReply { status: 401, body: b"" }) };
        identity.input(&refused(CallId(2)));
        assert!(identity.command("sim", &rotate("sim")).is_err(), "another one was refused");
        identity.input(&refused(CallId(1)));
        assert_eq!(identity.command("sim", &rotate("sim")), Ok(()));
        assert!(identity.command("sim", &rotate("sim")).is_err(), "once");
        identity.input(&refused(CallId(1)));
        assert!(identity.command("sim", &rotate("bob")).is_err());
    }
}
