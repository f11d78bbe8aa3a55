//! `relay-sim view`: a case as a picture.
//!
//! Owns: what is made a picture of, and where the page goes. Must not know: what a page looks like.

use super::code::Code;
use super::input::{self, Input};
use super::output::{self, Readers};
use super::refuse;
use relay_core::trace::Trace;
use relay_sim::engine::ProfileName;
use relay_sim::plan::{self, Plan};
use relay_sim::replay;
use relay_sim::view::View;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace that was recorded, or a scenario file.
    #[arg(required_unless_present = "seed", conflicts_with_all = ["seed", "profile"])]
    file: Option<PathBuf>,
    /// A seed: a number, or a git hash.
    #[arg(long)]
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
    draw(args).map_or_else(|code| code, |()| Code::HELD)
}

fn draw(args: &Args) -> Result<(), Code> {
    let (view, readers) = match (&args.file, &args.seed) {
        (Some(file), _) => {
            output::must_differ(&args.output, file)?;
            of_file(file).map_err(|why| refuse(file, &why))?
        }
        (None, seed) => (of_seed(seed.as_deref().unwrap_or_default(), args.profile)?, Readers::Usual),
    };
    output::write(&args.output, &view.page(), readers)?;
    output::note(&args.output, format_args!("{}", args.output.display()));
    Ok(())
}

fn of_seed(seed: &str, profile: ProfileName) -> Result<View, Code> {
    let seed = super::seed::parse(seed).map_err(|why| {
        complain!("relay-sim: {why}");
        Code::REFUSED
    })?;
    let title = format!("seed {seed}, engine {profile}");
    Ok(of_case(View::new(&title, &super::reproduction(seed, profile)), plan::draw(seed, profile)))
}

/// The picture of what is in a file, and who may see it.
fn of_file(file: &Path) -> Result<(View, Readers), String> {
    match input::either(file)? {
        Input::Trace(text) => Ok((of_trace(file, &text)?, Readers::Owner)),
        Input::Scenario(scenario) => {
            let reproduction = format!("cargo run --release -p relay-sim -- run {}", file.display());
            Ok((of_case(View::new(&scenario.about, &reproduction), scenario.plan), Readers::Usual))
        }
    }
}

/// The picture of a simulated case.
fn of_case(mut view: View, plan: Plan) -> View {
    match relay_sim::tell(plan, |moment| view.add(moment)) {
        Ok(report) => view.passed(&format!(
            "passed: {} events, messages taken: {}, lives of the broker: {}, virtual seconds: {}",
            report.events,
            report.taken,
            report.lives,
            report.time / plan::SECOND
        )),
        Err(failure) => view.failed(&failure),
    }
    view
}

/// The picture of a recorded life: it is lived again, so that commands are shown as well.
fn of_trace(file: &Path, text: &str) -> Result<View, String> {
    let trace = Trace::read(text).map_err(|error| error.to_string())?;
    let reproduction = format!("cargo run --release -p relay-sim -- replay {}", file.display());
    let title = format!("{}, recorded by {} with core {}", file.display(), trace.driver, trace.core);
    let mut view = View::new(&title, &reproduction);
    match replay::narrate(&trace, |moment| view.add(moment)) {
        Ok(done) => view.passed(&format!(
            "replayed: {} inputs, {} commands; the trace ends with: {}",
            done.inputs, done.commands, trace.end
        )),
        Err(failure) => view.failed(&failure),
    }
    Ok(view)
}
