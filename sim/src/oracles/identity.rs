//! N1, N3 and N4: who the broker says it is.
//!
//! Would catch: a node id drawn anew at every start, or one that ignores the workspace; a token file
//! that another workspace or engine would be offered; agents registered over HTTP beside a socket
//! that could do it, which no engine of today delivers to.
//!
//! 1. N1: over all lives of one directory there is one node id.
//! 2. N3: a token file names its node, its workspace and its engine.
//! 3. N4: on a link whose registration the engine took with the cursor capability no agent is
//!    registered over HTTP, except the broker's own.

use crate::engine::Event;
use relay_core::{Command, StoreAction, StoreFile};
use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Identity {
    node: Option<String>,
    /// The latest registration was with cursors.
    cursor: bool,
}

impl Identity {
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

    /// N3 and N4.
    pub(super) fn command(&self, instance: &str, command: &Command) -> Result<(), (&'static str, String)> {
        match command {
            Command::Store { action: StoreAction::Replace { file, content }, .. } => match file {
                StoreFile::NodeToken { .. } => self.token(content.expose()).map_err(|why| ("N3", why)),
                StoreFile::Identity | StoreFile::Journal => Ok(()),
            },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ConnectionId;
    use relay_core::ids::{CallId, StoreId};
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
        let write = |content: &str| {
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
}
