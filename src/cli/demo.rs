//! `demo`: the whole way of a code, on this machine alone.

use super::Global;
use crate::lifecycle::Exit;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many synthetic people take part
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub people: u32,
    /// The seed of chance; the same seed makes the same people do the same things
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep the demo's data in this folder instead of a temporary one
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<std::path::PathBuf>,
}

/// Runs the demo; [`Exit::Failed`] if and only if a promise was broken.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<Exit> {
    Err(anyhow::anyhow!("not built in"))
}
