//! The event ring: the latest events, and who has seen how much of them.
//!
//! Owns: event numbers, replay, the credit of subscribers. Must not know: sockets, what events mean.
//!
//! 1. A numbered event gets the next number and is written once; the ring holds at most
//!    [`limits::EVENT_RING`] events and [`limits::EVENT_RING_BYTES`].
//! 2. A subscriber is a place in the ring. It sees every numbered event from there on in order, or one
//!    `replay_gap` that tells what it cannot see any more. Nothing is lost in silence.
//! 3. At most [`limits::STREAM_CREDIT`] bytes are in flight to a subscriber, however slow it is.
//! 4. Output of agents is live only: it goes to subscribers that have seen everything else and have
//!    credit left.

use super::error::ApiError;
use super::event::Event;
use crate::ids::SubscriberId;
use crate::limits;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use serde::Serialize;

/// The latest events and their subscribers.
#[derive(Default)]
pub(crate) struct EventRing {
    /// The latest numbered events as JSON; the last one has the number `last`.
    events: VecDeque<String>,
    bytes: usize,
    last: u64,
    subscribers: BTreeMap<SubscriberId, Subscriber>,
    /// There may be more to send than at the last [`pump`](Self::pump).
    changed: bool,
    /// What is on its way out: already taken from credit.
    out: Vec<(SubscriberId, String)>,
}

impl fmt::Debug for EventRing {
    /// Free text shows as its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, bytes, last, subscribers, changed, out } = self;
        let out = out.iter().map(|(subscriber, text)| (subscriber, text.len()));
        f.debug_struct("EventRing")
            .field("events", &events.len())
            .field("bytes", bytes)
            .field("last", last)
            .field("subscribers", subscribers)
            .field("changed", changed)
            .field("out", &out.collect::<Vec<_>>())
            .finish()
    }
}

#[derive(Debug)]
struct Subscriber {
    /// The number of the event that it gets next.
    next: u64,
    /// The number after which it has to be told of a gap.
    gap_since: Option<u64>,
    in_flight: usize,
}

impl Subscriber {
    /// Takes so many bytes from the credit, if there are enough.
    fn spend(&mut self, bytes: usize) -> bool {
        let enough = self.in_flight + bytes <= limits::STREAM_CREDIT;
        if enough {
            self.in_flight += bytes;
        }
        enough
    }
}

/// In the place of an event that is larger than [`limits::EVENT_BYTES`].
#[derive(Serialize)]
struct Omitted<'a> {
    kind: &'static str,
    of: &'a str,
    bytes: usize,
}

/// Tells a subscriber where its view begins again. Its `seq` is the last lost event, not the newest
/// one: a client that remembers the highest number must not skip what follows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplayGap {
    kind: &'static str,
    requested_since_seq: u64,
    oldest_available: u64,
    seq: u64,
}

impl EventRing {
    /// Takes an event. It leaves with the next [`pump`](Self::pump).
    pub(crate) fn push(&mut self, event: &Event<'_>) {
        self.changed = true;
        if matches!(event, Event::WorkerStream { .. }) {
            self.push_live(event);
            return;
        }
        self.last += 1;
        let text = self.numbered(event.text());
        self.bytes += text.len();
        self.events.push_back(text);
        while self.events.len() > limits::EVENT_RING || self.bytes > limits::EVENT_RING_BYTES {
            let oldest = self.events.pop_front().expect("one event fits");
            self.bytes -= oldest.len();
        }
    }

    fn numbered(&mut self, mut text: String) -> String {
        if text.len() > limits::EVENT_BYTES {
            // The kind is the first field of every event.
            let of = text.split('"').nth(3).unwrap_or_default();
            text = json(&Omitted { kind: "event_omitted", of, bytes: text.len() });
        }
        let brace = text.pop();
        debug_assert_eq!(brace, Some('}'), "an event is an object with fields");
        write!(text, ",\"seq\":{}}}", self.last).expect("a text takes all");
        text
    }

