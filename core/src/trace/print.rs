//! Prints: a short hash of what one command says.
//!
//! Owns: what of a command counts, and the text that shows it to people.
//! Must not know: inputs, lines.
//!
//! 1. Secrets count with their length only.
//! 2. Frames and calls count byte for byte after masking; free text (what is typed, shown, logged or
//!    kept) counts by its [`shape`], which masking does not change even where a text is cut or encoded.
//! 3. So a masked trace that is replayed gives the prints that were recorded.

use super::mask::{Mask, shape};
use crate::command::{CallRequest, Child, Command, StoreAction, Text};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A hash of one command: eight hex digits in a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Print(u32);

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Print {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Print {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let number = u32::from_str_radix(&text, 16).ok().filter(|number| format!("{number:08x}") == text);
        number.map(Self).ok_or_else(|| D::Error::custom("expected eight hex digits"))
    }
}

impl Print {
    /// The print of a command.
    pub fn of(command: &Command, mask: &Mask) -> Self {
        let mut feed = Feed { hash: Sha256::new(), mask };
        feed.command(command);
        let hash: [u8; 32] = feed.hash.finalize().into();
        Self(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
    }
}

struct Feed<'m> {
    hash: Sha256,
    mask: &'m Mask,
}

impl Feed<'_> {
    fn number(&mut self, number: u64) {
        self.hash.update(number.to_le_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hash.update(bytes);
    }

    /// Text that counts byte for byte.
    fn text(&mut self, text: &str) {
        let masked = self.mask.text(text);
        self.raw(masked.as_bytes());
    }

    /// Text of which only the shape counts.
    fn free(&mut self, text: impl AsRef<[u8]>) {
        self.raw(&shape(text.as_ref()));
    }

    fn maybe_secret(&mut self, text: &Text) {
        match text {
            Text::Plain(text) => self.free(text),
            Text::Secret(secret) => self.number(secret.expose().len() as u64),
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::LinkOpen { link, url, token, deadline } => {
                self.start("LinkOpen", [link.0, deadline.0, token.expose().len() as u64]);
                self.text(url);
            }
            Command::LinkSend { link, text } => {
                self.start("LinkSend", [link.0]);
                self.text(text);
            }
            Command::LinkPing { link } => self.start("LinkPing", [link.0]),
            Command::LinkPause { link, paused } => self.start("LinkPause", [link.0, u64::from(*paused)]),
            Command::LinkClose { link, code, reason, deadline } => {
                self.start("LinkClose", [link.0, u64::from(*code), deadline.0]);
                self.text(reason);
            }
            Command::Call { call, request, deadline } => {
                self.start("Call", [call.0, deadline.0]);
                self.request(request);
            }
            Command::Spawn { process, child, deadline } => {
                self.start("Spawn", [process.0, deadline.0]);
                self.child(child);
            }
            Command::PtyWrite { process, op, bytes, deadline } => {
                self.start("PtyWrite", [process.0, op.0, deadline.0]);
                self.free(bytes);
            }
            Command::PtyCheck { process, op } => self.start("PtyCheck", [process.0, op.0]),
            Command::PtyResize { process, rows, cols } => {
                self.start("PtyResize", [process.0, u64::from(*rows), u64::from(*cols)]);
            }
            Command::PtySignal { process, signal } => self.start("PtySignal", [process.0, *signal as u64]),
            Command::PtyForget { process } => self.start("PtyForget", [process.0]),
            Command::Store { store, action, deadline } => {
                self.start("Store", [store.0, deadline.0]);
                self.action(action);
            }
            Command::ApiReply { request, status, content_type, body } => {
                self.start("ApiReply", [request.0, u64::from(*status)]);
                self.text(content_type);
                self.free(body);
            }
            Command::ApiStream { request, subscriber } => {
                self.start("ApiStream", [request.0, subscriber.0]);
            }
            Command::StreamSend { subscriber, text } => {
                self.start("StreamSend", [subscriber.0]);
                self.free(text);
            }
            Command::StreamClose { subscriber, code, reason } => {
                self.start("StreamClose", [subscriber.0, u64::from(*code)]);
                self.text(reason);
            }
            Command::Log(line) => {
                self.start("Log", [line.level as u64]);
                self.text(line.area);
                self.free(&line.message);
            }
            Command::Exit { code } => self.start("Exit", [u64::from(*code)]),
        }
    }

    fn start<const N: usize>(&mut self, name: &str, numbers: [u64; N]) {
        self.raw(name.as_bytes());
        numbers.into_iter().for_each(|number| self.number(number));
    }

    fn request(&mut self, request: &CallRequest) {
        let CallRequest { method, url, bearer, headers, body } = request;
        self.text(method);
        self.text(url);
        self.number(bearer.as_ref().map_or(0, |secret| secret.expose().len() as u64));
        for (name, value) in headers {
            self.text(name);
            self.maybe_secret(value);
        }
        self.text(body.as_deref().unwrap_or_default());
    }

    fn child(&mut self, child: &Child) {
        let Child { argv, env, env_remove, cwd, rows, cols } = child;
        argv.iter().chain(env_remove).for_each(|text| self.text(text));
        for (name, value) in env {
            self.text(name);
            self.maybe_secret(value);
        }
        self.text(cwd.as_deref().unwrap_or_default());
        self.number(u64::from(*rows) << 16 | u64::from(*cols));
    }

    fn action(&mut self, action: &StoreAction) {
        match action {
            StoreAction::Replace { file, content } => {
                self.text(&format!("replace {file:?}"));
                self.number(content.expose().len() as u64);
            }
            StoreAction::Append { lines } => {
                self.text("append");
                self.free(lines);
            }
            StoreAction::Remove { file } => self.text(&format!("remove {file:?}")),
        }
    }
}

/// A command as text for people, masked.
pub fn tell(command: &Command, mask: &Mask) -> String {
    let text = match command {
        Command::PtyWrite { process, op, bytes, deadline } => {
            let bytes = String::from_utf8_lossy(bytes);
            format!(
                "PtyWrite {{ process: {process:?}, op: {op:?}, bytes: {bytes:?}, deadline: {deadline:?} }}"
            )
        }
        other => format!("{other:?}"),
    };
    mask.text(&text).to_string()
}
