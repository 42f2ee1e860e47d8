//! `debug`: looks into the journal, of a stopped store and of a running service alike.

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
    /// What to look at.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of `debug`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The grants in the journal
    Queue(Queue),
    /// What each budget has spent, and when it is free again
    Budget,
    /// Check every record, seal and index of the store
    Verify,
    /// A live view
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
    /// List grants, those with the nearest deadline first
    List {
        /// How many at most; 0 = all
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
        /// Only grants in this state
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// Only grants with a parked delivery
        #[arg(long)]
        parked: bool,
    },
    /// Show one grant with everything that is known of it but secrets
    Show {
        /// The grant's id
        id: GrantId,
    },
    /// Count grants by state and outcome
    Stats,
    /// Make a parked delivery owed again
    Requeue {
        /// The grant's id
        id: GrantId,
        /// Only the delivery to this sink
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
    },
    /// Give up a grant's deliveries; a token is revoked all the same
    Drop {
        /// The grant's id
        id: GrantId,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Write every grant as JSON lines, without secrets
    Export {
        /// The file; stdout unless given
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// The states that can be asked for.
const STATES: [&str; 5] = ["received", "exchanging", "exchanged", "settling", "closed"];

/// Runs a command of `debug`.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let show = |ask: &Ask, human: fn(&Value) -> String| {
        show(&Source::find(&config, MissingJournal::Refuse)?, global, ask, human)
    };
    match &args.command {
        Command::Watch(args) => watch::run(args, &config, global),
        Command::Budget => show(&Ask::Budget, render::budgets),
        Command::Verify => verify(&Source::find(&config, MissingJournal::Refuse)?, global),
        Command::Queue(queue) => match &queue.command {
            QueueCommand::List { limit, state, parked } => {
                let filter = Filter {
                    limit: *limit,
                    state: state.clone(),
                    parked: *parked,
                };
                show(&Ask::List(filter), render::listing)
            }
            QueueCommand::Show { id } => show(&Ask::Show(*id), render::one),
            QueueCommand::Stats => show(&Ask::Stats, render::stats),
            QueueCommand::Requeue { id, sink } => show(
                &Ask::Requeue {
                    id: *id,
                    sink: sink.clone(),
                },
                render::one,
            ),
            QueueCommand::Drop { id, yes: true } => show(&Ask::Drop(*id), render::one),
            QueueCommand::Drop { id, yes: false } => {
                Err(Failure::new(Exit::Usage, format!("grant {id} was not dropped"))
                    .way_out("its deliveries would be given up for good: say --yes")
                    .into())
            }
            QueueCommand::Export { output } => {
                export(&Source::find(&config, MissingJournal::Refuse)?, output.as_deref())
            }
        },
    }
}

fn show(source: &Source<'_>, global: &Global, ask: &Ask, human: impl Fn(&Value) -> String) -> anyhow::Result<Exit> {
    let answer = source.ask(ask)?;
    if global.json {
        out::json(&answer)?;
    } else {
        out::line(human(&answer))?;
    }
    Ok(Exit::Fine)
}

fn verify(source: &Source<'_>, global: &Global) -> anyhow::Result<Exit> {
    let answer = source.ask(&Ask::Verify)?;
    if global.json {
        out::json(&answer)?;
    } else {
        out::line(render::verified(&answer))?;
    }
    Ok(if answer["ok"] == true { Exit::Fine } else { Exit::Failed })
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
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?,
        None => out::write(&[&text])?,
    }
    Ok(Exit::Fine)
}
