//! `link`: a link with which one person may approve the application.

use rand::TryRng as _;
use rand::rngs::SysRng;

use super::source::{MissingJournal, Source};
use super::{Global, out};
use crate::config::LinkKeys;
use crate::control::LinkRequest;
use crate::ids::UserId;
use crate::lifecycle::Exit;
use crate::service::settings;

/// Arguments of `link`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The person's Discord id
    pub user: UserId,
    /// What the link is for: one of `state.purposes` [default: the first]
    #[arg(long, value_name = "NAME")]
    pub purpose: Option<String>,
}

/// Prints a link: the URL alone on stdout, so that it can be handed on; how long it is good for on stderr. The link holds
/// a place in the journal, so that no more are out than can be carried.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let locator = global.locator()?;
    let config = global.load_config()?;
    let request = LinkRequest {
        user_id: args.user,
        purpose: args.purpose.clone(),
    };
    // Before anything is made or asked.
    request
        .purpose_index(&config.state.purposes)
        .map_err(super::source::of_refusal)?;
    let keys = LinkKeys::load(&config, &locator.environment)?;
    let minter = settings::minter(&config, &keys.state_key, &keys.pkce_key);
    let mut nonce = [0; 8];
    SysRng.try_fill_bytes(&mut nonce)?;
    let link = Source::find(&config, MissingJournal::Make)?.link(&request, &minter, nonce)?;
    if global.json {
        out::json(&link)?;
        return Ok(Exit::Fine);
    }
    out::line(link["url"].as_str().unwrap_or_default())?;
    match link["expires_at"].as_str() {
        Some(at) => eprintln!("good until {at}, once, for {} alone; lane {}", args.user, link["lane"]),
        None => eprintln!("carries the bare id of {}: `state.mode` is not \"signed\"", args.user),
    }
    Ok(Exit::Fine)
}
