//! A deterministic simulator for relay-core: the real broker in virtual time, against a model of the
//! engine, model agents, faults, and oracles that judge by what really happened.
//!
//! A seed and an engine release make a [`plan::Plan`]; [`run`] carries it out in a [`world::World`].
//! Nothing here reads a clock, opens a socket, starts a thread or draws from anything but the seed.

pub mod agents;
pub mod engine;
pub mod oracles;
pub mod plan;
pub mod rng;
pub mod scenario;
pub mod world;

use oracles::{Class, Failure};
use plan::Plan;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Report, Sink, World};

/// Runs a case. A panic of the core is a failure like any other.
///
/// # Errors
/// The first rule that was broken.
pub fn run<'a>(plan: Plan, sink: Option<&'a mut Sink<'a>>) -> Result<Report, Failure> {
    let case = AssertUnwindSafe(|| World::new(plan, sink).run());
    catch_unwind(case).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Failure {
            class: Class::Panic,
            rule: "panic",
            message: text.unwrap_or_else(|| "a panic without words".into()),
        })
    })
}

/// The releases that a swarm runs over.
pub const PROFILES: [engine::ProfileName; 4] = [
    engine::ProfileName::V5_0_5,
    engine::ProfileName::V6_0_3,
    engine::ProfileName::V8_2_2,
    engine::ProfileName::V8_11_4,
];
