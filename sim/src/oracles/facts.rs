//! Facts of the wire: what a frame says, as far as any oracle asks.
//!
//! Owns: reading a frame once. Must not know: what follows from it.
//!
//! 1. A frame is read once per direction, and the payload of a message is kept as it is.
//! 2. What cannot be read is no fact; whether a frame is allowed is another oracle's question.

use relay_core::edge::is_shown;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Deref;

type Text<'a> = Option<Words<'a>>;

/// A text, copied only where it contains an escape. In an `Option` a plain [`Cow`] would always be copied.
#[derive(Debug, Deserialize)]
pub(super) struct Words<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Words<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A frame of either side.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    /// Correlates a request and its answer.
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    #[serde(borrow, default)]
    pub(super) agent: Text<'a>,
    #[serde(borrow, default)]
    pub(super) agent_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) delivery_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) invocation_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) action: Text<'a>,
    /// Why a request is refused.
    #[serde(borrow, default)]
    pub(super) code: Text<'a>,
    #[serde(borrow, default)]
    pub(super) mode: Mode<'a>,
    #[serde(default, deserialize_with = "number")]
    pub(super) seq: Option<u64>,
    #[serde(default)]
    pub(super) up_to_seq: Option<u64>,
    #[serde(borrow, default)]
    pub(super) input: Option<Named<'a>>,
    /// The agents of an inventory.
    #[serde(borrow, default)]
    pub(super) agents: Vec<Named<'a>>,
    /// An answer's content.
    #[serde(borrow, default)]
    pub(super) data: Option<Named<'a>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// A text, or something else in its place.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Mode<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl Mode<'_> {
    pub(super) fn is(&self, word: &str) -> bool {
        self.0.is_some_and(|json| {
            serde_json::from_str::<Words<'_>>(json.get()).is_ok_and(|text| *text == *word)
        })
    }
}

/// Whole numbers up to here are exact with a fraction or exponent.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number, however it is spelled.
fn number<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u64>, D::Error> {
    let json = <&RawValue>::deserialize(source)?.get().trim_matches('"');
    let whole = |number: &f64| (0.0..=EXACT).contains(number) && number.fract() == 0.0;
    let float = || json.parse().ok().filter(whole);
    Ok(json.parse().ok().or_else(|| float().map(|number| number as u64)))
}

/// Something inside a frame that may name an agent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Named<'a> {
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    #[serde(borrow, default)]
    pub(super) agent_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) invocation_id: Text<'a>,
    /// Entries of an inventory that were passed over.
    #[serde(default)]
    pub(super) rejected_agents: u64,
    /// Entries of an inventory that are known.
    pub(super) rebound_agents: Option<u64>,
}

impl<'a> Frame<'a> {
    /// Reads a frame.
    pub(super) fn read(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(super) fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or_default()
    }

    /// How large what it brings is.
    pub(super) fn payload_len(&self) -> usize {
        self.payload.map_or(0, |payload| payload.get().len())
    }

    /// Whether what the frame brings is for an agent to read.
    pub(super) fn is_shown(&self) -> bool {
        is_shown(self.payload.map_or("null", RawValue::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_oracles_ask_is_read_and_the_rest_is_skipped() {
        let frame = Frame::read(
            r#"{"v":1,"type":"deliver","seq":3,"agent_id":"7","mode":"steer","payload":{"text":"<m1.0!>"}}"#,
        );
        assert_eq!((frame.kind(), frame.seq, frame.mode.is("steer")), ("deliver", Some(3), true));
        assert!(frame.is_shown() && Frame::read("{}").is_shown());
        assert!(!Frame::read(r#"{"payload":{"type":"canvas.painted"}}"#).is_shown());
        let frame = Frame::read(r#"{"type":"inventory.sync","agents":[{"name":"a\u0062","agent_id":"1"}]}"#);
        assert_eq!(frame.agents[0].name.as_deref(), Some("ab"));
        for odd in [r#"{"seq":"3","mode":null}"#, r#"{"seq":3.0,"mode":4}"#] {
            let frame = Frame::read(odd);
            assert_eq!((frame.seq, frame.mode.is("wait")), (Some(3), false), "{odd}");
        }
        assert_eq!(Frame::read("nonsense").kind(), "");
    }
}
