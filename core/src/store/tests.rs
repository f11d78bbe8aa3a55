//! Recovery against a naive reference: what the rules say of a journal's records, each question answered by
//! itself, by looking through all of them.

use super::*;
use crate::ids::{DeliveryId, MessageId};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use proptest::prelude::*;
use proptest::sample::Index;

fn no() -> Outcome {
    Outcome::Error("no".to_string())
}

fn journal() -> String {
    let inv = |text: &str| InvocationId::from(text);
    let bob = || AgentId::from("7");
    text_of(&[
        Record::Agent { name: "bob".into(), agent_id: "3".into() },
        Record::Agent { name: "bob".into(), agent_id: bob() },
        Record::Owed { agent_id: bob(), name: "bob".into() },
        Record::Owed { agent_id: "8".into(), name: "eve".into() },
        Record::Paid { agent_id: "8".into() },
        Record::Started { invocation: inv("a"), at_ms: 5, releases: None },
        Record::Started { invocation: inv("b"), at_ms: 5, releases: None },
        Record::Finished { invocation: inv("b"), at_ms: 6, outcome: no(), releases: None },
        Record::Started { invocation: inv("c"), at_ms: 7, releases: Some("bob".into()) },
        Record::Finished { invocation: inv("c"), at_ms: 8, outcome: no(), releases: Some("bob".into()) },
        Record::Started { invocation: inv("d"), at_ms: 7, releases: Some("eve".into()) },
        Record::Finished { invocation: inv("d"), at_ms: 8, outcome: no(), releases: Some("eve".into()) },
        Record::Answered { invocation: inv("d") },
    ])
}

fn text_of(records: &[Record]) -> String {
    records.iter().map(Record::line).collect()
}

#[test]
fn later_lines_win_and_compaction_says_the_same() {
    let first = Recovered::read(&journal(), Wall(10));
    let second = Recovered::read(&first.compact(), Wall(10));
    for recovered in [&first, &second] {
        assert_eq!(recovered.agents.get(&AgentName::from("bob")), Some(&AgentId::from("7")));
        assert_eq!(recovered.owed.keys().collect::<Vec<_>>(), [&AgentId::from("7")]);
        let saved = |id: &str| {
            let Saved { at_ms, releases, outcome } = recovered.invocations[&InvocationId::from(id)].clone();
            (at_ms, releases.map(|name| name.0), outcome)
        };
        assert_eq!(saved("a"), (5, None, None));
        assert_eq!(saved("b"), (6, None, Some(no())));
        assert_eq!(saved("c"), (8, Some("bob".to_string()), Some(no())), "the next life answers it");
        assert_eq!(saved("d"), (8, None, Some(no())));
    }
    assert!(first.compact().len() < journal().len());
}

#[test]
fn a_torn_tail_costs_its_own_record_only() {
    let whole = journal();
    for cut in 0..whole.len() {
        let recovered = Recovered::read(&whole[..cut], Wall(10));
        assert!(recovered.unreadable <= 1, "cut at {cut}");
        let complete = whole[..cut].matches('\n').count();
        let lines = |count| whole.split_inclusive('\n').take(count).collect::<String>();
        let possible =
            [complete, complete + 1].map(|count| Recovered::read(&lines(count), Wall(10)).compact());
        assert!(possible.contains(&recovered.compact()), "cut at {cut}");
    }
}

#[test]
fn old_invocations_are_forgotten() {
    let recovered = Recovered::read(&journal(), Wall(limits::INVOCATION_AGE_MS + 8));
    assert!(recovered.invocations.is_empty());
}

#[test]
fn an_invocation_that_comes_again_after_it_was_forgotten_is_a_new_one() {
    let (invocation, late) = (InvocationId::from("a"), limits::INVOCATION_AGE_MS + 7);
    let started = |at_ms| Record::Started { invocation: invocation.clone(), at_ms, releases: None };
    let finished =
        Record::Finished { invocation: invocation.clone(), at_ms: 5, outcome: no(), releases: None };
    for old in [started(5), finished] {
        let recovered = Recovered::read(&text_of(&[old, started(late)]), Wall(late + 1));
        let open = Saved { at_ms: late, releases: None, outcome: None };
        assert_eq!(recovered.invocations.get(&invocation), Some(&open));
    }
}

