//! `link`: a link with which one person may approve the application.

use super::Global;
use crate::ids::UserId;
use crate::lifecycle::Exit;

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
pub fn run(_args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let _config = global.load_config()?;
    Err(anyhow::anyhow!("not built in"))
}
