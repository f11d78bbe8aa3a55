//! S9, L3 and L7: what the broker has under way is bounded, each piece of it in time, and over in the end.
//!
//! Would catch: a command queue that grows while a socket or a terminal is stuck; a write without a
//! limit, behind which heartbeats and acks wait; a subscriber that nobody reads and that is fed on; a
//! timer of somebody who has left.
//!
//! 1. S9: bytes handed to one link, terminal or event stream and not taken yet stay within the credit.
//!    Nothing is handed to a stream that is closed.
//! 2. L3: the deadline of every operation lies ahead, and not farther than the longest limit.
//! 3. S9: the armed timers are a few, a few per agent, and one per request and change of a file.
//! 4. L7: when there is nothing to do, only those of the link and of the agents' terminals are left, and no
//!    operation.

use super::At;
use relay_core::ids::{LinkId, OpId, ProcessId, StoreId, SubscriberId};
use relay_core::limits::{LINK_CREDIT, PTY_CREDIT, STREAM_CREDIT};
use relay_core::{Command, Held, Input};
use std::collections::{BTreeMap, BTreeSet};

/// No operation may take longer than this: a write to a terminal waits for its program, all others are
/// over much sooner. In µs.
const LONGEST: u64 = 60 * 1_000_000;

/// Timers of the link, the inventory and the shutdown: one per reason.
const TIMERS: usize = 16;
/// Timers of one agent and of its window. An agent that goes may still be there when the next comes.
const TIMERS_PER_AGENT: usize = 12;
/// Timers of a broker that has nothing to do: the next heartbeat, refresh and so on.
const TIMERS_AT_REST: usize = 6;

#[derive(Debug, Default)]
pub(crate) struct Bounds {
    stores: BTreeSet<StoreId>,
    links: BTreeMap<LinkId, usize>,
    streams: BTreeMap<SubscriberId, usize>,
    closed: BTreeSet<SubscriberId>,
    terminals: BTreeMap<ProcessId, BTreeMap<OpId, usize>>,
}

impl Bounds {
    pub(crate) fn input(&mut self, input: &Input<'_>) {
        match input {
            Input::LinkDrained { link, bytes } => {
                self.links.entry(*link).and_modify(|held| *held = held.saturating_sub(*bytes));
            }
            Input::LinkDown { link, .. } => {
                self.links.remove(link);
            }
            Input::StreamDrained { subscriber, bytes } => {
                self.streams.entry(*subscriber).and_modify(|held| *held = held.saturating_sub(*bytes));
            }
            Input::StreamGone { subscriber } => {
                self.streams.remove(subscriber);
            }
            Input::Stored { store, .. } => {
                self.stores.remove(store);
            }
            Input::PtyWritten { process, op, .. } => {
                if let Some(writes) = self.terminals.get_mut(process) {
                    writes.remove(op);
                }
            }
            Input::PtyExited { process, .. } => {
                self.terminals.remove(process);
            }
            _ => {}
        }
    }

