//! The parser, the dispatcher, and how an error is told: once, its chain, then the way out.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Parser, Subcommand};

use super::{config, debug, demo, hookdeck, link, out, relay, run, simulate, worker};
use crate::config::{Config, ConfigErrors, Environment, Locator, LogLevel, Secrets};
use crate::lifecycle::{Exit, Failure};
use crate::telemetry::Telemetry;

/// Discord OAuth2 without a public web server.
#[derive(Debug, Parser)]
#[command(
    name = "codeferry",
    version,
    about,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// The configuration file [default: $CODEFERRY_CONFIG, else ./codeferry.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much is logged to stderr; goes before the configuration
    #[arg(long, global = true, value_name = "LEVEL", value_parser = PossibleValuesParser::new(LogLevel::WORDS)
        .map(|word| LogLevel::from_word(&word).expect("the parser lets known words through")))]
    log_level: Option<LogLevel>,
    /// Print JSON for machines
    #[arg(long, global = true)]
    json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the whole way of a code on this machine, without a Discord account
    Demo(demo::Args),
    /// Run the service
    Run(run::Args),
    /// Run the edge relay: take redirects from browsers and post them into the private channels
    Relay(relay::Args),
    /// Run the embedded Discord alone, on loopback
    Simulate(Box<simulate::Args>),
    /// Print a link with which one person may approve the application
    Link(link::Args),
    /// Set up Hookdeck as the relay
    Hookdeck(hookdeck::Args),
    /// Print the Cloudflare Worker that serves as the relay, and its settings
    Worker(worker::Args),
    /// Look into the journal of a running or stopped service
    Debug(debug::Args),
    /// Check or show the configuration
    Config(config::Args),
}

/// What every command gets: the global flags and the log's controls.
#[derive(Debug)]
pub struct Global {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--json`.
    pub json: bool,
    /// The log's controls.
    pub telemetry: Telemetry,
}

impl Global {
    /// Where the configuration is to be found.
    pub fn locator(&self) -> anyhow::Result<Locator> {
        Locator::of_process(self.config.clone()).map_err(|source| {
            Failure::new(Exit::Failed, "the working directory cannot be told")
                .source(source)
                .into()
        })
    }

    /// The configuration alone, its `[log]` applied; for commands that need no secrets.
    pub fn load_config(&self) -> anyhow::Result<Config> {
        let config = Config::load(&self.locator()?)?;
        self.telemetry.apply(&config.log);
        Ok(config)
    }

    /// The configuration, its `[log]` applied, and every secret; makes the keys that are missing.
    pub fn load(&self) -> anyhow::Result<(Config, Secrets)> {
        let (config, secrets) = crate::config::load(&self.locator()?)?;
        self.telemetry.apply(&config.log);
        Ok((config, secrets))
    }
}

/// Parses the command line, runs the command, tells its error.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, for stdout. That nobody reads them is no failure.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Fine };
        }
    };
    let environment = Environment::of_process();
    let directives = environment.get("CODEFERRY_LOG").filter(|d| !d.is_empty());
    let telemetry = match Telemetry::start(cli.flags.log_level, directives) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("codeferry: CODEFERRY_LOG cannot be read: {error}");
            eprintln!("  write for example CODEFERRY_LOG=codeferry=debug,info");
            return Exit::Usage;
        }
    };
    let global = Global {
        config: cli.flags.config,
        json: cli.flags.json,
        telemetry,
    };
    match dispatch(&cli.command, &global) {
        Ok(exit) => exit,
        Err(error) => tell(&error),
    }
}

fn dispatch(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => demo::run(args, global),
        Command::Run(args) => run::run(args, global),
        Command::Relay(args) => relay::run(args, global),
        Command::Simulate(args) => simulate::run(args, global.json).map(|()| Exit::Fine),
        Command::Link(args) => link::run(args, global),
        Command::Hookdeck(args) => hookdeck::run(args, global),
        Command::Worker(args) => worker::run(args, global),
        Command::Debug(args) => debug::run(args, global),
        Command::Config(args) => config::run(args, global),
    }
}

/// Prints an error's chain and the way out; answers the exit code it asks for.
fn tell(error: &anyhow::Error) -> Exit {
    if error.is::<out::ReaderGone>() {
        return Exit::Fine;
    }
    eprintln!("codeferry: {error:#}");
    let failure = error.chain().find_map(|e| e.downcast_ref::<Failure>());
    if let Some(advice) = failure.and_then(Failure::advice) {
        eprintln!("  {advice}");
    }
    let config = error.chain().find_map(|e| e.downcast_ref::<ConfigErrors>());
    match (failure, config) {
        (Some(failure), _) => failure.exit(),
        (None, Some(config)) => config.exit(),
        (None, None) => Exit::Failed,
    }
}
