//! The demo's output: a timeline, a table, the verdict.
//!
//! Owns: layout, colours, the arithmetic of latencies.
//! Must not know: where the facts come from.

use super::agent::Entry;
use super::judge::{Delivery, Records, Sent, Verdict, agent_name};
use crate::engine_host::Noted;
use relay_sim::engine::Event;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Everything that was collected.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The beginning of time, in Unix nanoseconds.
    pub(super) start_ns: u64,
    /// What was sent.
    pub(super) sent: Vec<Sent>,
    /// What the agents have read.
    pub(super) records: Records,
    /// What the engine saw.
    pub(super) journal: Vec<Noted>,
    /// What the broker says that it typed; only shown.
    pub(super) typed: Vec<Typed>,
    /// What the demo did besides sending.
    pub(super) deeds: Vec<(u64, &'static str)>,
}

/// A message that the broker has written to a terminal.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    /// When its event came, in Unix nanoseconds.
    pub(super) at_ns: u64,
    /// Into whose terminal.
    pub(super) agent: String,
    /// The id of the message.
    pub(super) message: String,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// For terminals.
    On,
    /// For files and pipes.
    Off,
}

impl Colour {
    /// `text` in the colour of an SGR code.
    pub(super) fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Off => text.to_owned(),
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BLUE: &str = "34";
const CYAN: &str = "36";

struct Line {
    at_ns: u64,
    place: String,
    colour: &'static str,
    what: String,
}

/// What happened, line by line, in the order of time.
pub(super) fn timeline(facts: &Facts, colour: Colour) -> String {
    let mut lines = Vec::new();
    lines.extend(facts.sent.iter().map(|sent| Line {
        at_ns: sent.at_ns,
        place: "sender".into(),
        colour: BOLD,
        what: format!("sends a {}: {:?}", sent.what, sent.text),
    }));
    lines.extend(facts.deeds.iter().map(|(at_ns, what)| Line {
        at_ns: *at_ns,
        place: "demo".into(),
        colour: RED,
        what: (*what).to_owned(),
    }));
    lines.extend(facts.journal.iter().filter_map(|noted| engine_line(facts, noted)));
    lines.extend(facts.typed.iter().map(|typed| Line {
        at_ns: typed.at_ns,
        place: "broker".into(),
        colour: YELLOW,
        what: format!("says: typed {} into {}'s terminal", quoted(facts, &typed.message), typed.agent),
    }));
    for (agent, entries) in &facts.records {
        lines.extend(entries.iter().map(|entry| Line {
            at_ns: entry.at_ns,
            place: (*agent).into(),
            colour: GREEN,
            what: format!("took {}", recognised(facts, agent, entry)),
        }));
    }
    lines.sort_by_key(|line| line.at_ns);

    let mut text = format!("{:>9}  {:<7}  {}\n", "ms", "where", "what");
    for line in lines {
        let at = (line.at_ns as f64 - facts.start_ns as f64) / 1e6;
        let place = colour.paint(line.colour, &format!("{:<7}", line.place));
        let _ = writeln!(text, "{at:>9.1}  {place}  {}", line.what);
    }
    text
}

/// What the engine did, unless it is of no interest here.
fn engine_line(facts: &Facts, noted: &Noted) -> Option<Line> {
    let name = |id: &str| agent_name(&facts.journal, id).unwrap_or(id).to_owned();
    let hosted = |id: &str| facts.records.keys().any(|agent| *agent == name(id));
    let (colour, what) = match &noted.event {
        Event::NodeRegistered { .. } => (BLUE, "the broker is registered".into()),
        Event::Closed { .. } => (RED, "the connection to the broker is gone".into()),
        Event::AgentRegistered { name, connection: Some(_), .. } => (BLUE, format!("{name} is registered")),
        Event::Delivered { agent_id, seq, msg_id, replay, .. } if *seq > 0 && hosted(agent_id) => {
            let again = if *replay { "what was missed: " } else { "" };
            let text = quoted(facts, msg_id);
            (BLUE, format!("sends {again}#{seq} for {}, {text}", name(agent_id)))
        }
        Event::Acked { agent, up_to_seq, .. } if *up_to_seq > 0 => {
            (CYAN, format!("got the ack: {agent} has everything up to #{up_to_seq}"))
        }
        Event::Rejected { code, reason, .. } => (RED, format!("refuses a frame: {code}: {reason}")),
        _ => return None,
    };
    Some(Line { at_ns: noted.at_ns, place: "engine".into(), colour, what })
}

fn quoted(facts: &Facts, message: &str) -> String {
    let sent = facts.sent.iter().find(|sent| sent.id == message);
    sent.map_or_else(|| format!("message {message}"), |sent| format!("{:?}", sent.text))
}

/// The message that an agent has read, or its line when that is none.
fn recognised(facts: &Facts, agent: &str, entry: &Entry) -> String {
    let mut mine = facts.sent.iter().filter(|sent| sent.to.contains(&agent));
    match mine.find(|sent| entry.line.ends_with(&sent.text)) {
        Some(sent) => format!("{:?}", sent.text),
        None => format!("a line that nobody sent to it: {:?}", entry.line),
    }
}

/// The median, the 99th percentile and the maximum, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Latency {
    fn of(mut nanos: Vec<i64>) -> Option<Self> {
        nanos.sort_unstable();
        let rank = |percent: usize| nanos[(nanos.len() * percent).div_ceil(100) - 1] as f64 / 1e6;
        (!nanos.is_empty()).then(|| Self { p50: rank(50), p99: rank(99), max: rank(100) })
    }
}

