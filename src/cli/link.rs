//! `link`: a link with which one user can approve the application.

use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::Value;

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
    /// The user's Discord id
    pub user: UserId,
    /// Purpose of the link, one of `state.purposes` [default: the first]
    #[arg(long, value_name = "NAME")]
    pub purpose: Option<String>,
}

/// Prints a link: the URL alone on stdout, for scripts, and its expiry on stderr. The journal counts the link, so that no
/// more are out than the channels can carry.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let locator = global.locator()?;
    let config = global.load_config()?;
    let request = LinkRequest {
        user_id: args.user,
        purpose: args.purpose.clone(),
    };
    // Checked before a key is created or the service is asked.
    request
        .purpose_index(&config.state.purposes)
        .map_err(super::source::of_refusal)?;
    let keys = LinkKeys::load(&config, &locator.environment)?;
    let minter = settings::minter(&config, &keys.state_keys, &keys.pkce_keys);
    let mut nonce = [0; 8];
    SysRng.try_fill_bytes(&mut nonce)?;
    let source = Source::find(&config, MissingJournal::Make)?;
    let link = source.link(&request, &minter, nonce)?;
    tell(&link, args, global)?;
    if matches!(source, Source::Stopped(_)) {
        out::say("codeferry: the service is not running: start it before the link is used, or its code is lost");
    }
    Ok(Exit::Fine)
}

/// The link, and how long it may be used.
fn tell(link: &Value, args: &Args, global: &Global) -> anyhow::Result<()> {
    if global.json {
        return out::json(link);
    }
    out::line(link["url"].as_str().unwrap_or_default())?;
    out::say(match link["expires_at"].as_str() {
        Some(at) => format!(
            "valid until {at}, once, for user {} only; lane {}",
            args.user, link["lane"]
        ),
        None => format!(
            "the link carries the id of user {} without a signature: `state.mode` is not \"signed\"",
            args.user
        ),
    });
    Ok(())
}
