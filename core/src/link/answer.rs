//! Answers of the engine over HTTP.
//!
//! Owns: the envelope, and the one form in which a failed call is told.
//! Must not know: what was asked.
//!
//! 1. Whatever the engine sends, the outcome is an [`Answer`] or a [`Refused`] with words for people.

use crate::input::{CallReply, Fault, FaultKind};
use crate::secret::mask;
use crate::wire::Object;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The `data` of a good answer.
pub(crate) struct Answer<'a> {
    data: Object<'a>,
}

/// Why a call did not yield what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The HTTP status, if there was an answer.
    pub(crate) status: Option<u16>,
    /// The engine's code, or one of ours for what is not an answer.
    pub(crate) code: String,
    /// For people; masked.
    pub(crate) message: String,
}

impl<'a> Answer<'a> {
    /// Opens the envelope of an answer (`core/PROTOCOL.md` §1).
    pub(crate) fn read(reply: CallReply<'a>) -> Result<Self, Refused> {
        let data = open(reply)?.and_then(|envelope| envelope.object("data"));
        data.map(|data| Self { data }).ok_or_else(|| without_data(reply.status, "object"))
    }

    /// A text or number of the data.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.data.id(key).map(alloc::borrow::Cow::into_owned).filter(|text| !text.is_empty())
    }
}

/// Opens the envelope of a good answer with a list as its data.
pub(crate) fn read_list(reply: CallReply<'_>) -> Result<Vec<Object<'_>>, Refused> {
    let data = open(reply)?.and_then(|envelope| envelope.get("data"));
    let list = data.and_then(|data| serde_json::from_str(data.get()).ok());
    list.ok_or_else(|| without_data(reply.status, "list of objects"))
}

/// The envelope of a good answer, if it can be read.
fn open(reply: CallReply<'_>) -> Result<Option<Object<'_>>, Refused> {
    let text = core::str::from_utf8(reply.body).unwrap_or_default();
    let envelope = Object::parse(text);
    if (200..300).contains(&reply.status) {
        return Ok(envelope);
    }
    let error = envelope.as_ref().and_then(|envelope| envelope.object("error"));
    let field = |key| error.as_ref().and_then(|error| error.text(key));
    let code = field("code").unwrap_or_else(|| format!("http_{}", reply.status).into());
    let message = field("message").map_or_else(String::new, |message| mask(&message));
    Err(Refused { status: Some(reply.status), code: mask(&code), message })
}

fn without_data(status: u16, shape: &str) -> Refused {
    Refused {
        status: None,
        code: "malformed_answer".into(),
        message: format!("the answer with status {status} has no {shape} `data`"),
    }
}

impl Refused {
    /// Whether the same call may succeed later: the engine was not reached, failed, or was busy.
    pub(crate) fn is_transient(&self) -> bool {
        !canary!(TroubleIsRefusal)
            && self
                .status
                .is_none_or(|status| !(400..500).contains(&status) || status == 408 || status == 429)
    }

    /// The call itself failed.
    pub(crate) fn by_fault(fault: &Fault<'_>) -> Self {
        let code = match fault.kind {
            FaultKind::Deadline => "engine_timeout",
            _ => "engine_unreachable",
        };
        Self { status: None, code: code.into(), message: mask(fault.detail) }
    }

    /// The answer lacked what it must have.
    pub(crate) fn malformed(call: &str, missing: &str) -> Self {
        let message = format!("the answer to {call} has no {missing}");
        Self { status: None, code: "malformed_answer".into(), message }
    }
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.code)?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}