const NOW: Wall = Wall(limits::INVOCATION_AGE_MS + 10);

/// The last identity of each name, the name that was used last at the end; of too many those.
fn agents(records: &[Record]) -> Vec<(&AgentName, &AgentId)> {
    let (mut agents, mut seen) = (Vec::new(), BTreeSet::new());
    for record in records.iter().rev() {
        if let Record::Agent { name, agent_id } = record
            && seen.insert(name)
        {
            agents.push((name, agent_id));
        }
    }
    agents.truncate(limits::KNOWN_AGENTS);
    agents.reverse();
    agents
}

/// The newest letters, oldest first. Two records of one message are two letters.
fn dead(records: &[Record]) -> Vec<&DeadLetter> {
    let letters = records.iter().rev().filter_map(|record| match record {
        Record::Dead(letter) => Some(letter),
        _ => None,
    });
    let mut newest: Vec<&DeadLetter> = letters.take(limits::DEAD_LETTERS).collect();
    newest.reverse();
    newest
}

/// Whom the last record that is about this identity calls owed.
fn owed<'a>(records: &'a [Record], id: &AgentId) -> Option<&'a AgentName> {
    let says = |record: &'a Record| match record {
        Record::Owed { agent_id, name } if agent_id == id => Some(Some(name)),
        Record::Paid { agent_id } if agent_id == id => Some(None),
        _ => None,
    };
    records.iter().rev().find_map(says).flatten()
}

/// An invocation is what its last end says, or without one, its first start: it is started once. What is a
/// day old was never there.
fn invocation(records: &[Record], id: &InvocationId) -> Option<Saved> {
    let is_fresh = |at_ms: i64| i128::from(NOW.0) - i128::from(at_ms) < 24 * 60 * 60 * 1_000;
    let ends = |record: &Record| matches!(record, Record::Finished { invocation, .. } if invocation == id);
    let starts = |record: &Record| match record {
        Record::Started { invocation, at_ms, .. } => invocation == id && is_fresh(*at_ms),
        _ => false,
    };
    let end = records.iter().rposition(ends);
    let fresh_end =
        end.filter(|at| matches!(records[*at], Record::Finished { at_ms, .. } if is_fresh(at_ms)));
    let behind = end.map_or(0, |end| end + 1);
    let start = || Some(behind + records[behind..].iter().position(starts)?);
    let decides = fresh_end.or_else(start)?;
    let mut saved = match &records[decides] {
        Record::Finished { at_ms, outcome, releases, .. } => {
            Saved { at_ms: *at_ms, releases: releases.clone(), outcome: Some(outcome.clone()) }
        }
        Record::Started { at_ms, releases, .. } => {
            Saved { at_ms: *at_ms, releases: releases.clone(), outcome: None }
        }
        _ => unreachable!("neither a start nor an end"),
    };
    if records[decides..].contains(&Record::Answered { invocation: id.clone() }) {
        saved.releases = None;
    }
    Some(saved)
}

/// Whether `recovered` is what the rules say of `records`.
fn check(recovered: &Recovered, records: &[Record]) {
    assert_eq!(recovered.agents.iter().collect::<Vec<_>>(), agents(records));
    assert!(recovered.dead.iter().eq(dead(records)), "letters: {:?}", recovered.dead);
    let (mut still_owed, mut saved) = (BTreeMap::new(), BTreeMap::new());
    for record in records {
        match record {
            Record::Owed { agent_id: id, .. } => {
                still_owed.extend(owed(records, id).map(|name| (id.clone(), name.clone())))
            }
            Record::Started { invocation: id, .. } | Record::Finished { invocation: id, .. } => {
                saved.extend(invocation(records, id).map(|saved| (id.clone(), saved)));
            }
            _ => {}
        }
    }
    assert_eq!(recovered.owed, still_owed);
    assert_eq!(recovered.invocations, saved);
}

