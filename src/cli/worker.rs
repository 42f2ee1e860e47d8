//! `worker`: the Cloudflare Worker's script, and the settings that go with it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Global, out};
use crate::config::{Config, StateMode, WireVersion};
use crate::lifecycle::{Exit, Failure};
use crate::relay::script;

/// The behaviour of the runtime that the Worker was tried with.
const COMPATIBILITY_DATE: &str = "2026-11-01";

/// The most codes of a message that is full of the longest lines.
const MOST_PACKED: u8 = 18;

/// What stands above the settings.
const ABOUT: &str = "\
# The relay as a Cloudflare Worker: `codeferry worker script > worker.js` beside this file, then `npx wrangler deploy`, and
# once each of these, with what the service has in its environment:
#   npx wrangler secret put CODEFERRY_RELAY_KEY
#   npx wrangler secret put CODEFERRY_STATE_KEY       (a key that the service made lies in its data/keys/state.key)
#   npx wrangler secret put CODEFERRY_WEBHOOK_TOKENS  (id:token of every lane's webhook, separated by commas)
# The redirect URI to register is https://NAME.SUBDOMAIN.workers.dev/callback; /healthz says what is still wrong.

";

/// Arguments of `worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be printed.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Print the Worker; it holds no key
    Script {
        /// Folder with pages of your own, as for `relay.pages`
        #[arg(long, value_name = "FOLDER")]
        pages: Option<PathBuf>,
    },
    /// Print the wrangler.toml of this configuration; it holds no key either
    Config,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Script { pages } => {
            let pages = super::relay::pages(pages.as_deref(), "--pages")?;
            out::write(&[&script::worker(&pages)?])?;
        }
        Action::Config => out::write(&[&wrangler(&global.load_config()?, global.json)?])?,
    }
    Ok(Exit::Fine)
}

/// The file that wrangler deploys by: TOML, or JSON for machines.
fn wrangler(config: &Config, as_json: bool) -> anyhow::Result<String> {
    let refuse = |problem: &str, cure: &str| Err(Failure::new(Exit::Usage, problem).way_out(cure).into());
    if config.intake.lanes.is_empty() {
        return refuse(
            "the configuration has no lanes that a Worker could post into",
            "add `[[intake.lanes]]` with `channel_id` and `webhook_id`",
        );
    }
    if config.state.mode != StateMode::Signed {
        return refuse(
            "`state.mode` is not \"signed\", and a relay lets only signed states through",
            "set `state.mode = \"signed\"`",
        );
    }
    if !config.intake.accept.contains(&WireVersion::V1) {
        return refuse(
            "`intake.accept` lacks \"v1\", which is what the Worker posts",
            "set `intake.accept = [\"v1\"]`",
        );
    }
    for lane in config.intake.lanes.iter().filter(|lane| lane.pack < MOST_PACKED) {
        eprintln!(
            "codeferry: lane {} has pack = {}, so a message carries no more codes; the Worker can pack {MOST_PACKED}",
            lane.lane, lane.pack
        );
    }
    let lanes: Vec<Value> = config
        .intake
        .lanes
        .iter()
        .map(|lane| {
            json!({
                "webhook_id": lane.webhook_id.to_string(),
                "channel_id": lane.channel_id.to_string(),
                "pack": lane.pack,
            })
        })
        .collect();
    let limit = config.limits.webhook;
    let settings = json!({
        "name": "codeferry",
        "main": "worker.js",
        "compatibility_date": COMPATIBILITY_DATE,
        "workers_dev": true,
        // Its log would hold every request's address, and with it the codes.
        "observability": { "enabled": false },
        "vars": {
            "CODEFERRY_API_BASE": config.discord.api_base.as_str(),
            "CODEFERRY_BOT": config.relay_bot.to_string(),
            "CODEFERRY_BURST": limit.map_or(1, |limit| limit.burst).to_string(),
            "CODEFERRY_CODE_LIFETIME": config.intake.code_lifetime.as_secs().to_string(),
            "CODEFERRY_LANES": json!(lanes).to_string(),
            "CODEFERRY_PER_MINUTE": limit.map_or(0, |limit| limit.per_minute).to_string(),
        },
        "durable_objects": { "bindings": [{ "name": "FERRY", "class_name": "Ferry" }] },
        "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Ferry"] }],
    });
    if as_json {
        return Ok(format!("{settings:#}\n"));
    }
    Ok(format!("{}{}", ABOUT, toml::to_string(&settings)?))
}
