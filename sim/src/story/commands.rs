//! Commands, told.
//!
//! Owns: the words for everything that a broker wants done. Must not know: why it wants it.
//!
//! 1. Values of an environment, credentials of calls and contents of files are never told.

use super::{Kind, Lane, Moment, Narrator, frames, words};
use relay_core::{CallRequest, Child, Command, Level, LogLine, PtySignal, StoreAction, StoreFile, Text};

/// The variable that names an agent to itself.
const NAME: &str = "RELAY_AGENT_NAME";

impl Narrator {
    /// The moment of a command.
    pub(super) fn command(&mut self, command: &Command) -> Moment {
        match command {
            Command::LinkOpen { link, url, .. } => to_link(&format!("open {url}"), link.0),
            Command::LinkSend { link, text } => {
                let (line, agent) = frames::told(text);
                let frame = Moment::new(Lane::Core, Lane::Engine, Kind::Frame, line);
                frame.on(link.0).about(agent).detail(text)
            }
            Command::LinkPing { link } => to_link("ping", link.0),
            Command::LinkPause { link, paused: true } => to_link("stop reading", link.0),
            Command::LinkPause { link, paused: false } => to_link("go on reading", link.0),
            Command::LinkClose { link, code, reason, .. } => {
                to_link(&format!("close with {code} {reason}"), link.0)
            }
            Command::Call { call, request, .. } => {
                let asked = format!("{} {}", request.method, path(&request.url));
                self.calls.insert(call.0, asked.clone());
                Moment::new(Lane::Core, Lane::Engine, Kind::Call, asked).detail(asking(request))
            }
            Command::Store { store, action, .. } => {
                let (what, text) = change(action);
                self.stores.insert(store.0, what);
                let lines = if let StoreAction::Append { lines } = action { lines } else { "" };
                Moment::new(Lane::Core, Lane::Store, Kind::Store, text).detail(lines)
            }
            Command::ApiReply { request, status, body, .. } => {
                let asked = self.requests.remove(&request.0).unwrap_or_else(|| words::request(*request));
                to_api(&format!("{status} to {asked}")).detail(body)
            }
            Command::ApiStream { request, subscriber } => {
                let asked = self.requests.remove(&request.0).unwrap_or_else(|| words::request(*request));
                to_api(&format!("{} for {asked}", words::subscriber(*subscriber)))
            }
            Command::StreamSend { text, .. } => {
                let (line, agent) = frames::told(text);
                Moment::new(Lane::Core, Lane::Api, Kind::Event, line).about(agent).detail(text)
            }
            Command::StreamClose { subscriber, code, reason } => {
                to_api(&format!("close {} with {code} {reason}", words::subscriber(*subscriber)))
            }
            Command::Log(line) => log(line),
            Command::Exit { code } => {
                Moment::new(Lane::Core, Lane::Core, Kind::Life, format!("exits with {code}"))
            }
            terminal => self.terminal_command(terminal),
        }
    }

    fn terminal_command(&mut self, command: &Command) -> Moment {
        let (process, kind, text, detail) = match command {
            Command::Spawn { process, child, .. } => {
                let name = child.env.iter().rev().find(|(name, _)| name == NAME);
                if let Some((_, Text::Plain(name))) = name {
                    self.processes.insert(process.0, name.clone());
                }
                (*process, Kind::Process, format!("start {}", child.argv.join(" ")), starting(child))
            }
            Command::PtyWrite { process, bytes, .. } => {
                let text = format!("type {}", words::typed(bytes));
                (*process, Kind::Injection, text, String::from_utf8_lossy(bytes).into_owned())
            }
            Command::PtyCheck { process, .. } => (*process, Kind::Flow, "look".into(), String::new()),
            Command::PtyResize { process, rows, cols } => {
                (*process, Kind::Process, format!("resize to {rows}x{cols}"), String::new())
            }
            Command::PtySignal { process, signal } => {
                let text = match signal {
                    PtySignal::Terminate => "terminate",
                    PtySignal::Kill => "kill",
                };
                (*process, Kind::Process, text.into(), String::new())
            }
            Command::PtyForget { process } => {
                (*process, Kind::Process, "drop the terminal".into(), String::new())
            }
            other => return Moment::new(Lane::Core, Lane::Core, Kind::Log, format!("{other:?}")),
        };
        let moment = Moment::new(Lane::Core, self.terminal(process), kind, text);
        moment.about(Some(self.name(process))).detail(detail)
    }
}

fn to_link(text: &str, link: u64) -> Moment {
    Moment::new(Lane::Core, Lane::Link, Kind::Link, text).on(link)
}

fn to_api(text: &str) -> Moment {
    Moment::new(Lane::Core, Lane::Api, Kind::Api, text)
}

fn log(line: &LogLine) -> Moment {
    let level = match line.level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let text = format!("{level} {}: {}", line.area, line.message);
    Moment::new(Lane::Core, Lane::Core, Kind::Log, &text).detail(text)
}

fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

fn asking(request: &CallRequest) -> String {
    let mut told = format!("{} {}\n", request.method, request.url);
    for (name, value) in &request.headers {
        let value = if let Text::Plain(value) = value { value } else { "***" };
        told.push_str(&format!("{name}: {value}\n"));
    }
    told.push_str(request.body.as_deref().unwrap_or_default());
    told
}

fn starting(child: &Child) -> String {
    let names: Vec<_> = child.env.iter().map(|(name, _)| name.as_str()).collect();
    let cwd = child.cwd.as_deref().unwrap_or("the broker's directory");
    let (argv, names) = (child.argv.join(" "), names.join(" "));
    format!("{argv}\nin {cwd}\nsets {names}\nterminal {}x{}", child.rows, child.cols)
}

/// What is changed, in a word and in a line.
fn change(action: &StoreAction) -> (&'static str, String) {
    let name = |file: &StoreFile| match file {
        StoreFile::Identity => "identity",
        StoreFile::NodeToken { .. } => "node token",
        StoreFile::Journal => "journal",
    };
    match action {
        StoreAction::Replace { file, content } => {
            (name(file), format!("replace {}, {} bytes", name(file), content.expose().len()))
        }
        StoreAction::Append { lines } => ("journal", format!("append {}", lines.trim_end())),
        StoreAction::Remove { file } => (name(file), format!("remove {}", name(file))),
    }
}
