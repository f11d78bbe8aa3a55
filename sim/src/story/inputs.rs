//! Inputs, told.
//!
//! Owns: the words for everything that a broker is told. Must not know: what it makes of it.
//!
//! 1. A completion is told with what it completes.

use super::{Kind, Lane, Moment, Narrator, frames, words};
use relay_core::{CallReply, Fault, Input, Refusal, TtyState};

impl Narrator {
    /// The moment of an input; none for a mere tick.
    pub(super) fn input(&mut self, input: &Input<'_>) -> Option<Moment> {
        Some(match *input {
            Input::Tick => return None,
            Input::LinkUp { link } => from_link("open", link.0),
            Input::LinkRefused { link, why } => from_link(&refused(why), link.0),
            Input::LinkText { link, text } => {
                let (line, agent) = frames::told(text);
                let frame = Moment::new(Lane::Engine, Lane::Core, Kind::Frame, line);
                frame.on(link.0).about(agent).detail(text)
            }
            Input::LinkBinary { link, len } => {
                let text = format!("binary message of {len} bytes");
                Moment::new(Lane::Engine, Lane::Core, Kind::Frame, text).on(link.0)
            }
            Input::LinkPong { link } => from_link("pong", link.0),
            Input::LinkDrained { link, bytes } => {
                flow(Lane::Link, &format!("{bytes} bytes have left")).on(link.0)
            }
            Input::LinkDown { link, why } => from_link(&format!("down: {why}"), link.0),
            Input::CallDone { call, result } => {
                let asked = self.calls.remove(&call.0).unwrap_or_else(|| words::call(call));
                called(&asked, result)
            }
            Input::Api { request, method, target, body, upgrade, .. } => {
                let asked = format!("{method} {target}{}", if upgrade { " (stream)" } else { "" });
                self.requests.insert(request.0, asked.clone());
                Moment::new(Lane::Api, Lane::Core, Kind::Api, asked).detail(String::from_utf8_lossy(body))
            }
            Input::ApiGone { request } => {
                let asked = self.requests.remove(&request.0).unwrap_or_else(|| words::request(request));
                Moment::new(Lane::Api, Lane::Core, Kind::Api, format!("gave up: {asked}"))
            }
            Input::StreamDrained { subscriber, bytes } => {
                flow(Lane::Api, &format!("{bytes} bytes have left for {}", words::subscriber(subscriber)))
            }
            Input::StreamGone { subscriber } => Moment::new(
                Lane::Api,
                Lane::Core,
                Kind::Api,
                format!("{} is gone", words::subscriber(subscriber)),
            ),
            Input::Stored { store, result } => {
                let what = self.stores.remove(&store.0).unwrap_or("change");
                let text = result.map_or_else(
                    |fault| format!("{what} failed: {}", failed(fault)),
                    |()| format!("{what} is on disk"),
                );
                Moment::new(Lane::Store, Lane::Core, Kind::Store, text)
            }
            Input::Terminate => {
                Moment::new(Lane::Api, Lane::Core, Kind::Life, "the operator wants it to stop")
            }
            ref terminal => return self.terminal_input(terminal),
        })
    }

    fn terminal_input(&self, input: &Input<'_>) -> Option<Moment> {
        let (process, kind, text, detail) = match *input {
            Input::Spawned { process, result } => {
                let text = result.map_or_else(
                    |fault| format!("not started: {}", failed(fault)),
                    |pid| format!("started, pid {pid}"),
                );
                (process, Kind::Process, text, None)
            }
            Input::PtyOutput { process, bytes } => {
                let text = words::typed(bytes);
                (process, Kind::Output, format!("prints {text}"), Some(String::from_utf8_lossy(bytes)))
            }
            Input::PtyWritten { process, written, fault, .. } => {
                let stopped = fault.map(|fault| format!(", then {}", failed(fault))).unwrap_or_default();
                let kind = if fault.is_some() { Kind::Injection } else { Kind::Flow };
                (process, kind, format!("accepted {written} bytes{stopped}"), None)
            }
            Input::PtyState { process, state, .. } => (process, Kind::Flow, looked(state), None),
            Input::PtyEof { process } => (process, Kind::Process, "no more output".into(), None),
            Input::PtyExited { process, status } => {
                (process, Kind::Process, format!("exited {}", words::ended(status)), None)
            }
            _ => return None,
        };
        let moment = Moment::new(self.terminal(process), Lane::Core, kind, text);
        Some(moment.about(Some(self.name(process))).detail(detail.as_deref().unwrap_or_default()))
    }
}

fn from_link(text: &str, link: u64) -> Moment {
    Moment::new(Lane::Link, Lane::Core, Kind::Link, text).on(link)
}

fn flow(from: Lane, text: &str) -> Moment {
    Moment::new(from, Lane::Core, Kind::Flow, text)
}

fn failed(fault: Fault<'_>) -> String {
    format!("{:?}, {}", fault.kind, fault.detail)
}

fn refused(why: Refusal<'_>) -> String {
    match why {
        Refusal::Status(status) => format!("refused with {status}"),
        Refusal::Fault(fault) => format!("not opened: {}", failed(fault)),
    }
}

fn called(asked: &str, result: Result<CallReply<'_>, Fault<'_>>) -> Moment {
    let (text, detail) = match result {
        Ok(reply) => (format!("{} to {asked}", reply.status), String::from_utf8_lossy(reply.body)),
        Err(fault) => (format!("no answer to {asked}: {}", failed(fault)), "".into()),
    };
    Moment::new(Lane::Engine, Lane::Core, Kind::Call, text).detail(detail)
}

fn looked(state: Option<TtyState>) -> String {
    state.map_or_else(
        || "the terminal cannot be looked at".into(),
        |state| {
            let by = if state.canonical { "by lines" } else { "raw" };
            let echo = if state.echo { ", echo" } else { "" };
            format!("{} bytes unread, {by}{echo}", state.unread)
        },
    )
}
