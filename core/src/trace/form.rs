//! The JSON form of what goes into a broker: its configuration, what it found at start, its inputs.
//!
//! Owns: names and shapes of the fields, and the way back to the core's own types.
//! Must not know: lines, digests, or which texts are secret: whoever builds a form has masked it.
//!
//! 1. Integers and text only; bytes are text when they are UTF-8, else base64.
//! 2. An unknown name is an error: a field that the reader does not know may have mattered.
//! 3. From an input to its form and back nothing is lost.

use super::bytes::Bytes;
use super::mask::Mask;
use crate::config::{Access, Boot, Config};
use crate::ids::{CallId, LinkId, OpId, ProcessId, RequestId, StoreId, SubscriberId};
use crate::input::{Auth, CallReply, ExitStatus, Fault, FaultKind, Input, Refusal, TtyState};
use crate::secret::Secret;
use crate::time::{Mono, Now, Wall};
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Both clocks: µs, ms.
pub(super) type Clocks = (u64, i64);

pub(super) const fn clocks(now: Now) -> Clocks {
    (now.mono.0, now.wall.0)
}

pub(super) const fn now((mono, wall): Clocks) -> Now {
    Now { mono: Mono(mono), wall: Wall(wall) }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigForm {
    instance: String,
    node_name: Option<String>,
    base_url: String,
    access: AccessForm,
    node_id: Option<String>,
    node_token: Option<String>,
    agent_type: String,
    harnesses: Vec<String>,
    max_agents: u32,
    channels: Vec<String>,
    version: String,
    persist: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum AccessForm {
    Key(String),
    Create(String),
    TokenOnly,
}

impl ConfigForm {
    pub(super) fn of(config: &Config, mask: &Mask) -> Self {
        let Config { instance, node_name, base_url, access, node_id, node_token, .. } = config;
        Self {
            instance: instance.clone(),
            node_name: node_name.clone(),
            base_url: base_url.clone(),
            access: match access {
                Access::Key(key) => AccessForm::Key(mask.secret(key)),
                Access::Create { name } => AccessForm::Create(name.clone()),
                Access::TokenOnly => AccessForm::TokenOnly,
            },
            node_id: node_id.clone(),
            node_token: node_token.as_ref().map(|token| mask.secret(token)),
            agent_type: config.agent_type.clone(),
            harnesses: config.harnesses.clone(),
            max_agents: config.max_agents,
            channels: config.channels.clone(),
            version: config.version.clone(),
            persist: config.persist,
        }
    }

    /// `Err` names the field that cannot be used.
    pub(super) fn into_config(self) -> Result<Config, &'static str> {
        let secret = |text: &str, field| Secret::new(text).ok_or(field);
        Ok(Config {
            access: match self.access {
                AccessForm::Key(key) => Access::Key(secret(&key, "config.access.key is blank")?),
                AccessForm::Create(name) => Access::Create { name },
                AccessForm::TokenOnly => Access::TokenOnly,
            },
            node_token: match self.node_token {
                Some(token) => Some(secret(&token, "config.node_token is blank")?),
                None => None,
            },
            instance: self.instance,
            node_name: self.node_name,
            base_url: self.base_url,
            node_id: self.node_id,
            agent_type: self.agent_type,
            harnesses: self.harnesses,
            max_agents: self.max_agents,
            channels: self.channels,
            version: self.version,
            persist: self.persist,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BootForm {
    /// 64 hex digits.
    seed: String,
    now: Clocks,
    machine_seed: String,
    cwd: String,
    pid: u32,
    identity: Option<String>,
    tokens: Vec<String>,
    journal: String,
}

impl BootForm {
    pub(super) fn of(boot: &Boot, mask: &Mask) -> Self {
        let text = |text: &String| mask.text(text).into_owned();
        Self {
            seed: crate::hex(&boot.seed),
            now: clocks(boot.now),
            machine_seed: text(&boot.machine_seed),
            cwd: text(&boot.cwd),
            pid: boot.pid,
            identity: boot.identity.as_ref().map(text),
            tokens: boot.tokens.iter().map(text).collect(),
            journal: text(&boot.journal),
        }
    }

    /// `Err` names the field that cannot be used.
    pub(super) fn into_boot(self) -> Result<Boot, &'static str> {
        Ok(Boot {
            now: now(self.now),
            seed: seed(&self.seed).ok_or("boot.seed is not 64 hex digits")?,
            machine_seed: self.machine_seed,
            cwd: self.cwd,
            pid: self.pid,
            identity: self.identity,
            tokens: self.tokens,
            journal: self.journal,
        })
    }
}

fn seed(text: &str) -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (at, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(seed)
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum InputForm<'a> {
    Tick,
    LinkUp {
        link: LinkId,
    },
    LinkRefused {
        link: LinkId,
        #[serde(borrow)]
        why: RefusalForm<'a>,
    },
    LinkText {
        link: LinkId,
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    LinkBinary {
        link: LinkId,
        len: usize,
    },
    LinkPong {
        link: LinkId,
    },
    LinkDrained {
        link: LinkId,
        bytes: usize,
    },
    LinkDown {
        link: LinkId,
        #[serde(borrow)]
        why: Cow<'a, str>,
    },
    CallDone {
        call: CallId,
        #[serde(borrow)]
        result: Ended<'a, ReplyForm<'a>>,
    },
    Spawned {
        process: ProcessId,
        #[serde(borrow)]
        result: Ended<'a, u32>,
    },
    PtyOutput {
        process: ProcessId,
        #[serde(borrow)]
        bytes: Bytes<'a>,
    },
    PtyWritten {
        process: ProcessId,
        op: OpId,
        written: usize,
        #[serde(borrow)]
        fault: Option<FaultForm<'a>>,
    },
    PtyState {
        process: ProcessId,
        op: OpId,
        state: Option<TtyForm>,
    },
    PtyEof {
        process: ProcessId,
    },
    PtyExited {
        process: ProcessId,
        status: ExitForm,
    },
    Api {
        request: RequestId,
        auth: AuthForm,
        #[serde(borrow)]
        method: Cow<'a, str>,
        #[serde(borrow)]
        target: Cow<'a, str>,
        upgrade: bool,
        #[serde(borrow)]
        body: Bytes<'a>,
    },
    ApiGone {
        request: RequestId,
    },
    StreamDrained {
        subscriber: SubscriberId,
        bytes: usize,
    },
    StreamGone {
        subscriber: SubscriberId,
    },
    Stored {
        store: StoreId,
        #[serde(borrow)]
        result: Ended<'a, ()>,
    },
    Terminate,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RefusalForm<'a> {
    Status(u16),
    #[serde(borrow)]
    Fault(FaultForm<'a>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended<'a, T> {
    Ok(T),
    #[serde(borrow)]
    Fault(FaultForm<'a>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplyForm<'a> {
    status: u16,
    #[serde(borrow)]
    body: Bytes<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultForm<'a> {
    kind: KindForm,
    #[serde(borrow)]
    detail: Cow<'a, str>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TtyForm {
    unread: u32,
    canonical: bool,
    echo: bool,
}

/// A form of an enum without text: the same variants under snake-case names.
macro_rules! same_variants {
    ($($form:ident of $own:ident { $($name:ident $(($field:ident: $type:ty))?),* }),*) => {$(
        #[derive(Clone, Copy, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $form { $($name $(($type))?),* }

        impl From<$own> for $form {
            fn from(own: $own) -> Self {
                match own { $($own::$name $(($field))? => Self::$name $(($field))?),* }
            }
        }

        impl From<$form> for $own {
            fn from(form: $form) -> Self {
                match form { $($form::$name $(($field))? => Self::$name $(($field))?),* }
            }
        }
    )*};
}

same_variants! {
    KindForm of FaultKind { Deadline, NotFound, Denied, NoSpace, Broken, Other },
    AuthForm of Auth { Ok, Missing, Wrong },
    ExitForm of ExitStatus { Code(code: i32), Signal(signal: i32), Unknown }
}

impl<'a> FaultForm<'a> {
    fn of(fault: Fault<'a>, mask: &Mask) -> Self {
        Self { kind: fault.kind.into(), detail: mask.text(fault.detail) }
    }

    fn fault(&self) -> Fault<'_> {
        Fault { kind: self.kind.into(), detail: &self.detail }
    }
}

impl<'a, T> Ended<'a, T> {
    fn of<S>(result: Result<S, Fault<'a>>, mask: &Mask, good: impl FnOnce(S) -> T) -> Self {
        match result {
            Ok(value) => Self::Ok(good(value)),
            Err(fault) => Self::Fault(FaultForm::of(fault, mask)),
        }
    }

    fn result<'s, S>(&'s self, good: impl FnOnce(&'s T) -> S) -> Result<S, Fault<'s>> {
        match self {
            Self::Ok(value) => Ok(good(value)),
            Self::Fault(fault) => Err(fault.fault()),
        }
    }
}

impl<'a> InputForm<'a> {
    /// The form of an input, masked. A terminal's output is masked across the borders of its chunks,
    /// which is why the mask learns from it.
    pub(super) fn of(input: &Input<'a>, mask: &mut Mask) -> Self {
        match *input {
            Input::Tick => Self::Tick,
            Input::LinkUp { link } => Self::LinkUp { link },
            Input::LinkRefused { link, why: Refusal::Status(status) } => {
                Self::LinkRefused { link, why: RefusalForm::Status(status) }
            }
            Input::LinkRefused { link, why: Refusal::Fault(fault) } => {
                Self::LinkRefused { link, why: RefusalForm::Fault(FaultForm::of(fault, mask)) }
            }
            Input::LinkText { link, text } => Self::LinkText { link, text: mask.text(text) },
            Input::LinkBinary { link, len } => Self::LinkBinary { link, len },
            Input::LinkPong { link } => Self::LinkPong { link },
            Input::LinkDrained { link, bytes } => Self::LinkDrained { link, bytes },
            Input::LinkDown { link, why } => Self::LinkDown { link, why: mask.text(why) },
            Input::CallDone { call, result } => {
                let reply = |CallReply { status, body }: CallReply<'a>| ReplyForm {
                    status,
                    body: Bytes(mask.bytes(body)),
                };
                Self::CallDone { call, result: Ended::of(result, mask, reply) }
            }
            Input::Spawned { process, result } => {
                Self::Spawned { process, result: Ended::of(result, mask, |pid| pid) }
            }
            Input::PtyOutput { process, bytes } => {
                Self::PtyOutput { process, bytes: Bytes(mask.output(process, bytes)) }
            }
            Input::PtyWritten { process, op, written, fault } => {
                let fault = fault.map(|fault| FaultForm::of(fault, mask));
                Self::PtyWritten { process, op, written, fault }
            }
            Input::PtyState { process, op, state } => {
                let form = |TtyState { unread, canonical, echo }| TtyForm { unread, canonical, echo };
                Self::PtyState { process, op, state: state.map(form) }
            }
            Input::PtyEof { process } => Self::PtyEof { process },
            Input::PtyExited { process, status } => Self::PtyExited { process, status: status.into() },
            Input::Api { request, auth, method, target, upgrade, body } => Self::Api {
                request,
                auth: auth.into(),
                method: mask.text(method),
                target: mask.text(target),
                upgrade,
                body: Bytes(mask.bytes(body)),
            },
            Input::ApiGone { request } => Self::ApiGone { request },
            Input::StreamDrained { subscriber, bytes } => Self::StreamDrained { subscriber, bytes },
            Input::StreamGone { subscriber } => Self::StreamGone { subscriber },
            Input::Stored { store, result } => {
                Self::Stored { store, result: Ended::of(result, mask, |()| ()) }
            }
            Input::Terminate => Self::Terminate,
        }
    }

    /// The input itself.
    pub(super) fn input(&self) -> Input<'_> {
        match *self {
            Self::Tick => Input::Tick,
            Self::LinkUp { link } => Input::LinkUp { link },
            Self::LinkRefused { link, ref why } => {
                let why = match why {
                    RefusalForm::Status(status) => Refusal::Status(*status),
                    RefusalForm::Fault(fault) => Refusal::Fault(fault.fault()),
                };
                Input::LinkRefused { link, why }
            }
            Self::LinkText { link, ref text } => Input::LinkText { link, text },
            Self::LinkBinary { link, len } => Input::LinkBinary { link, len },
            Self::LinkPong { link } => Input::LinkPong { link },
            Self::LinkDrained { link, bytes } => Input::LinkDrained { link, bytes },
            Self::LinkDown { link, ref why } => Input::LinkDown { link, why },
            Self::CallDone { call, ref result } => {
                Input::CallDone { call, result: result.result(ReplyForm::reply) }
            }
            Self::Spawned { process, ref result } => {
                Input::Spawned { process, result: result.result(|pid| *pid) }
            }
            Self::PtyOutput { process, ref bytes } => Input::PtyOutput { process, bytes: &bytes.0 },
            Self::PtyWritten { process, op, written, ref fault } => {
                Input::PtyWritten { process, op, written, fault: fault.as_ref().map(FaultForm::fault) }
            }
            Self::PtyState { process, op, ref state } => {
                let state = state.as_ref().map(|&TtyForm { unread, canonical, echo }| TtyState {
                    unread,
                    canonical,
                    echo,
                });
                Input::PtyState { process, op, state }
            }
            Self::PtyEof { process } => Input::PtyEof { process },
            Self::PtyExited { process, status } => Input::PtyExited { process, status: status.into() },
            Self::Api { request, auth, ref method, ref target, upgrade, ref body } => {
                Input::Api { request, auth: auth.into(), method, target, upgrade, body: &body.0 }
            }
            Self::ApiGone { request } => Input::ApiGone { request },
            Self::StreamDrained { subscriber, bytes } => Input::StreamDrained { subscriber, bytes },
            Self::StreamGone { subscriber } => Input::StreamGone { subscriber },
            Self::Stored { store, ref result } => Input::Stored { store, result: result.result(|()| ()) },
            Self::Terminate => Input::Terminate,
        }
    }
}

impl ReplyForm<'_> {
    fn reply(&self) -> CallReply<'_> {
        CallReply { status: self.status, body: &self.body.0 }
    }
}
