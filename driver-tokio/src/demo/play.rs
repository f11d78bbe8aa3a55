//! The demo's play: who sends what to whom, and when the connection is cut.
//!
//! Owns: the order of scenes, and waiting for the end of each.
//! Must not know: how anything is judged or shown.
//!
//! 1. A scene ends when the engine has all its acks, or after its time; what is missing then is a
//!    matter for the judge.

use super::agent::{PROGRAM, RECORD, SHELL};
use super::judge::{self, Sent};
use super::stage::{self, Folder};
use super::timeline::{Facts, Typed};
use crate::client::discover::Target;
use crate::client::http::{Api, Call, Events, SPAWN};
use crate::engine_host::{Host, Noted, now_ns};
use crate::loopback;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request};
use relay_core::Secret;
use relay_driver::settings::Fatal;
use relay_sim::engine::Event;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The agent that is a shell.
pub(super) const SHELL_AGENT: &str = "shell";
/// The agent that is a prompt in raw mode.
pub(super) const PROMPT_AGENT: &str = "prompt";
/// Both.
pub(super) const AGENTS: [&str; 2] = [PROMPT_AGENT, SHELL_AGENT];
/// The third identity.
const SENDER: &str = "sender";
/// A channel of which everybody is a member.
const CHANNEL: &str = "general";
/// For a scene to end, an agent to start, or an answer of the engine.
const SCENE: Duration = Duration::from_secs(5);
/// Pause between two looks at the broker's agents.
const LOOK: Duration = Duration::from_millis(10);

/// Everything that the play needs.
pub(super) struct Play<'a> {
    pub(super) host: &'a Host,
    pub(super) engine: SocketAddr,
    pub(super) journal: UnboundedReceiver<Noted>,
    pub(super) facts: &'a mut Facts,
    /// Says what is going on.
    pub(super) say: &'a dyn Fn(&str),
}

