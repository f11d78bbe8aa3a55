//! Measures both drivers beside a published broker: same engine model, same agents (`cat`), one machine.
//!
//! Run by hand on a quiet machine: `cargo run --release -p relay-tests --example bench`. Prints one table.
//! Times are taken where the engine's sockets are: from the frame with a message to the first ack that
//! covers it. `-` is what was not measured, `n of m` what was not complete in time.

use relay_sim::engine::{Event, Options, ProfileName};
use relay_tests::binary::Driver;
use relay_tests::engine::{ScriptedEngine, What};
use relay_tests::peer::published_broker;
use relay_tests::place::{Broker, Place};
use relay_tests::sender::Sender;
use relay_tests::wait::{now_ns, within};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between single messages.
const PACE: Duration = Duration::from_millis(50);
/// Single messages, one after the other.
const SINGLES: usize = 200;
/// Agents that are many.
const CROWD: usize = 500;
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
    /// Our driver of this name; none for published brokers.
    package: Option<&'static str>,
}

impl Subject {
    fn is_ours(&self) -> bool {
        self.package.is_some()
    }
}

/// A row of the table, by its title.
type Column = BTreeMap<String, String>;

fn main() {
    let ours = |name, driver| Subject { name, program: Driver::ours(driver).program, package: Some(driver) };
    let mut subjects = vec![ours("relay-broker", "tokio"), ours("relay-broker-smol", "smol")];
    let published = published_broker("9.1.6");
    subjects.extend(published.map(|program| Subject { name: "9.1.6", program, package: None }));
    let mut rows = Vec::new();
    let columns: Vec<Column> = subjects.iter().map(|subject| measure(subject, &mut rows)).collect();
    print!("{:<48}", "");
    for subject in &subjects {
        print!("{:>18}", subject.name);
    }
    println!();
    for title in rows {
        print!("{title:<48}");
        for column in &columns {
            print!("{:>18}", column.get(&title).map_or("-", String::as_str));
        }
        println!();
    }
}

