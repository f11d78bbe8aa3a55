//! The demo's agents: what runs in their terminals, and how each keeps its own record.
//!
//! Owns: a shell with a `read` loop, a prompt in raw mode with bracketed paste, the form of a record.
//! Must not know: the broker. These programs see a terminal and nothing else.
//!
//! 1. A line is recorded when the program has read it whole, Enter included, and before anything else is done
//!    with it. Its time is that of the system's clock; the prompt looks at it right before it reads, for behind
//!    a read the system may set a program aside for longer than an ack takes.

use crate::engine_host::now_ns;
use clap::{Args, Subcommand};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Names the file that an agent writes its record to.
pub(super) const RECORD: &str = "DEMO_RECORD";
/// Names this program, for the shell.
pub(super) const PROGRAM: &str = "DEMO_PROGRAM";

/// The shell agent, for `sh -c`. A shell needs a moment to ask for the time: the kernel must not echo,
/// so that nothing stands on the screen before the line is recorded.
pub(super) const SHELL: &str = r#"stty -echo
printf 'reading lines\n'
while IFS= read -r line; do
    printf '%s %s\n' "$("$DEMO_PROGRAM" demo-agent clock)" "$line" >> "$DEMO_RECORD"
    printf 'got: %s\n' "$line"
done
"#;

/// Arguments of the hidden command `demo-agent`.
#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Print the time in Unix nanoseconds; not every system's `date` can
    Clock,
    /// Run the prompt agent
    Prompt,
}

/// Runs `demo-agent`.
pub(crate) fn run(args: &AgentArgs) -> ExitCode {
    let done = match args.role {
        Role::Clock => writeln!(io::stdout(), "{}", now_ns()),
        Role::Prompt => prompt(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line that an agent has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// When, in Unix nanoseconds.
    pub(super) at_ns: u64,
    /// What.
    pub(super) line: String,
}

/// The whole lines of an agent's record; none when it has not written any.
pub(super) fn read_record(path: &Path) -> Result<Vec<Entry>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(entry).collect()
}

fn entry(line: &str) -> Result<Entry, String> {
    let parts = line.split_once(' ');
    let entry = parts.and_then(|(at, line)| Some(Entry { at_ns: at.parse().ok()?, line: line.to_owned() }));
    entry.ok_or_else(|| format!("an agent's record has a line without a time: {line:?}"))
}

/// The prompt agent: like the programs that agents usually are, it reads single keys, takes pasted
/// text as one piece, and a line is its own when Enter comes.
fn prompt() -> io::Result<()> {
    let path = std::env::var_os(RECORD).ok_or_else(|| io::Error::other("DEMO_RECORD is not set"))?;
    let mut record = OpenOptions::new().create(true).append(true).open(path)?;
    let (stdin, mut stdout) = (io::stdin(), io::stdout());
    let mut mode = tcgetattr(&stdin)?;
    mode.make_raw();
    tcsetattr(&stdin, OptionalActions::Now, &mode)?;
    write!(stdout, "\x1b[?2004hprompt agent\r\n> ")?;
    stdout.flush()?;

    let mut keys = Keys::default();
    let mut bytes = [0; 4096];
    loop {
        retry_on_intr(|| poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None))?;
        let at_ns = now_ns();
        let len = rustix::io::read(&stdin, &mut bytes)?;
        if len == 0 {
            return Ok(());
        }
        for key in keys.feed(&bytes[..len]) {
            match key {
                Key::Line(line) => {
                    record.write_all(format!("{at_ns} {}\n", line.replace('\n', "\\n")).as_bytes())?;
                    write!(stdout, "\r\ngot {} characters: {line}\r\n> ", line.chars().count())?;
                }
                Key::Text => write!(stdout, "\r> {}", String::from_utf8_lossy(&keys.line))?,
                Key::Quit => return Ok(()),
            }
        }
        stdout.flush()?;
    }
}

/// What the keys meant.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// Enter: the line is over.
    Line(String),
    /// The line has become longer.
    Text,
    /// Ctrl-C or Ctrl-D.
    Quit,
}

/// From bytes to keys; pasted line ends are text.
#[derive(Debug, Default)]
struct Keys {
    /// An escape sequence that has begun.
    escape: Vec<u8>,
    pasting: bool,
    line: Vec<u8>,
}

impl Keys {
    fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let before = self.line.len();
        let mut keys: Vec<Key> = bytes.iter().filter_map(|byte| self.byte(*byte)).collect();
        if !self.line.is_empty() && self.line.len() != before {
            keys.push(Key::Text);
        }
        keys
    }

    fn byte(&mut self, byte: u8) -> Option<Key> {
        if !self.escape.is_empty() || byte == 0x1b {
            self.escape.push(byte);
            // A sequence ends with a letter or `~`; its second byte only introduces it.
            if self.escape.len() > 2 && (byte.is_ascii_alphabetic() || byte == b'~') {
                match self.escape.as_slice() {
                    b"\x1b[200~" => self.pasting = true,
                    b"\x1b[201~" => self.pasting = false,
                    _ => {}
                }
                self.escape.clear();
            }
            return None;
        }
        match byte {
            b'\r' if !self.pasting => {
                let line = std::mem::take(&mut self.line);
                Some(Key::Line(String::from_utf8_lossy(&line).into_owned()))
            }
            3 | 4 if !self.pasting => Some(Key::Quit),
            _ => {
                self.line.push(byte);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paste_is_one_line_and_ends_with_enter_however_it_is_cut() {
        let typed = b"a\x1b[200~b\rc\x1b[201~\x1b[Ad\r";
        for cut in 0..typed.len() {
            let mut keys = Keys::default();
            let mut said = keys.feed(&typed[..cut]);
            said.extend(keys.feed(&typed[cut..]));
            said.retain(|key| *key != Key::Text);
            assert_eq!(said, [Key::Line("ab\rcd".into())], "cut at {cut}");
        }
    }

    #[test]
    fn a_record_is_read_back_up_to_its_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        assert_eq!(read_record(&path), Ok(Vec::new()));
        std::fs::write(&path, "12 one  two\n13 \n14 unfin").unwrap();
        let entry = |at_ns, line: &str| Entry { at_ns, line: line.into() };
        assert_eq!(read_record(&path).unwrap(), [entry(12, "one  two"), entry(13, "")]);
        std::fs::write(&path, "soon one\n").unwrap();
        assert!(read_record(&path).unwrap_err().contains("soon one"));
    }
}
