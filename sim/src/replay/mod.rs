//! Replaying: a recorded broker lives again, open loop.
//!
//! Owns: feeding a real broker from a trace, and where its doing differs from what was recorded.
//! Must not know: files.
//!
//! 1. The inputs come as recorded, whatever the broker wants: the first difference is told, because
//!    behind it the inputs no longer answer the commands.
//! 2. A panic of the core is an outcome, and the wanted one when the trace ends with it.

mod bless;
mod judging;
mod redact;
mod telling;

pub use bless::{Panicked, bless};
use judging::check_with;
pub use judging::{Checked, check};
pub use redact::{NotRedacted, Redacted, redact};
pub use telling::narrate;

use crate::oracles::Class;
use crate::panic_text;
use relay_core::time::Now;
use relay_core::trace::{Check, Entry, Mask, Print, Trace, tell};
use relay_core::{Broker, Command, Input, Step};
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How the end of a trace begins whose broker panicked.
pub const PANIC: &str = "panic";

/// How a difference begins that is a panic of the core; no other one does.
const PANICS: &str = "the core panics: ";

/// One input of a replay, and what it has caused.
#[derive(Debug)]
pub struct Moment<'m> {
    /// The input's line in the trace; 1 for the start.
    pub line: usize,
    /// When it came.
    pub now: Now,
    /// `None` for the start.
    pub input: Option<Input<'m>>,
    /// What the broker wants done.
    pub commands: Vec<Command>,
    recorded: Option<&'m [Print]>,
    check: Option<&'m Check<'m>>,
}

/// Feeds a new broker with the inputs of a trace.
#[derive(Debug)]
pub struct Player<'t> {
    trace: &'t Trace<'t>,
    broker: Option<Broker>,
    at: usize,
}

impl<'t> Player<'t> {
    /// A player at the beginning.
    pub const fn new(trace: &'t Trace<'t>) -> Self {
        Self { trace, broker: None, at: 0 }
    }

    /// The input of the next step; `None` before the start and at the end.
    pub fn upcoming(&self) -> Option<&'t Entry<'t>> {
        self.broker.as_ref().and_then(|_| self.trace.entries.get(self.at))
    }

    /// The broker as it is now; `None` before the start.
    pub const fn broker(&self) -> Option<&Broker> {
        self.broker.as_ref()
    }

    /// The start, then input by input; `None` at the end.
    ///
    /// # Errors
    /// The core panicked, with these words. Nothing can follow.
    pub fn step(&mut self) -> Result<Option<Moment<'t>>, String> {
        catch_unwind(AssertUnwindSafe(|| self.advance())).map_err(|panic| panic_text(panic.as_ref()))
    }

    fn advance(&mut self) -> Option<Moment<'t>> {
        let trace = self.trace;
        let Some(broker) = &mut self.broker else {
            let mut broker = Broker::new(trace.config.clone(), trace.boot.clone());
            let commands = drain(&mut broker);
            self.broker = Some(broker);
            let (now, recorded) = (trace.boot.now, trace.caused.as_deref());
            return Some(Moment { line: 1, now, input: None, commands, recorded, check: None });
        };
        let entry = trace.entries.get(self.at)?;
        self.at += 1;
        broker.handle(entry.now, entry.input());
        Some(Moment {
            line: entry.line,
            now: entry.now,
            input: Some(entry.input()),
            commands: drain(broker),
            recorded: entry.caused.as_deref(),
            check: entry.check.as_ref(),
        })
    }
}

fn drain(broker: &mut Broker) -> Vec<Command> {
    let mut commands = Vec::new();
    while let Step::Do(command) = broker.poll() {
        commands.push(command);
    }
    commands
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Inputs.
    pub inputs: u64,
    /// Commands.
    pub commands: u64,
    /// Digests of the whole state that were compared.
    pub checks: u64,
    /// Whether it ended with the panic that was recorded.
    pub panicked: bool,
}

/// Where a replay parts from its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the input that the broker answers differently; 1 for the start.
    pub line: usize,
    /// In words.
    pub what: String,
}

impl Difference {
    /// Parting, or a panic of the core where none was recorded.
    pub fn class(&self) -> Class {
        if self.what.starts_with(PANICS) { Class::Panic } else { Class::Nondeterminism }
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Difference {}

/// Replays a trace and compares it with what was recorded, bit for bit.
///
/// # Errors
/// The first difference.
pub fn replay(trace: &Trace<'_>) -> Result<Replayed, Difference> {
    replay_with(trace, |_| {})
}

/// The same; `each` sees every step before it is compared.
///
/// # Errors
/// The first difference.
pub fn replay_with(trace: &Trace<'_>, mut each: impl FnMut(&Moment<'_>)) -> Result<Replayed, Difference> {
    let mut done = Replayed::default();
    let mut player = Player::new(trace);
    let expects_panic = trace.end.starts_with(PANIC);
    loop {
        let line = player.upcoming().map_or(1, |entry| entry.line);
        match player.step() {
            Ok(Some(moment)) => {
                each(&moment);
                compare(&moment, &player)?;
                done.inputs += u64::from(moment.input.is_some());
                done.commands += moment.commands.len() as u64;
                done.checks += u64::from(moment.check.is_some());
            }
            Ok(None) if expects_panic => {
                let what = format!("no panic, recorded was: {}", trace.end.escape_debug());
                return Err(Difference { line: trace.end_line, what });
            }
            Ok(None) => return Ok(done),
            Err(_) if expects_panic && player.at == trace.entries.len() => {
                return Ok(Replayed { panicked: true, ..done });
            }
            Err(panic) => return Err(Difference { line, what: format!("{PANICS}{panic}") }),
        }
    }
}

/// Compares what was caused with what was recorded; the first different command is told.
fn compare(moment: &Moment<'_>, player: &Player<'_>) -> Result<(), Difference> {
    // What comes out of a trace is masked already.
    let mask = Mask::off();
    let actual: Vec<Print> = moment.commands.iter().map(|command| Print::of(command, &mask)).collect();
    if let Some(recorded) = moment.recorded.filter(|recorded| *recorded != actual) {
        let at = actual.iter().zip(recorded).take_while(|(actual, recorded)| actual == recorded).count();
        let shown = |print: Option<&Print>| print.map_or_else(|| "none".into(), ToString::to_string);
        let told =
            moment.commands.get(at).map_or_else(|| "no command".into(), |command| tell(command, &mask));
        let what = format!(
            "command {} of {} differs: recorded {}, actual {}\n  actual: {told}",
            at + 1,
            recorded.len().max(actual.len()),
            shown(recorded.get(at)),
            shown(actual.get(at)),
        );
        return Err(Difference { line: moment.line, what });
    }
    let (Some(check), Some(broker)) = (moment.check, player.broker()) else { return Ok(()) };
    let actual = broker.digest().to_string();
    if actual == check.digest {
        return Ok(());
    }
    let what = format!("the digest of the state differs: recorded {}, actual {actual}", check.digest);
    Err(Difference { line: check.line, what })
}
