//! `link`: a link with which one person may approve the application.

use rand::TryRng as _;
use rand::rngs::SysRng;

use super::{Global, out};
use crate::config::{Config, LinkKeys, Secrets};
use crate::ids::UserId;
use crate::intake::link::LinkSettings;
use crate::intake::mint::{Link, Minter};
use crate::intake::state::StateKey;
use crate::lifecycle::{Exit, Failure};
use crate::secret::Key;
use crate::time::{Clock as _, SystemClock, Timestamp};

/// Arguments of `link`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The person's Discord id
    pub user: UserId,
    /// What the link is for: one of `state.purposes` [default: the first]
    #[arg(long, value_name = "NAME")]
    pub purpose: Option<String>,
}

/// Prints a link: the URL alone on stdout, so that it can be handed on; how long it is good for on stderr.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let locator = global.locator()?;
    let config = global.load_config()?;
    let purpose = purpose(&config, args.purpose.as_deref())?;
    let keys = LinkKeys::load(&config, &locator.environment)?;
    let mut nonce = [0; 8];
    SysRng.try_fill_bytes(&mut nonce)?;
    let minter = minter(&config, &keys.state_key, &keys.pkce_key);
    let link = minter.mint(args.user, purpose, SystemClock.now(), nonce);
    if global.json {
        out::json(&link)?;
        return Ok(Exit::Fine);
    }
    out::line(&link.url)?;
    match link.expires_at {
        Some(at) => eprintln!("good until {at}, once, for {} alone; lane {}", args.user, link.lane),
        None => eprintln!("carries the bare id of {}: `state.mode` is not \"signed\"", args.user),
    }
    Ok(Exit::Fine)
}

/// A link made with the service's secrets.
pub fn mint(config: &Config, secrets: &Secrets, user: UserId, purpose: u8, now: Timestamp, nonce: [u8; 8]) -> Link {
    minter(config, &secrets.state_key, &secrets.pkce_key).mint(user, purpose, now, nonce)
}

/// What this configuration's links are made with.
pub fn minter(config: &Config, state_key: &Key, pkce_key: &Key) -> Minter {
    Minter {
        settings: LinkSettings {
            authorize_url: config.discord.authorize_url.clone(),
            client_id: config.discord.application_id.0,
            redirect_uri: config.discord.redirect_uri.clone(),
            scopes: config.discord.scopes.clone(),
        },
        mode: config.state.mode.into(),
        state_key: StateKey::new(state_key),
        pkce_key: pkce_key.clone(),
        lifetime: config.state.lifetime,
        lanes: config.intake.lanes.len(),
    }
}

fn purpose(config: &Config, name: Option<&str>) -> anyhow::Result<u8> {
    let Some(name) = name else {
        return Ok(0);
    };
    config.state.purpose_index(name).ok_or_else(|| {
        Failure::new(Exit::Usage, "the purpose is not one of `state.purposes`")
            .way_out(format!("use one of: {}", config.state.purposes.join(", ")))
            .into()
    })
}
