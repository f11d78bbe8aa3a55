//! This runtime's side of the loop.
//!
//! Owns: which part of the driver carries out which command, and how the loop waits here.
//! Must not know: why the core wants what it wants.

use crate::calls::Calls;
use crate::clock::Alarm;
use crate::http::Api;
use crate::inbox::{Event, Inbox};
use crate::net::Links;
use crate::pty::Ptys;
use relay_core::time::{Mono, Now};
use relay_core::{Broker, Command};
use relay_driver::logs::Log;
use relay_driver::record::Recording;
use relay_driver::run::{Hands, Source};
use relay_driver::socket::Out;
use relay_driver::store::Store;
use std::io;
use tokio::sync::mpsc::UnboundedReceiver;

/// Everything that carries out commands.
#[derive(Debug)]
pub(crate) struct Io {
    /// Terminals.
    pub(crate) ptys: Ptys,
    /// WebSockets to the engine.
    pub(crate) links: Links,
    /// HTTP calls to the engine.
    pub(crate) calls: Calls,
    /// The local API.
    pub(crate) api: Api,
    /// Files.
    pub(crate) store: Store,
    /// Lines for the operator.
    pub(crate) log: Log,
}

impl Io {
    /// All parts, reporting to `inbox`.
    pub(crate) fn new(inbox: &Inbox, api: Api, store: Store, log: Log) -> Self {
        Self {
            ptys: Ptys::new(inbox.clone()),
            links: Links::new(inbox.clone()),
            calls: Calls::new(inbox.clone()),
            api,
            store,
            log,
        }
    }
}

impl Hands<Event> for Io {
    fn execute(&mut self, now: Now, command: Command) -> Option<u8> {
        match command {
            Command::LinkOpen { link, url, token, deadline } => self.links.open(link, url, token, deadline),
            Command::LinkSend { link, text } => self.links.send(link, Out::Text(text)),
            Command::LinkPing { link } => self.links.send(link, Out::Ping),
            Command::LinkPause { link, paused } => self.links.pause(link, paused),
            Command::LinkClose { link, code, reason, deadline } => {
                self.links.close(link, code, reason, deadline);
            }
            Command::Call { call, request, deadline } => self.calls.call(call, request, deadline),
            Command::Spawn { process, child, deadline } => self.ptys.spawn(process, child, deadline),
            Command::PtyWrite { process, op, bytes, deadline } => {
                self.ptys.write(process, op, bytes, deadline);
            }
            Command::PtyCheck { process, op } => self.ptys.check(process, op),
            Command::PtyResize { process, rows, cols } => self.ptys.resize(process, rows, cols),
            Command::PtySignal { process, signal } => self.ptys.signal(process, signal),
            Command::PtyForget { process } => self.ptys.forget(process),
            // The deadline is the core's: a write that hangs in the kernel cannot be called back.
            Command::Store { store, action, deadline: _ } => self.store.change(store, action),
            Command::ApiReply { request, status, content_type, body } => {
                self.api.reply(request, status, content_type, body);
            }
            Command::ApiStream { request, subscriber } => self.api.stream(request, subscriber),
            Command::StreamSend { subscriber, text } => self.api.send(subscriber, text),
            Command::StreamClose { subscriber, code, reason } => self.api.close(subscriber, code, reason),
            Command::Log(line) => self.log.write(now.wall, &line),
            Command::Exit { code } => return Some(code),
        }
        None
    }

    fn settle(&mut self, event: &mut Event) {
        self.ptys.settle(event);
        self.links.settle(event);
        self.api.settle(event);
    }
}

/// The inbox and the alarm.
struct Events {
    inbox: UnboundedReceiver<Event>,
    alarm: Alarm,
}

impl Source<Event> for Events {
    fn ready(&mut self) -> Option<Event> {
        self.inbox.try_recv().ok()
    }

    async fn rest(&mut self) {
        tokio::task::yield_now().await;
    }

    async fn wait(&mut self, until: Option<Mono>) -> Option<Event> {
        self.alarm.set(until);
        tokio::select! {
            biased;
            event = self.inbox.recv() => Some(event.expect("the driver holds an inbox")),
            () = self.alarm.ring() => None,
        }
    }
}

/// Runs the broker to its end; returns the exit code and what is left to wind up.
pub(crate) async fn run(
    broker: Broker,
    mut io: Io,
    recording: &mut Recording,
    inbox: UnboundedReceiver<Event>,
) -> io::Result<(u8, Io)> {
    let mut events = Events { inbox, alarm: Alarm::new()? };
    let code = relay_driver::run::run(broker, &mut io, &mut events, recording).await;
    Ok((code, io))
}
