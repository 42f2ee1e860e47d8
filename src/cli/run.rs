//! `run`: the service.

use super::Global;
use crate::lifecycle::Exit;

/// Arguments of `run`: everything it needs stands in the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the service until it is told to end.
pub fn run(_args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let (_config, _secrets) = global.load()?;
    Err(anyhow::anyhow!("not built in"))
}
