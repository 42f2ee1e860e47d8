//! `debug watch`: counts, rate limits and the grants with the earliest deadlines, refreshed until interrupted.
//!
//! On a terminal each view replaces the last. A stopped store is never kept open between two views, so that the service
//! can be started in between.

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

/// Grants that are asked for; a view shows as many as there is room for.
const SHOWN: usize = 100;
/// The columns and rows where there is no terminal.
const PIPE: (usize, usize) = (80, 24);
/// Clears the screen and moves the cursor to its top left corner (ECMA-48).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Arguments of `debug watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds between refreshes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub every: u64,
    /// Stop after this many views [default: never]
    #[arg(long, value_name = "N")]
    pub looks: Option<u64>,
}

/// What one view shows.
struct View {
    running: bool,
    stats: Value,
    budgets: Value,
    listing: Value,
}

/// Refreshes the view until it is interrupted or has shown enough of them.
pub fn run(args: &Args, config: &Config, global: &Global) -> anyhow::Result<Exit> {
    let mut last = None;
    for nth in 1.. {
        match View::after(last.take(), config) {
            Ok(seen) => {
                out::line(if global.json {
                    seen.json().to_string()
                } else {
                    seen.text()
                })?;
                last = Some(seen);
            }
            // A service that is starting or stopping has its journal locked, but does not answer for a moment.
            Err(error) if nth > 1 => tracing::warn!("cannot read the journal now: {error:#}"),
            Err(error) => return Err(error),
        }
        if args.looks.is_some_and(|most| nth >= most) {
            break;
        }
        std::thread::sleep(Duration::from_secs(args.every));
    }
    Ok(Exit::Fine)
}

impl View {
    /// The next view. A stopped store does not change: after a view of one, only a service that runs by now is asked.
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
            "at": SystemClock.now().to_string(),
            "running": self.running,
            "stats": self.stats,
            "budget": self.budgets,
            "grants": self.listing["grants"],
        })
    }

    fn text(&self) -> String {
        let running = if self.running { "running" } else { "stopped" };
        let title = format!("{}  service {running}", SystemClock.now());
        let size = out::size();
        let shown = render::screen(
            &title,
            [&self.stats, &self.budgets, &self.listing],
            size.unwrap_or(PIPE),
        );
        format!("{}{shown}", if size.is_some() { CLEAR } else { "" })
    }
}