/// Measures everything; titles come into `rows` in the order in which they are first seen.
fn measure(subject: &Subject, rows: &mut Vec<String>) -> Column {
    let mut column = Column::new();
    let mut note = |title: String, value: String| {
        eprintln!("{:<20}{title:<48}{value:>18}", subject.name);
        if !rows.contains(&title) {
            rows.push(title.clone());
        }
        column.insert(title, value);
    };
    for agents in [1, 10, 100] {
        singles(subject, agents, &mut note);
    }
    let sizes: &[usize] = if subject.is_ours() { &[200, 10_000] } else { &[200] };
    for count in sizes {
        for agents in [1, 10, 100] {
            note(format!("burst of {count} to {agents} agents (per s)"), burst(subject, *count, agents));
        }
    }
    memory_and_idle(subject, &mut note);
    if subject.is_ours() {
        crowd(subject, &mut note);
    }
    starts(subject, &mut note);
    size(subject, &mut note);
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

fn starts(subject: &Subject, note: &mut impl FnMut(String, String)) {
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
    note("exec to registered, cold, median (ms)".into(), format!("{:.1}", cold[cold.len() / 2]));
    note("exec to registered, cold, worst (ms)".into(), format!("{:.1}", cold[cold.len() - 1]));
    note("exec to registered, cached, median (ms)".into(), format!("{:.1}", cached[cached.len() / 2]));
}

fn memory_and_idle(subject: &Subject, note: &mut impl FnMut(String, String)) {
    let world = World::new(subject);
    let pid = world.broker.process.pid();
    let rss = || {
        sleep(Duration::from_secs(2));
        family(pid, &subject.program).iter().map(|pid| kib(*pid, "status", "VmRSS:")).sum::<u64>()
    };
    note("resident memory, idle (MiB)".into(), mib(rss()));
    for number in 0..10 {
        world.spawn(&format!("agent-{number}"));
    }
    let ten = rss();
    note("with 10 agents (MiB)".into(), mib(ten));
    let processes = family(pid, &subject.program);
    let used = || processes.iter().map(|pid| ticks(*pid)).sum::<u64>();
    let woken = || processes.iter().map(|pid| wakeups(*pid)).sum::<u64>();
    let (began, before, slept) = (Instant::now(), used(), woken());
    sleep(IDLE);
    let seconds = began.elapsed().as_secs_f64();
    let share = (used() - before) as f64 / TICKS / seconds * 100.0;
    note("processor, 10 idle agents (% of a core)".into(), format!("{share:.2}"));
    note("wake-ups, 10 idle agents (per s)".into(), format!("{:.1}", (woken() - slept) as f64 / seconds));
    for number in 10..50 {
        world.spawn(&format!("agent-{number}"));
    }
    let fifty = rss();
    note("with 50 agents (MiB)".into(), mib(fifty));
    note("per agent, from 10 to 50 (KiB)".into(), format!("{:.0}", (fifty as f64 - ten as f64) / 40.0));
    let pss = family(pid, &subject.program).iter().map(|pid| kib(*pid, "smaps_rollup", "Pss:")).sum::<u64>();
    note("proportional memory with 50 agents (MiB)".into(), mib(pss));
}

/// Five hundred agents at once, and a message for each.
fn crowd(subject: &Subject, note: &mut impl FnMut(String, String)) {
    let world = World::new(subject);
    let names: Vec<String> = (0..CROWD).map(|number| format!("agent-{number}")).collect();
    let began = Instant::now();
    for name in &names {
        world.spawn(name);
    }
    note(
        format!("{CROWD} agents, started one after the other (s)"),
        format!("{:.1}", began.elapsed().as_secs_f64()),
    );
    sleep(Duration::from_secs(2));
    let pid = world.broker.process.pid();
    note(format!("{CROWD} agents, resident memory (MiB)"), mib(kib(pid, "status", "VmRSS:")));
    let alice = Sender::join(&world.engine.client(), "alice");
    let messages: Vec<_> = names.iter().map(|name| (name.as_str(), "to everybody".to_owned())).collect();
    let began = now_ns();
    world.engine.dm_all(&alice, &messages);
    within(OUR_LIMIT, "all acks", || {
        names.iter().all(|name| world.engine.acked_up_to(name) == 1).then_some(())
    });
    let last = last_ack(&world.engine).unwrap_or(began);
    note(format!("{CROWD} agents, a message for each (ms)"), format!("{:.0}", ms(last - began)));
    let (began, before) = (Instant::now(), ticks(pid));
    sleep(IDLE);
    let share = (ticks(pid) - before) as f64 / TICKS / began.elapsed().as_secs_f64() * 100.0;
    note(format!("{CROWD} agents, processor, idle (% of a core)"), format!("{share:.2}"));
    let began = Instant::now();
    world.broker.stop();
    note(format!("{CROWD} agents, SIGTERM to the end (s)"), format!("{:.1}", began.elapsed().as_secs_f64()));
}

/// The program on disk, and how many packages are in it.
fn size(subject: &Subject, note: &mut impl FnMut(String, String)) {
    let bytes = fs::metadata(&subject.program).map_or(0, |meta| meta.len());
    note("program (MiB)".into(), mib(bytes / 1024));
    let Some(driver) = subject.package else { return };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args([
            "tree",
            "--package",
            &format!("relay-driver-{driver}"),
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    note("packages in it".into(), (packages.len() - 1).to_string());
}

fn singles(subject: &Subject, agents: usize, note: &mut impl FnMut(String, String)) {
    let world = World::new(subject);
    let names: Vec<String> = (0..agents).map(|number| format!("agent-{number}")).collect();
    for name in &names {
        world.spawn(name);
    }
    let alice = Sender::join(&world.engine.client(), "alice");
    let (mut acked, mut shown) = (0, 0);
    for number in 0..SINGLES {
        let (next, text) = (Instant::now() + PACE, format!("message {number}."));
        let name = &names[number % agents];
        alice.dm(name, &text);
        let until = Instant::now() + THEIR_LIMIT;
        let mut is_acked = false;
        while !is_acked && Instant::now() < until {
            sleep(Duration::from_millis(1));
            is_acked = world.engine.acked_yet(name, (number / agents) as u64 + 1).is_some();
        }
        acked += usize::from(is_acked);
        shown += usize::from(world.screen(name).contains(&text));
        sleep(next.saturating_duration_since(Instant::now()));
    }
    let mut times: Vec<f64> = names.iter().flat_map(|name| latencies(&world.engine, name)).map(ms).collect();
    times.sort_by(f64::total_cmp);
    if let (Some(p50), Some(p99)) = (times.get(times.len() / 2), times.get(times.len() * 99 / 100)) {
        note(format!("{agents} agents: deliver to ack, p50 (ms)"), format!("{p50:.1}"));
        note(format!("{agents} agents: deliver to ack, p99 (ms)"), format!("{p99:.1}"));
    }
    note(format!("{agents} agents: acked"), format!("{acked} of {SINGLES}"));
    note(format!("{agents} agents: on the screen when acked"), format!("{shown} of {SINGLES}"));
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
    let until = Instant::now() + if subject.is_ours() { OUR_LIMIT } else { THEIR_LIMIT };
    let mut done = 0;
    while done < count && Instant::now() < until {
        sleep(Duration::from_millis(20));
        done = names.iter().map(|name| world.engine.acked_up_to(name) as usize).sum();
    }
    if done < count {
        return format!("{done} of {count}");
    }
    let last = last_ack(&world.engine);
    let seconds = (last.unwrap_or(began) - began) as f64 / 1e9;
    format!("{:.0}", count as f64 / seconds)
}

/// When the latest ack came, in nanoseconds since 1970.
fn last_ack(engine: &ScriptedEngine) -> Option<u64> {
    engine.seen().iter().rev().find_map(|seen| match &seen.what {
        What::In(frame) if frame["type"] == "delivery.ack" => Some(seen.at_ns),
        _ => None,
    })
}

/// From the first delivery of each sequence of `agent` to its ack, in nanoseconds.
fn latencies(engine: &ScriptedEngine, agent: &str) -> Vec<u64> {
    let (mut open, mut times) = (BTreeMap::new(), Vec::new());
    for seen in engine.seen() {
        match &seen.what {
            What::Out(frame) if frame["type"] == "deliver" && frame["agent"] == agent => {
                if let Some(seq) = frame["seq"].as_u64().filter(|seq| *seq > 0) {
                    open.entry(seq).or_insert(seen.at_ns);
                }
            }
            What::In(frame) if frame["type"] == "delivery.ack" && frame["agent"] == agent => {
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

/// How often the threads of a process have gone to sleep by themselves, so far.
fn wakeups(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let slept = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    threads.map(slept).sum()
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