/// Whether the compacted form of a journal that says `records` says the same, in as few lines as possible.
fn check_compact(recovered: &Recovered, records: &[Record]) {
    let compact = recovered.compact();
    let again = Recovered::read(&compact, NOW);
    check(&again, records);
    assert_eq!(again.unreadable, 0);
    assert_eq!(again.compact(), compact, "compaction is done at once");
    let Recovered { agents, dead, owed, invocations, .. } = recovered;
    let wanted = agents.len() + dead.len() + owed.len() + invocations.len();
    assert_eq!(compact.lines().count(), wanted);
}

fn name() -> impl Strategy<Value = AgentName> {
    "[a-c\n\"é]".prop_map(|name| AgentName::from(name.as_str()))
}

fn agent_id() -> impl Strategy<Value = AgentId> {
    "[1-4]".prop_map(|id| AgentId::from(id.as_str()))
}

fn letter() -> impl Strategy<Value = DeadLetter> {
    let ids = ("[d-f]", "[m\n\r]", agent_id(), name());
    let told = (any::<u64>(), ".{0,6}|\\{\"text\":\"\n\u{2028}\"\\}", "thrown_away|not_taken");
    (ids, told, any::<u8>(), any::<i64>()).prop_map(|(ids, told, attempts, at_ms)| {
        let ((delivery_id, message_id, agent_id, agent), (seq, payload, reason)) = (ids, told);
        let (delivery_id, message_id) = (DeliveryId(delivery_id), MessageId(message_id));
        DeadLetter { delivery_id, message_id, agent_id, agent, seq, payload, reason, attempts, at_ms }
    })
}

fn record() -> impl Strategy<Value = Record> {
    let invocation = || "[p-s]".prop_map(|id| InvocationId::from(id.as_str()));
    // On both sides of the age at which an invocation is forgotten, and what only a broken clock says.
    let at_ms = || prop_oneof![18 => 0..20_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let outcome = prop_oneof![".{0,6}".prop_map(Outcome::Output), ".{0,6}".prop_map(Outcome::Error)];
    let releases = || prop::option::of(name());
    prop_oneof![
        (name(), agent_id()).prop_map(|(name, agent_id)| Record::Agent { name, agent_id }),
        letter().prop_map(Record::Dead),
        (name(), agent_id()).prop_map(|(name, agent_id)| Record::Owed { agent_id, name }),
        agent_id().prop_map(|agent_id| Record::Paid { agent_id }),
        (invocation(), at_ms(), releases()).prop_map(|(invocation, at_ms, releases)| Record::Started {
            invocation,
            at_ms,
            releases
        }),
        invocation().prop_map(|invocation| Record::Answered { invocation }),
        (invocation(), at_ms(), outcome, releases()).prop_map(|(invocation, at_ms, outcome, releases)| {
            Record::Finished { invocation, at_ms, outcome, releases }
        }),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(record(), 0..30)
}

/// A line of a journal that has been through something.
#[derive(Clone, Debug)]
enum Line {
    Whole(Record),
    /// The tail of an earlier life, which the driver has ended with a newline.
    Torn(Record, Index),
    /// No beginning of it is a record.
    Garbage(String),
    Blank(String),
}

impl Line {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Whole(record) => record.line().into_bytes(),
            Self::Torn(record, cut) => {
                let mut line = record.line().into_bytes();
                // At least the brace that closes it is gone.
                line.truncate(1 + cut.index(line.len() - 2));
                line.push(b'\n');
                line
            }
            Self::Garbage(text) | Self::Blank(text) => format!("{text}\n").into_bytes(),
        }
    }
}

fn line() -> impl Strategy<Value = Line> {
    let garbage = "[#é\u{0}\\[\\]][^\n\r]{0,6}|\\{\\}|\\{\"record\":\"(later|paid)\",\"agent\":1\\}";
    prop_oneof![
        20 => record().prop_map(Line::Whole),
        1 => (record(), any::<Index>()).prop_map(|(record, cut)| Line::Torn(record, cut)),
        1 => garbage.prop_map(Line::Garbage),
        1 => "[ \t]{0,2}\r?".prop_map(Line::Blank),
    ]
}

