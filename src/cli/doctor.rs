//! `doctor`: looks at a whole set-up and says what is wrong, with its cure.

use std::fmt::Write as _;

use super::config::machine;
use super::{Global, out};
use crate::doctor::{self, Check, Report, State};
use crate::lifecycle::Exit;
use crate::time::SystemClock;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask the running service alone, and nobody else: for health checks
    #[arg(long)]
    pub quick: bool,
    /// Also post a test message through each lane and a test result to each sink
    #[arg(long, conflicts_with = "quick")]
    pub probe: bool,
}

/// Where the ids stand in a line.
const ID_COLUMN: usize = 100;

/// Runs the checks; exits with 2 where one fails.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let locator = global.locator()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = if args.quick {
        doctor::quick(&locator, &runtime)
    } else {
        doctor::examine(
            &locator,
            machine::of_service,
            SystemClock::shared(),
            args.probe,
            &runtime,
        )
    };
    if global.json {
        out::json(&report.json())?;
    } else {
        out::write(&[&text(&report)])?;
    }
    Ok(report.exit())
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.0 {
        let Check { name, detail, .. } = check;
        let line = format!("{} {name:<14} {detail}", check.state.mark());
        // Writing into a text cannot fail.
        let _ = match check.id {
            Some(id) => writeln!(text, "{line:<ID_COLUMN$} {id}"),
            None => writeln!(text, "{line}"),
        };
        if let Some(cure) = &check.cure {
            let _ = writeln!(text, "  {:<14} {cure}", "");
        }
    }
    let counts = [
        (State::Ok, "good"),
        (State::Fail, "to correct"),
        (State::Warn, "to look at"),
        (State::Skipped, "skipped"),
    ];
    let counts = counts.map(|(state, word)| (report.count(state), word));
    let told: Vec<_> = counts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    let _ = writeln!(text, "{}", told.join(", "));
    text
}
