//! `debug`: inspects the journal of a running or stopped service.

mod render;
mod watch;

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;

use super::source::{MissingJournal, Source};
use super::{Global, out};
use crate::actors::journal::view::Filter;
use crate::control::Ask;
use crate::ids::GrantId;
use crate::lifecycle::{Exit, Failure};

/// Arguments of `debug`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to inspect.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of `debug`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List, show, count, requeue, drop or export grants
    Queue(Queue),
    /// Show how much of each rate limit is used, and when the next call is possible
    Budget,
    /// Check every record, seal and index of the journal
    Verify,
    /// Show counts, rate limits and the most urgent grants, refreshed every second
    Watch(watch::Args),
}

/// Arguments of `debug queue`.
#[derive(Debug, clap::Args)]
pub struct Queue {
    /// What to do with the queue.
    #[command(subcommand)]
    pub command: QueueCommand,
}

/// The commands of `debug queue`.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List grants, those with the earliest deadline first
    List {
        /// How many to list; 0 for all
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
        /// Only grants in this state
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// Only grants with a parked delivery
        #[arg(long)]
        parked: bool,
    },
    /// Show everything about a grant except its secrets
    Show {
        /// The grant's id
        id: GrantId,
    },
    /// Count grants by state and outcome
    Stats,
    /// Retry a parked delivery
    Requeue {
        /// The grant's id
        id: GrantId,
        /// Only the delivery to this sink
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
    },
    /// Give up a grant's deliveries; its token is still revoked
    Drop {
        /// The grant's id
        id: GrantId,
        /// Confirm
        #[arg(long)]
        yes: bool,
    },
    /// Export all grants as JSON lines, without secrets
    Export {
        /// Output file [default: stdout]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// The states that `--state` accepts.
const STATES: [&str; 5] = ["received", "exchanging", "exchanged", "settling", "closed"];

/// Runs a command of `debug`.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let find = || Source::find(&config, MissingJournal::Refuse);
    let (ask, text): (Ask, fn(&Value) -> String) = match &args.command {
        Command::Watch(args) => return watch::run(args, &config, global),
        Command::Budget => (Ask::Budget, render::budgets),
        Command::Verify => (Ask::Verify, render::verified),
        Command::Queue(queue) => match &queue.command {
            QueueCommand::List { limit, state, parked } => {
                let filter = Filter {
                    limit: *limit,
                    state: state.clone(),
                    parked: *parked,
                };
                (Ask::List(filter), render::listing)
            }
            QueueCommand::Show { id } => (Ask::Show(*id), render::one),
            QueueCommand::Stats => (Ask::Stats, render::stats),
            QueueCommand::Requeue { id, sink } => {
                let (id, sink) = (*id, sink.clone());
                (Ask::Requeue { id, sink }, render::one)
            }
            QueueCommand::Drop { id, yes: true } => (Ask::Drop(*id), render::one),
            QueueCommand::Drop { id, yes: false } => {
                return Err(Failure::new(Exit::Usage, format!("grant {id} was not dropped"))
                    .way_out("its deliveries cannot be recovered; add --yes to confirm")
                    .into());
            }
            QueueCommand::Export { output } => return export(&find()?, output.as_deref()),
        },
    };
    let source = find()?;
    let answer = source.ask(&ask)?;
    if let Ask::List(filter) = &ask
        && !global.json
        && answer["grants"].as_array().is_none_or(Vec::is_empty)
    {
        out::line(render::nothing(filter, &source.ask(&Ask::Stats)?))?;
        return Ok(Exit::Fine);
    }
    out::value(global.json, &answer, text)?;
    let damaged = matches!(ask, Ask::Verify) && answer["ok"] != true;
    Ok(if damaged { Exit::Failed } else { Exit::Fine })
}

fn export(source: &Source<'_>, output: Option<&std::path::Path>) -> anyhow::Result<Exit> {
    let mut text = String::new();
    for state in [None, Some("closed".to_owned())] {
        let answer = source.ask(&Ask::List(Filter {
            limit: 0,
            state,
            parked: false,
        }))?;
        for grant in answer["grants"].as_array().into_iter().flatten() {
            text.push_str(&grant.to_string());
            text.push('\n');
        }
    }
    match output {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write the export to `{}`", path.display()))?;
        }
        None => out::write(&[&text])?,
    }
    Ok(Exit::Fine)
}
