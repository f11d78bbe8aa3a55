//! Model agents: programs on terminals, with a record of what they really read.
//!
//! Owns: what a program does with its terminal, and when.
//! Must not know: the broker, or how its commands are carried out.
//!
//! 1. What a program has taken is what its reads returned, never what stands on its screen.
//! 2. All delays are drawn, keyed by the process and the number of the turn.

pub mod reader;
pub mod tty;

use crate::rng::{Rng, Stream, key};
use reader::{Reader, Token};
use relay_core::ExitStatus;
use serde::{Deserialize, Serialize};
use tty::Tty;

/// A person answers a program's question within this time, in µs.
const PERSON: u64 = 45_000_000;
/// The question of [`Kind::Asks`].
const QUESTION: &str = "\x1b[2J\x1b[HDo you trust the contents of this directory?\r\n\u{203a} 1. Yes, \
                        continue\r\n  2. No, quit\r\n";

/// What kind of program an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// By lines, and prints what it reads, as `cat` does.
    Cat,
    /// By lines, without any echo or output.
    Silent,
    /// Byte by byte without bracketed paste; prints what it reads.
    Raw,
    /// A screen program with bracketed paste that shows its input wrapped in a box.
    Wrapped,
    /// A screen program with bracketed paste that shows only how much was pasted.
    Mangled,
    /// A screen program that a known harness stands for.
    Claude,
    /// A screen program of a known harness that asks something before it starts, and takes what is
    /// typed meanwhile for an answer.
    Asks,
    /// A screen program that takes seconds to start, prints meanwhile, and then throws away what
    /// was typed.
    Boots,
    /// As `Cat`, but comes to read only now and then.
    Slow,
    /// Never reads; the kernel echoes all the same.
    Deaf,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Cat,
        Self::Silent,
        Self::Raw,
        Self::Wrapped,
        Self::Mangled,
        Self::Claude,
        Self::Asks,
        Self::Boots,
        Self::Slow,
        Self::Deaf,
    ];

    /// The program's name as a command. The engine places only programs of its own list.
    pub fn command(self) -> &'static str {
        match self {
            Self::Cat => "goose",
            Self::Silent => "silent",
            Self::Raw => "raw",
            Self::Wrapped => "aider",
            Self::Mangled => "mangled",
            Self::Claude => "claude",
            Self::Asks => "codex",
            Self::Boots => "grok",
            Self::Slow => "slow",
            Self::Deaf => "deaf",
        }
    }

    /// The kind that a command stands for.
    pub fn of(command: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.command() == command)
    }

    /// Whether an engine offers it for placement.
    pub fn is_placeable(self) -> bool {
        matches!(self, Self::Cat | Self::Wrapped | Self::Claude | Self::Asks | Self::Boots)
    }

    const fn has_screen(self) -> bool {
        matches!(self, Self::Wrapped | Self::Mangled | Self::Claude | Self::Asks | Self::Boots)
    }
}

/// Something that a program does by itself, later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// It begins.
    Start,
    /// It prints a line while it starts.
    Chatter,
    /// It asks its operator something.
    Ask,
    /// It takes the terminal over.
    TakeOver,
    /// It switches bracketed paste off, or on again.
    TogglePaste,
    /// It is busy for so many µs and does not read.
    Work(u64),
    /// It is busy no more.
    Rest,
    /// The kernel moves input on.
    Transfer,
    /// It reads.
    Read,
    /// It ends.
    End(ExitStatus),
}

/// What a cue led to.
#[derive(Debug)]
pub enum Effect {
    /// The next cue, so many µs later.
    Later(u64, Cue),
    /// Output on the terminal.
    Output(Vec<u8>),
    /// It has taken these messages whole.
    Took(Vec<Token>),
    /// It has ended.
    Exit(ExitStatus),
}

/// One process.
#[derive(Debug)]
pub struct Agent {
    rng: Rng,
    id: u64,
    turns: u64,
    kind: Kind,
    /// The kernel's side of its terminal.
    pub tty: Tty,
    reader: Reader,
    reading: bool,
    moving: bool,
    started: bool,
    /// A question of it stands on the screen.
    asking: bool,
    /// Bracketed paste is on.
    paste: bool,
    /// How many of its pieces of work are not over.
    working: u32,
    /// How often it threw unread input away, perhaps.
    pub flushes: u64,
    /// Whether it is still there.
    pub alive: bool,
}

impl Agent {
    /// A process numbered `id`.
    pub fn new(rng: Rng, id: u64, kind: Kind) -> Self {
        Self {
            rng,
            id,
            turns: 0,
            kind,
            tty: Tty::new(kind != Kind::Silent),
            reader: Reader::default(),
            reading: false,
            moving: false,
            started: false,
            asking: false,
            paste: false,
            working: 0,
            flushes: 0,
            alive: true,
        }
    }

