//! `simulate`: the embedded Discord alone.

use std::net::SocketAddr;

use super::Global;
use crate::lifecycle::Exit;

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it listens; loopback addresses only, port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8180", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// How many synthetic people there are
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub people: u32,
    /// The seed of chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs the embedded Discord until it is told to end.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<Exit> {
    Err(anyhow::anyhow!("not built in"))
}
