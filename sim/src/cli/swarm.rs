//! `relay-sim swarm`: many seeds.
//!
//! Owns: which cases run, on which threads, and when to stop. A case is one seed on one release.
//! Must not know: what a seed stands for.
//!
//! 1. Cases are numbered, begun in order and summed in order, so that the sums, and the failure that
//!    ends a run, are the same for every number of threads.
//! 2. Whoever interrupts a run gets the sums of all cases that were begun.

use super::code::Code;
use super::interrupt::Interrupt;
use super::numbers;
use super::patience::PROGRESS;
use super::tally::Tally;
use relay_sim::engine::ProfileName;
use relay_sim::oracles::Failure;
use relay_sim::plan;
use relay_sim::world::Report;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Seeds of a run without `--seeds` and `--minutes`.
const SEEDS: u64 = 1_000;
/// Whoever interrupts a run is heard within this time.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds, each on every release; 1000 when neither this nor `--minutes` is given.
    #[arg(long, conflicts_with = "minutes", allow_negative_numbers = true, value_parser = numbers::seeds)]
    seeds: Option<u64>,
    /// How long, instead of how many.
    #[arg(long, allow_negative_numbers = true, value_parser = numbers::minutes)]
    minutes: Option<f64>,
    /// The first seed.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = numbers::start)]
    start: u64,
    /// Threads; one per processor when left out.
    #[arg(long, default_value_t = numbers::default_jobs(), hide_default_value = true)]
    #[arg(allow_negative_numbers = true, value_parser = numbers::jobs)]
    jobs: usize,
    /// Engine release; all that are simulated when left out.
    #[arg(long)]
    profile: Option<ProfileName>,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Code {
    // The words of a panic are in the failure; `seed` shows where it was.
    std::panic::set_hook(Box::new(|_| {}));
    let cases = Cases {
        start: args.start,
        profiles: args.profile.map_or_else(|| relay_sim::PROFILES.to_vec(), |profile| vec![profile]),
    };
    // One less than there are, which may be one more than fits.
    let behind = u64::MAX - args.start;
    let seeds = match (args.seeds, args.minutes) {
        (None, Some(_)) => behind.saturating_add(1),
        (seeds, _) => seeds.unwrap_or(SEEDS),
    };
    if seeds - 1 > behind {
        complain!(
            "relay-sim: there are no {seeds} seeds from {} on: the last one is {}",
            args.start,
            u64::MAX
        );
        return Code::REFUSED;
    }
    let end = seeds.saturating_mul(cases.profiles.len() as u64);
    let queue = Queue { next: AtomicU64::new(0), end: AtomicU64::new(end), over: AtomicBool::new(false) };
    let time = args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let mut tally = Tally::new(&cases.profiles, args.keep_going);
    let (queue, mut refused) = (&queue, false);
    let limits = Limits { time, interrupt: Interrupt::watch() };
    thread::scope(|scope| {
        let (results, received) = channel();
        for job in 0..args.jobs {
            let (results, cases) = (results.clone(), &cases);
            let thread = thread::Builder::new();
            let begun = thread.spawn_scoped(scope, move || work(cases, queue, args.keep_going, &results));
            if let Err(error) = begun {
                let wanted = args.jobs;
                complain!(
                    "relay-sim: only {job} of {wanted} threads could be started ({error}): lower --jobs"
                );
                queue.over.store(true, Ordering::Relaxed);
                refused = true;
                break;
            }
        }
        drop(results);
        collect(&cases, queue, &limits, &received, &mut tally);
    });
    if refused {
        return Code::REFUSED;
    }
    let interrupted = limits.interrupt.came();
    if args.json {
        tally.print_json(interrupted)
    } else {
        tally.print_table()
    }
    let code = if interrupted { Code::INTERRUPTED } else { Code::HELD };
    tally.exit_code().worst(code)
}

/// What ends a run before its last case.
struct Limits {
    time: Option<Duration>,
    interrupt: Interrupt,
}

/// Which case has which number.
struct Cases {
    start: u64,
    profiles: Vec<ProfileName>,
}

impl Cases {
    fn at(&self, number: u64) -> (u64, ProfileName) {
        let profiles = self.profiles.len() as u64;
        (self.start + number / profiles, self.profiles[(number % profiles) as usize])
    }
}

/// What is still to be begun.
struct Queue {
    next: AtomicU64,
    /// The number of the first case that is not wanted.
    end: AtomicU64,
    /// Time is up, or somebody has interrupted the run.
    over: AtomicBool,
}

type Outcome = (u64, Result<Report, Failure>);

fn work(cases: &Cases, queue: &Queue, keep_going: bool, results: &Sender<Outcome>) {
    while !queue.over.load(Ordering::Relaxed) {
        let number = queue.next.fetch_add(1, Ordering::Relaxed);
        if number >= queue.end.load(Ordering::Relaxed) {
            return;
        }
        let (seed, profile) = cases.at(number);
        let result = relay_sim::run(plan::draw(seed, profile), None);
        if result.is_err() && !keep_going {
            // Earlier cases are under way already; later ones are of no interest any more.
            queue.end.fetch_min(number, Ordering::Relaxed);
        }
        if results.send((number, result)).is_err() {
            return;
        }
    }
}

/// Sums results in order (invariant 1), and tells every two seconds how far they are.
fn collect(cases: &Cases, queue: &Queue, limits: &Limits, received: &Receiver<Outcome>, tally: &mut Tally) {
    let begun = Instant::now();
    let mut told = begun;
    let (mut next, mut waiting) = (0, BTreeMap::new());
    loop {
        match received.recv_timeout(LOOK.min(PROGRESS.saturating_sub(told.elapsed()))) {
            Ok((number, result)) => {
                waiting.insert(number, result);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(result) = waiting.remove(&next) {
            let (seed, profile) = cases.at(next);
            tally.add(seed, profile, result);
            next += 1;
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            complain!("{}", tally.progress());
        }
        let is_over = queue.over.load(Ordering::Relaxed);
        if !is_over && limits.interrupt.came() {
            complain!("relay-sim: interrupted; finishing what was begun, once more ends at once");
            queue.over.store(true, Ordering::Relaxed);
        }
        if limits.time.is_some_and(|time| begun.elapsed() >= time) {
            queue.over.store(true, Ordering::Relaxed);
        }
    }
}
