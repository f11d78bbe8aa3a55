//! Mail: what was delivered, as the steps that have it delivered.
//!
//! Owns: which deliveries are one message, when it was sent, and what stands in for it.
//! Must not know: whether anybody read it.
//!
//! 1. A delivery that is repeated is one message.
//! 2. A message of the local API that comes back is one message.

use super::cast::Cast;
use crate::plan::Step;
use crate::scenario::limits;
use relay_core::edge::is_shown;
use relay_core::ids::LinkId;
use relay_core::time::Wall;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: i64 = 24 * 3_600_000;
/// A message that says that it is older was sent by another clock.
const OLDEST_MS: i64 = 3_600_000;
/// What is reacted to at the same time by the same is one reaction, in µs.
const SAME: u64 = 100_000;

/// What a delivery is, once for all whom it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Direct,
    Channel,
    Reply,
    Group,
    Outcome,
    Denial,
    Reaction { read: bool },
    Novelty,
}

#[derive(Debug)]
struct Item {
    sent: u64,
    came: u64,
    what: What,
    name: String,
    message: String,
    size: usize,
    steer: bool,
    /// It was sent through the local API.
    local: bool,
}

/// What a frame was, seen from the frames before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    First,
    /// Behind one with a greater number.
    Overtaken,
    /// On the link that it had come on before.
    Again,
    /// On another link than before.
    Replayed,
}

#[derive(Debug, Default)]
pub(super) struct Mail {
    items: Vec<Item>,
    /// The latest link of each delivery.
    seen: BTreeMap<String, LinkId>,
    /// The greatest sequence by agent and link.
    latest: BTreeMap<(String, LinkId), u64>,
    /// Sent through the local API and not come back: when, to whom, what.
    sends: Vec<(u64, String, String)>,
}

impl Mail {
    /// A message leaves through the local API.
    pub(super) fn send(&mut self, at: u64, to: &str, text: String) {
        self.sends.push((at, to.to_owned(), text));
    }

    /// A delivery arrives.
    pub(super) fn deliver(&mut self, at: u64, wall: Wall, link: LinkId, frame: &Value) -> Came {
        let word = |key: &str| frame[key].as_str().unwrap_or_default();
        let name = frame["agent"].as_str().unwrap_or_else(|| word("agent_id")).to_owned();
        let (delivery, message) = (word("delivery_id"), word("msg_id").to_owned());
        let seq = number(&frame["seq"]);
        let key = format!("{name}/{seq}/{delivery}");
        if let Some(before) = self.seen.insert(key, link) {
            return if before == link { Came::Again } else { Came::Replayed };
        }
        let payload = &frame["payload"];
        let text = text(payload);
        let local = self.sends.iter().position(|(_, to, sent)| *to == name && *sent == text);
        let local = local.map(|place| self.sends.swap_remove(place).0);
        self.items.push(Item {
            sent: local.unwrap_or_else(|| at.saturating_sub(age(payload, wall))),
            came: at,
            what: what(payload),
            name: name.clone(),
            message,
            size: text.len().clamp(1, limits::SIZE as usize),
            steer: word("mode") == "steer",
            local: local.is_some(),
        });
        let latest = self.latest.entry((name, link)).or_default();
        let overtaken = (1..*latest).contains(&seq);
        *latest = (*latest).max(seq);
        if overtaken { Came::Overtaken } else { Came::First }
    }

    /// Deliveries for agents that are not among the first so many of the cast.
    pub(super) fn strays(&self, cast: &Cast) -> usize {
        self.items.iter().filter(|item| cast.place(&item.name).is_none()).count()
    }

