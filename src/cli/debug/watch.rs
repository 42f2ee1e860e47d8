//! `debug watch`: the counts, the budgets and the grants nearest to their deadline, again and again.
//!
//! On a terminal each look replaces the last. It never keeps a stopped store open between two looks, so that the
//! service can be started meanwhile.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::render;
use crate::actors::journal::view::Filter;
use crate::cli::source::{MissingJournal, Source};
use crate::cli::{Global, out};
use crate::config::Config;
use crate::control::Ask;
use crate::lifecycle::Exit;
use crate::time::{Clock, SystemClock};

/// Grants shown at once.
const SHOWN: usize = 15;
/// Clears the screen and puts the cursor into its corner (ECMA-48).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Arguments of `debug watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds between two looks
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub every: u64,
    /// End after so many looks; never unless given
    #[arg(long, value_name = "N")]
    pub looks: Option<u64>,
}

/// One look.
struct Snapshot {
    running: bool,
    stats: Value,
    budgets: Value,
    listing: Value,
}

/// Looks until it is interrupted, or has looked often enough.
pub fn run(args: &Args, config: &Config, global: &Global) -> anyhow::Result<Exit> {
    let mut last = None;
    for look in 1.. {
        match Snapshot::after(last.take(), config) {
            Ok(seen) => {
                out::line(if global.json {
                    seen.json().to_string()
                } else {
                    seen.text()
                })?;
                last = Some(seen);
            }
            // A service that is just starting or ending answers for a moment neither at its socket nor with its store.
            Err(error) if look > 1 => tracing::warn!("the journal cannot be looked into now: {error:#}"),
            Err(error) => return Err(error),
        }
        if args.looks.is_some_and(|most| look >= most) {
            break;
        }
        std::thread::sleep(Duration::from_secs(args.every));
    }
    Ok(Exit::Fine)
}

impl Snapshot {
    /// The next look. What nobody has opened has not changed: after a look into a stopped store only whether a service
    /// runs by now is asked.
    fn after(last: Option<Self>, config: &Config) -> anyhow::Result<Self> {
        match last {
            Some(seen) if !seen.running => match Source::running(config) {
                Some(source) => Self::take(&source),
                None => Ok(seen),
            },
            _ => Self::take(&Source::find(config, MissingJournal::Refuse)?),
        }
    }

    fn take(source: &Source<'_>) -> anyhow::Result<Self> {
        let nearest = Filter {
            limit: SHOWN,
            ..Filter::default()
        };
        Ok(Self {
            running: matches!(source, Source::Running(..)),
            stats: source.ask(&Ask::Stats)?,
            budgets: source.ask(&Ask::Budget)?,
            listing: source.ask(&Ask::List(nearest))?,
        })
    }

    fn json(&self) -> Value {
        json!({
            "at": SystemClock.now().rfc3339(),
            "running": self.running,
            "stats": self.stats,
            "budget": self.budgets,
            "grants": self.listing["grants"],
        })
    }

    fn text(&self) -> String {
        format!(
            "{}{}  {}\n\n{}\n\n{}\n\n{}",
            if io::stdout().is_terminal() { CLEAR } else { "" },
            SystemClock.now(),
            if self.running {
                "the service runs"
            } else {
                "the service does not run"
            },
            render::stats(&self.stats),
            render::budgets(&self.budgets),
            render::listing(&self.listing),
        )
    }
}
