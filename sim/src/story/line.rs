//! Lines: a story on a terminal.
//!
//! Owns: the columns and colours. Must not know: what a moment means.
//!
//! 1. The columns of a story have fixed widths; only the last one, the event, ends where it ends. What
//!    is wider than its column is cut, and ends in an ellipsis.

use super::{Kind, Moment};

/// Narrowest column of agents, and widest, in characters.
const NARROW: usize = 10;
const WIDE: usize = 24;
/// Characters of `core → `, the longest way to an agent.
const TO_AGENT: usize = 7;

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    On,
    /// For a file or a pipe.
    Off,
}

/// The columns of one story.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Characters of a name.
    agent: usize,
    colour: Colour,
}

impl Columns {
    /// Columns for a story of agents with these names.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>, colour: Colour) -> Self {
        let longest = names.into_iter().map(|name| name.chars().count()).max();
        Self { agent: longest.unwrap_or_default().clamp(NARROW, WIDE), colour }
    }

    /// Their heads.
    pub fn head(&self) -> String {
        format!("{:>12}  {:<4}  {:<width$}  event", "time", "link", "agent", width = self.agent)
    }

    /// A moment as a line: virtual time in seconds, link, agent, event.
    pub fn line(&self, moment: &Moment) -> String {
        let (seconds, micros) = (moment.at / 1_000_000, moment.at % 1_000_000);
        let link = moment.link.map_or_else(|| "-".into(), |link| link.to_string());
        let agent = self.name(moment.agent.as_deref().unwrap_or("-"));
        let (from, to) = (self.name(moment.from.name()), self.name(moment.to.name()));
        let way = if moment.from == moment.to { from } else { format!("{from} \u{2192} {to}") };
        let (width, wide) = (self.agent, TO_AGENT + self.agent);
        let line =
            format!("{seconds:>5}.{micros:06}  {link:<4}  {agent:<width$}  {way:<wide$}  {}", moment.text);
        match (self.colour, paint(moment.kind)) {
            (Colour::On, Some(code)) => format!("\x1b[{code}m{line}\x1b[0m"),
            _ => line,
        }
    }

    /// A name in its column.
    fn name(&self, name: &str) -> String {
        if name.chars().count() <= self.agent {
            return name.to_owned();
        }
        name.chars().take(self.agent - 1).chain(['\u{2026}']).collect()
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

    fn of(name: &str, colour: Colour) -> (Columns, Moment) {
        let moment = Moment::new(Lane::Core, Lane::Agent(name.into()), Kind::Frame, "deliver").on(7);
        (Columns::new([name], colour), Moment { at: 1_500_000, ..moment.about(Some(name.into())) })
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let (columns, moment) = of("alice", Colour::Off);
        let line = columns.line(&moment);
        assert_eq!(line, "    1.500000  7     alice       core \u{2192} alice       deliver");
        for (head, value) in [("link", "7"), ("agent", "alice"), ("event", "core")] {
            assert_eq!(columns.head().find(head), line.find(value), "{head}");
        }
    }

    #[test]
    fn a_name_makes_its_columns_wider_until_it_is_cut() {
        for (name, shown) in [
            ("thirteen-long", "thirteen-long"),
            ("exactly-twenty-four-long", "exactly-twenty-four-long"),
            ("one-more-than-twenty-four", "one-more-than-twenty-fo\u{2026}"),
        ] {
            let (columns, moment) = of(name, Colour::Off);
            let expected = format!("    1.500000  7     {shown}  core \u{2192} {shown}  deliver");
            assert_eq!(columns.line(&moment), expected);
            let before = expected.split_once("core").unwrap().0;
            assert_eq!(columns.head().find("event"), Some(before.chars().count()));
        }
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        let moment = Moment::new(Lane::Oracle, Lane::Oracle, Kind::Verdict, "S1");
        assert!(!Columns::new([], Colour::Off).line(&moment).contains('\x1b'));
        assert!(Columns::new([], Colour::On).line(&moment).contains('\x1b'));
    }
}
