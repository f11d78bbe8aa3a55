//! The loop: the only task that touches the broker.
//!
//! Owns: the order of inputs, and which part of the driver carries out which command.
//! Must not know: why the core wants what it wants.
//!
//! 1. Commands are drained before the next input; carrying one out never waits.
//! 2. Inputs that are ready go before a due `Tick`, at most [`READY_ROW`] in a row: after a suspend
//!    the answers that wait in the buffers are read before their deadlines are judged.
//! 3. One reading of the clocks per input.

use crate::calls::Calls;
use crate::clock::Alarm;
use crate::http::Api;
use crate::inbox::{Event, Inbox};
use crate::net::Links;
use crate::pty::Ptys;
use relay_core::time::Now;
use relay_core::{Broker, Command, Input, Step, Wake};
use relay_driver::clock;
use relay_driver::logs::Log;
use relay_driver::record::Recording;
use relay_driver::socket::Out;
use relay_driver::store::Store;
use std::io;
use tokio::sync::mpsc::UnboundedReceiver;

/// Ready inputs taken before timers get their turn.
const READY_ROW: usize = 64;

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

    /// Starts what the command wants; `Some` is the exit code that ends the process.
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

/// Runs the broker to its end; returns the exit code and what is left to wind up.
pub(crate) async fn run(
    mut broker: Broker,
    mut io: Io,
    recording: &mut Recording,
    mut events: UnboundedReceiver<Event>,
) -> io::Result<(u8, Io)> {
    let mut alarm = Alarm::new()?;
    let mut row = 0;
    let mut now = clock::now();
    loop {
        let wake = loop {
            match broker.poll() {
                Step::Do(command) => {
                    recording.command(&command);
                    if let Some(code) = io.execute(now, command) {
                        return Ok((code, io));
                    }
                }
                Step::Wait(wake) => break wake,
            }
        };
        recording.settled(&broker);
        let event = next(&mut events, &mut alarm, wake, &mut row).await;
        now = clock::now();
        match event {
            None => {
                recording.input(now, &Input::Tick);
                broker.handle(now, Input::Tick);
            }
            Some(mut event) => {
                io.settle(&mut event);
                recording.input(now, &event.input());
                broker.handle(now, event.input());
            }
        }
    }
}

/// The next event, or `None` for a tick.
async fn next(
    events: &mut UnboundedReceiver<Event>,
    alarm: &mut Alarm,
    wake: Wake,
    row: &mut usize,
) -> Option<Event> {
    if *row < READY_ROW
        && let Ok(event) = events.try_recv()
    {
        *row += 1;
        return Some(event);
    }
    let rest = std::mem::take(row) == READY_ROW;
    // The clock, not the alarm, says what is due: the runtime may be late with the alarm's news.
    if wake.at.is_some_and(|at| at <= clock::now().mono) {
        return None;
    }
    if rest {
        // Lets the tasks write what the row has produced.
        tokio::task::yield_now().await;
    }
    alarm.set(wake.at);
    tokio::select! {
        biased;
        event = events.recv() => Some(event.expect("the driver holds an inbox")),
        () = alarm.ring() => None,
    }
}