/// The deliveries of one row of the table.
struct Row<'a> {
    name: String,
    deliveries: Vec<(&'a Sent, &'a Delivery)>,
}

impl Row<'_> {
    fn count(&self, has: impl Fn(&Delivery) -> bool) -> usize {
        self.deliveries.iter().filter(|(_, delivery)| has(delivery)).count()
    }

    fn sent_to_taken(&self) -> Option<Latency> {
        let pairs = self.deliveries.iter();
        Latency::of(pairs.filter_map(|(sent, d)| between(Some(sent.at_ns), d.taken_ns)).collect())
    }

    fn taken_to_acked(&self) -> Option<Latency> {
        let pairs = self.deliveries.iter();
        Latency::of(pairs.filter_map(|(_, d)| between(d.taken_ns, d.acked_ns)).collect())
    }
}

fn between(from: Option<u64>, to: Option<u64>) -> Option<i64> {
    Some(to?.cast_signed() - from?.cast_signed())
}

fn rows<'a>(facts: &'a Facts, verdict: &'a Verdict) -> Vec<Row<'a>> {
    let row = |name: String, wanted: &dyn Fn(&Sent, &Delivery) -> bool| Row {
        name,
        deliveries: verdict
            .deliveries
            .iter()
            .map(|delivery| (&facts.sent[delivery.message], delivery))
            .filter(|(sent, delivery)| wanted(sent, delivery))
            .collect(),
    };
    let mut rows: Vec<Row<'_>> = facts
        .records
        .keys()
        .map(|&agent| row(agent.into(), &|sent, d| d.agent == agent && !sent.during_cut))
        .collect();
    rows.push(row("both".into(), &|sent, _| !sent.during_cut));
    rows.push(row("sent while cut".into(), &|sent, _| sent.during_cut));
    rows
}

/// Counts and latencies.
pub(super) fn table(facts: &Facts, verdict: &Verdict, colour: Colour) -> String {
    let heading = format!(
        "{:<15} {:>5} {:>6} {:>6}   {:^24}   {:^24}",
        "", "sent", "taken", "acked", "sent to taken, ms", "taken to acked, ms"
    );
    let columns = format!(
        "{:<36}   {:>7} {:>8} {:>7}   {:>7} {:>8} {:>7}",
        "", "p50", "p99", "max", "p50", "p99", "max"
    );
    let mut text = format!("{heading}\n{}\n", colour.paint(DIM, &columns));
    for row in rows(facts, verdict) {
        let cells = [row.sent_to_taken(), row.taken_to_acked()].map(|latency| match latency {
            Some(Latency { p50, p99, max }) => format!("{p50:>7.2} {p99:>8.2} {max:>7.2}"),
            None => format!("{:>7} {:>8} {:>7}", "-", "-", "-"),
        });
        let _ = writeln!(
            text,
            "{:<15} {:>5} {:>6} {:>6}   {}   {}",
            row.name,
            row.deliveries.len(),
            row.count(|d| d.taken_ns.is_some()),
            row.count(|d| d.acked_ns.is_some()),
            cells[0],
            cells[1],
        );
    }
    text
}

