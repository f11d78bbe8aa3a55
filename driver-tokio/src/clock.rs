//! Clocks: the readings that the core gets, and the alarm that wakes the loop.
//!
//! Owns: the origin of [`Mono`], deadlines in the runtime's terms, the timer of the loop.
//! Must not know: what is being waited for.
//!
//! 1. `Mono` counts through suspend, and so does the [`Alarm`]: a laptop that wakes up acts at once
//!    on what fell due while it slept.
//! 2. Deadlines of single IO operations may run on the runtime's clock, which stands still in suspend.

use crate::ready;
use relay_core::time::{Mono, Now, Wall};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// Reads both clocks.
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono: mono(), wall: Wall(wall.as_millis().try_into().unwrap_or(i64::MAX)) }
}

fn mono() -> Mono {
    let time = clock_gettime(ClockId::Boottime);
    Mono(time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1_000)
}

/// The runtime's instant for a deadline of the core.
pub(crate) fn instant(deadline: Mono) -> Instant {
    Instant::now() + Duration::from_micros(deadline.since(mono()).0)
}

/// A timer of the loop, on the clock that [`Mono`] counts.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    at: Option<Mono>,
}

impl Alarm {
    /// A timer that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = ready::watch(timerfd_create(TimerfdClockId::Boottime, flags)?)?;
        Ok(Self { timer, at: None })
    }

    /// Sets it to `at`, or off.
    pub(crate) fn set(&mut self, at: Option<Mono>) {
        if self.at == at {
            return;
        }
        self.at = at;
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An all-zero value turns a timer off; a deadline of zero must still ring.
        let value = at.map_or(zero, |Mono(micros)| {
            let micros = micros.clamp(1, i64::MAX.cast_unsigned()).cast_signed();
            Timespec { tv_sec: micros / 1_000_000, tv_nsec: micros % 1_000_000 * 1_000 }
        });
        let spec = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)
            .expect("a valid time on a timer of ours");
    }

    /// Waits until it rings; for ever when it is not set.
    pub(crate) async fn ring(&self) {
        loop {
            let mut ready = self.timer.readable().await.expect("the runtime outlives the loop");
            let mut count = [0; 8];
            if ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?)).is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::time::Span;

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
