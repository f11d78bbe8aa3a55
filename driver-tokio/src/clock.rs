//! The alarm that wakes the loop, and deadlines in the runtime's terms.
//!
//! Owns: both. Must not know: what is being waited for.
//!
//! 1. The alarm counts through suspend; deadlines of single IO operations run on the runtime's clock,
//!    which stands still then.

use crate::ready;
use relay_core::time::Mono;
use relay_driver::clock::{set_timer, take_ring, timer, until};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// The runtime's instant for a deadline of the core.
pub(crate) fn instant(deadline: Mono) -> Instant {
    Instant::now() + until(deadline)
}

/// The timer of the loop.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    at: Option<Mono>,
}

impl Alarm {
    /// An alarm that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { timer: ready::watch(timer()?)?, at: None })
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
        loop {
            let mut ready = self.timer.readable().await.expect("the runtime outlives the loop");
            if ready.try_io(|timer| take_ring(timer.get_ref())).is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::time::Span;
    use relay_driver::clock::now;
    use std::time::Duration;

    #[tokio::test]
    async fn the_alarm_rings_at_its_time_and_not_before() {
        let mut alarm = Alarm::new().unwrap();
        let at = now().mono.after(Span::millis(20));
        alarm.set(Some(at));
        tokio::time::timeout(Duration::from_secs(5), alarm.ring()).await.unwrap();
        assert!(now().mono >= at);
    }

    #[tokio::test]
    async fn an_alarm_in_the_past_rings_at_once_and_one_turned_off_never() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(Mono(0)));
        tokio::time::timeout(Duration::from_secs(5), alarm.ring()).await.unwrap();
        alarm.set(Some(now().mono.after(Span::millis(5))));
        alarm.set(None);
        let rang = tokio::time::timeout(Duration::from_millis(50), alarm.ring()).await;
        assert!(rang.is_err());
    }
}
