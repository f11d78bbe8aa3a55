//! A deterministic simulator for relay-core: the real broker in virtual time, against a model of the
//! engine, model agents, faults, and oracles that judge by what really happened.
//!
//! A seed and an engine release make a [`plan::Plan`]; [`run`] carries it out in a [`world::World`].
//! Nothing here reads a clock, opens a socket, starts a thread or draws from anything but the seed.

pub mod agents;
pub mod distill;
pub mod engine;
pub mod fuzz;
pub mod oracles;
pub mod plan;
pub mod replay;
pub mod rng;
pub mod scenario;
pub mod story;
pub mod view;
pub mod world;

use oracles::{Class, Failure};
use plan::Plan;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use story::{Fact, Moment, Narrator};
use world::{Report, Sink, TapeSink, World};

/// Runs a case. A panic of the core is a failure like any other.
///
/// # Errors
/// The first rule that was broken.
pub fn run<'a>(plan: Plan, sink: Option<&'a mut Sink<'a>>) -> Result<Report, Failure> {
    judge(|| World::new(plan, sink))
}

/// Runs a case and tells its story.
///
/// # Errors
/// The first rule that was broken; what was told until then leads there.
pub fn tell(plan: Plan, mut listen: impl FnMut(Moment)) -> Result<Report, Failure> {
    let mut narrator = Narrator::new();
    let mut sink = |at: u64, fact: &Fact<'_>| narrator.tell(at, fact).into_iter().for_each(&mut listen);
    run(plan, Some(&mut sink))
}

/// Runs a case and records every life of its broker: `tape` gets the number of the life, from 1, and
/// the lines of its trace as they are written.
///
/// # Errors
/// The first rule that was broken; what was recorded until then leads there, and its end says so.
pub fn record<'a>(
    plan: Plan,
    sink: Option<&'a mut Sink<'a>>,
    tape: &'a mut TapeSink<'a>,
) -> Result<Report, Failure> {
    judge(|| World::recorded(plan, sink, tape))
}

fn judge<'a>(begin: impl FnOnce() -> World<'a>) -> Result<Report, Failure> {
    let mut world = None;
    let result = catch_unwind(AssertUnwindSafe(|| world.insert(begin()).run())).unwrap_or_else(|panic| {
        Err(Failure { class: Class::Panic, rule: "panic", message: panic_text(panic.as_ref()) })
    });
    if let (Err(failure), Some(world)) = (&result, &mut world) {
        world.break_off(&end_of_trace(failure));
    }
    result
}

/// How a trace ends whose broker has failed.
fn end_of_trace(failure: &Failure) -> String {
    match failure.class {
        Class::Panic => format!("{}: {}", replay::PANIC, failure.message),
        _ => format!("{} is broken: {}", failure.rule, failure.message),
    }
}

/// The words of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".into())
}

/// The releases that a swarm runs over.
pub const PROFILES: [engine::ProfileName; 5] = engine::ProfileName::ALL;