    fn push_live(&mut self, event: &Event<'_>) {
        if self.subscribers.is_empty() {
            return;
        }
        self.advance();
        let text = event.text();
        for (id, subscriber) in &mut self.subscribers {
            let up_to_date = subscriber.gap_since.is_none() && subscriber.next > self.last;
            if up_to_date && subscriber.spend(text.len()) {
                self.out.push((*id, text.clone()));
            }
        }
    }

    /// Lets a subscriber in that has seen events up to the number `since`; 0 for none.
    ///
    /// A number that was never given out comes from a former broker: the subscriber is told of a gap
    /// and sees everything that there is. Refused with 503 beyond [`limits::STREAMS`].
    pub(crate) fn open(&mut self, subscriber: SubscriberId, since: u64) -> Result<(), ApiError> {
        if self.subscribers.len() >= limits::STREAMS {
            return Err(ApiError::new(
                503,
                "too_many_streams",
                format!("{} event streams are open already; close one", limits::STREAMS),
            ));
        }
        let (next, gap_since) =
            if since > self.last { (self.oldest(), Some(since)) } else { (since + 1, None) };
        let opened = Subscriber { next, gap_since, in_flight: 0 };
        self.changed = true;
        let before = self.subscribers.insert(subscriber, opened);
        assert!(before.is_none(), "a subscriber opens once");
        Ok(())
    }

    /// The subscriber has taken so many bytes of what [`pump`](Self::pump) gave out for it.
    pub(crate) fn drained(&mut self, subscriber: SubscriberId, bytes: usize) {
        self.changed = true;
        if let Some(subscriber) = self.subscribers.get_mut(&subscriber) {
            assert!(bytes <= subscriber.in_flight, "more was drained than was sent");
            subscriber.in_flight -= bytes;
        }
    }

    /// The subscriber is gone.
    pub(crate) fn gone(&mut self, subscriber: SubscriberId) {
        self.subscribers.remove(&subscriber);
        self.out.retain(|(id, _)| *id != subscriber);
    }

    /// Appends what is to be sent now, in order.
    pub(crate) fn pump(&mut self, out: &mut Vec<(SubscriberId, String)>) {
        // Most inputs tell no news.
        if core::mem::take(&mut self.changed) {
            self.advance();
            out.append(&mut self.out);
        }
    }

    /// How many follow. Output of agents need not be decoded for nobody.
    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// Lets go of everybody who follows.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = SubscriberId> {
        core::mem::take(&mut self.subscribers).into_keys()
    }

    /// The number of the oldest event that is kept, or of the next one when none is.
    fn oldest(&self) -> u64 {
        self.last + 1 - self.events.len() as u64
    }

    /// Sends every subscriber what it has not seen, as far as its credit goes.
    fn advance(&mut self) {
        let oldest = self.oldest();
        for (id, subscriber) in &mut self.subscribers {
            if subscriber.next < oldest {
                // A gap that it was not told of yet only grows.
                if !canary!(GapUntold) {
                    subscriber.gap_since.get_or_insert(subscriber.next - 1);
                }
                subscriber.next = oldest;
            }
            if let Some(since) = subscriber.gap_since {
                let text = gap(since, subscriber.next);
                if !subscriber.spend(text.len()) {
                    continue;
                }
                subscriber.gap_since = None;
                self.out.push((*id, text));
            }
            while let Some(text) = self.events.get((subscriber.next - oldest) as usize)
                && subscriber.spend(text.len())
            {
                subscriber.next += 1;
                self.out.push((*id, text.clone()));
            }
        }
    }
}

fn gap(since: u64, oldest: u64) -> String {
    json(&ReplayGap {
        kind: "replay_gap",
        requested_since_seq: since,
        oldest_available: oldest,
        seq: oldest - 1,
    })
}

fn json(event: &impl Serialize) -> String {
    serde_json::to_string(event).expect("events have string keys and whole numbers")
}

#[cfg(test)]
mod tests;
