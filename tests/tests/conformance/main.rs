//! The conformance suite: what every driver must do, over real sockets, on real terminals.
//!
//! Owns: the table of scenarios, and running each against each driver.
//! Must not know: how a driver does it.
//!
//! 1. A scenario starts everything it needs, waits for conditions with deadlines, and leaves nothing.
//! 2. Set `RELAY_TESTS_DRIVER` to the path of another driver's program to test that one instead.

mod agents;
mod api;
mod delivery;
mod link;
mod process;
mod recording;
mod sockets;
mod terminals;
mod world;

use libtest_mimic::{Arguments, Trial};
use relay_tests::binary::Driver;
use std::process::ExitCode;

/// One thing that every driver must do.
pub(crate) struct Scenario {
    name: &'static str,
    run: fn(&Driver),
}

/// A table of scenarios, named as their functions.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => { &[$($crate::Scenario { name: stringify!($name), run: $name }),*] };
}

/// Scenarios at once: most of their time they wait.
const AT_ONCE: usize = 6;

const FAMILIES: [(&str, &[Scenario]); 8] = [
    ("link", link::ALL),
    ("sockets", sockets::ALL),
    ("delivery", delivery::ALL),
    ("agents", agents::ALL),
    ("terminals", terminals::ALL),
    ("api", api::ALL),
    ("process", process::ALL),
    ("recording", recording::ALL),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let mut trials = Vec::new();
    for driver in Driver::all() {
        for (family, scenarios) in FAMILIES {
            for scenario in scenarios {
                let (name, driver) =
                    (format!("{}::{family}::{}", driver.name, scenario.name), driver.clone());
                trials.push(Trial::test(name, move || {
                    (scenario.run)(&driver);
                    Ok(())
                }));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
