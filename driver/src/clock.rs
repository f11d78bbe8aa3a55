//! Clocks: the readings that the core gets, and the timer that wakes its loop.
//!
//! Owns: the origin of [`Mono`], the timer.
//! Must not know: what is being waited for, or who waits.
//!
//! 1. `Mono` counts through suspend, and so does the [`timer`]: a laptop that wakes up acts at once
//!    on what fell due while it slept.

use relay_core::time::{Mono, Now, Wall};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads both clocks.
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono: mono(), wall: Wall(wall.as_millis().try_into().unwrap_or(i64::MAX)) }
}

fn mono() -> Mono {
    let time = clock_gettime(ClockId::Boottime);
    Mono(time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1_000)
}

/// How long it is until a deadline of the core; zero when it has passed.
pub fn until(deadline: Mono) -> Duration {
    Duration::from_micros(deadline.since(mono()).0)
}

/// A timer on the clock that [`Mono`] counts, not set; readable once it has rung, and never blocking.
///
/// # Errors
/// When there are no more descriptors.
pub fn timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    Ok(timerfd_create(TimerfdClockId::Boottime, flags)?)
}

/// Sets a [`timer`] to `at`, or off.
pub fn set_timer(timer: &OwnedFd, at: Option<Mono>) {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    // An all-zero value turns a timer off; a deadline of zero must still ring.
    let value = at.map_or(zero, |Mono(micros)| {
        let micros = micros.clamp(1, i64::MAX.cast_unsigned()).cast_signed();
        Timespec { tv_sec: micros / 1_000_000, tv_nsec: micros % 1_000_000 * 1_000 }
    });
    let spec = Itimerspec { it_interval: zero, it_value: value };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &spec).expect("a valid time on a timer of ours");
}

/// Takes the news that a [`timer`] has rung.
///
/// # Errors
/// `WouldBlock` when it has not.
pub fn take_ring(timer: &OwnedFd) -> io::Result<()> {
    let mut count = [0; 8];
    rustix::io::read(timer, &mut count)?;
    Ok(())
}
