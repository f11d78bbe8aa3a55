//! Patience: whoever sits before a command that takes long is told that it is still at work.
//!
//! Owns: when, and in which form. Must not know: what takes so long.
//!
//! 1. Nothing is told of what is done within [`PROGRESS`], nor where stderr is no terminal: a script needs no word.
//! 2. Where no thread can be had, nothing is told, and the work is done all the same.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Between two lines of progress.
pub(super) const PROGRESS: Duration = Duration::from_secs(2);

/// Does something that may take long, and meanwhile tells what it is.
pub(super) fn meanwhile<T>(what: &(impl Display + Sync), act: impl FnOnce() -> T) -> T {
    if std::io::stderr().is_terminal() {
        telling(what, PROGRESS, |line| complain!("{line}"), act)
    } else {
        act()
    }
}

/// Tells every so often how long it has taken so far.
fn telling<T>(
    what: &(impl Display + Sync),
    every: Duration,
    tell: impl Fn(&str) + Send,
    act: impl FnOnce() -> T,
) -> T {
    let begun = Instant::now();
    thread::scope(|scope| {
        let (done, over) = channel::<()>();
        let teller = move || {
            while over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                tell(&format!("{what}: {} s so far", begun.elapsed().as_secs()));
            }
        };
        // Invariant 2.
        let _ = thread::Builder::new().spawn_scoped(scope, teller);
        let result = act();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// What is told while something takes so long, at most once in `every`.
    fn told(every: Duration, takes: Duration) -> Vec<String> {
        let lines = Mutex::new(Vec::new());
        let tell = |line: &str| lines.lock().expect("no holder panics").push(line.to_owned());
        assert_eq!(telling(&"a trace", every, tell, || thread::sleep(takes)), ());
        lines.into_inner().expect("no holder panics")
    }

    #[test]
    fn only_what_takes_long_is_told_of() {
        assert_eq!(told(Duration::from_secs(60), Duration::from_millis(1)), [""; 0]);
        let lines = told(Duration::from_millis(5), Duration::from_millis(200));
        assert!(lines.len() > 1 && lines.iter().all(|line| line == "a trace: 0 s so far"), "{lines:?}");
    }
}
