//! `debug`: looks into the journal, of a stopped store and of a running service alike.

mod render;
mod watch;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;

use super::{Global, out};
use crate::actors::journal::view::Filter;
use crate::config::Config;
use crate::control::client::ControlClient;
use crate::control::stopped::StoppedStore;
use crate::control::{Ask, Refusal};
use crate::ids::GrantId;
use crate::lifecycle::{Exit, Failure};
use crate::time::SystemClock;

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
    let show = |ask: &Ask, human: fn(&Value) -> String| show(&Source::find(&config)?, global, ask, human);
    match &args.command {
        Command::Watch(args) => watch::run(args, &config, global),
        Command::Budget => show(&Ask::Budget, render::budgets),
        Command::Verify => verify(&Source::find(&config)?, global),
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
            QueueCommand::Export { output } => export(&Source::find(&config)?, output.as_deref()),
        },
    }
}

/// A service that starts or ends is met again this often before it counts as one without a socket.
const TRIES: u32 = 10;
/// Between two of these.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Where the answers come from; nobody needs to know which.
enum Source<'a> {
    Running(ControlClient, tokio::runtime::Runtime),
    Stopped(RefCell<Option<StoppedStore<'a>>>),
}

impl<'a> Source<'a> {
    /// The running service, if one answers.
    fn running(config: &Config) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = ControlClient::new(config.control.socket.as_deref()?);
        let (runtime, client) = (runtime.ok()?, client.ok()?);
        let answers = runtime.block_on(client.ask(&Ask::Budget)).is_ok();
        answers.then_some(Self::Running(client, runtime))
    }

    /// The running service if one answers, else the store.
    fn find(config: &'a Config) -> anyhow::Result<Self> {
        let mut tries = 0;
        loop {
            if let Some(running) = Self::running(config) {
                return Ok(running);
            }
            if !config.journal.path.exists() {
                // Opening would make one, and a mistaken path would look like an empty queue.
                let path = config.journal.path.display();
                return Err(Failure::new(Exit::Failed, format!("there is no journal at `{path}`"))
                    .way_out("`codeferry run` makes it; is this the configuration that the service runs with?")
                    .into());
            }
            match StoppedStore::open(config, SystemClock::shared()) {
                Ok(store) => return Ok(Self::Stopped(RefCell::new(Some(store)))),
                // Between a service's lock and its socket lies the opening of the journal; between its socket's end and
                // the release of the lock lies its closing.
                Err(error) if error.is_locked() && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(error) if error.is_locked() => {
                    return Err(Failure::new(
                        Exit::Failed,
                        "the journal is in use, but no service answers at control.socket",
                    )
                    .source(error)
                    .way_out("see whether control.socket is set to the same path for both, or stop the service")
                    .into());
                }
                Err(error) => {
                    return Err(Failure::new(Exit::Store, "the journal cannot be opened")
                        .source(error)
                        .into());
                }
            }
        }
    }

    fn ask(&self, ask: &Ask) -> anyhow::Result<Value> {
        let answer = match self {
            Self::Running(client, runtime) => runtime
                .block_on(client.ask(ask))
                .map_err(|error| Failure::new(Exit::Failed, "the service stopped answering").source(error))?,
            Self::Stopped(store) => {
                let mut store = store.borrow_mut();
                store
                    .as_mut()
                    .map_or_else(|| Err(Refusal::new(503, "the store is closed")), |store| store.ask(ask))
            }
        };
        answer.map_err(|refusal| {
            let exit = if refusal.status == 503 {
                Exit::Store
            } else {
                Exit::Failed
            };
            Failure::new(exit, refusal.message).into()
        })
    }
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        if let Self::Stopped(store) = self
            && let Some(store) = store.take()
            && let Err(error) = store.close()
        {
            tracing::error!(%error, "the journal could not be closed cleanly");
        }
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
