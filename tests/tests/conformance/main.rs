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
use relay_tests::binary::{Driver, EXAMPLE};
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

/// What the example leaves out, each for the reason that its head names.
const NOT_IN_THE_EXAMPLE: [&str; 14] = [
    // The limits of the server, and more than one request on a connection.
    "a_head_that_is_too_long_is_refused",
    "half_a_request_delays_nobody",
    "two_requests_on_one_connection_are_answered_in_order",
    // Event streams.
    "an_exit_code_is_told_to_whoever_follows",
    "events_come_in_order_and_again_to_whoever_was_away",
    "a_subscriber_that_does_not_read_costs_others_nothing",
    // Limits of sockets and calls, and pings of the engine.
    "a_message_beyond_every_limit_costs_the_socket_and_no_row",
    "an_answer_to_a_call_that_is_too_long_is_not_taken",
    "pings_are_answered_with_their_payload",
    // `up`, and the end by a second signal.
    "a_missing_key_is_asked_for",
    "a_second_signal_ends_it_at_once",
    // Recording.
    "a_recorded_life_replays_bit_for_bit_and_shows_no_credential",
    "a_disk_that_is_full_ends_the_recording_and_nothing_else",
    "a_file_that_cannot_be_made_is_an_error_at_the_start",
];

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
                let left_out = driver.name == EXAMPLE && NOT_IN_THE_EXAMPLE.contains(&scenario.name);
                let run = move || {
                    (scenario.run)(&driver);
                    Ok(())
                };
                trials.push(Trial::test(name, run).with_ignored_flag(left_out));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
