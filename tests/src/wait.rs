//! Waiting for conditions.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for everything that works.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What `look` finds, once it finds something.
///
/// # Panics
/// When nothing was found within [`LIMIT`].
pub fn soon<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, look)
}

/// As [`soon`], with another deadline.
///
/// # Panics
/// When nothing was found within `limit`.
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        sleep(PAUSE);
    }
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_nanos().try_into().unwrap_or(u64::MAX)
}
