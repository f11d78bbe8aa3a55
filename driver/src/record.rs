//! Recording: a trace of the broker's life in a file, where the operator wants one.
//!
//! Owns: the file, and the thread that writes it.
//! Must not know: the form of a trace, or what must not be in it; see `relay_core::trace`.
//!
//! 1. The loop never waits for the disk: lines are handed over, and a disk that cannot take them ends
//!    the recording, not the broker, with one line in the log.
//! 2. An input is handed over before it is handled, so also the one that ends the process is in the file.
//! 3. The file is 0600, whatever it was.

use crate::logs::Log;
use crate::settings::{Fatal, Settings};
use crate::state::random_bytes;
use relay_core::time::Now;
use relay_core::trace::{Detail, Mask, Recorder, last_line};
use relay_core::{Boot, Broker, Command, Config, Input, Level};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Bytes that may wait for the disk.
const BACKLOG: usize = 16 * 1024 * 1024;
/// Lines are collected for so long, so that a busy loop does not wake a thread for each.
const COLLECT: Duration = Duration::from_millis(20);
/// How long the end of the process waits for the disk.
const FLUSH: Duration = Duration::from_secs(2);

/// A recording under way, or none.
#[derive(Debug, Default)]
pub struct Recording(Option<Tape>);

#[derive(Debug)]
struct Tape {
    recorder: Recorder,
    queue: Arc<Queue>,
}

/// What waits for the disk.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: String,
    /// Inputs handed over so far.
    inputs: u64,
    /// Nothing more comes.
    ending: bool,
    /// Nothing more is written.
    over: bool,
}

/// For the hook that runs when some thread panics.
static RUNNING: Mutex<Option<Arc<Queue>>> = Mutex::new(None);

impl Recording {
    /// Begins the recording that the settings ask for, if they do.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin(
        settings: &Settings,
        config: &Config,
        boot: &Boot,
        driver: &str,
        log: &Log,
    ) -> Result<Self, Fatal> {
        let Some(path) = &settings.record else { return Ok(Self(None)) };
        let file = create(path).map_err(|e| Fatal::file("record to", path, &e))?;
        let mut mask = Mask::new(random_bytes()?);
        mask.register(settings.api_key.expose());
        let detail = if settings.record_commands { Detail::Full } else { Detail::Prints };
        let recorder = Recorder::new(config, boot, driver, mask, detail);
        log.say(Level::Info, "broker", format!("recording to {}", path.display()));
        let (log, name) = (log.clone(), path.display().to_string());
        let failed = move |error| {
            log.say(Level::Error, "broker", format!("the recording ends: cannot write {name}: {error}"));
        };
        let tape = Tape::start(recorder, file, failed)
            .map_err(|e| Fatal::failed(format!("cannot start a thread: {e}")))?;
        Ok(Self(Some(tape)))
    }

    /// An input, before it is handled.
    pub fn input(&mut self, now: Now, input: &Input<'_>) {
        if let Some(tape) = &mut self.0 {
            tape.recorder.input(now, input);
            if !tape.hand_over() {
                self.0 = None;
            }
        }
    }

    /// A command, before it is carried out.
    pub fn command(&mut self, command: &Command) {
        if let Some(tape) = &mut self.0 {
            tape.recorder.command(command);
        }
    }

    /// The broker wants nothing more done.
    pub fn settled(&mut self, broker: &Broker) {
        if let Some(tape) = &mut self.0 {
            tape.recorder.settled(|| broker.digest());
        }
    }

    /// Ends the recording with the broker's exit code; waits for the disk, but not for ever.
    pub fn finish(mut self, code: u8) {
        if let Some(tape) = &mut self.0 {
            tape.recorder.end(&format!("exit {code}"));
            tape.hand_over();
            tape.queue.end(None);
        }
    }
}

impl Tape {
    /// Begins to write what is recorded; `failed` is told of a disk that cannot take it.
    fn start(
        recorder: Recorder,
        file: File,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = queue.clone();
        let write = move || writer.write_to(file).unwrap_or_else(failed);
        std::thread::Builder::new().name("record".into()).spawn(write)?;
        *lock(&RUNNING) = Some(queue.clone());
        Ok(Self { recorder, queue })
    }

    /// Hands lines over; `false` when nobody takes them any more.
    fn hand_over(&mut self) -> bool {
        let mut waiting = lock(&self.queue.state);
        let was_empty = waiting.lines.is_empty();
        self.recorder.take_into(&mut waiting.lines);
        waiting.inputs = self.recorder.inputs();
        waiting.ending |= self.recorder.has_ended();
        if waiting.lines.len() > BACKLOG && !waiting.ending {
            let line = last_line(waiting.inputs, "the disk was too slow");
            waiting.lines += &line;
            waiting.ending = true;
        }
        if was_empty || waiting.ending {
            self.queue.changed.notify_all();
        }
        !waiting.over && !waiting.ending
    }
}

impl Queue {
    /// Writes until the end; what comes after an error is dropped.
    fn write_to(&self, mut file: File) -> io::Result<()> {
        let written = self.pump(&mut file);
        lock(&self.state).over = true;
        self.changed.notify_all();
        written
    }

    fn pump(&self, file: &mut File) -> io::Result<()> {
        loop {
            let idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.ending;
            let waiting = self.changed.wait_while(lock(&self.state), idle);
            let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let (mut waiting, _) = self
                .changed
                .wait_timeout_while(waiting, COLLECT, |waiting| !waiting.ending)
                .unwrap_or_else(PoisonError::into_inner);
            let (lines, ending) = (std::mem::take(&mut waiting.lines), waiting.ending);
            drop(waiting);
            file.write_all(lines.as_bytes())?;
            if ending {
                return Ok(());
            }
        }
    }

    /// Ends the file, with these last words where the recorder has none; waits for the disk, but not
    /// for ever.
    fn end(&self, why: Option<&str>) {
        let mut waiting = lock(&self.state);
        if let Some(why) = why.filter(|_| !waiting.ending) {
            let line = last_line(waiting.inputs, why);
            waiting.lines += &line;
        }
        waiting.ending = true;
        self.changed.notify_all();
        drop(self.changed.wait_timeout_while(waiting, FLUSH, |waiting| !waiting.over));
    }
}

/// The process ends outside the loop's order: what was handed over still gets to the disk, and `why`
/// behind it.
pub fn end_early(why: &str) {
    let running = lock(&RUNNING).take();
    if let Some(queue) = running {
        queue.end(Some(why));
    }
}

fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