    /// Which program it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether bracketed paste is on.
    pub const fn pastes(&self) -> bool {
        self.paste
    }

    fn delay(&mut self, low: u64, high: u64) -> u64 {
        self.turns += 1;
        self.rng.skewed(Stream::Turn, key(self.id, self.turns), low, high)
    }

    /// Something was written to the terminal: when the kernel moves it on.
    pub fn written(&mut self) -> Option<Effect> {
        if self.moving || !self.tty.wants_transfer() {
            return None;
        }
        self.moving = true;
        Some(Effect::Later(self.delay(3, 400), Cue::Transfer))
    }

    /// A signal: when it ends of it.
    pub fn signalled(&mut self, kill: bool) -> Option<Effect> {
        let stubborn = self.rng.chance(Stream::Program, key(self.id, 1), 150);
        if stubborn && !kill {
            return None;
        }
        let signal = if kill { 9 } else { 15 };
        Some(Effect::Later(self.delay(50, 200_000), Cue::End(ExitStatus::Signal(signal))))
    }

    /// Lets the program go on.
    pub fn cue(&mut self, cue: Cue) -> Vec<Effect> {
        if !self.alive {
            return Vec::new();
        }
        match cue {
            Cue::Start => self.start(),
            Cue::Chatter => vec![Effect::Output(b"loading ...\r\n".to_vec())],
            Cue::Ask => self.ask(),
            Cue::TakeOver => self.take_over(),
            Cue::TogglePaste => self.toggle_paste(),
            Cue::Work(time) => {
                self.working += 1;
                vec![Effect::Output(b"\rworking ".to_vec()), Effect::Later(time, Cue::Rest)]
            }
            Cue::Rest => {
                self.working -= 1;
                self.wants_read().into_iter().collect()
            }
            Cue::Transfer => {
                self.moving = false;
                self.transfer()
            }
            Cue::Read => self.read(),
            Cue::End(status) => {
                self.alive = false;
                vec![Effect::Exit(status)]
            }
        }
    }

    /// The kernel moves input on: by itself a little after a write, at once when somebody looks.
    pub fn transfer(&mut self) -> Vec<Effect> {
        let echo = self.tty.transfer();
        let mut effects = Vec::new();
        if !echo.is_empty() {
            effects.push(Effect::Output(echo));
        }
        effects.extend(self.wants_read());
        effects
    }

    fn start(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self.kind {
            Kind::Boots => {
                let mut at = 0;
                for _ in 0..self.delay(1, 6) {
                    at += self.delay(10_000, 1_500_000);
                    effects.push(Effect::Later(at, Cue::Chatter));
                }
                effects.push(Effect::Later(at + self.delay(1_000, 400_000), Cue::TakeOver));
            }
            Kind::Asks => {
                effects.push(Effect::Output(b"starting\r\n".to_vec()));
                effects.push(Effect::Later(self.delay(2_000, 150_000), Cue::Ask));
            }
            kind if kind.has_screen() || kind == Kind::Raw => {
                effects.push(Effect::Output(b"starting\r\n".to_vec()));
                effects.push(Effect::Later(self.delay(2_000, 150_000), Cue::TakeOver));
            }
            _ => {
                self.started = true;
                if self.kind == Kind::Silent {
                    self.tty.set_mode(true, false, false);
                }
            }
        }
        effects
    }

    fn ask(&mut self) -> Vec<Effect> {
        (self.started, self.asking) = (true, true);
        self.flushes += 1;
        self.tty.set_mode(false, false, true);
        let mut effects = vec![Effect::Output(QUESTION.as_bytes().to_vec())];
        effects.push(Effect::Later(self.delay(10_000, PERSON), Cue::TakeOver));
        effects.extend(self.wants_read());
        effects
    }

    /// Only of programs with a screen that have started.
    fn toggle_paste(&mut self) -> Vec<Effect> {
        if !self.started || self.asking || !self.kind.has_screen() {
            return Vec::new();
        }
        self.paste = !self.paste;
        // To a broker it looks as if what it had not read was thrown away.
        self.flushes += 1;
        vec![Effect::Output(if self.paste { b"\x1b[?2004h" } else { b"\x1b[?2004l" }.to_vec())]
    }

    fn take_over(&mut self) -> Vec<Effect> {
        (self.started, self.asking, self.paste) = (true, false, self.kind.has_screen());
        self.flushes += 1;
        self.tty.set_mode(false, false, true);
        let screen = match self.kind {
            Kind::Raw => "> ",
            Kind::Claude => "\x1b[?2004hWelcome back\r\n\u{276f} ",
            Kind::Asks => "\x1b[?2004h\x1b[2J\x1b[Hmodel: x\r\n\u{203a} ",
            _ => "\x1b[?2004h\x1b[2J\x1b[Hready\r\n> ",
        };
        let mut effects = vec![Effect::Output(screen.as_bytes().to_vec())];
        effects.extend(self.written());
        effects.extend(self.wants_read());
        effects
    }

