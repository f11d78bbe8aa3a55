//! Measures this broker beside published ones: same engine model, same agents (`cat`), one machine.
//!
//! Run by hand on a quiet machine: `cargo run --release -p relay-tests --example bench`. Prints one table.
//! Times are taken where the engine's sockets are: from the frame with a message to the first ack that
//! covers it. `-` is what was not measured, `n of m` what was not complete in time.

use relay_sim::engine::{Event, Options, ProfileName};
use relay_tests::binary::relay_broker;
use relay_tests::engine::{ScriptedEngine, What};
use relay_tests::peer::published_broker;
use relay_tests::place::{Broker, Place};
use relay_tests::sender::Sender;
use relay_tests::wait::{now_ns, within};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between single messages.
const PACE: Duration = Duration::from_millis(100);
/// How long idle processor time is measured.
const IDLE: Duration = Duration::from_secs(30);
/// Starts per kind of start.
const STARTS: usize = 10;
/// For a burst of one of the others: those that have not ended by then do not end.
const THEIR_LIMIT: Duration = Duration::from_secs(30);
/// For a burst of ours.
const OUR_LIMIT: Duration = Duration::from_secs(180);
/// Clock ticks per second in `/proc/PID/stat`.
const TICKS: f64 = 100.0;

/// One broker to measure.
struct Subject {
    name: &'static str,
    program: PathBuf,
    ours: bool,
    singles: usize,
}

type Column = BTreeMap<usize, String>;

const ROWS: [&str; 19] = [
    "single message, deliver to ack, p50 (ms)",
    "single message, deliver to ack, p99 (ms)",
    "single messages acked",
    "of these on the screen when acked",
    "burst of 200 to 1 agent (per s)",
    "burst of 200 to 10 agents (per s)",
    "burst of 1 000 to 1 agent (per s)",
    "burst of 1 000 to 10 agents (per s)",
    "burst of 10 000 to 1 agent (per s)",
    "burst of 10 000 to 10 agents (per s)",
    "resident memory, idle (MiB)",
    "with 10 agents (MiB)",
    "with 50 agents (MiB)",
    "per agent, from 10 to 50 (KiB)",
    "proportional memory with 50 agents (MiB)",
    "processor, 10 idle agents (% of a core)",
    "exec to registered, cold, median (ms)",
    "exec to registered, cold, worst (ms)",
    "exec to registered, cached token, median (ms)",
];

fn main() {
    let mut subjects =
        vec![Subject { name: "relay-broker", program: relay_broker().to_owned(), ours: true, singles: 200 }];
    for (name, version, singles) in [("9.1.6", "9.1.6", 200), ("12.4.1", "12.4.1", 10)] {
        subjects.extend(published_broker(version).map(|program| Subject {
            name,
            program,
            ours: false,
            singles,
        }));
    }
    let columns: Vec<Column> = subjects.iter().map(measure).collect();
    print!("{:<46}", "");
    for subject in &subjects {
        print!("{:>16}", subject.name);
    }
    println!();
    for (row, title) in ROWS.iter().enumerate() {
        print!("{title:<46}");
        for column in &columns {
            print!("{:>16}", column.get(&row).map_or("-", String::as_str));
        }
        println!();
    }
}

fn measure(subject: &Subject) -> Column {
    let mut column = Column::new();
    starts(subject, &mut column);
    memory_and_idle(subject, &mut column);
    singles(subject, &mut column);
    let sizes: &[(usize, usize, usize)] =
        &[(4, 200, 1), (5, 200, 10), (6, 1_000, 1), (7, 1_000, 10), (8, 10_000, 1), (9, 10_000, 10)];
    for (row, count, agents) in sizes {
        if subject.ours || *count == 200 {
            column.insert(*row, burst(subject, *count, *agents));
        }
    }
    column
}

/// An engine, and a broker that is registered at it.
struct World {
    engine: ScriptedEngine,
    _place: Place,
    broker: Broker,
}

impl World {
    fn new(subject: &Subject) -> Self {
        let engine = engine();
        let place = Place::new();
        let broker = start(subject, &place, &engine);
        registrations(&engine, 1);
        // A published broker serves its API a moment after it has registered.
        let serves = || (broker.api.get("/api/session").status == 200).then_some(());
        within(THEIR_LIMIT, "the local API", serves);
        Self { engine, _place: place, broker }
    }