    /// S9.
    pub(crate) fn command(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::LinkSend { link, text } => {
                let held = self.links.entry(*link).or_default();
                let before = std::mem::replace(held, *held + text.len());
                within(before, LINK_CREDIT, "a link")
            }
            Command::StreamSend { subscriber, .. } if self.closed.contains(subscriber) => {
                Err(format!("{subscriber:?} is closed and is sent something"))
            }
            Command::StreamClose { subscriber, .. } => {
                self.closed.insert(*subscriber);
                Ok(())
            }
            Command::StreamSend { subscriber, text } => {
                let held = self.streams.entry(*subscriber).or_default();
                *held += text.len();
                within(*held, STREAM_CREDIT, "an event stream")
            }
            Command::PtyWrite { process, op, bytes, .. } => {
                let writes = self.terminals.entry(*process).or_default();
                writes.insert(*op, bytes.len());
                within(writes.values().sum(), PTY_CREDIT, "a terminal")
            }
            Command::Store { store, .. } => {
                self.stores.insert(*store);
                Ok(())
            }
            Command::PtyForget { process } => {
                self.terminals.remove(process);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// S9: what is held while so many agents are wanted and so many requests are open.
    pub(super) fn held(&self, held: &Held, agents: usize, requests: usize) -> Result<(), String> {
        let most = TIMERS + TIMERS_PER_AGENT * agents + requests + self.stores.len();
        if held.timers > most {
            return Err(format!("{} timers are armed, for {agents} agents no more than {most}", held.timers));
        }
        Ok(())
    }

    /// The broker is gone with all that it had under way.
    pub(super) fn died(&mut self) {
        *self = Self::default();
    }
}

fn within(held: usize, most: usize, what: &str) -> Result<(), String> {
    if held > most {
        return Err(format!("{held} bytes are on their way into {what}; the credit is {most}"));
    }
    Ok(())
}

/// L7: what is held when there is nothing to do.
pub(super) fn rest(held: &Held, agents: usize) -> Result<(), String> {
    let Held { timers, calls, stores, requests } = *held;
    if timers > TIMERS_AT_REST + agents || calls + stores + requests > 0 {
        return Err(format!("there is nothing to do, and this is left: {held:?}"));
    }
    Ok(())
}

/// L3.
pub(crate) fn deadline(at: At, command: &Command) -> Result<(), String> {
    let deadline = match command {
        Command::LinkOpen { deadline, .. }
        | Command::LinkClose { deadline, .. }
        | Command::Call { deadline, .. }
        | Command::Spawn { deadline, .. }
        | Command::PtyWrite { deadline, .. }
        | Command::Store { deadline, .. } => deadline.0,
        _ => return Ok(()),
    };
    if deadline <= at.mono || deadline > at.mono + LONGEST {
        let ahead = i128::from(deadline) - i128::from(at.mono);
        return Err(format!("an operation has its deadline {ahead} µs ahead"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::StoreAction;
    use relay_core::time::Mono;

    const AT: At = At { life: 1, mono: 100, now: 100 };

    fn write(op: u64, bytes: usize, deadline: u64) -> Command {
        let (process, op, bytes) = (ProcessId(1), OpId(op), vec![0; bytes]);
        Command::PtyWrite { process, op, bytes, deadline: Mono(deadline) }
    }

    #[test]
    fn a_terminal_gets_no_more_than_its_credit_until_it_takes_something() {
        let mut bounds = Bounds::default();
        assert_eq!(bounds.command(&write(1, PTY_CREDIT, 200)), Ok(()));
        assert!(bounds.command(&write(2, 1, 200)).is_err());
        let [done, also] = [1, 2].map(OpId);
        for op in [done, also] {
            bounds.input(&Input::PtyWritten { process: ProcessId(1), op, written: 0, fault: None });
        }
        assert_eq!(bounds.command(&write(3, PTY_CREDIT, 200)), Ok(()));
    }

    #[test]
    fn a_link_and_a_stream_get_no_more_than_their_credit() {
        let mut bounds = Bounds::default();
        let send = |bytes| Command::LinkSend { link: LinkId(1), text: " ".repeat(bytes) };
        assert_eq!(bounds.command(&send(LINK_CREDIT)), Ok(()));
        assert_eq!(bounds.command(&send(1)), Ok(()), "the frame that fills it may be longer");
        assert!(bounds.command(&send(1)).is_err());
        let send = |bytes| Command::StreamSend { subscriber: SubscriberId(1), text: " ".repeat(bytes) };
        assert_eq!(bounds.command(&send(STREAM_CREDIT)), Ok(()));
        bounds.input(&Input::StreamDrained { subscriber: SubscriberId(1), bytes: 1 });
        assert_eq!(bounds.command(&send(1)), Ok(()));
        assert!(bounds.command(&send(1)).is_err());
    }

    #[test]
    fn a_stream_that_is_closed_gets_nothing() {
        let mut bounds = Bounds::default();
        let subscriber = SubscriberId(1);
        assert_eq!(bounds.command(&Command::StreamClose { subscriber, code: 1001, reason: "" }), Ok(()));
        assert!(bounds.command(&Command::StreamSend { subscriber, text: String::new() }).is_err());
    }

    #[test]
    fn timers_are_as_many_as_agents_and_what_is_under_way() {
        let held = |timers, stores| Held { timers, stores, ..Held::default() };
        let mut bounds = Bounds::default();
        assert_eq!(bounds.held(&held(TIMERS + TIMERS_PER_AGENT + 2, 0), 1, 2), Ok(()));
        let many = held(TIMERS + TIMERS_PER_AGENT + 3, 1);
        assert!(bounds.held(&many, 1, 2).is_err());
        let action = StoreAction::Append { lines: "{}\n".into() };
        bounds.command(&Command::Store { store: StoreId(1), action, deadline: Mono(9) }).expect("small");
        assert_eq!(bounds.held(&many, 1, 2), Ok(()));
        bounds.input(&Input::Stored { store: StoreId(1), result: Ok(()) });
        assert!(bounds.held(&many, 1, 2).is_err());
        assert_eq!(rest(&held(TIMERS_AT_REST + 1, 0), 1), Ok(()));
        assert!(rest(&held(TIMERS_AT_REST + 2, 0), 1).is_err());
        assert!(rest(&held(1, 1), 1).is_err());
    }

    #[test]
    fn deadlines_lie_ahead_and_not_far() {
        assert_eq!(deadline(AT, &write(1, 1, 101)), Ok(()));
        assert!(deadline(AT, &write(1, 1, 100)).is_err());
        assert!(deadline(AT, &write(1, 1, 101 + LONGEST)).is_err());
    }
}
