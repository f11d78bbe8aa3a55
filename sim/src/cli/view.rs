//! `relay-sim view`: a case as a picture.
//!
//! Owns: what is made a picture of, and where the page goes. Must not know: what a page looks like.
//!
//! 1. The page is written whatever it shows; the exit code is that of what it shows, which one line on
//!    stderr tells as well.

use super::code::Code;
use super::input::{self, Input};
use super::output::{self, Readers};
use super::patience::meanwhile;
use super::terminal::{place, shown};
use super::{again, refuse};
use relay_core::trace::Trace;
use relay_sim::engine::ProfileName;
use relay_sim::oracles::{Class, Failure};
use relay_sim::plan::{self, Plan};
use relay_sim::replay::{self, Checked};
use relay_sim::view::View;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace that was recorded, or a scenario file.
    #[arg(required_unless_present = "seed", conflicts_with_all = ["seed", "profile"])]
    file: Option<PathBuf>,
    /// A seed: a number, or a git hash of at least 7 digits; `0x` says that fewer ones are hexadecimal.
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<String>,
    /// Engine release of the seed.
    #[arg(long, default_value = "6.0.3", requires = "seed")]
    profile: ProfileName,
    /// The page.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Code {
    // The words of a panic are in the picture.
    std::panic::set_hook(Box::new(|_| {}));
    meanwhile(&place(&args.output), || draw(args)).unwrap_or_else(|code| code)
}

/// A picture to be, and what was found in it.
struct Drawn {
    view: View,
    found: Option<Failure>,
}

fn draw(args: &Args) -> Result<Code, Code> {
    let (drawn, readers) = match (&args.file, &args.seed) {
        (Some(file), _) => {
            output::must_differ(&args.output, file)?;
            of_file(file).map_err(|why| refuse(file, &why))?
        }
        (None, seed) => (of_seed(seed.as_deref().unwrap_or_default(), args.profile)?, Readers::Usual),
    };
    output::write(&args.output, &drawn.view.page(), readers)?;
    output::note(&args.output, format_args!("{}", place(&args.output)));
    let Some(found) = drawn.found else { return Ok(Code::HELD) };
    let what = args.file.as_ref().map_or_else(String::new, |file| format!("{}: ", place(file)));
    complain!("{what}{}", shown(found.message.lines().next().unwrap_or_default()));
    Ok(Code::found(found.class))
}

fn of_seed(seed: &str, profile: ProfileName) -> Result<Drawn, Code> {
    let seed = super::seed::parse(seed).map_err(|why| {
        complain!("relay-sim: {why}");
        Code::REFUSED
    })?;
    let title = format!("seed {seed}, engine {profile}");
    Ok(of_case(View::new(&title, &again::seed(seed, profile)), plan::draw(seed, profile)))
}

/// The picture of what is in a file, and who may see it.
fn of_file(file: &Path) -> Result<(Drawn, Readers), String> {
    match input::either(file)? {
        Input::Trace(text) => Ok((of_trace(file, &text)?, Readers::Owner)),
        Input::Scenario(scenario) => {
            let reproduction = again::file("run", file);
            Ok((of_case(View::new(&scenario.about, &reproduction), scenario.plan), Readers::Usual))
        }
    }
}

/// The picture of a simulated case.
fn of_case(mut view: View, plan: Plan) -> Drawn {
    let found = match relay_sim::tell(plan, |moment| view.add(moment)) {
        Ok(report) => {
            view.passed(&format!(
                "passed: {} events, messages taken: {}, lives of the broker: {}, virtual seconds: {}",
                report.events,
                report.taken,
                report.lives,
                report.time / plan::SECOND
            ));
            None
        }
        Err(failure) => {
            view.failed(&failure);
            Some(Failure { message: super::verdict(&failure), ..failure })
        }
    };
    Drawn { view, found }
}

/// The picture of a recorded life: it is lived again, so that commands are shown as well, and judged.
fn of_trace(file: &Path, text: &str) -> Result<Drawn, String> {
    let trace = input::read(text).map_err(|why| why.to_string())?;
    let reproduction = again::file("replay", file);
    let title = format!("{}, recorded by {} with core {}", place(file), trace.driver, trace.core);
    let mut view = View::new(&title, &reproduction);
    let found = match replay::narrate(&trace, |moment| view.add(moment)) {
        Ok(checked) => judged(&mut view, &trace, &checked),
        Err(difference) => {
            let message = format!("the replay parts from the trace at {difference}");
            let failure = Failure { class: difference.class(), rule: "replay", message };
            view.failed(&failure);
            Some(failure)
        }
    };
    Ok(Drawn { view, found })
}

/// What is wrong with a life that was lived again as it was recorded; the story tells its violations.
fn judged(view: &mut View, trace: &Trace<'_>, checked: &Checked) -> Option<Failure> {
    match (checked.class(), checked.violations.first()) {
        (Some(Class::Panic), _) => {
            let failure = Failure { class: Class::Panic, rule: "panic", message: trace.end.to_string() };
            view.failed(&failure);
            Some(failure)
        }
        (_, Some(first)) => {
            let failure = Failure::from(first);
            view.failed(&failure);
            Some(Failure { message: super::verdict(&failure), ..failure })
        }
        (_, None) => {
            view.passed(&format!(
                "replayed: {} inputs, {} commands, nothing is wrong; the trace ends with: {}",
                checked.replayed.inputs, checked.replayed.commands, trace.end
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_sim::scenario::Scenario;

    /// The agent of the second world is wanted only when all is over: no broker can pass that.
    #[test]
    fn what_is_found_in_a_case_is_found_in_its_picture() {
        let mut plan = Scenario::parse(include_str!("../../../fixtures/scenarios/direct.json")).unwrap().plan;
        assert!(of_case(View::new("", ""), plan.clone()).found.is_none());
        plan.agents[0].from = 24 * 3_600 * plan::SECOND;
        let found = of_case(View::new("", ""), plan.clone()).found.unwrap();
        let failure = relay_sim::run(plan, None).unwrap_err();
        assert_eq!((found.class, found.rule), (failure.class, failure.rule));
        assert!(found.message.ends_with(&failure.message), "{}", found.message);
    }
}
