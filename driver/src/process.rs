//! The frame of a broker's process: its first line, its signals, its exit codes.
//!
//! Owns: words and numbers that operators and clients rely on.
//! Must not know: a runtime, or what the broker does.
//!
//! 1. stdout carries one line, the moment the local API is bound and its address is on file; everything
//!    else goes to stderr.

use crate::settings::{self, Fatal, Settings};
use crate::{VERSION, record, state};
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit code of a panic.
const BUG: i32 = 101;

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 success, 1 failed or refused, 2 wrong usage, 3 no broker found, \
                              4 timed out; 129, 130, 143 ended at once by a second signal";

/// Makes a panic of any thread the end of the process, which leaves nothing behind.
pub fn end_on_panic(program: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("{program} {VERSION}: ended by a bug, please report it: {panic}");
        record::end_early(&format!("panic: {panic}"));
        state::leave();
        std::process::exit(BUG);
    }));
}

/// The end that a second signal wants.
pub fn end_by_signal(code: i32) -> ! {
    record::end_early("ended by a second signal");
    state::leave();
    std::process::exit(code)
}

/// The end of a process: removes what must not stay, and says why if it has failed.
pub fn end(program: &str, ended: Result<u8, Fatal>) -> ExitCode {
    state::leave();
    ExitCode::from(ended.unwrap_or_else(|fatal| {
        eprintln!("{program}: {}", fatal.message);
        fatal.code
    }))
}

/// Clients wait for this line.
pub fn say_listening(settings: &Settings, port: u16) {
    let line =
        format!("[agent-relay] API listening on http://{}:{port}\n", settings::bracketed(&settings.bind));
    // Whoever started us may not care.
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}

/// Why the local API cannot listen where it should.
pub fn not_bound(settings: &Settings, error: &io::Error) -> Fatal {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; stop the program that uses it, or choose another --api-port",
        io::ErrorKind::AddrNotAvailable => "; --api-bind must be an address of this machine",
        _ => "",
    };
    let (host, port) = (settings::bracketed(settings.bind_host()), settings.port);
    Fatal::failed(format!("the local API cannot listen on {host}:{port}: {error}{hint}"))
}

/// Whether SIGHUP was ignored when this process was started.
pub fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}
