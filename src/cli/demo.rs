//! `demo`: codes from the click to the revocation, on this machine alone.
//!
//! The embedded Discord runs in this process; the relay and the service are child processes, so that the restart halfway
//! is a real one. The report compares the service's journal with Discord's ledger.

mod in_flight;
mod report;
mod script;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use self::report::Report;
use self::script::Script;
use super::child::Child;
use super::folder::{self, Folder};
use super::{Global, out};
use crate::config::Locator;
use crate::lifecycle::{Exit, Signals};
use crate::simulator::{Description, FaultRule, PortalChange, Simulator, SimulatorOptions};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of simulated users
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub people: u32,
    /// Seed of the embedded Discord's random values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep all data and logs in this folder; it must be new or empty
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<std::path::PathBuf>,
    /// Add a fault of the embedded Discord, as JSON, to see a promise broken; may be repeated
    #[arg(long, value_name = "JSON", value_parser = |json: &str| serde_json::from_str::<FaultRule>(json))]
    pub fault: Vec<FaultRule>,
    /// Seconds to wait for the last codes at the end
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub patience: u64,
}

/// What to try after the demo.
const NEXT: &str =
    "\nNext: `codeferry try` lets you play a user in your browser; README.md shows how to set up your own bot.\n";

/// Runs the demo; [`Exit::Failed`] if and only if a promise was broken.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let folder = match args.data.as_deref() {
        Some(named) => Folder::empty(named, "--data")?,
        None => Folder::temporary("demo")?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let local = tokio::task::LocalSet::new();
    let played = local.block_on(&runtime, async {
        let mut signals = Signals::listen().context("cannot install signal handlers")?;
        tokio::select! {
            report = play(args, global, folder.path()) => report.map(Some),
            // The service and the relay are killed as they are dropped.
            _ = signals.next() => Ok(None),
        }
    })?;
    let Some(report) = played else {
        return Ok(Exit::Forced);
    };
    if global.json {
        out::line(report.json())?;
    } else {
        out::write(&[&report.table(), NEXT])?;
    }
    Ok(if report.kept() { Exit::Fine } else { Exit::Failed })
}

async fn play(args: &Args, global: &Global, folder: &Path) -> anyhow::Result<Report> {
    let start = Instant::now();
    let simulator = start_discord(args)?;
    let about = simulator.describe();
    let lane = about.lanes.first().context("the embedded Discord has no lane")?;
    let relay_key = simulator.random_text(43);
    let mut environment = vec![
        ("CODEFERRY_RELAY_KEY".to_owned(), relay_key),
        ("CODEFERRY_STATE_KEY".to_owned(), simulator.random_text(43)),
        (
            "CODEFERRY_WEBHOOK_TOKENS".to_owned(),
            format!("{}:{}", lane.webhook.id, lane.webhook.token),
        ),
    ];
    let relay_folder = folder.join("relay");
    std::fs::create_dir(&relay_folder).context("cannot make the relay's folder")?;
    let relay_file = relay_folder.join("codeferry.toml");
    std::fs::write(&relay_file, relay_configuration(&about)).context("cannot write the relay's configuration")?;
    let mut relay = Child::start("relay", &relay_file, &environment, folder)?;
    // The relay chooses its port: one that was free a moment ago may be taken now.
    let ready = relay.logs("READY: callbacks are taken").await?;
    let address = address_in(&ready).with_context(|| format!("the relay logged no address: {ready}"))?;
    simulator.change_portal(PortalChange {
        redirect_uris: Some(vec![format!("http://{address}/callback")]),
        ..PortalChange::default()
    });
    let about = simulator.describe();
    environment.push(("CODEFERRY_BOT_TOKEN".to_owned(), about.bot_token.clone()));
    environment.push(("CODEFERRY_CLIENT_SECRET".to_owned(), about.client_secret.clone()));
    let file = folder.join("codeferry.toml");
    std::fs::write(&file, configuration(&about)).context("cannot write the service's configuration")?;
    let (config, secrets) = crate::config::load(&Locator {
        config: Some(file.clone()),
        environment: environment.iter().cloned().collect(),
        folder: folder.to_owned(),
    })?;
    let mut service = Child::start("run", &file, &environment, folder)?;
    service.logs("READY: codes are taken").await?;
    let script = Script {
        simulator: &simulator,
        about: &about,
        relay: address,
        config: &config,
        secrets: &secrets,
        people: args.people,
        quiet: global.json,
        start,
    };
    let mut events = script.run(&mut service).await?;
    script.invite_again(&mut events).await?;
    let patience = Duration::from_secs(args.patience);
    script.wait_until_closed(patience, &events).await;
    let clean_end = service.stop().await? & relay.stop().await?;
    let mut report = Report::read(&config, folder, &simulator, events)?;
    report.clean_end = clean_end;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

fn start_discord(args: &Args) -> anyhow::Result<Simulator> {
    let mut options = SimulatorOptions {
        // One more than take part: the user whose code expires.
        people: args.people + 1,
        seed: Some(args.seed),
        ..SimulatorOptions::default()
    };
    // Discord's 41 s would be longer than the demo: heartbeats should happen too.
    options.gateway.heartbeat_interval_ms = 5_000;
    let simulator = Simulator::start(options).context("cannot start the embedded Discord")?;
    for fault in &args.fault {
        simulator.faults().add(fault.clone());
    }
    Ok(simulator)
}

fn configuration(about: &Description) -> String {
    format!(
        "# A low share, so that some users are asked to wait.\n[gate]\nshare = 0.05\n\n\
         [reinvite]\nenabled = true\n\n{}",
        folder::config(about, "pack = 18\n", "results.jsonl")
    )
}

/// The address in the relay's log line.
fn address_in(line: &str) -> Option<SocketAddr> {
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("address="));
    address.and_then(|address| address.parse().ok())
}

fn relay_configuration(about: &Description) -> String {
    let lane = &about.lanes[0];
    format!(
        "[discord]\napi_base = \"{}\"\napplication_id = \"{}\"\n\n\
         [relay]\nlisten = \"127.0.0.1:0\"\njournal = \"journal\"\nbot_id = \"{}\"\n\n\
         [[relay.lanes]]\nchannel_id = \"{}\"\nwebhook_id = \"{}\"\n",
        about.api_base, about.application_id, about.bot_id, lane.channel_id, lane.webhook.id
    )
}
