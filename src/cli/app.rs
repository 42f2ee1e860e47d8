//! Parses the command line, runs the command, and prints its error with what to do about it.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{CommandFactory as _, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use super::{config, dashboard, debug, demo, doctor, hookdeck, link, out, relay, run, shell, simulate, trial, worker};
use crate::config::{Config, ConfigErrors, Environment, LOG_LEVELS, Locator, Secrets};
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
    /// Configuration file [default: $CODEFERRY_CONFIG, else ./codeferry.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log level on stderr; overrides the configuration
    #[arg(long, global = true, value_name = "LEVEL", value_parser = PossibleValuesParser::new(LOG_LEVELS)
        .map(|word| word.parse::<LevelFilter>().expect("the parser lets known words through")))]
    log_level: Option<LevelFilter>,
    /// Print machine-readable JSON
    #[arg(long, global = true)]
    json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service against an embedded Discord, through failures and a restart; needs no account
    Demo(demo::Args),
    /// Play a user in your browser, and watch a code's way through the service; needs no account
    Try(trial::Args),
    /// Run the service
    Run(run::Args),
    /// Run the relay: it receives redirects from browsers and posts them into the private channels
    Relay(relay::Args),
    /// Run the embedded Discord alone, on 127.0.0.1
    Simulate(Box<simulate::Args>),
    /// Print a link with which one user can approve the application
    Link(link::Args),
    /// Set up Hookdeck as the relay
    #[command(subcommand)]
    Hookdeck(hookdeck::Action),
    /// Print the relay as a Cloudflare Worker, or its wrangler.toml
    #[command(subcommand)]
    Worker(worker::Action),
    /// Show the service live in a browser of this machine
    Dashboard(dashboard::Args),
    /// Inspect the journal of a running or stopped service
    Debug(debug::Args),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Look at the whole set-up, from the portal to the receivers, and say what is wrong and what to do
    Doctor(doctor::Args),
    /// Print the completions of a shell
    Completions(shell::CompletionsArgs),
    /// Print the man page
    Man(shell::ManArgs),
}

/// What every command gets: the global flags and the log control.
#[derive(Debug)]
pub struct Global {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--json`.
    pub json: bool,
    /// Changes the log level.
    pub telemetry: Telemetry,
}

impl Global {
    /// Where the configuration is.
    pub fn locator(&self) -> anyhow::Result<Locator> {
        Ok(Locator::of_process(self.config.clone())?)
    }

    /// The configuration without secrets; applies its `[log]`.
    pub fn load_config(&self) -> anyhow::Result<Config> {
        let config = Config::load(&self.locator()?)?;
        self.telemetry.apply(&config.log);
        Ok(config)
    }

    /// The configuration without secrets, and whether it has `discord.redirect_uri`, which need not be known yet.
    pub fn load_before_redirect(&self) -> anyhow::Result<(Config, bool)> {
        let (config, known) = Config::load_before_redirect(&self.locator()?)?;
        self.telemetry.apply(&config.log);
        Ok((config, known))
    }

    /// The configuration with all secrets; applies its `[log]`, and creates missing keys.
    pub fn load(&self) -> anyhow::Result<(Config, Secrets)> {
        let (config, secrets) = crate::config::load(&self.locator()?)?;
        self.telemetry.apply(&config.log);
        Ok((config, secrets))
    }
}

/// Parses the command line, runs the command, and prints its error.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Also `--help` and `--version`, on stdout. A closed stdout is no failure.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Fine };
        }
    };
    let environment = Environment::of_process();
    let directives = environment.get("CODEFERRY_LOG").filter(|d| !d.is_empty());
    let telemetry = match Telemetry::start(cli.flags.log_level, directives) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            out::say(format_args!("codeferry: CODEFERRY_LOG is not valid: {error}"));
            out::say("  write for example CODEFERRY_LOG=codeferry=debug,info");
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
        Err(error) => report(&error),
    }
}

fn dispatch(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => demo::run(args, global),
        Command::Try(args) => trial::run(args, global),
        Command::Run(args) => run::run(args, global),
        Command::Relay(args) => relay::run(args, global),
        Command::Simulate(args) => simulate::run(args, global.json).map(|()| Exit::Fine),
        Command::Link(args) => link::run(args, global),
        Command::Hookdeck(args) => hookdeck::run(args, global),
        Command::Worker(args) => worker::run(args, global),
        Command::Dashboard(args) => dashboard::run(args, global),
        Command::Debug(args) => debug::run(args, global),
        Command::Config(args) => config::run(args, global),
        Command::Doctor(args) => doctor::run(args, global),
        Command::Completions(args) => shell::completions(args, Cli::command()),
        Command::Man(args) => shell::man(args, Cli::command()),
    }
}

/// Prints an error with its causes and what to do about it; returns its exit code.
fn report(error: &anyhow::Error) -> Exit {
    if error.is::<out::ReaderGone>() {
        return Exit::Fine;
    }
    let failure = error.chain().find_map(|e| e.downcast_ref::<Failure>());
    let id = failure.and_then(Failure::id).map(|id| format!(" [{id}]"));
    out::say(format_args!("codeferry: {error:#}{}", id.unwrap_or_default()));
    if let Some(advice) = failure.and_then(Failure::advice) {
        out::say(format_args!("  {advice}"));
    }
    let config = error.chain().find_map(|e| e.downcast_ref::<ConfigErrors>());
    match (failure, config) {
        (Some(failure), _) => failure.exit(),
        (None, Some(config)) => config.exit(),
        (None, None) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn explained(command: &clap::Command) {
        assert!(command.get_about().is_some(), "`{}` has no help", command.get_name());
        for argument in command.get_arguments() {
            let (name, id) = (command.get_name(), argument.get_id());
            assert!(argument.get_help().is_some(), "`{id}` of `{name}` has no help");
        }
        command.get_subcommands().for_each(explained);
    }

    #[test]
    fn every_command_and_argument_has_help() {
        let mut cli = Cli::command();
        cli.build();
        explained(&cli);
    }
}
