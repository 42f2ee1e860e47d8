//! `debug`: looks into the journal, of a stopped store and of a running service alike.

use std::path::PathBuf;

use clap::Subcommand;

use super::Global;
use crate::ids::GrantId;
use crate::lifecycle::Exit;

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
    Watch(Watch),
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

/// Arguments of `debug watch`.
#[derive(Debug, clap::Args)]
pub struct Watch {
    /// Seconds between two looks
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub every: u64,
}

/// Runs a command of `debug`.
pub fn run(_args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let _config = global.load_config()?;
    Err(anyhow::anyhow!("not built in"))
}
