//! `demo`: the whole way of a code, on this machine alone.
//!
//! The embedded Discord runs in this process; the relay and the service are child processes, so that the restart in the
//! middle is a real one. What came of every code is read from the service's journal and judged by Discord's own ledger.

mod account;
mod child;
mod script;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use self::account::Account;
use self::child::Child;
use self::script::Scene;
use super::Global;
use crate::config::Locator;
use crate::lifecycle::Exit;
use crate::simulator::{FaultRule, PortalChange, Simulator, SimulatorOptions};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many synthetic people take part
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub people: u32,
    /// The seed of chance; the same seed makes the same people do the same things
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep the demo's data in this folder instead of a temporary one
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<std::path::PathBuf>,
    /// One more fault of the embedded Discord, as JSON, to see a promise broken
    #[arg(long, value_name = "JSON", value_parser = read_fault)]
    pub fault: Vec<FaultRule>,
    /// How long to wait for the last codes, in seconds
    #[arg(long, default_value_t = 60)]
    pub patience: u64,
}

fn read_fault(text: &str) -> Result<FaultRule, serde_json::Error> {
    serde_json::from_str(text)
}

/// Runs the demo; [`Exit::Failed`] if and only if a promise was broken.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let folder = Folder::make(args.data.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let local = tokio::task::LocalSet::new();
    let account = local.block_on(&runtime, play(args, global, folder.path()))?;
    if global.json {
        println!("{}", serde_json::to_string(&account.json()).context("cannot print")?);
    } else {
        print!("{}", account.table());
    }
    Ok(if account.kept() { Exit::Fine } else { Exit::Failed })
}

async fn play(args: &Args, global: &Global, folder: &Path) -> anyhow::Result<Account> {
    let started = tokio::time::Instant::now();
    let mut options = SimulatorOptions {
        // One more: somebody's code dies.
        people: args.people + 1,
        seed: Some(args.seed),
        ..SimulatorOptions::default()
    };
    // A real interval is 41 s, longer than the demo: heartbeats should be seen too.
    options.gateway.heartbeat_interval_ms = 5_000;
    let simulator = Simulator::start(options).context("cannot start the embedded Discord")?;
    for fault in &args.fault {
        simulator.faults().add(fault.clone());
    }
    let about = simulator.describe();
    let relay_key = simulator.random_text(43);
    let lane = about.lanes.first().context("the embedded Discord has no lane")?;
    let state_key = simulator.random_text(43);
    let tokens = format!("{}:{}", lane.webhook.id, lane.webhook.token);
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let of_relay = vec![
        variable("CODEFERRY_RELAY_KEY", &relay_key),
        variable("CODEFERRY_STATE_KEY", &state_key),
        variable("CODEFERRY_WEBHOOK_TOKENS", &tokens),
    ];
    let mut environment = of_relay.clone();
    environment.push(variable("CODEFERRY_BOT_TOKEN", &about.bot_token));
    environment.push(variable("CODEFERRY_CLIENT_SECRET", &about.client_secret));
    let edge = folder.join("relay");
    std::fs::create_dir(&edge).context("cannot make the relay's folder")?;
    let relay_file = edge.join("codeferry.toml");
    std::fs::write(&relay_file, relay_configuration(&about)).context("cannot write the relay's configuration")?;
    // The relay takes a port and tells it: one that is looked for beforehand may be somebody else's a moment later.
    let mut relay = Child::start("relay", &relay_file, &of_relay, folder)?;
    let ready = relay.logs("READY: callbacks are taken").await?;
    let address = address_in(&ready).with_context(|| format!("the relay tells no address: {ready}"))?;
    let redirect_uri = format!("http://{address}/callback");
    simulator.change_portal(PortalChange {
        redirect_uris: Some(vec![redirect_uri.clone()]),
        ..PortalChange::default()
    });
    let file = folder.join("codeferry.toml");
    std::fs::write(&file, configuration(&about, &redirect_uri)).context("cannot write the demo's configuration")?;
    let locator = Locator {
        config: Some(file.clone()),
        environment: environment.iter().cloned().collect(),
        folder: folder.to_owned(),
    };
    let (config, secrets) = crate::config::load(&locator)?;
    let mut service = Child::start("run", &file, &environment, folder)?;
    service.logs("READY: codes are taken").await?;
    let stage = Scene {
        simulator: &simulator,
        relay: script::Edge::at(address),
        config: &config,
        secrets: &secrets,
        people: args.people,
        quiet: global.json,
    };
    let mut played = stage.play(&mut service, &about).await?;
    stage.invite_anew(&about, &mut played, started).await?;
    stage
        .wait_for_the_last(Duration::from_secs(args.patience), &played)
        .await;
    let clean_end = service.stop().await? & relay.stop().await?;
    let mut account = Account::read(&config, folder, &simulator, &played)?;
    account.clean_end = clean_end;
    account.seconds = started.elapsed().as_secs_f64();
    Ok(account)
}

fn configuration(about: &crate::simulator::Description, redirect_uri: &str) -> String {
    let lane = &about.lanes[0];
    format!(
        "# The gate is set low, so that it is seen at work: people are told when to come back.\n[gate]\nshare = 0.05\n\n\
         [reinvite]\nenabled = true\n\n\
         [discord]\napi_base = \"{}\"\nauthorize_url = \"{}\"\napplication_id = \"{}\"\nredirect_uri = \"{redirect_uri}\"\n\n\
         [[intake.lanes]]\nchannel_id = \"{}\"\nwebhook_id = \"{}\"\npack = 18\n\n\
         [[delivery]]\nname = \"results\"\nkind = \"jsonl\"\npath = \"results.jsonl\"\n",
        about.api_base, about.authorize_url, about.application_id, lane.channel_id, lane.webhook.id
    )
}

/// The address that the relay's word of being ready names.
fn address_in(line: &str) -> Option<SocketAddr> {
    let named = line.split_whitespace().find_map(|word| word.strip_prefix("address="));
    named.and_then(|address| address.parse().ok())
}

fn relay_configuration(about: &crate::simulator::Description) -> String {
    format!(
        "[discord]\napi_base = \"{}\"\napplication_id = \"{}\"\n\n\
         [relay]\nlisten = \"127.0.0.1:0\"\njournal = \"journal\"\nbot_id = \"{}\"\n\n\
         [[relay.lanes]]\nchannel_id = \"{}\"\nwebhook_id = \"{}\"\n",
        about.api_base, about.application_id, about.bot_id, about.lanes[0].channel_id, about.lanes[0].webhook.id
    )
}

/// The demo's folder: removed at the end unless it was named.
struct Folder {
    path: std::path::PathBuf,
    temporary: bool,
}

impl Folder {
    fn make(named: Option<&Path>) -> anyhow::Result<Self> {
        let path = match named {
            Some(path) => {
                std::fs::create_dir_all(path).with_context(|| format!("cannot make `{}`", path.display()))?;
                path.to_owned()
            }
            None => temporary()?,
        };
        let path = path.canonicalize().context("the demo's folder")?;
        anyhow::ensure!(
            std::fs::read_dir(&path).context("the demo's folder")?.next().is_none(),
            "`{}` is not empty: the demo wants a folder of its own",
            path.display()
        );
        Ok(Self {
            path,
            temporary: named.is_none(),
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// A folder that nobody has: one that a killed demo left bears the process id too, which comes round again.
fn temporary() -> anyhow::Result<std::path::PathBuf> {
    for n in 0_u32.. {
        let path = std::env::temp_dir().join(format!("codeferry-demo-{}-{n}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make `{}`", path.display())),
        }
    }
    anyhow::bail!("every name for a temporary folder is taken")
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