/// One sentence, or one for each thing that went wrong.
pub(super) fn verdict(verdict: &Verdict, colour: Colour) -> String {
    let Verdict { deliveries, problems } = verdict;
    if problems.is_empty() {
        let passed = colour.paint(GREEN, "PASS");
        return format!(
            "{passed}  {} deliveries: each was taken by its agent exactly once, and only then acked.\n\
             \x20     Judged by what the agents wrote down and what the engine received, not by the broker.\n",
            deliveries.len()
        );
    }
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{}  {problem}", colour.paint(RED, "FAIL"));
    }
    text
}

/// The same for programs. Times are milliseconds since the start.
pub(super) fn report(facts: &Facts, verdict: &Verdict) -> Value {
    let since = |at: Option<u64>| between(Some(facts.start_ns), at).map(|nanos| nanos as f64 / 1e6);
    let deliveries: Vec<Value> = verdict
        .deliveries
        .iter()
        .map(|delivery| {
            let sent = &facts.sent[delivery.message];
            json!({
                "agent": delivery.agent,
                "message_id": sent.id,
                "kind": sent.what,
                "seq": delivery.seq,
                "during_cut": sent.during_cut,
                "sent_ms": since(Some(sent.at_ns)),
                "taken_ms": since(delivery.taken_ns),
                "acked_ms": since(delivery.acked_ns),
            })
        })
        .collect();
    let latency = |latency: Option<Latency>| {
        latency.map(|Latency { p50, p99, max }| json!({"p50_ms": p50, "p99_ms": p99, "max_ms": max}))
    };
    let rows: Vec<Value> = rows(facts, verdict)
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "sent": row.deliveries.len(),
                "taken": row.count(|d| d.taken_ns.is_some()),
                "acked": row.count(|d| d.acked_ns.is_some()),
                "sent_to_taken": latency(row.sent_to_taken()),
                "taken_to_acked": latency(row.taken_to_acked()),
            })
        })
        .collect();
    json!({
        "ok": verdict.problems.is_empty(),
        "problems": verdict.problems,
        "deliveries": deliveries,
        "table": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let millis = |n: i64| n * 1_000_000;
        assert_eq!(Latency::of(Vec::new()), None);
        let one = Latency::of(vec![millis(3)]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (3.0, 3.0, 3.0));
        let many = Latency::of((1..=200).rev().map(millis).collect()).unwrap();
        assert_eq!((many.p50, many.p99, many.max), (100.0, 198.0, 200.0));
    }

    fn facts() -> (Facts, Verdict) {
        let sent = |at_ns, during_cut| Sent {
            at_ns,
            id: "1".into(),
            what: "DM to shell".into(),
            text: "hello".into(),
            to: vec!["shell"],
            during_cut,
        };
        let delivery = |message, taken_ns, acked_ns| Delivery {
            message,
            agent: "shell",
            seq: Some(1),
            taken_ns,
            acked_ns,
        };
        let facts = Facts {
            start_ns: 1_000_000,
            sent: vec![sent(2_000_000, false), sent(3_000_000, true)],
            records: Records::from([("shell", Vec::new())]),
            ..Facts::default()
        };
        let deliveries =
            vec![delivery(0, Some(4_000_000), Some(4_500_000)), delivery(1, Some(93_000_000), None)];
        let problems = vec!["the DM was never acked".into()];
        (facts, Verdict { deliveries, problems })
    }

    #[test]
    fn the_table_keeps_the_wait_for_a_connection_apart() {
        let (facts, verdict) = facts();
        let table = table(&facts, &verdict, Colour::Off);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let line = "1 1 1 2.00 2.00 2.00 0.50 0.50 0.50";
        assert_eq!(rows[2].join(" "), format!("shell {line}"));
        assert_eq!(rows[3].join(" "), format!("both {line}"));
        assert_eq!(rows[4].join(" "), "sent while cut 1 1 0 90.00 90.00 90.00 - - -");
    }

    #[test]
    fn lines_are_in_the_order_of_time_and_without_colour_off_terminals() {
        let (facts, _) = facts();
        let text = timeline(&facts, Colour::Off);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "      1.0  sender   sends a DM to shell: \"hello\"");
        assert!(lines[2].starts_with("      2.0  sender"), "{text}");
        assert!(timeline(&facts, Colour::On).contains("\x1b[1msender"));
    }

    #[test]
    fn the_verdict_names_every_problem() {
        let (facts, failed) = facts();
        assert_eq!(verdict(&failed, Colour::Off), "FAIL  the DM was never acked\n");
        assert_eq!(report(&facts, &failed)["ok"], false);
        let passed = Verdict { problems: Vec::new(), ..failed };
        assert!(verdict(&passed, Colour::Off).starts_with("PASS  2 deliveries"));
    }
}
