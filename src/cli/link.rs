//! `link`: a link with which one person may approve the application.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;

use super::Global;
use crate::config::{Config, Secrets, StateMode};
use crate::ids::{Lane, UserId};
use crate::intake::link::LinkSettings;
use crate::intake::state::{StateKey, StateToken};
use crate::lifecycle::{Exit, Failure};
use crate::time::{Clock, SystemClock, Timestamp};

/// Arguments of `link`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The person's Discord id
    pub user: UserId,
    /// What the link is for: one of `state.purposes` [default: the first]
    #[arg(long, value_name = "NAME")]
    pub purpose: Option<String>,
}

/// Prints a link.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let (config, secrets) = global.load()?;
    let purpose = match &args.purpose {
        None => 0,
        Some(name) => config.state.purposes.iter().position(|p| p == name).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("no purpose `{name}`"))
                .way_out(format!("state.purposes has: {}", config.state.purposes.join(", ")))
        })?,
    };
    let mut random: StdRng = rand::make_rng();
    let minted = mint(
        &config,
        &secrets,
        args.user,
        purpose as u8,
        SystemClock.now(),
        random.random(),
    );
    if global.json {
        let shown = json!({ "url": minted.url, "expires_at": minted.expires_at.rfc3339(), "lane": minted.lane });
        println!("{shown}");
    } else {
        println!("{}", minted.url);
        eprintln!("valid until {} for user {}", minted.expires_at, args.user);
    }
    Ok(Exit::Fine)
}

/// A link that was minted.
pub struct Minted {
    /// Where the person goes.
    pub url: String,
    /// The link's expiry.
    pub expires_at: Timestamp,
    /// The lane that will carry the code.
    pub lane: Lane,
}

/// Mints a link of the configured state mode.
pub fn mint(config: &Config, secrets: &Secrets, user: UserId, purpose: u8, now: Timestamp, nonce: [u8; 8]) -> Minted {
    let settings = LinkSettings {
        authorize_url: config.discord.authorize_url.clone(),
        client_id: config.discord.application_id.0,
        redirect_uri: config.discord.redirect_uri.clone(),
        scopes: config.discord.scopes.clone(),
    };
    // Whole seconds, as the token has them.
    let expires_at = Timestamp::from_secs((now + config.state.lifetime).as_secs());
    let lane = config.intake.lanes.first().map_or(Lane(0), |l| l.lane);
    let url = match config.state.mode {
        StateMode::Signed => {
            let pkce = settings.with_pkce();
            let state = StateKey::new(&secrets.state_key).mint(&StateToken {
                user,
                expires_at,
                lane,
                purpose,
                pkce,
                nonce,
            });
            settings.url(&state, pkce.then_some(&secrets.pkce_key))
        }
        // Without a flag in the state nothing would tell that a verifier is due.
        StateMode::UserId | StateMode::Any => settings.url(&user.to_string(), None),
    };
    Minted {
        url: url.into(),
        expires_at,
        lane,
    }
}
