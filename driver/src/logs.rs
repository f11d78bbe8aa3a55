//! Logs: lines for the operator on stderr.
//!
//! Owns: the form of a line, the threshold, the thread that writes.
//! Must not know: what a line is about.
//!
//! 1. Nobody waits for stderr: a reader that stops reading costs lines, which are counted, not time.

use relay_core::time::Wall;
use relay_core::{Level, LogLine};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

/// Lines that may wait for stderr.
const QUEUE: usize = 1_024;
/// How long the end of the process waits for stderr.
const FLUSH: Duration = Duration::from_millis(500);

/// The form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `HH:MM:SS level area message`, in UTC.
    Plain,
    /// The same with colours.
    Coloured,
    /// One JSON object per line.
    Json,
}

impl Form {
    /// JSON if asked for, else colours on a terminal that did not opt out.
    pub fn detect(json: bool) -> Self {
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        match (json, colours) {
            (true, _) => Self::Json,
            (false, true) => Self::Coloured,
            (false, false) => Self::Plain,
        }
    }
}

/// The lowest level that is shown; `None` shows nothing.
pub fn threshold(target: Option<&str>, filter: Option<&str>) -> Option<Level> {
    if matches!(target, Some("off" | "none" | "0" | "false" | "no")) {
        return None;
    }
    // Of a filter with directives per module, the bare level counts.
    let words = filter.unwrap_or_default().split(',').map(str::trim);
    let level = |word: &str| match word.to_ascii_lowercase().as_str() {
        "off" => Some(None),
        "error" => Some(Some(Level::Error)),
        "warn" => Some(Some(Level::Warn)),
        "info" => Some(Some(Level::Info)),
        "debug" | "trace" => Some(Some(Level::Debug)),
        _ => None,
    };
    words.filter_map(level).next().unwrap_or(Some(Level::Info))
}

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    form: Form,
    threshold: Option<Level>,
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(String),
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts the thread that writes to stderr.
    pub fn new(form: Form, threshold: Option<Level>) -> io::Result<Self> {
        let (queue, items) = mpsc::sync_channel(QUEUE);
        std::thread::Builder::new().name("log".into()).spawn(move || {
            for item in items {
                match item {
                    Item::Line(line) => drop(io::stderr().write_all(line.as_bytes())),
                    Item::Flush(done) => drop(done.send(())),
                }
            }
        })?;
        Ok(Self { form, threshold, queue, lost: Arc::default() })
    }

    /// Writes one line, without waiting.
    pub fn write(&self, now: Wall, line: &LogLine) {
        if self.threshold.is_none_or(|threshold| line.level < threshold) {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let message = format!("{lost} log lines were lost because nobody read them in time");
            self.put(now, &LogLine { level: Level::Warn, area: "broker", message });
        }
        self.put(now, line);
    }

    /// Writes a line of the driver itself.
    pub fn say(&self, level: Level, area: &'static str, message: impl Into<String>) {
        self.write(crate::clock::now().wall, &LogLine { level, area, message: message.into() });
    }

    fn put(&self, now: Wall, line: &LogLine) {
        let item = Item::Line(format_line(self.form, now, line));
        if let Err(TrySendError::Full(_)) = self.queue.try_send(item) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all lines are out, or for half a second.
    pub fn flush(&self) {
        let (done, flushed) = mpsc::sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _: Result<(), RecvTimeoutError> = flushed.recv_timeout(FLUSH);
        }
    }
}

fn format_line(form: Form, now: Wall, line: &LogLine) -> String {
    #[derive(serde::Serialize)]
    struct Json<'a> {
        time_ms: i64,
        level: &'a str,
        area: &'a str,
        message: &'a str,
    }
    let (level, colour) = match line.level {
        Level::Debug => ("debug", "\x1b[2m"),
        Level::Info => ("info", "\x1b[32m"),
        Level::Warn => ("warn", "\x1b[33m"),
        Level::Error => ("error", "\x1b[31m"),
    };
    let LogLine { area, message, .. } = line;
    if form == Form::Json {
        let json = Json { time_ms: now.0, level, area, message };
        return serde_json::to_string(&json).expect("text serialises") + "\n";
    }
    let seconds = now.0.div_euclid(1_000).rem_euclid(86_400);
    let time = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let (on, off) = if form == Form::Coloured { (colour, "\x1b[0m") } else { ("", "") };
    format!("{time} {on}{level:5}{off} {area:8} {message}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_area_and_message() {
        let message = "node token \"minted\"".to_string();
        let line = LogLine { level: Level::Warn, area: "link", message };
        let now = Wall(1_760_000_461_123);
        assert_eq!(format_line(Form::Plain, now, &line), "09:01:01 warn  link     node token \"minted\"\n");
        assert_eq!(
            format_line(Form::Json, now, &line),
            "{\"time_ms\":1760000461123,\"level\":\"warn\",\"area\":\"link\",\
             \"message\":\"node token \\\"minted\\\"\"}\n"
        );
    }

    #[test]
    fn the_environment_sets_the_threshold() {
        assert_eq!(threshold(None, None), Some(Level::Info));
        assert_eq!(threshold(Some("off"), Some("debug")), None);
        assert_eq!(threshold(None, Some("WARN")), Some(Level::Warn));
        assert_eq!(threshold(None, Some("hyper=trace,debug")), Some(Level::Debug));
        assert_eq!(threshold(None, Some("hyper=trace")), Some(Level::Info));
        assert_eq!(threshold(None, Some("off")), None);
    }
}
