//! `worker`: the relay's script for a Cloudflare Worker, and its settings.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Global, out};
use crate::config::{Config, PagesConfig, WireVersion};
use crate::front::face::{ACCENT, BACK};
use crate::intake::state::StateMode;
use crate::lifecycle::{Exit, Failure};
use crate::relay::script;

/// The version of the runtime that the Worker was tested with.
const COMPATIBILITY_DATE: &str = "2026-11-01";

/// Codes that fit into a message even if every line is of the greatest length.
const MOST_PACKED: u8 = 18;

/// The head of wrangler.toml.
const ABOUT: &str = "\
# The relay as a Cloudflare Worker.
# 1. Next to this file: codeferry worker script > worker.js
# 2. npx wrangler deploy
# 3. Set each secret once, with the value that the service has in its environment:
#      npx wrangler secret put CODEFERRY_RELAY_KEY
#      npx wrangler secret put CODEFERRY_STATE_KEY       (if the service created the key: data/keys/state.key)
#      npx wrangler secret put CODEFERRY_WEBHOOK_TOKENS  (id:token of every lane's webhook, separated by commas)
# 4. Register https://NAME.SUBDOMAIN.workers.dev/callback as redirect URI. /healthz reports what is still wrong.

";

/// What can be printed.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Print the Worker's script; it contains no secrets
    Script {
        /// Folder with your own pages, as in `relay.pages`
        #[arg(long, value_name = "FOLDER")]
        pages: Option<PathBuf>,
    },
    /// Print the wrangler.toml for this configuration; it contains no secrets
    Config,
}

/// Runs a command of `worker`.
pub fn run(action: &Action, global: &Global) -> anyhow::Result<Exit> {
    match action {
        Action::Script { pages } => {
            let config = Config::load(&global.locator()?);
            let shown = config.map_or_else(|_| no_pages(), |config| config.pages);
            let pages = super::relay::pages(pages.as_deref(), "--pages", &shown)?;
            out::write(&[&script::worker(&pages)?])?;
        }
        Action::Config => out::write(&[&wrangler(&global.load_before_redirect()?.0, global.json)?])?,
    }
    Ok(Exit::Fine)
}

/// The script can be printed before there is a configuration.
fn no_pages() -> PagesConfig {
    out::say("codeferry: there is no valid configuration here, so the pages show neither name nor icon");
    PagesConfig {
        name: None,
        icon: None,
        accent: ACCENT.to_owned(),
        back_url: BACK.to_owned(),
    }
}

/// Wrangler's configuration: TOML, or JSON for machines.
fn wrangler(config: &Config, as_json: bool) -> anyhow::Result<String> {
    let refuse = |problem: &str, cure: &str| Err(Failure::new(Exit::Usage, problem).way_out(cure).into());
    if config.intake.lanes.is_empty() {
        return refuse(
            "the configuration has no lanes for the Worker to post into",
            "add `[[intake.lanes]]` with `channel_id` and `webhook_id`",
        );
    }
    if config.state.mode != StateMode::Signed {
        return refuse(
            "`state.mode` is not \"signed\", and the relay accepts only signed states",
            "set `state.mode = \"signed\"`",
        );
    }
    if !config.intake.accept.contains(&WireVersion::V1) {
        return refuse(
            "`intake.accept` lacks \"v1\", the format of the Worker's messages",
            "set `intake.accept = [\"v1\"]`",
        );
    }
    for lane in config.intake.lanes.iter().filter(|lane| lane.pack < MOST_PACKED) {
        out::say(format_args!(
            "codeferry: lane {} has pack = {}, which limits each message to that many codes; the Worker can pack {MOST_PACKED}",
            lane.lane, lane.pack
        ));
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
        // The log would contain every request's URL, and with it the codes.
        "observability": { "enabled": false },
        "vars": {
            "CODEFERRY_API_BASE": config.discord.api_base.as_str(),
            "CODEFERRY_BOT": config.relay_bot().to_string(),
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