    fn spawn(&self, name: &str) {
        let body = json!({ "name": name, "cli": "cat", "args": [], "channels": ["general"] });
        let answer = self.broker.api.post("/api/spawn", &body);
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    fn screen(&self, agent: &str) -> String {
        let answer = self.broker.api.get(&format!("/api/spawned/{agent}/snapshot?format=plain"));
        answer.json()["screen"].as_str().unwrap_or_default().replace('\n', "")
    }
}

fn engine() -> ScriptedEngine {
    ScriptedEngine::with(Options {
        // The oldest release that all of them can be reached at.
        profile: ProfileName::V8_11_4.into(),
        seed: now_ns(),
        mailbox_depth: 20_000,
        ..Options::default()
    })
}

fn start(subject: &Subject, place: &Place, engine: &ScriptedEngine) -> Broker {
    let mut command = place.command(&subject.program, &engine.base_url(), &engine.workspace_key);
    command.args(["init", "--instance-name", "bench", "--channels", "general", "--persist"]);
    Broker::start(&mut command, place)
}

/// When the node was registered for the `count`th time, in nanoseconds since 1970.
fn registrations(engine: &ScriptedEngine, count: usize) -> u64 {
    within(Duration::from_secs(30), "a registration", || {
        let seen = engine.seen();
        let mut registered =
            seen.iter().filter(|seen| matches!(seen.what, What::Model(Event::NodeRegistered { .. })));
        registered.nth(count - 1).map(|seen| seen.at_ns)
    })
}

fn starts(subject: &Subject, column: &mut Column) {
    let (mut cold, mut cached) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let (engine, place) = (engine(), Place::new());
        for (count, times) in [(1, &mut cold), (2, &mut cached)] {
            let began = now_ns();
            let broker = start(subject, &place, &engine);
            times.push(ms(registrations(&engine, count) - began));
            // A signal in the first moments of a start would be another measurement.
            sleep(Duration::from_millis(300));
            broker.stop();
        }
    }
    cold.sort_by(f64::total_cmp);
    cached.sort_by(f64::total_cmp);
    column.insert(16, format!("{:.1}", cold[cold.len() / 2]));
    column.insert(17, format!("{:.1}", cold[cold.len() - 1]));
    column.insert(18, format!("{:.1}", cached[cached.len() / 2]));
}

fn memory_and_idle(subject: &Subject, column: &mut Column) {
    let world = World::new(subject);
    let pid = world.broker.process.pid();
    let rss = || {
        sleep(Duration::from_secs(2));
        family(pid, &subject.program).iter().map(|pid| kib(*pid, "status", "VmRSS:")).sum::<u64>()
    };
    column.insert(10, mib(rss()));
    for number in 0..10 {
        world.spawn(&format!("agent-{number}"));
    }
    let ten = rss();
    column.insert(11, mib(ten));
    let processes = family(pid, &subject.program);
    let used = || processes.iter().map(|pid| ticks(*pid)).sum::<u64>();
    let (began, before) = (Instant::now(), used());
    sleep(IDLE);
    let share = (used() - before) as f64 / TICKS / began.elapsed().as_secs_f64() * 100.0;
    column.insert(15, format!("{share:.2}"));
    for number in 10..50 {
        world.spawn(&format!("agent-{number}"));
    }
    let fifty = rss();
    column.insert(12, mib(fifty));
    column.insert(13, format!("{:.0}", (fifty as f64 - ten as f64) / 40.0));
    let pss = family(pid, &subject.program).iter().map(|pid| kib(*pid, "smaps_rollup", "Pss:")).sum::<u64>();
    column.insert(14, mib(pss));
}

