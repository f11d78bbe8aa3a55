//! The alarm that wakes the loop.
//!
//! Owns: its timer. Must not know: what is being waited for.
//!
//! 1. It counts through suspend, as the core's deadlines do.

use relay_core::time::Mono;
use relay_driver::clock::{set_timer, take_ring, timer};
use smol::Async;
use std::io;
use std::os::fd::OwnedFd;

/// The timer of the loop.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: Async<OwnedFd>,
    at: Option<Mono>,
}

impl Alarm {
    /// An alarm that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { timer: Async::new_nonblocking(timer()?)?, at: None })
    }

    /// Sets it to `at`, or off.
    pub(crate) fn set(&mut self, at: Option<Mono>) {
        if self.at != at {
            self.at = at;
            set_timer(self.timer.get_ref(), at);
        }
    }

    /// Waits until it rings; for ever when it is not set.
    pub(crate) async fn ring(&self) {
        self.timer.read_with(take_ring).await.expect("a timer of ours can be read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::within;
    use relay_core::time::Span;
    use relay_driver::clock::now;
    use std::time::Duration;

    #[test]
    fn the_alarm_rings_at_its_time_and_not_before_and_one_turned_off_never() {
        smol::block_on(async {
            let mut alarm = Alarm::new().unwrap();
            for at in [now().mono.after(Span::millis(20)), Mono(0)] {
                alarm.set(Some(at));
                within(Duration::from_secs(5), alarm.ring()).await.unwrap();
                assert!(now().mono >= at);
            }
            alarm.set(Some(now().mono.after(Span::millis(5))));
            alarm.set(None);
            assert!(within(Duration::from_millis(50), alarm.ring()).await.is_none());
        });
    }
}