/// Records of which there are too many, or nearly: so many numbered ones, and others anywhere among them.
#[derive(Clone, Debug)]
struct Crowd {
    count: usize,
    others: Vec<(Record, Index)>,
}

impl Crowd {
    fn records(&self, numbered: fn(usize) -> Record) -> Vec<Record> {
        let mut records: Vec<Record> = (0..self.count).map(numbered).collect();
        for (record, at) in &self.others {
            records.insert(at.index(records.len() + 1), record.clone());
        }
        records
    }
}

fn crowd(bound: usize) -> impl Strategy<Value = Crowd> {
    let others = prop::collection::vec((record(), any::<Index>()), 0..12);
    (bound - 3..bound + 6, others).prop_map(|(count, others)| Crowd { count, others })
}

fn numbered_letter(number: usize) -> Record {
    Record::Dead(DeadLetter {
        delivery_id: DeliveryId(format!("d{number}")),
        message_id: "m".into(),
        agent_id: "1".into(),
        agent: "a".into(),
        seq: number as u64,
        payload: "{}".into(),
        reason: "not_taken".into(),
        attempts: 3,
        at_ms: 0,
    })
}

fn numbered_agent(number: usize) -> Record {
    Record::Agent { name: AgentName(format!("b{number}")), agent_id: AgentId(format!("{number}")) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn a_journal_is_read_as_the_naive_model_says_wherever_it_is_torn(
        lines in prop::collection::vec(line(), 0..30),
        cut in any::<Index>(),
    ) {
        let whole: Vec<u8> = lines.iter().flat_map(Line::bytes).collect();
        let cut = cut.index(whole.len() + 1);
        let (mut records, mut unreadable, mut end) = (Vec::new(), 0, 0);
        for line in lines {
            let start = end;
            end += line.bytes().len();
            match line {
                // Only the newline may be missing.
                Line::Whole(record) if cut + 1 >= end => records.push(record),
                Line::Blank(_) => {}
                _ => unreadable += usize::from(cut > start),
            }
        }
        let recovered = Recovered::read(&String::from_utf8_lossy(&whole[..cut]), NOW);
        check(&recovered, &records);
        prop_assert_eq!(recovered.unreadable, unreadable);
        check_compact(&recovered, &records);
    }

    #[test]
    fn what_is_appended_behind_a_compacted_journal_means_the_same(
        mut records in records(),
        later in records(),
    ) {
        let compact = Recovered::read(&text_of(&records), NOW).compact();
        records.extend(later.iter().cloned());
        check(&Recovered::read(&format!("{compact}{}", text_of(&later)), NOW), &records);
    }

    #[test]
    fn any_text_as_a_journal_is_counted_and_survived(text in any::<String>(), records in records()) {
        let good = text_of(&records);
        let mixed = Recovered::read(&format!("{good}{text}\n{good}"), NOW);
        check(&mixed, &[&records[..], &records].concat());
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        prop_assert_eq!(mixed.unreadable, lines);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn of_too_many_letters_the_newest_are_kept(crowd in crowd(limits::DEAD_LETTERS), later in records()) {
        let records = crowd.records(numbered_letter);
        let recovered = Recovered::read(&text_of(&records), NOW);
        check(&recovered, &records);
        check_compact(&recovered, &records);
        let appended = format!("{}{}", recovered.compact(), text_of(&later));
        check(&Recovered::read(&appended, NOW), &[records, later].concat());
    }
}

proptest! {
    // Each case reads thousands of lines.
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn no_more_agents_are_known_than_the_bound_allows(crowd in crowd(limits::KNOWN_AGENTS)) {
        let records = crowd.records(numbered_agent);
        let recovered = Recovered::read(&text_of(&records), NOW);
        check(&recovered, &records);
        check_compact(&recovered, &records);
    }
}