fn singles(subject: &Subject, column: &mut Column) {
    let world = World::new(subject);
    world.spawn("agent");
    let alice = Sender::join(&world.engine.client(), "alice");
    let (mut acked, mut shown) = (0, 0);
    for number in 1..=subject.singles {
        let (next, text) = (Instant::now() + PACE, format!("message {number}."));
        alice.dm("agent", &text);
        let until = Instant::now() + THEIR_LIMIT;
        let mut is_acked = false;
        while !is_acked && Instant::now() < until {
            sleep(Duration::from_millis(1));
            is_acked = world.engine.acked_yet("agent", number as u64).is_some();
        }
        acked += usize::from(is_acked);
        shown += usize::from(world.screen("agent").contains(&text));
        sleep(next.saturating_duration_since(Instant::now()));
    }
    let mut times: Vec<f64> = latencies(&world.engine).into_iter().map(ms).collect();
    times.sort_by(f64::total_cmp);
    if let (Some(p50), Some(p99)) = (times.get(times.len() / 2), times.get(times.len() * 99 / 100)) {
        column.insert(0, format!("{p50:.1}"));
        column.insert(1, format!("{p99:.1}"));
    }
    column.insert(2, format!("{acked} of {}", subject.singles));
    column.insert(3, format!("{shown} of {}", subject.singles));
}

fn burst(subject: &Subject, count: usize, agents: usize) -> String {
    let world = World::new(subject);
    let names: Vec<String> = (0..agents).map(|number| format!("agent-{number}")).collect();
    for name in &names {
        world.spawn(name);
    }
    let alice = Sender::join(&world.engine.client(), "alice");
    let messages: Vec<(&str, String)> = (0..count)
        .map(|number| (names[number % agents].as_str(), format!("{number:05} {}", "x".repeat(58))))
        .collect();
    let began = now_ns();
    world.engine.dm_all(&alice, &messages);
    eprintln!("{}: {count} to {agents}: the engine took {:.1} ms", subject.name, ms(now_ns() - began));
    let until = Instant::now() + if subject.ours { OUR_LIMIT } else { THEIR_LIMIT };
    let mut done = 0;
    while done < count && Instant::now() < until {
        sleep(Duration::from_millis(20));
        done = names.iter().map(|name| world.engine.acked_up_to(name) as usize).sum();
    }
    if done < count {
        return format!("{done} of {count}");
    }
    let last = world.engine.seen().iter().rev().find_map(|seen| match &seen.what {
        What::In(frame) if frame["type"] == "delivery.ack" => Some(seen.at_ns),
        _ => None,
    });
    let seconds = (last.unwrap_or(began) - began) as f64 / 1e9;
    format!("{:.0}", count as f64 / seconds)
}

/// From the first delivery of each sequence of `agent` to its ack, in nanoseconds.
fn latencies(engine: &ScriptedEngine) -> Vec<u64> {
    let (mut open, mut times) = (BTreeMap::new(), Vec::new());
    for seen in engine.seen() {
        match &seen.what {
            What::Out(frame) if frame["type"] == "deliver" => {
                if let Some(seq) = frame["seq"].as_u64().filter(|seq| *seq > 0) {
                    open.entry(seq).or_insert(seen.at_ns);
                }
            }
            What::In(frame) if frame["type"] == "delivery.ack" => {
                let acked = frame["up_to_seq"].as_u64().unwrap_or(0);
                let later = open.split_off(&(acked + 1));
                let covered = std::mem::replace(&mut open, later);
                times.extend(covered.values().map(|sent| seen.at_ns.saturating_sub(*sent)));
            }
            _ => {}
        }
    }
    times
}

/// A process and its descendants that run the same program: what a broker needs beside its agents.
fn family(pid: u32, program: &Path) -> Vec<u32> {
    let program = program.canonicalize().expect("it runs");
    let parents: BTreeMap<u32, u32> = fs::read_dir("/proc")
        .expect("this is Linux")
        .filter_map(|entry| {
            let child = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((child, stat(child).get(1)?.parse().ok()?))
        })
        .collect();
    let descends = |mut child: u32| {
        while child != pid {
            match parents.get(&child) {
                Some(parent) => child = *parent,
                None => return false,
            }
        }
        true
    };
    let same = |child: &u32| fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == program);
    parents.keys().copied().filter(|child| descends(*child) && same(child)).collect()
}

/// The fields of `/proc/PID/stat` after the name.
fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
    after.split(' ').map(str::to_owned).collect()
}

fn ticks(pid: u32) -> u64 {
    let fields = stat(pid);
    [11, 12].iter().filter_map(|field| fields.get(*field)?.parse::<u64>().ok()).sum()
}

fn kib(pid: u32, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
