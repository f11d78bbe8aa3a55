//! Commands: who carries out what.
//!
//! Owns: the routing of commands to the parts of the world.
//! Must not know: why the broker wants what it wants.

use super::World;
use crate::story::Fact;
use relay_core::Command;

impl World<'_> {
    pub(super) fn execute(&mut self, command: Command) {
        let Some(life) = self.life.as_ref().map(|life| life.number) else {
            return;
        };
        let at = self.at(life);
        self.oracles.command(at, &command);
        self.trace.tell(self.now, "<", &command, &Fact::Command(&command));
        match command {
            Command::LinkOpen { link, url, token, deadline } => {
                self.open_link((life, link), &url, &token, deadline)
            }
            Command::LinkSend { link, text } => self.send_up((life, link), text),
            Command::LinkPing { link } => self.ping((life, link)),
            Command::LinkPause { link, paused } => self.pause_link((life, link), paused),
            Command::LinkClose { link, deadline, .. } => self.close_link((life, link), deadline),
            Command::Call { call, request, deadline } => self.call(life, call, request, deadline),
            Command::Spawn { process, child, .. } => self.spawn((life, process), &child),
            Command::PtyWrite { process, op, bytes, deadline } => {
                self.write((life, process), op, bytes, deadline)
            }
            Command::PtyCheck { process, op } => self.check((life, process), op),
            Command::PtyResize { .. } | Command::Log(_) => {}
            Command::PtySignal { process, signal } => self.signal((life, process), signal),
            Command::PtyForget { process } => self.forget((life, process)),
            Command::Store { store, action, deadline } => self.store(life, store, action, deadline),
            Command::ApiReply { request, status, body, .. } => {
                self.subscribers.answered((life, request));
                self.on_reply((life, request), status, &body);
            }
            Command::ApiStream { request, subscriber } => self.on_stream((life, request), subscriber),
            Command::StreamSend { subscriber, text } => self.on_event((life, subscriber), &text),
            Command::StreamClose { subscriber, .. } => self.on_stream_closed((life, subscriber)),
            Command::Exit { .. } => {
                self.flush_disk();
                self.end_and_restart();
            }
        }
    }
}
