//! Writing: a broker's life, line by line.
//!
//! Owns: which line comes when, and the size of a trace.
//! Must not know: where lines go.
//!
//! 1. The line of an input is written before the input is handled: when handling it panics, the last
//!    line is what caused it.
//! 2. What an input caused stands in the next line, or in the last.
//! 3. A trace ends with its `end` line, also when that is because of its size.

use super::form::{BootForm, Clocks, ConfigForm, InputForm, clocks};
use super::mask::Mask;
use super::print::{Print, tell};
use super::{CHECK, FORMAT, SIZE};
use crate::command::Command;
use crate::config::{Access, Boot, Config};
use crate::digest::Digest;
use crate::input::Input;
use crate::link::identity;
use crate::secret::Secret;
use crate::time::Now;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a trace tells of each command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Its print.
    Prints,
    /// Its print and its text.
    Full,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line<'a> {
    Boot {
        v: u32,
        #[serde(borrow)]
        core: Cow<'a, str>,
        #[serde(borrow)]
        driver: Cow<'a, str>,
        config: Box<ConfigForm>,
        boot: Box<BootForm>,
    },
    Check {
        n: u64,
        #[serde(borrow)]
        digest: Cow<'a, str>,
    },
    End {
        n: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        po: Option<Vec<Print>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        c: Vec<String>,
        #[serde(borrow)]
        why: Cow<'a, str>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputLine<'a> {
    /// From 1.
    pub(super) n: u64,
    /// Both clocks.
    pub(super) now: Clocks,
    /// Prints of what the input before has caused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) po: Vec<Print>,
    /// The same as text, where wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) c: Vec<String>,
    #[serde(borrow)]
    pub(super) i: InputForm<'a>,
}

/// Writes the trace of one broker.
#[derive(Debug)]
pub struct Recorder {
    mask: Mask,
    detail: Detail,
    /// Lines that nobody has taken yet.
    lines: String,
    /// Bytes of all lines.
    written: usize,
    /// Bytes after which no more inputs are recorded.
    size: usize,
    inputs: u64,
    prints: Vec<Print>,
    texts: Vec<String>,
    /// Whether all that the last input has caused is there.
    settled: bool,
    ended: bool,
}

impl Recorder {
    /// Begins the trace of the broker that is made of `config` and `boot`. `driver` names who runs it.
    pub fn new(config: &Config, boot: &Boot, driver: &str, mut mask: Mask, detail: Detail) -> Self {
        if let Access::Key(key) = &config.access {
            mask.register(key.expose());
        }
        if let Some(token) = &config.node_token {
            mask.register(token.expose());
        }
        let files = boot.identity.iter().chain(&boot.tokens);
        files.for_each(|file| register_credentials(file, &mut mask));
        let line = Line::Boot {
            v: FORMAT,
            core: env!("CARGO_PKG_VERSION").into(),
            driver: driver.into(),
            config: Box::new(ConfigForm::of(config, &mask)),
            boot: Box::new(BootForm::of(&with_masked_scope(config, boot, &mask), &mask)),
        };
        let mut recorder = Self {
            mask,
            detail,
            lines: String::new(),
            written: 0,
            size: SIZE,
            inputs: 0,
            prints: Vec::new(),
            texts: Vec::new(),
            settled: false,
            ended: false,
        };
        recorder.write(&line);
        recorder
    }

    /// The same trace, which ends after about so many bytes instead of [`SIZE`].
    #[must_use]
    pub const fn of_size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// An input, before it is handled.
    pub fn input(&mut self, now: Now, input: &Input<'_>) {
        if self.ended {
            return;
        }
        if self.written > self.size {
            return self.end("the trace has reached its largest size");
        }
        self.inputs += 1;
        self.settled = false;
        let line = InputLine {
            n: self.inputs,
            now: clocks(now),
            po: core::mem::take(&mut self.prints),
            c: core::mem::take(&mut self.texts),
            i: InputForm::of(input, &mut self.mask),
        };
        self.write(&line);
        if let Input::PtyEof { process } = input {
            self.mask.forget(*process);
        }
    }

    /// A command that the last input, or the start, has caused.
    pub fn command(&mut self, command: &Command) {
        if self.ended {
            return;
        }
        // Nothing follows it.
        self.settled |= matches!(command, Command::Exit { .. });
        self.prints.push(Print::of(command, &self.mask));
        if self.detail == Detail::Full {
            self.texts.push(tell(command, &self.mask));
        }
    }

    /// All that the last input has caused is there. `digest` is asked for now and then.
    pub fn settled(&mut self, digest: impl FnOnce() -> Digest) {
        self.settled = true;
        if !self.ended && self.inputs > 0 && self.inputs.is_multiple_of(CHECK) {
            let digest = digest().to_string().into();
            self.write(&Line::Check { n: self.inputs, digest });
        }
    }

    /// Ends the trace, be it in the middle of what an input causes.
    pub fn end(&mut self, why: &str) {
        if !self.ended {
            let po = self.settled.then(|| core::mem::take(&mut self.prints));
            let c = core::mem::take(&mut self.texts);
            let why = self.mask.text(why).into_owned().into();
            self.write(&Line::End { n: self.inputs, po, c, why });
            self.ended = true;
        }
    }

    /// Whether the trace has its end.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Inputs so far.
    pub const fn inputs(&self) -> u64 {
        self.inputs
    }

    /// The lines written since the last call, each with its newline, appended to `lines`.
    pub fn take_into(&mut self, lines: &mut String) {
        lines.push_str(&self.lines);
        self.lines.clear();
    }

    /// The lines written since the last call, each with its newline.
    pub fn take(&mut self) -> String {
        core::mem::take(&mut self.lines)
    }

    fn write(&mut self, line: &impl Serialize) {
        let text = serde_json::to_string(line).expect("text keys only");
        self.written += text.len() + 1;
        self.lines += &text;
        self.lines.push('\n');
    }
}

/// The end of a trace whose recorder cannot be asked any more, after so many inputs.
pub fn last_line(inputs: u64, why: &str) -> String {
    let line = Line::End { n: inputs, po: None, c: Vec::new(), why: crate::mask(why).into() };
    let mut text = serde_json::to_string(&line).expect("text keys only");
    text.push('\n');
    text
}

/// What a credential is called in the broker's own files.
const CREDENTIALS: [&str; 3] = ["agent_token", "workspace_key", "token"];

fn register_credentials(file: &str, mask: &mut Mask) {
    fn walk(value: &serde_json::Value, mask: &mut Mask) {
        match value {
            serde_json::Value::Array(values) => values.iter().for_each(|value| walk(value, mask)),
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| match value.as_str() {
                    Some(text) if CREDENTIALS.contains(&name.as_str()) => mask.register(text),
                    _ => walk(value, mask),
                })
            }
            _ => {}
        }
    }
    if let Ok(value) = serde_json::from_str(file) {
        walk(&value, mask);
    }
}

/// Saved identities are found by a hash of the key: it must be the hash of the key's filler, or the
/// replay would not find the identity of its own key.
fn with_masked_scope(config: &Config, boot: &Boot, mask: &Mask) -> Boot {
    let mut boot = boot.clone();
    if let (Access::Key(key), Some(file)) = (&config.access, &mut boot.identity) {
        let filler = Secret::new(&mask.secret(key));
        let scope = |key| identity::fingerprint(key, &config.base_url);
        *file = file.replace(scope(Some(key)).expose(), scope(filler.as_ref()).expose());
    }
    boot
}
