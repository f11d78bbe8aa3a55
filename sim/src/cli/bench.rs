//! `relay-sim bench`: how fast the simulator is, and how its cost grows.
//!
//! Owns: which worlds are measured, the clock, and the table.
//! Must not know: what happens in a world.
//!
//! 1. One thread, and its processor time where the kernel tells it; every row runs until it has taken
//!    [`LONG_ENOUGH`], and whole worlds only.
//! 2. The peak of memory is that of the row, where the kernel lets it be reset.

use super::code::Code;
use super::patience::meanwhile;
use relay_sim::engine::ProfileName;
use relay_sim::plan::{self, Plan};
use std::time::{Duration, Instant};

/// A row that took so long is measured well enough.
const LONG_ENOUGH: Duration = Duration::from_secs(2);
/// Steps of the worlds that are compared between versions.
const STEPS: u64 = 200;
/// Agents and messages of the rows that tell how cost grows.
const GROWTH: [(usize, usize); 5] = [(1, 10_000), (10, 10_000), (100, 10_000), (10, 100), (10, 1_000_000)];
/// The release that is measured.
const PROFILE: ProfileName = ProfileName::V6_0_3;

pub(crate) fn run() -> Code {
    say!(
        "{:<34}{:>9}{:>12}{:>12}{:>11}{:>10}",
        "worlds",
        "seeds/s",
        "events/s",
        "ns/event",
        "ev./seed",
        "MiB peak"
    );
    match rows() {
        Ok(()) => Code::HELD,
        Err(why) => {
            say!("{why}");
            Code::REFUSED
        }
    }
}

fn rows() -> Result<(), String> {
    row("as the swarm draws them", &|seed| plan::draw(seed, PROFILE))?;
    row(&format!("with {STEPS} steps"), &|seed| plan::draw_with(seed, PROFILE, STEPS))?;
    for (agents, messages) in GROWTH {
        let name = format!("agents: {agents}, messages: {messages}");
        row(&name, &|seed| plan::calm(seed, PROFILE, agents, messages))?;
    }
    Ok(())
}

fn row(name: &str, draw: &dyn Fn(u64) -> Plan) -> Result<(), String> {
    reset_peak();
    let clock = Clock::start();
    let (mut seeds, mut events) = (0_u64, 0_u64);
    meanwhile(&name, || {
        while clock.elapsed() < LONG_ENOUGH {
            let report = relay_sim::run(draw(seeds), None)
                .map_err(|failure| format!("{name}, seed {seeds}: {}", super::verdict(&failure)))?;
            seeds += 1;
            events += report.events;
        }
        Ok::<_, String>(())
    })?;
    let seconds = clock.elapsed().as_secs_f64();
    say!(
        "{name:<34}{:>9}{:>12.0}{:>12.0}{:>11}{:>10}",
        rate(seeds as f64 / seconds),
        events as f64 / seconds,
        seconds * 1e9 / events as f64,
        events / seeds,
        peak().map_or_else(|| "?".to_owned(), |kib| (kib / 1_024).to_string()),
    );
    Ok(())
}

/// How many per second: of a few, as many digits as tell them from none.
fn rate(seeds: f64) -> String {
    if seeds < 1.0 { format!("{seeds:.3}") } else { format!("{seeds:.1}") }
}

/// What this thread has cost so far.
struct Clock {
    wall: Instant,
    processor: Option<Duration>,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), processor: processor_time() }
    }

    fn elapsed(&self) -> Duration {
        let wall = self.wall.elapsed();
        if wall < LONG_ENOUGH {
            // The processor's time is not more, and to ask for it after each world costs a fiftieth of one.
            return wall;
        }
        let used = processor_time().zip(self.processor).map(|(now, then)| now.saturating_sub(then));
        used.unwrap_or(wall)
    }
}

/// Processor time of the first thread, which is the only one here.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    Some(Duration::from_nanos(stat.split_whitespace().next()?.parse().ok()?))
}

/// Lets the kernel count the peak anew.
fn reset_peak() {
    // Where this is not allowed the peak is that of all rows so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory this process has used, in KiB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_that_takes_long_is_not_none_in_a_second() {
        assert_eq!([0.034, 0.999, 1.0, 543.91].map(rate), ["0.034", "0.999", "1.0", "543.9"]);
    }
}