    /// The steps. What was sent before an agent was there is sent as soon as it is.
    pub(super) fn steps(&self, cast: &Cast) -> Vec<(u64, Step)> {
        let mut reached = BTreeMap::<_, BTreeSet<usize>>::new();
        for item in &self.items {
            if let Some(place) = cast.place(&item.name) {
                reached.entry(item.key()).or_default().insert(place);
            }
        }
        let (mut steps, mut done) = (Vec::new(), BTreeSet::new());
        let mut first_in_channel = u64::MAX;
        for item in &self.items {
            let Some(to) = cast.place(&item.name) else { continue };
            let places = &reached[&item.key()];
            let all = places.len() >= cast.present(item.came);
            if item.is_shared(all) && !done.insert(item.key()) {
                continue;
            }
            let waited_for = places.iter().filter(|_| item.is_shared(all)).chain([&to]);
            let there = waited_for.map(|place| cast.wanted(*place)).max();
            let at = item.sent.max(there.unwrap_or(0));
            let Item { size, steer, .. } = *item;
            let step = match item.what {
                What::Channel if all => {
                    first_in_channel = first_in_channel.min(at);
                    Step::Channel { size }
                }
                What::Reply if all && first_in_channel < at => Step::Reply { size },
                What::Reply if all => {
                    first_in_channel = at;
                    Step::Channel { size }
                }
                What::Group if all => Step::Group { size },
                // With a single agent the simulator would have it write to itself.
                _ if item.local && cast.present(u64::MAX) > 1 => Step::Send { to, size },
                What::Outcome => Step::Outcome { to },
                What::Denial => Step::Deny { to },
                What::Reaction { read } => Step::React { read },
                What::Novelty => Step::Novel { to },
                What::Direct | What::Channel | What::Reply | What::Group => Step::Direct { to, steer, size },
            };
            steps.push((at, step));
        }
        steps
    }
}

impl Item {
    /// What is the same for all whom a message reaches.
    fn key(&self) -> (What, &str, u64) {
        match self.what {
            What::Reaction { .. } => (self.what, &self.message, self.sent / SAME),
            _ => (self.what, &self.message, 0),
        }
    }

    /// Whether one step stands for all of them; `all` if it reached all agents.
    const fn is_shared(&self, all: bool) -> bool {
        match self.what {
            What::Channel | What::Reply | What::Group => all,
            What::Reaction { .. } => true,
            What::Direct | What::Outcome | What::Denial | What::Novelty => false,
        }
    }
}

/// A number, however it is spelled.
pub(super) fn number(value: &Value) -> u64 {
    let spelled = || value.as_str().and_then(|text| text.parse().ok());
    let broken = || value.as_f64().map(|number| number as u64);
    value.as_u64().or_else(spelled).or_else(broken).unwrap_or(0)
}

fn what(payload: &Value) -> What {
    let kind = payload["type"].as_str().unwrap_or_default();
    match kind.split_once('.').map_or(kind, |(family, _)| family) {
        "message" if kind == "message.read" => What::Reaction { read: true },
        "message" if kind == "message.reacted" => What::Reaction { read: false },
        _ if !is_shown(&payload.to_string()) => What::Novelty,
        "dm" | "direct_message" => What::Direct,
        "group_dm" => What::Group,
        "thread" => What::Reply,
        "action" if kind == "action.denied" => What::Denial,
        "action" => What::Outcome,
        _ => What::Channel,
    }
}

/// What a message says; all of it where that is not clear.
fn text(payload: &Value) -> String {
    let places = [&payload["data"]["text"], &payload["text"], &payload["body"], &payload["content"]];
    let said = places.into_iter().find_map(Value::as_str);
    said.map_or_else(|| payload.to_string(), str::to_owned)
}

/// How long ago a message was sent, by what it says, in µs; 0 where it does not say so.
fn age(payload: &Value, now: Wall) -> u64 {
    let sent = payload["data"]["created_at"].as_str().and_then(in_day);
    let age = sent.map_or(0, |sent| now.0.saturating_sub(sent).rem_euclid(DAY_MS));
    if age < OLDEST_MS { age as u64 * 1_000 } else { 0 }
}

/// The milliseconds since midnight of a time like `2026-09-21T14:13:25.000Z`.
fn in_day(text: &str) -> Option<i64> {
    let (_, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let parts: Vec<i64> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let [hours @ 0..24, minutes @ 0..60, seconds @ 0..61] = parts[..] else { return None };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000 + millis.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_age_of_a_message_is_what_it_says_as_far_as_that_can_be() {
        let noon = |seconds: i64| Wall(20_000 * DAY_MS + 12 * 3_600_000 + seconds * 1_000);
        let payload = |at: &str| json!({ "type": "dm.received", "data": { "created_at": at } });
        for (at, now, wanted) in [
            ("2024-10-04T12:00:00.000Z", noon(3), 3_000_000),
            ("2024-10-04T12:00:00.5Z", noon(3), 2_500_000),
            ("2024-10-04T11:59:59Z", noon(0), 1_000_000),
            ("2024-10-04T12:00:01Z", noon(0), 0),
            ("2024-10-04T10:00:00Z", noon(0), 0),
            ("yesterday", noon(0), 0),
            ("2024-10-04T99:00:00Z", noon(0), 0),
        ] {
            assert_eq!(age(&payload(at), now), wanted, "{at}");
        }
        assert_eq!(age(&Value::Null, noon(0)), 0);
    }
}
