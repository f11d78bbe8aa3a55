//! The agents of the tests: small programs in a terminal that record what they read, and when.
//!
//! `test-agent lines LOG [GATE]` reads lines as the terminal gives them, once the file GATE exists.
//! `test-agent paste LOG` switches the terminal to raw mode and bracketed paste on, and records what is
//! submitted. A record is a line of JSON: `at_ns`, taken right after the read, and `text`.

use relay_tests::wait::now_ns;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks for the gate.
const PAUSE: Duration = Duration::from_millis(2);
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

fn main() -> io::Result<()> {
    // What was read must be recorded, also when the terminal is hung up in between.
    let hung_up = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, hung_up.clone())?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let log = |path| OpenOptions::new().create(true).append(true).open(path);
    match args[..] {
        ["lines", path] => lines(log(path)?),
        ["lines", path, gate] => {
            while !Path::new(gate).exists() {
                // Behind a closed gate nothing is read, not even between the two signals of an end.
                if hung_up.load(Ordering::Relaxed) {
                    return Ok(());
                }
                std::thread::sleep(PAUSE);
            }
            lines(log(path)?)
        }
        ["paste", path] => pastes(log(path)?),
        _ => Err(io::Error::other("usage: test-agent lines LOG [GATE] | paste LOG")),
    }
}

fn record(log: &mut File, at_ns: u64, text: &str) -> io::Result<()> {
    let line = json!({ "at_ns": at_ns, "text": text }).to_string() + "\n";
    log.write_all(line.as_bytes())
}

fn lines(mut log: File) -> io::Result<()> {
    let mut line = String::new();
    let mut stdin = io::stdin().lock();
    while stdin.read_line(&mut line)? > 0 {
        record(&mut log, now_ns(), line.trim_end_matches('\n'))?;
        line.clear();
    }
    Ok(())
}

fn pastes(mut log: File) -> io::Result<()> {
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let mut mode = tcgetattr(&stdin)?;
    mode.make_raw();
    tcsetattr(&stdin, OptionalActions::Now, &mode)?;
    stdout.write_all(b"\x1b[?2004h> ")?;
    stdout.flush()?;
    let (mut pending, mut buffer, mut pasting) = (Vec::new(), [0; 4096], false);
    loop {
        let count = stdin.read(&mut buffer)?;
        let at_ns = now_ns();
        for &byte in &buffer[..count] {
            pending.push(byte);
            if pending.ends_with(PASTE_BEGINS) {
                pending.truncate(pending.len() - PASTE_BEGINS.len());
                pasting = true;
            } else if pending.ends_with(PASTE_ENDS) {
                pending.truncate(pending.len() - PASTE_ENDS.len());
                pasting = false;
            } else if byte == b'\r' && !pasting {
                pending.pop();
                record(&mut log, at_ns, &String::from_utf8_lossy(&pending))?;
                pending.clear();
            }
        }
        // As programs of this kind do: what is being edited is shown, long pastes only by their end.
        let tail = &pending[pending.len().saturating_sub(400)..];
        write!(stdout, "\x1b[2J\x1b[H> {}", String::from_utf8_lossy(tail).replace('\n', "\r\n"))?;
        stdout.flush()?;
        if count == 0 {
            return Ok(());
        }
    }
}