    fn wants_read(&mut self) -> Option<Effect> {
        let rests = !self.started || self.working > 0 || self.kind == Kind::Deaf;
        if self.reading || rests || self.tty.unread() == 0 {
            return None;
        }
        self.reading = true;
        let after =
            if self.kind == Kind::Slow { self.delay(100_000, 8_000_000) } else { self.delay(10, 20_000) };
        Some(Effect::Later(after, Cue::Read))
    }

    fn read(&mut self) -> Vec<Effect> {
        if self.working > 0 {
            self.reading = false;
            return Vec::new();
        }
        let bytes = self.tty.read(4_096);
        if self.asking {
            // Whatever it was, it was no message to it.
            self.reading = false;
            return self.written().into_iter().chain(self.wants_read()).collect();
        }
        let taken = self.reader.read(&bytes, self.paste);
        let mut effects = Vec::new();
        if !taken.is_empty() {
            effects.push(Effect::Took(taken));
        }
        let shown = self.show(&bytes);
        if !shown.is_empty() {
            effects.push(Effect::Output(shown));
        }
        self.reading = self.tty.unread() > 0;
        if self.reading {
            effects.push(Effect::Later(self.delay(5, 500), Cue::Read));
        }
        effects.extend(self.written());
        effects
    }

    /// What the program prints for what it has read.
    fn show(&self, bytes: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::Silent | Kind::Deaf => Vec::new(),
            Kind::Mangled if bytes == b"\r" => b"\r\nworking\r\n> ".to_vec(),
            Kind::Mangled => format!("\r\x1b[K> [Pasted {} bytes]", bytes.len()).into_bytes(),
            Kind::Wrapped => boxed(bytes),
            _ => plain(bytes),
        }
    }
}

/// Line ends as a terminal's output has them, without escape sequences.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len() + 8);
    let mut rest = bytes;
    while let Some(at) = memchr::memchr3(b'\r', b'\n', 0x1b, rest) {
        shown.extend_from_slice(&rest[..at]);
        shown.extend_from_slice(if rest[at] == 0x1b { b"^" } else { b"\r\n" });
        rest = &rest[at + 1..];
    }
    shown.extend_from_slice(rest);
    shown
}

/// Rows of 30 bytes behind a border, as input boxes wrap them.
fn boxed(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).replace(['\r', '\n', '\u{1b}'], " ");
    let chars: Vec<char> = text.chars().collect();
    let mut shown = String::new();
    for row in chars.chunks(30) {
        shown += "\r\n\u{2502} ";
        shown.extend(row);
    }
    if bytes.contains(&b'\r') {
        shown += "\r\n\u{23fa} ok\r\n> ";
    }
    shown.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets an agent run for itself, and returns what it has taken.
    fn run(agent: &mut Agent, effects: Vec<Effect>) -> Vec<Token> {
        let (mut queue, mut taken) = (effects, Vec::new());
        while !queue.is_empty() {
            match queue.remove(0) {
                Effect::Later(_, cue) => queue.extend(agent.cue(cue)),
                Effect::Took(tokens) => taken.extend(tokens),
                Effect::Output(_) | Effect::Exit(_) => {}
            }
        }
        taken
    }

    #[test]
    fn every_program_but_the_deaf_one_takes_what_is_typed_into_it() {
        for kind in Kind::ALL {
            let mut agent = Agent::new(Rng::new(1), 1, kind);
            let start = agent.cue(Cue::Start);
            assert!(run(&mut agent, start).is_empty());
            let text = reader::body(5, 3_000, 20);
            assert_eq!(agent.tty.write(format!("{text}\r").as_bytes()), text.len() + 1);
            let written: Vec<_> = agent.written().into_iter().collect();
            let expected = if kind == Kind::Deaf { vec![] } else { vec![5] };
            assert_eq!(run(&mut agent, written), expected, "{kind:?}");
        }
    }

    #[test]
    fn what_is_typed_before_a_program_takes_the_terminal_over_is_lost() {
        let mut agent = Agent::new(Rng::new(1), 1, Kind::Boots);
        let start = agent.cue(Cue::Start);
        agent.tty.write(format!("{}\r", reader::body(5, 1, 1)).as_bytes());
        let echo = agent.cue(Cue::Transfer);
        assert!(matches!(&echo[..], [Effect::Output(_)]));
        assert!(run(&mut agent, start).is_empty());
    }
}
