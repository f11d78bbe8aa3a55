//! Lines: a story on a terminal.
//!
//! Owns: the columns and colours. Must not know: what a moment means.
//!
//! 1. The columns have fixed widths; only the last one, the event, ends where it ends.

use super::{Kind, Moment};

/// The head of the columns.
pub const HEAD: &str = "        time  link  agent       event";

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    On,
    /// For a file or a pipe.
    Off,
}

/// A moment as a line: virtual time in seconds, link, agent, event.
pub fn line(moment: &Moment, colour: Colour) -> String {
    let (seconds, micros) = (moment.at / 1_000_000, moment.at % 1_000_000);
    let link = moment.link.map_or_else(|| "-".into(), |link| link.to_string());
    let agent = moment.agent.as_deref().unwrap_or("-");
    let way = if moment.from == moment.to {
        moment.from.name().to_owned()
    } else {
        format!("{} → {}", moment.from.name(), moment.to.name())
    };
    let line = format!("{seconds:>5}.{micros:06}  {link:<4}  {agent:<10}  {way:<16}  {}", moment.text);
    match (colour, paint(moment.kind)) {
        (Colour::On, Some(code)) => format!("\x1b[{code}m{line}\x1b[0m"),
        _ => line,
    }
}

/// The parameters of the escape sequence that colours a kind.
const fn paint(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Frame => Some("36"),
        Kind::Injection => Some("32"),
        Kind::Call => Some("34"),
        Kind::Store => Some("35"),
        Kind::Fault | Kind::Life => Some("1;33"),
        Kind::Verdict => Some("1;31"),
        Kind::Flow | Kind::Engine | Kind::Output | Kind::Event => Some("2"),
        Kind::Link | Kind::Process | Kind::Api | Kind::Log => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::Lane;

    #[test]
    fn columns_stand_under_their_heads() {
        let moment = Moment::new(Lane::Engine, Lane::Core, Kind::Frame, "deliver").on(7);
        let line = line(&Moment { at: 1_500_000, ..moment.about(Some("alice".into())) }, Colour::Off);
        assert_eq!(line, "    1.500000  7     alice       engine → core     deliver");
        for (head, value) in [("link", "7"), ("agent", "alice"), ("event", "engine")] {
            assert_eq!(HEAD.find(head), line.find(value), "{head}");
        }
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        let moment = Moment::new(Lane::Oracle, Lane::Oracle, Kind::Verdict, "S1");
        assert!(!line(&moment, Colour::Off).contains('\x1b'));
        assert!(line(&moment, Colour::On).contains('\x1b'));
    }
}
