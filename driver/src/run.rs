//! The loop: the only place that touches the broker.
//!
//! Owns: the order of inputs and commands.
//! Must not know: a runtime; how events come, how commands are carried out, why the core wants them.
//!
//! 1. Commands are drained before the next input; carrying one out never waits.
//! 2. Inputs that are ready go before a due `Tick`, a bounded row of them: after a suspend
//!    the answers that wait in the buffers are read before their deadlines are judged.
//! 3. One reading of the clocks per input.

use crate::clock;
use crate::event::Event;
use crate::record::Recording;
use relay_core::time::{Mono, Now};
use relay_core::{Broker, Command, Input, Step};
use std::future::Future;

/// Ready inputs taken before timers get their turn.
const READY_ROW: usize = 64;

/// Where events come from: the inbox and the alarm of a runtime.
pub trait Source<E> {
    /// An event that is there already.
    fn ready(&mut self) -> Option<E>;

    /// Gives other tasks a turn.
    fn rest(&mut self) -> impl Future<Output = ()>;

    /// The next event, or `None` at this time if none came before.
    fn wait(&mut self, until: Option<Mono>) -> impl Future<Output = Option<E>>;
}

/// Everything that carries out commands.
pub trait Hands<E> {
    /// Starts what the command wants; `Some` is the exit code that ends the process.
    fn execute(&mut self, now: Now, command: Command) -> Option<u8>;

    /// Takes from an event what is kept here, before the core sees it.
    fn settle(&mut self, event: &mut E);
}

/// Runs the broker to its end; returns the exit code.
pub async fn run<R, C>(
    mut broker: Broker,
    hands: &mut impl Hands<Event<R, C>>,
    source: &mut impl Source<Event<R, C>>,
    recording: &mut Recording,
) -> u8 {
    let mut row = 0;
    let mut now = clock::now();
    loop {
        let wake = loop {
            match broker.poll() {
                Step::Do(command) => {
                    recording.command(&command);
                    if let Some(code) = hands.execute(now, command) {
                        return code;
                    }
                }
                Step::Wait(wake) => break wake,
            }
        };
        recording.settled(&broker);
        let mut event = next(source, wake.at, &mut row).await;
        now = clock::now();
        if let Some(event) = &mut event {
            hands.settle(event);
        }
        let input = event.as_ref().map_or(Input::Tick, Event::input);
        recording.input(now, &input);
        broker.handle(now, input);
    }
}

/// The next event, or `None` for a tick, which is due at `tick`.
async fn next<E>(source: &mut impl Source<E>, tick: Option<Mono>, row: &mut usize) -> Option<E> {
    if *row < READY_ROW
        && let Some(event) = source.ready()
    {
        *row += 1;
        return Some(event);
    }
    let tired = std::mem::take(row) == READY_ROW;
    // The clock, not the alarm, says what is due: the runtime may be late with the alarm's news.
    if tick.is_some_and(|at| at <= clock::now().mono) {
        return None;
    }
    if tired {
        // Lets the tasks write what the row has produced.
        source.rest().await;
    }
    source.wait(tick).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::time::Span;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// So many events are ready; what was asked of it is written down.
    struct Busy {
        ready: usize,
        told: Vec<&'static str>,
    }

    impl Source<()> for Busy {
        fn ready(&mut self) -> Option<()> {
            self.ready = self.ready.checked_sub(1)?;
            self.told.push("ready");
            Some(())
        }

        async fn rest(&mut self) {
            self.told.push("rest");
        }

        async fn wait(&mut self, _: Option<Mono>) -> Option<()> {
            self.told.push("wait");
            Some(())
        }
    }

    /// What is asked of a busy source for so many turns, with a tick that is due or not.
    fn told(ready: usize, turns: usize, tick: Option<Mono>) -> Vec<&'static str> {
        let (mut source, mut row) = (Busy { ready, told: Vec::new() }, 0);
        for _ in 0..turns {
            let event = {
                let turn = pin!(next(&mut source, tick, &mut row));
                let Poll::Ready(event) = turn.poll(&mut Context::from_waker(Waker::noop())) else {
                    panic!("this source never lets wait");
                };
                event
            };
            if event.is_none() {
                source.told.push("tick");
            }
        }
        source.told
    }

    #[test]
    fn ready_events_go_before_a_due_tick_but_only_a_row_of_them() {
        let due = Some(Mono(0));
        assert_eq!(told(2, 3, due), ["ready", "ready", "tick"]);
        let told = told(READY_ROW + 2, READY_ROW + 3, due);
        assert!(told[..READY_ROW].iter().all(|word| *word == "ready"));
        assert_eq!(told[READY_ROW..], ["tick", "ready", "ready"]);
    }

    #[test]
    fn after_a_row_the_other_tasks_get_a_turn_before_the_loop_waits() {
        let later = Some(clock::now().mono.after(Span::secs(3_600)));
        for tick in [None, later] {
            assert_eq!(told(1, 2, tick), ["ready", "wait"]);
            assert_eq!(told(READY_ROW + 1, READY_ROW + 1, tick)[READY_ROW..], ["rest", "wait"]);
        }
    }
}
