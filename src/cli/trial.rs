//! `try`: an operator plays a user, on this machine alone.
//!
//! The embedded Discord and the page run in this process. The service is a child process that takes the redirects itself.

mod page;
mod site;

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;
use serde_json::json;

use self::site::{Opened, Site};
use super::child::Child;
use super::folder::{self, Folder};
use super::{Global, out};
use crate::lifecycle::{Exit, Signals};
use crate::simulator::{PortalChange, Simulator, SimulatorOptions};

/// Arguments of `try`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port of the page on 127.0.0.1; 0 chooses a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}

/// Runs until it is interrupted.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let folder = Folder::temporary("try")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("cannot install signal handlers")?;
        play(args, global, &folder, &mut signals).await
    })
}

async fn play(args: &Args, global: &Global, folder: &Folder, signals: &mut Signals) -> anyhow::Result<Exit> {
    let simulator = Simulator::start(SimulatorOptions::default()).context("cannot start the embedded Discord")?;
    let mut service = tokio::select! {
        service = start_service(&simulator, folder) => service?,
        _ = signals.next() => return Ok(Exit::Fine),
    };
    let site = Site {
        simulator,
        socket: folder.path().join("data/control.sock"),
        results: folder.path().join(folder::RESULTS),
    };
    let Opened { server, url } = site.open(args.port)?;
    if global.json {
        out::json(&json!({ "url": url }))?;
    } else {
        out::line(&url)?;
        out::say("Open this address in a browser. Ctrl-C ends everything and removes all data.");
    }
    let ended = tokio::select! {
        ended = service.ends() => ended,
        // Nothing of it is to stay. Waited for, so that it writes nothing while its folder is removed.
        _ = signals.next() => service.kill().await.map(|()| Exit::Fine),
    };
    server.stop().await;
    ended
}

/// Starts the service on a free port; another program may take the port first, so this is tried again.
async fn start_service(simulator: &Simulator, folder: &Folder) -> anyhow::Result<Child> {
    let mut tries = 3;
    loop {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let address = free.context("cannot find a free port")?;
        simulator.change_portal(PortalChange {
            redirect_uris: Some(vec![format!("http://{address}/callback")]),
            ..PortalChange::default()
        });
        let file = folder::write(folder.path(), &simulator.describe())?;
        let mut service = Child::start("run", &file, &[], folder.path())?;
        tries -= 1;
        match service.logs("READY: codes are taken").await {
            Ok(_) => return Ok(service),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}
