//! Participants that only send.

use crate::http::{Answer, Client};
use serde_json::{Value, json};

/// An agent of the engine that is on no node.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    token: String,
}

impl Sender {
    /// A new participant in the workspace of `workspace`.
    ///
    /// # Panics
    /// When the engine refuses it.
    pub fn join(workspace: &Client, name: &str) -> Self {
        let answer = workspace.post("/v1/agents", &json!({ "name": name, "type": "human" }));
        let data = data(&answer);
        let token = data["token"].as_str().expect("an agent gets a token");
        Self { client: Client::bearer(&workspace.address, token), token: token.to_owned() }
    }

    /// Its token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends a direct message: its id.
    pub fn dm(&self, to: &str, text: &str) -> String {
        self.call("/v1/dm", &json!({ "to": to, "text": text }), "id")
    }

    /// Posts into a channel: the message's id.
    pub fn post(&self, channel: &str, text: &str) -> String {
        let path = format!("/v1/channels/{channel}/messages");
        self.call(&path, &json!({ "text": text }), "id")
    }

    /// Invokes an action: the invocation's id.
    pub fn invoke(&self, action: &str, input: &Value) -> String {
        let path = format!("/v1/actions/{action}/invoke");
        self.call(&path, &json!({ "input": input }), "invocation_id")
    }

    /// An invocation of that action, as the engine tells it.
    pub fn invocation(&self, action: &str, id: &str) -> Value {
        data(&self.client.get(&format!("/v1/actions/{action}/invocations/{id}")))
    }

    /// Any call; what it returns of the answer.
    ///
    /// # Panics
    /// When the engine refuses it.
    pub fn call(&self, path: &str, body: &Value, wanted: &str) -> String {
        let data = data(&self.client.post(path, body));
        data[wanted].as_str().unwrap_or_else(|| panic!("{path}: {data}")).to_owned()
    }
}

fn data(answer: &Answer) -> Value {
    assert!((200..300).contains(&answer.status), "{}", answer.text);
    answer.json()["data"].take()
}
