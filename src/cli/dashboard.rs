//! `dashboard`: the control interface's page in a browser of this machine.

use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::json;

use super::{Global, out};
use crate::dashboard::{Dashboard, Opened};
use crate::lifecycle::{Exit, Failure, Signals};

/// Arguments of `dashboard`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port on 127.0.0.1; 0 chooses a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}

/// Serves the page until it is interrupted.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let socket = config.control.socket.clone().ok_or_else(|| {
        Failure::new(Exit::Usage, "the dashboard needs the service's control socket")
            .way_out("set control.socket; its default is data/control.sock")
    })?;
    let mut random = [[0; 32]; 2];
    random.iter_mut().try_for_each(|some| SysRng.try_fill_bytes(some))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let Opened { dashboard, url } = Dashboard::open(socket, args.port, random).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot listen on 127.0.0.1:{}", args.port))
                .source(error)
                .way_out("choose another --port, or 0 for any free one")
        })?;
        if global.json {
            out::json(&json!({ "url": url }))?;
        } else {
            out::line(&url)?;
            out::say("Open this address in a browser; it works once. Ctrl-C ends the dashboard.");
        }
        signals.next().await;
        dashboard.stop().await;
        Ok(Exit::Fine)
    })
}
