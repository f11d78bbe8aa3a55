//! Subscribers: who follows the broker's events, how fast they read, and what they see.
//!
//! Owns: event streams, the bytes under way on them, and the numbers of the events.
//! Must not know: what events mean.
//!
//! 1. A stream shows every numbered event once and in order, or says where it leaves some out.
//! 2. No more than the credit of a stream is under way on it.
//! 3. A slow reader drains nothing until its time is over; a reader that left drains nothing more.

use super::World;
use super::event::{Asked, Completion, Event, Of};
use super::marks::FaultMark;
use crate::oracles::Class;
use crate::rng::{Stream, key};
use relay_core::ids::{RequestId, SubscriberId};
use relay_core::{Auth, limits};
use std::collections::BTreeMap;

/// Room on a stream that is less than this is next to none.
const LITTLE: usize = 64 * 1024;

#[derive(Debug)]
struct Subscriber {
    /// The number of the last event that it saw, or left out.
    last: u64,
    in_flight: usize,
    /// Bytes that it has not read because it is slow.
    held: usize,
}

#[derive(Debug, Default)]
pub(super) struct Subscribers {
    table: BTreeMap<Of<SubscriberId>, Subscriber>,
    /// Since which event those want to know that are not answered yet.
    asking: BTreeMap<Of<RequestId>, u64>,
    /// The last event that anybody saw in this life.
    last: u64,
    /// Readers so far: a key for draws.
    readers: u64,
}

impl Subscribers {
    pub(super) fn died(&mut self) {
        self.table.clear();
        self.asking.clear();
        self.last = 0;
    }

    pub(super) fn answered(&mut self, request: Of<RequestId>) {
        self.asking.remove(&request);
    }
}

impl World<'_> {
    /// Somebody follows the events after the number `since`.
    pub(super) fn subscribe(&mut self, since: u64) {
        let target = format!("/ws?sinceSeq={since}");
        let life = self.life.as_ref().map_or(0, |life| life.number);
        let asked = Asked { auth: Auth::Ok, method: "GET", target, body: String::new(), upgrade: true };
        if let Some(request) = self.request(asked) {
            self.subscribers.asking.insert((life, request), since);
        }
    }

    pub(super) fn on_stream(&mut self, request: Of<RequestId>, subscriber: SubscriberId) {
        let last = self.subscribers.asking.remove(&request).unwrap_or(0);
        let reader = Subscriber { last, in_flight: 0, held: 0 };
        self.subscribers.table.insert((request.0, subscriber), reader);
    }

    pub(super) fn on_event(&mut self, of: Of<SubscriberId>, text: &str) {
        let slow = self.now < self.faults.slow_readers;
        let at = self.now + self.system_delay();
        let Some(reader) = self.subscribers.table.get_mut(&of) else {
            return;
        };
        reader.in_flight += text.len();
        let mut broken = (reader.in_flight > limits::STREAM_CREDIT)
            .then(|| format!("{} bytes are under way to {of:?}", reader.in_flight));
        let room = limits::STREAM_CREDIT.saturating_sub(reader.in_flight);
        if let Some(seq) = number(text) {
            let gap = text.starts_with("{\"kind\":\"replay_gap\"");
            if !gap && seq != reader.last + 1 {
                broken.get_or_insert_with(|| format!("{of:?} sees event {seq} after {}", reader.last));
            }
            reader.last = seq;
            self.subscribers.last = self.subscribers.last.max(seq);
            if gap {
                self.fault_marks.hit(FaultMark::EventGap);
            }
        }
        if slow {
            reader.held += text.len();
            if room < LITTLE {
                self.fault_marks.hit(FaultMark::StreamFull);
            }
        } else {
            reader.in_flight -= text.len();
            self.heap.put(at, Event::Input(of.0, Completion::StreamDrained(of.1, text.len())));
        }
        if let Some(message) = broken {
            self.fail(Class::Safety, "S10", message);
        }
    }

    pub(super) fn on_stream_closed(&mut self, of: Of<SubscriberId>) {
        if self.subscribers.table.remove(&of).is_some() {
            self.heap.put(self.now + 1, Event::Input(of.0, Completion::StreamGone(of.1)));
        }
    }

    /// Slow readers have read what they got, if their time is over.
    pub(super) fn drain_streams(&mut self) {
        if self.now < self.faults.slow_readers {
            return;
        }
        for (of, reader) in &mut self.subscribers.table {
            let bytes = std::mem::take(&mut reader.held);
            if bytes > 0 {
                reader.in_flight -= bytes;
                self.fault_marks.hit(FaultMark::SlowReader);
                self.heap.put(self.now + 1, Event::Input(of.0, Completion::StreamDrained(of.1, bytes)));
            }
        }
    }

    /// All readers leave, whatever is under way to them, and others come.
    pub(super) fn change_readers(&mut self, others: u64) {
        for (of, _) in std::mem::take(&mut self.subscribers.table) {
            self.mark(FaultMark::ReaderLeft);
            self.heap.put(self.now, Event::Input(of.0, Completion::StreamGone(of.1)));
        }
        for _ in 0..others {
            self.subscribers.readers += 1;
            let key = key(self.subscribers.readers, 82);
            let last = self.subscribers.last;
            let since = match self.rng.word(Stream::Fault, key) % 4 {
                0 => 0,
                1 => last + 1_000,
                _ => self.rng.between(Stream::Fault, key + 1, 0, last),
            };
            self.subscribe(since);
        }
    }
}

/// The number of an event, which is its last field. Most have a long text before it, so it is read from
/// the end.
fn number(text: &str) -> Option<u64> {
    let text = text.strip_suffix('}')?;
    let before = text.trim_end_matches(|char: char| char.is_ascii_digit());
    let number = &text[before.len()..];
    before.ends_with(",\"seq\":").then_some(number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_field_is_the_number_of_an_event() {
        assert_eq!(number(r#"{"kind":"x","seq":17}"#), Some(17));
        assert_eq!(number(r#"{"kind":"worker_stream","chunk":",\"seq\":5}"}"#), None);
    }
}