impl Play<'_> {
    /// Waits until the engine knows the broker.
    pub(super) async fn registered(&mut self) -> Result<(), Fatal> {
        let is_there = |event: &Event| matches!(event, Event::NodeRegistered { .. });
        if self.until(|facts| facts.journal.iter().any(|noted| is_there(&noted.event))).await {
            return Ok(());
        }
        Err(Fatal::failed("the broker did not register with the engine in time"))
    }

    /// Starts both agents and waits until they are ready.
    pub(super) async fn start_agents(&mut self, api: &Api, folder: &Folder) -> Result<(), Fatal> {
        let program = stage::shown(&stage::program()?);
        for (agent, cli, args) in [
            (SHELL_AGENT, "sh", json!(["-c", SHELL])),
            (PROMPT_AGENT, program.as_str(), json!(["demo-agent", "prompt"])),
        ] {
            let record = stage::shown(&folder.join(agent));
            let body = json!({
                "name": agent,
                "cli": cli,
                "args": args,
                "env": { RECORD: record, PROGRAM: &program },
            });
            let call = Call {
                method: Method::POST,
                path: "/api/spawn",
                body: Some(body),
                limit: SPAWN,
                what: agent,
            };
            api.call(call).await.map_err(|failure| Fatal::failed(failure.message))?;
        }
        let ready = async {
            loop {
                let call = api.call(Call::get("/api/spawned", "list of agents"));
                let answer = call.await.map_err(|failure| Fatal::failed(failure.message))?;
                let agents = answer["agents"].as_array().map_or(&[][..], Vec::as_slice);
                if agents.len() == AGENTS.len() && agents.iter().all(|agent| agent["current_state"] == "idle")
                {
                    return Ok(());
                }
                sleep(LOOK).await;
            }
        };
        let late = |_| Fatal::failed("the agents did not become ready in time");
        timeout(SCENE, ready).await.map_err(late)?
    }

    /// All scenes, up to the first that does not end.
    pub(super) async fn perform(&mut self) -> Result<(), Fatal> {
        let body = json!({"name": SENDER, "type": "human"});
        let answer = self.ask("/v1/agents", &self.host.workspace_key, None, body).await?;
        let token = answer["token"].as_str().and_then(Secret::new);
        let token = token.ok_or_else(|| Fatal::failed("the engine gave the sender no token"))?;

        if self.talk(&token).await? && self.silence(&token).await? {
            self.steer(&token).await?;
        }
        Ok(())
    }

    async fn talk(&mut self, token: &Secret) -> Result<bool, Fatal> {
        (self.say)("direct messages, a channel message, a reply in its thread");
        self.direct(token, SHELL_AGENT, "good morning, shell", false).await?;
        self.direct(token, PROMPT_AGENT, "good morning, prompt", false).await?;
        if !self.all_acked().await {
            return Ok(false);
        }
        let root = self.channel(token, "who has seen the build?").await?;
        if !self.all_acked().await {
            return Ok(false);
        }
        let reply = Post::new(format!("/v1/messages/{root}/replies"), "thread reply", &AGENTS);
        self.send(token, reply, "it is green again", json!({})).await?;
        Ok(self.all_acked().await)
    }

    async fn silence(&mut self, token: &Secret) -> Result<bool, Fatal> {
        (self.say)("the connection is cut; messages go on");
        self.deed("cuts the connection between engine and broker");
        let cut = self.host.cut().await;
        if cut != 1 {
            return Err(Fatal::failed(format!("{cut} connections were open to be cut, not one")));
        }
        self.direct(token, SHELL_AGENT, "can you hear me, shell?", false).await?;
        self.direct(token, PROMPT_AGENT, "can you hear me, prompt?", false).await?;
        self.channel(token, "this one was sent into the silence").await?;
        self.deed("lets the broker connect again");
        self.host.restore();
        Ok(self.all_acked().await)
    }

    async fn steer(&mut self, token: &Secret) -> Result<bool, Fatal> {
        (self.say)("steering: ahead of everything that waits");
        self.direct(token, SHELL_AGENT, "stop and look here, shell", true).await?;
        self.direct(token, PROMPT_AGENT, "stop and look here, prompt", true).await?;
        Ok(self.all_acked().await)
    }

    async fn direct(
        &mut self,
        token: &Secret,
        to: &'static str,
        text: &str,
        steer: bool,
    ) -> Result<String, Fatal> {
        let (what, mode) = if steer { ("steer", "steer") } else { ("DM", "wait") };
        let post = Post::new("/v1/dm".into(), &format!("{what} to {to}"), &[to]);
        self.send(token, post, text, json!({"to": to, "mode": mode})).await
    }

    async fn channel(&mut self, token: &Secret, text: &str) -> Result<String, Fatal> {
        let path = format!("/v1/channels/{CHANNEL}/messages");
        let post = Post::new(path, &format!("message to #{CHANNEL}"), &AGENTS);
        self.send(token, post, text, json!({})).await
    }

    /// Sends a message: its id.
    async fn send(
        &mut self,
        token: &Secret,
        post: Post,
        text: &str,
        mut body: Value,
    ) -> Result<String, Fatal> {
        body["text"] = text.into();
        let at_ns = now_ns();
        let answer = self.ask(&post.path, token, Some(&post.what), body).await?;
        let id = answer["id"].as_str().unwrap_or_default().to_owned();
        let connected = self.host.is_open();
        self.facts.sent.push(Sent {
            at_ns,
            id: id.clone(),
            what: post.what,
            text: text.into(),
            to: post.to,
            during_cut: !connected,
        });
        Ok(id)
    }

    fn deed(&mut self, what: &'static str) {
        self.facts.deeds.push((now_ns(), what));
    }

    /// Waits for the acks of everything that was sent; false when they do not come in time.
    async fn all_acked(&mut self) -> bool {
        self.until(|facts| judge::all_acked(&facts.sent, &facts.journal)).await
    }

    /// Follows the journal until something is so; false when it is not so in time.
    async fn until(&mut self, so: impl Fn(&Facts) -> bool) -> bool {
        let deadline = Instant::now() + SCENE;
        while !so(self.facts) {
            match timeout_at(deadline, self.journal.recv()).await {
                Ok(Some(noted)) => self.facts.journal.push(noted),
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    /// Takes what the journal still has.
    pub(super) fn read_on(&mut self) {
        while let Ok(noted) = self.journal.try_recv() {
            self.facts.journal.push(noted);
        }
    }

    async fn ask(
        &self,
        path: &str,
        bearer: &Secret,
        what: Option<&str>,
        body: Value,
    ) -> Result<Value, Fatal> {
        let request = Request::post(path)
            .header(AUTHORIZATION, format!("Bearer {}", bearer.expose()))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))
            .expect("the path is encoded");
        let what = what.unwrap_or(path);
        let asked = timeout(SCENE, loopback::exchange(self.engine, request)).await;
        let (status, body) = asked
            .map_err(|_| Fatal::failed(format!("{what}: the engine does not answer")))?
            .map_err(|e| Fatal::failed(format!("{what}: {e}")))?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let error = &answer["error"];
            return Err(Fatal::failed(format!("{what}: the engine answers {status}: {error}")));
        }
        Ok(answer["data"].clone())
    }
}

/// Where a message goes.
struct Post {
    path: String,
    what: String,
    to: Vec<&'static str>,
}

impl Post {
    fn new(path: String, what: &str, to: &[&'static str]) -> Self {
        Self { path, what: what.to_owned(), to: to.to_vec() }
    }
}

/// Follows what the broker says that it types, until it ends.
pub(super) async fn follow(target: Target) -> Vec<Typed> {
    let mut typed = Vec::new();
    let api = Api::new(target);
    let Ok(mut events) = Events::open(&api).await else {
        return typed;
    };
    while let Ok(event) = events.next().await {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        if event["kind"] == "delivery_injected"
            && let (Some(agent), Some(message)) = (text("name"), text("event_id"))
        {
            let at_ns = now_ns();
            typed.push(Typed { at_ns, agent, message });
        }
    }
    typed
}
