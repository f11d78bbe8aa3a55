//! Tampering: frames of the engine that are repeated, odd, nameless or senseless on their way.
//!
//! Owns: what a frame becomes while the engine misbehaves.
//! Must not know: what the broker makes of it.
//!
//! 1. What a frame says of a message never changes: only its spelling, and what stands around it.
//! 2. Rows are never repeated here; only the engine itself replays them.

use super::World;
use super::event::{Completion, Of};
use super::marks::FaultMark;
use crate::rng::Stream;
use relay_core::ids::LinkId;
use serde_json::{Value, json};

/// Bytes of a giant frame: some times more than of all but the messages that fill a window. More would only
/// cost time.
const GIANT: usize = 256 * 1024;
/// Frames that mean nothing, or not yet.
const SENSELESS: [&str; 6] = [
    "",
    "[]",
    "{\"v\":1}",
    "{\"v\":1,\"type\":\"deliver\"}",
    "{\"v\":9,\"type\":\"agent.moved\",\"agent_id\":null,\"to\":{\"node\":[1,2]}}",
    "{\"v\":1,\"type\":\"context.update\",\"topic\":5,\"event\":null}",
];

impl World<'_> {
    /// What really goes down the link instead of this text.
    pub(super) fn tamper(&mut self, link: Of<LinkId>, text: String) -> Vec<Completion> {
        let down = |text: String| Completion::LinkText(link.1, text);
        let key = self.key();
        let draw = self.rng.word(Stream::Fault, key);
        let is = |kind: &str| text.contains(kind);
        if self.now < self.faults.echo && is("\"type\":\"deliver\"") && is("\"seq\":0,") {
            self.mark(FaultMark::EventRepeated);
            return vec![down(text.clone()), down(text)];
        }
        if self.now < self.faults.nameless && is("\"type\":\"reply\"") && draw.is_multiple_of(2) {
            self.mark(FaultMark::ReplyNameless);
            return vec![down(respelled(&text, |frame| frame["id"] = Value::Null))];
        }
        if self.now < self.faults.garble {
            self.mark(FaultMark::FrameOdd);
            let senseless = SENSELESS[draw as usize % SENSELESS.len()].to_owned();
            return vec![down(senseless), down(respelled(&text, |frame| misspell(frame, draw >> 8)))];
        }
        vec![down(text)]
    }

    /// A binary message and a giant one come down every link.
    pub(super) fn make_noise(&mut self) {
        let links = self.open_links();
        for link in links {
            self.mark(FaultMark::Noise);
            let topic = "x".repeat(GIANT);
            let giant = format!("{{\"v\":1,\"type\":\"context.update\",\"topic\":\"{topic}\"}}");
            self.send_down(link, Completion::LinkBinary(link.1, GIANT));
            self.send_down(link, Completion::LinkText(link.1, giant));
        }
    }
}

fn respelled(text: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut frame: Value = serde_json::from_str(text).unwrap_or_default();
    if frame.is_object() {
        change(&mut frame);
    }
    frame.to_string()
}

fn misspell(frame: &mut Value, draw: u64) {
    frame["v"] = json!(draw % 3);
    frame["later"] =
        [Value::Null, json!([{}]), json!({ "type": "deliver" })][(draw >> 8) as usize % 3].clone();
    if frame["type"] != "deliver" {
        return;
    }
    if frame["mode"] == "wait" {
        frame["mode"] =
            [Value::Null, json!("later"), json!(3), json!("wait")][(draw >> 16) as usize % 4].clone();
    }
    if let Some(seq) = frame["seq"].as_u64() {
        frame["seq"] =
            [json!(seq), json!(seq.to_string()), json!(seq as f64)][(draw >> 24) as usize % 3].clone();
    }
}
