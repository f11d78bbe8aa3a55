//! Where results, failures and progress go.
//!
//! Owns: stdout and stderr of a client command. Must not know: the commands.
//!
//! 1. Nothing is coloured and no progress shown unless the stream is a terminal.
//! 2. A reader that goes away (`| head`) is no failure.

use super::failure::Failure;
use super::table::{Style, lines};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::env;
use std::future::Future;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Duration;
use tokio::time::{Instant, interval_at};

/// A call this long shows that it is under way.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

/// How a command speaks.
pub(super) struct Output {
    /// Where results go.
    results: RefCell<Box<dyn Write>>,
    pub(super) json: bool,
    /// Style of stdout.
    pub(super) style: Style,
    error_style: Style,
    progress: bool,
}

impl Output {
    pub(super) fn of_process(json: bool) -> Self {
        let allowed = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let style = |terminal: bool| Style { colour: allowed && terminal };
        let progress = stderr().is_terminal();
        Self {
            results: RefCell::new(Box::new(stdout())),
            json,
            style: style(stdout().is_terminal()),
            error_style: style(progress),
            progress,
        }
    }

    /// The result, in the form that was asked for.
    pub(super) fn result(&self, machine: &Value, human: impl FnOnce(Style) -> String) {
        let text = if self.json { format!("{machine}\n") } else { human(self.style) };
        // A closed pipe is the reader's choice, and there is no other place to complain.
        let mut results = self.results.borrow_mut();
        let _ = results.write_all(text.as_bytes()).and_then(|()| results.flush());
    }

    /// A remark that is no result, for people only: JSON carries it as a member.
    pub(super) fn note(&self, text: &str) {
        if !self.json {
            let _ = writeln!(stderr(), "{}", lines(text));
        }
    }

    pub(super) fn failure(&self, failure: &Failure) {
        let text = if self.json { failure_json(failure) } else { failure_text(failure, self.error_style) };
        let _ = writeln!(stderr(), "{text}");
    }

    /// Waits for `work`, and shows that it does when it takes long.
    pub(super) async fn patiently<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let start = Instant::now();
        let mut ticks = interval_at(start + PATIENCE, PROGRESS);
        let mut shown = false;
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                _ = ticks.tick(), if self.progress => {
                    shown = true;
                    let _ = write!(stderr(), "\r\x1b[K{}: {} s", lines(what), start.elapsed().as_secs());
                }
            }
        };
        if shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
        done
    }
}

fn failure_json(failure: &Failure) -> String {
    json!({"error": {"code": failure.code, "message": failure.message, "advice": failure.advice}}).to_string()
}

fn failure_text(failure: &Failure, style: Style) -> String {
    let mut text = format!("{} {} ({})", style.bad("error:"), lines(&failure.message), lines(&failure.code));
    if let Some(advice) = &failure.advice {
        text.push_str("\n  ");
        text.push_str(advice);
    }
    text
}

#[cfg(test)]
impl Output {
    /// An output without colour and progress, and what it will have printed as results.
    pub(super) fn of_test(json: bool) -> (Self, Printed) {
        let printed = Printed::default();
        let style = Style { colour: false };
        let results: RefCell<Box<dyn Write>> = RefCell::new(Box::new(printed.clone()));
        let output = Self { results, json, style, error_style: style, progress: false };
        (output, printed)
    }
}

/// The results of a test.
#[cfg(test)]
#[derive(Clone, Default)]
pub(super) struct Printed(std::rc::Rc<RefCell<Vec<u8>>>);

#[cfg(test)]
impl Printed {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}

#[cfg(test)]
impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_what_happened_and_what_to_do() {
        let failure = Failure::refused("no_such\x1b", "send: no \"bob\"").advise("look with `ls`");
        let text = failure_text(&failure, Style { colour: false });
        assert_eq!(text, "error: send: no \"bob\" (no_such\\u{1b})\n  look with `ls`");
        let json: Value = serde_json::from_str(&failure_json(&failure)).unwrap();
        assert_eq!(json["error"]["code"], "no_such\x1b");
        assert_eq!(json["error"]["advice"], "look with `ls`");
    }
}
